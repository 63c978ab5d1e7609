"""From settings to commands: what runs, who has the address, and what contradicts itself."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from supervisor.options import ProcessConfig, ServerOptions

from drum_supervisor.config.settings import Settings, choose, from_arguments, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.plan import Command, count_workers, is_listener_shared, plan_programs
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER, STAND_IN, Programs, Readiness
from drum_supervisor.supervise.programs.render import render

ADDRESS = Address("127.0.0.1", 8080)
RUN_DIR = RunDir(Path("/run/drum"))
INHERITS = ["uvicorn", "app:app", "--fd", "{fd}"]
BINDS = ["flask", "run", "--host", "{host}", "--port", "{port}"]
SILENT = ["my-server"]


def settings(**flags: str) -> Settings:
    return resolve(choose(flags, {}))


def found(argv: Sequence[str], address: Address = ADDRESS, run_dir: RunDir = RUN_DIR, **flags: str) -> Programs:
    return plan_programs(settings(**flags), Command(tuple(argv)), address, run_dir)


def built_in(**flags: str) -> Programs:
    return found([], **{"code_dir": "/model", **flags})


class TestPlaceholders:
    @pytest.mark.parametrize(
        ("argument", "filled_in"),
        [
            ("{fd}", "3"),
            ("fd://{fd}", "fd://3"),
            ("{host}:{port}", "127.0.0.1:8080"),
            ("{fd}{fd}", "33"),
            ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
            ("{}", "{}"),
            ("{0} {name} {{", "{0} {name} {{"),
            ("$HOME %(x)s 100%", "$HOME %(x)s 100%"),
            ("", ""),
        ],
    )
    def test_are_filled_in_and_all_else_is_left_alone(self, argument, filled_in):
        (worker,) = found(["serve", argument]).workers
        assert worker.argv == ("serve", filled_in)

    def test_host_of_ipv6_has_no_brackets(self):
        (worker,) = found(BINDS, Address("::1", 80)).workers
        assert worker.argv == ("flask", "run", "--host", "::1", "--port", "80")

    @pytest.mark.parametrize("argument", ["{host}", "{port}"])
    def test_of_a_unix_socket_have_no_meaning(self, argument):
        with pytest.raises(UsageError, match=r"a unix socket has no \{host\} and no \{port\}"):
            found(["serve", argument], Address(path="/run/model.sock"))

    def test_command_may_inherit_a_unix_socket(self):
        assert found(INHERITS, Address(path="/run/model.sock")).workers[0].argv[-1] == "3"


class TestListener:
    @pytest.mark.parametrize(
        ("argv", "listener", "shared"),
        [
            ([], "auto", True),
            ([], "inherit", True),
            ([], "bind", False),
            (INHERITS, "auto", True),
            (INHERITS, "inherit", True),
            (BINDS, "auto", False),
            (BINDS, "bind", False),
            (BINDS, "inherit", True),
            (SILENT, "auto", False),
            (SILENT, "inherit", True),
            (SILENT, "bind", False),
            (["serve", "{fd}", "{port}"], "auto", True),
        ],
    )
    def test_is_shared_or_bound_by_the_model_server(self, argv, listener, shared):
        assert is_listener_shared(settings(listener=listener), Command(tuple(argv))) is shared

    def test_to_bind_and_to_have_a_descriptor_is_a_contradiction(self):
        with pytest.raises(UsageError, match=r"--listener bind: the command uses \{fd\}"):
            found(INHERITS, listener="bind")

    def test_is_announced_to_a_command_that_does_not_know_its_number(self):
        assert found(SILENT, listener="inherit").workers[0].announced
        assert not found(INHERITS).workers[0].announced

    def test_is_announced_to_our_own_servers(self):
        for all_of_them in (built_in(), found(INHERITS)):
            assert all_of_them.error_server.announced
            assert all_of_them.plain_error_server.announced
            assert all_of_them.stand_in.announced


class TestWorkers:
    def test_one_has_no_number(self):
        assert [program.name for program in built_in().workers] == [MODEL_SERVER]

    def test_several_are_numbered_from_one(self):
        workers = built_in(workers="3").workers
        assert [program.name for program in workers] == ["model-server-1", "model-server-2", "model-server-3"]
        assert [program.worker for program in workers] == [1, 2, 3]
        assert {program.group for program in workers} == {MODEL_SERVER}
        assert len({program.argv for program in workers}) == 1

    def test_of_gunicorn_are_started_by_its_master(self):
        (worker,) = built_in(workers="4", server_type="gunicorn").workers
        assert worker.argv[-2:] == ("--workers", "4")

    def test_of_the_other_servers_know_of_no_number(self):
        assert "--workers" not in built_in(workers="4").workers[0].argv

    def test_of_a_command_may_share_the_listener(self):
        assert len(found(INHERITS, workers="4").workers) == 4

    @pytest.mark.parametrize("argv", [BINDS, SILENT])
    def test_that_all_bind_the_port_are_a_contradiction(self, argv):
        with pytest.raises(UsageError, match="--workers 2: a command that binds the port itself can run only once"):
            found(argv, workers="2")

    def test_are_counted_before_there_is_a_run_directory(self):
        assert count_workers(settings(workers="2"), Command(tuple(INHERITS)), shared=True) == 2


class TestReadiness:
    @pytest.mark.parametrize(
        ("argv", "ready", "readiness"),
        [
            ([], "auto", Readiness.REPORT),
            ([], "http", Readiness.HTTP),
            (INHERITS, "auto", Readiness.HTTP),
            (INHERITS, "report", Readiness.REPORT),
            (INHERITS, "notify", Readiness.NOTIFY),
            (BINDS, "auto", Readiness.HTTP),
            (BINDS, "port", Readiness.PORT),
        ],
    )
    def test_is_known_in_the_chosen_way(self, argv, ready, readiness):
        assert found(argv, code_dir="/model", ready=ready).readiness is readiness

    @pytest.mark.parametrize("argv", [[], INHERITS])
    def test_cannot_be_told_by_a_port_that_is_open_from_the_beginning(self, argv):
        with pytest.raises(UsageError, match="--ready port: the listener is open before the command starts"):
            found(argv, code_dir="/model", ready="port")

    def test_by_notification_tells_where_to_send_it(self):
        assert found(INHERITS, ready="notify").workers[0].environment == (("NOTIFY_SOCKET", "/run/drum/notify.sock"),)
        assert found(INHERITS).workers[0].environment == ()


class TestOurOwnServers:
    def options(self, argv: tuple[str, ...], module: str) -> tuple[Settings, dict[str, str]]:
        """Return what the child reads from its arguments."""
        at = argv.index("-m")
        assert argv[0] == sys.executable
        assert argv[at + 1] == f"drum_supervisor.serve.{module}"
        return from_arguments(argv[at + 2 :])

    def test_model_server_is_told_what_concerns_it(self):
        argv = built_in(code_dir="/models/my model", target_type="binary", positive_class_label="--yes").workers[0].argv
        read, others = self.options(argv, "model")
        assert others == {}
        assert (read.code_dir, read.target_type, read.positive_class_label) == ("/models/my model", "binary", "--yes")
        assert read.address == ADDRESS

    def test_error_server_is_told_where_the_report_is_and_what_may_be_shown(self):
        read, others = self.options(built_in(failed_ping="503", error_detail="none").error_server.argv, "error")
        assert others == {"report": "/run/drum/failure.json", "situation": "/run/drum/situation.json"}
        assert (read.failed_ping, read.error_detail.value, read.address) == (503, "none", ADDRESS)

    def test_plain_error_server_is_the_same_with_the_front_of_the_standard_library(self):
        all_of_them = built_in()
        assert all_of_them.plain_error_server.argv == (*all_of_them.error_server.argv, "--plain", "true")
        assert all_of_them.plain_error_server.name == all_of_them.error_server.name == ERROR_SERVER

    def test_stand_in_is_told_what_the_error_server_is_and_loads_no_site(self):
        argv = built_in(url_prefix="v1", failed_ping="503", error_detail="full").stand_in.argv
        at = argv.index("-c")
        assert (argv[0], argv[at - 1]) == (sys.executable, "-S")
        read, others = from_arguments(argv[at + 2 :])
        assert (read.url_prefix, read.failed_ping, read.error_detail.value) == ("/v1", 503, "full")
        assert others == {"report": "/run/drum/failure.json", "situation": "/run/drum/situation.json"}

    def test_are_no_workers(self):
        all_of_them = built_in()
        assert [each.worker for each in (all_of_them.error_server, all_of_them.plain_error_server)] == [0, 0]
        assert all_of_them.stand_in.worker == 0

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="-P is new in Python 3.11")
    def test_are_not_shadowed_by_files_in_the_working_directory(self):
        all_of_them = built_in()
        for program in (*all_of_them.workers, all_of_them.error_server, all_of_them.stand_in):
            assert program.argv[1] == "-P"


class TestPrograms:
    def test_all_have_different_names(self):
        names = [program.name for program in built_in(workers="3").all]
        workers = ["model-server-1", "model-server-2", "model-server-3"]
        assert names == [*workers, *(f"{name}-next" for name in workers), ERROR_SERVER, STAND_IN]

    @pytest.mark.parametrize(("argv", "name"), [([], "flask"), (INHERITS, "command")])
    def test_know_what_serves_the_model(self, argv, name):
        assert found(argv, code_dir="/model", server_type="flask").server_type == name

    def test_nothing_to_run_is_a_mistake_that_says_what_to_give(self):
        with pytest.raises(UsageError, match=r"Nothing to run: give --code-dir DIR .* or a command after --"):
            found([])

    def test_command_wins_over_a_model_folder(self):
        assert found(INHERITS, code_dir="/model").workers[0].argv[0] == "uvicorn"


class TestRendered:
    """Read back by supervisord itself."""

    @pytest.fixture
    def run_dir(self, tmp_path):
        path = tmp_path / "50% größe"
        path.mkdir(mode=0o700)
        return RunDir(path)

    def read(self, text: str) -> ServerOptions:
        options = ServerOptions()
        options.configfile = StringIO(text)
        options.realize(args=["--silent"], progname="supervisord")
        return options

    def programs(self, text: str) -> dict[str, ProcessConfig]:
        groups = self.read(text).process_group_configs
        return {config.name: config for group in groups for config in group.process_configs}

    def test_has_a_program_for_each(self, run_dir):
        all_of_them = built_in(workers="2", run_dir=run_dir)
        assert sorted(self.programs(render(all_of_them, run_dir))) == sorted(
            program.name for program in all_of_them.all
        )

    def test_leaves_every_decision_to_the_policy(self, run_dir):
        for config in self.programs(render(built_in(run_dir=run_dir), run_dir)).values():
            decisions = (config.autostart, config.autorestart, config.startsecs, config.startretries)
            assert decisions == (False, False, 0, 0)
            assert (config.stopasgroup, config.killasgroup) == (True, True)
            assert (config.stdout_logfile, config.stderr_logfile) == (None, None)
            assert config.environment == {}

    def test_paths_are_those_of_the_run_directory(self, run_dir):
        options = self.read(render(built_in(run_dir=run_dir), run_dir))
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
    def test_argument_never_breaks_it(self, run_dir, argument):
        all_of_them = found(["serve", argument, "last"], run_dir=run_dir)
        configs = self.programs(render(all_of_them, run_dir))
        assert sorted(configs) == [ERROR_SERVER, MODEL_SERVER, STAND_IN]
        assert configs[MODEL_SERVER].command.startswith("serve ")

    @pytest.mark.parametrize("argument", ["100%", "%%", "%(here)s", "50%d", "größe", "a=b", "$(id)"])
    def test_percent_sign_comes_back_as_it_was(self, run_dir, argument):
        configs = self.programs(render(found(["serve", argument], run_dir=run_dir), run_dir))
        assert argument in configs[MODEL_SERVER].command

    def test_bytes_that_are_no_text_can_be_written(self, run_dir):
        text = render(found(["serve", os.fsdecode(b"/\xff")], run_dir=run_dir), run_dir)
        run_dir.write(run_dir.configuration, text)
        assert b"serve '/\xff'" in run_dir.configuration.read_bytes()

    def test_environment_is_not_written_down(self, run_dir):
        assert "\nenvironment" not in render(found(INHERITS, run_dir=run_dir, ready="notify"), run_dir)

    def test_says_that_it_is_for_reading_only(self, run_dir):
        assert render(built_in(run_dir=run_dir), run_dir).startswith("; Rendered by drum-supervise for reading")


def test_address_with_the_port_that_was_really_bound_is_what_children_get():
    asked = settings(address="127.0.0.1:0", code_dir="/model")
    served = replace(ADDRESS, port=43210)
    argv = plan_programs(asked, Command(), served, RUN_DIR).workers[0].argv
    assert argv[argv.index("--address") + 1] == "127.0.0.1:43210"
