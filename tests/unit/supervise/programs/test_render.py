"""The rendered configuration, as supervisord itself reads it."""

import os
from collections.abc import Sequence
from io import StringIO

import pytest
from supervisor.options import ProcessConfig, ServerOptions

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.command import Command
from drum_supervisor.supervise.programs.plan import plan_programs
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER, STAND_IN, Programs
from drum_supervisor.supervise.programs.render import render
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms

INHERITS = ["uvicorn", "app:app", "--fd", "{fd}"]


def plan(argv: Sequence[str], run_dir: RunDir, **flags: str) -> Programs:
    settings = resolve(choose(flags, {}))
    return plan_programs(settings, Command(tuple(argv)), Address("127.0.0.1", 8080), run_dir)


def built_in(run_dir: RunDir, **flags: str) -> Programs:
    return plan([], run_dir, code_dir="/model", **flags)


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "50% größe"
    path.mkdir(mode=0o700)
    return RunDir(path)


def read(text: str) -> ServerOptions:
    options = ServerOptions()
    options.configfile = StringIO(text)
    options.realize(args=["--silent"], progname="supervisord")
    return options


def read_programs(text: str) -> dict[str, ProcessConfig]:
    groups = read(text).process_group_configs
    return {config.name: config for group in groups for config in group.process_configs}


def test_has_a_section_for_each_program(run_dir):
    programs = built_in(workers="2", run_dir=run_dir)
    assert sorted(read_programs(render(programs, run_dir, ExtraPrograms()))) == sorted(
        program.name for program in programs.all
    )


def test_leaves_every_decision_to_the_policy(run_dir):
    for config in read_programs(render(built_in(run_dir=run_dir), run_dir, ExtraPrograms())).values():
        decisions = (config.autostart, config.autorestart, config.startsecs, config.startretries)
        assert decisions == (False, False, 0, 0)
        assert (config.stopasgroup, config.killasgroup) == (True, True)
        assert (config.stdout_logfile, config.stderr_logfile) == (None, None)
        assert config.environment == {}


def test_paths_are_in_the_run_directory(run_dir):
    options = read(render(built_in(run_dir=run_dir), run_dir, ExtraPrograms()))
    assert options.pidfile == str(run_dir.pid_file)
    (server,) = options.server_configs
    assert (server["file"], server["chmod"]) == (str(run_dir.socket), 0o600)


@pytest.mark.parametrize(
    "argument",
    [
        "100%", "%", "%%", "%(here)s", "%(ENV_HOME)s", "50%d", "; rest", "a ; b", "# rest", "a # b", "a\nb", "[x]",
        "a=b", "a: b", "'", '"', "''\"", "\\", "", " ", "\t", "größe", "\N{FIRE}", "$(id)",
        "a\n[program:evil]\ncommand=id",
    ],
)  # fmt: skip
def test_no_argument_breaks_it(run_dir, argument):
    programs = plan(["serve", argument, "last"], run_dir=run_dir)
    configs = read_programs(render(programs, run_dir, ExtraPrograms()))
    assert sorted(configs) == [ERROR_SERVER, MODEL_SERVER, STAND_IN]
    assert configs[MODEL_SERVER].command.startswith("serve ")


@pytest.mark.parametrize("argument", ["100%", "%%", "%(here)s", "50%d", "größe", "a=b", "$(id)"])
def test_percent_sign_is_preserved(run_dir, argument):
    configs = read_programs(render(plan(["serve", argument], run_dir=run_dir), run_dir, ExtraPrograms()))
    assert argument in configs[MODEL_SERVER].command


def test_arguments_that_are_not_utf_8_are_preserved(run_dir):
    text = render(plan(["serve", os.fsdecode(b"/\xff")], run_dir=run_dir), run_dir, ExtraPrograms())
    run_dir.write(run_dir.configuration, text)
    assert b"serve '/\xff'" in run_dir.configuration.read_bytes()


def test_environment_is_not_rendered(run_dir):
    assert "\nenvironment" not in render(plan(INHERITS, run_dir=run_dir, ready="notify"), run_dir, ExtraPrograms())


def test_says_that_changes_have_no_effect(run_dir):
    assert render(built_in(run_dir=run_dir), run_dir, ExtraPrograms()).startswith(
        "; Rendered by drum-supervise for reading"
    )
