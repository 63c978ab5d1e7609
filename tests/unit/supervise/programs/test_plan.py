"""From settings to programs: commands, listener, readiness, and contradictory options."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from drum_supervisor.config.settings import Settings, choose, from_arguments, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.command import Command
from drum_supervisor.supervise.programs.plan import count_workers, is_listener_shared, plan_programs
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER, STAND_IN, Programs, Readiness

ADDRESS = Address("127.0.0.1", 8080)
RUN_DIR = RunDir(Path("/run/drum"))
INHERITS = ["uvicorn", "app:app", "--fd", "{fd}"]
BINDS = ["flask", "run", "--host", "{host}", "--port", "{port}"]
WITHOUT_PLACEHOLDERS = ["my-server"]


def settings(**flags: str) -> Settings:
    return resolve(choose(flags, {}))


def plan(argv: Sequence[str], address: Address = ADDRESS, run_dir: RunDir = RUN_DIR, **flags: str) -> Programs:
    return plan_programs(settings(**flags), Command(tuple(argv)), address, run_dir)


def built_in(**flags: str) -> Programs:
    return plan([], **{"code_dir": "/model", **flags})


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
    def test_are_filled_in_and_other_braces_are_kept(self, argument, filled_in):
        (worker,) = plan(["serve", argument]).workers
        assert worker.argv == ("serve", filled_in)

    def test_host_of_ipv6_has_no_brackets(self):
        (worker,) = plan(BINDS, Address("::1", 80)).workers
        assert worker.argv == ("flask", "run", "--host", "::1", "--port", "80")

    @pytest.mark.parametrize("argument", ["{host}", "{port}"])
    def test_host_and_port_of_a_unix_socket_are_refused(self, argument):
        with pytest.raises(UsageError) as caught:
            plan(["serve", argument], Address(path="/run/model.sock"))
        assert str(caught.value) == (
            "--address unix:/run/model.sock: a unix socket has no {host} and no {port}. Let the command inherit it "
            "({fd}), or write its path into the command."
        )

    def test_command_can_inherit_a_unix_socket(self):
        assert plan(INHERITS, Address(path="/run/model.sock")).workers[0].argv[-1] == "3"


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
            (WITHOUT_PLACEHOLDERS, "auto", False),
            (WITHOUT_PLACEHOLDERS, "inherit", True),
            (WITHOUT_PLACEHOLDERS, "bind", False),
            (["serve", "{fd}", "{port}"], "auto", True),
        ],
    )
    def test_is_shared_or_bound_by_the_model_server(self, argv, listener, shared):
        assert is_listener_shared(settings(listener=listener), Command(tuple(argv))) is shared

    def test_bind_contradicts_fd(self):
        with pytest.raises(UsageError) as caught:
            plan(INHERITS, listener="bind")
        assert str(caught.value) == "--listener bind: the command uses {fd}, which only an inherited listener has."

    def test_is_announced_to_a_command_without_fd(self):
        assert plan(WITHOUT_PLACEHOLDERS, listener="inherit").workers[0].announced
        assert not plan(INHERITS).workers[0].announced

    def test_is_announced_to_our_servers(self):
        for programs in (built_in(), plan(INHERITS)):
            assert programs.error_server.announced
            assert programs.plain_error_server.announced
            assert programs.stand_in.announced


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

    def test_of_other_servers_have_no_workers_option(self):
        assert "--workers" not in built_in(workers="4").workers[0].argv

    def test_of_a_command_can_share_the_listener(self):
        assert len(plan(INHERITS, workers="4").workers) == 4

    @pytest.mark.parametrize("argv", [BINDS, WITHOUT_PLACEHOLDERS])
    def test_that_bind_the_port_are_refused(self, argv):
        with pytest.raises(UsageError) as caught:
            plan(argv, workers="2")
        assert str(caught.value) == (
            "--workers 2: a command that binds the port itself can run only once. Use its own option for workers, or "
            "let it inherit the listener: {fd} in the command, or --listener inherit."
        )

    def test_are_counted_without_a_run_directory(self):
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
    def test_is_detected_in_the_chosen_way(self, argv, ready, readiness):
        assert plan(argv, code_dir="/model", ready=ready).readiness is readiness

    @pytest.mark.parametrize("argv", [[], INHERITS])
    def test_by_port_needs_a_server_that_binds_it(self, argv):
        with pytest.raises(UsageError) as caught:
            plan(argv, code_dir="/model", ready="port")
        assert str(caught.value) == (
            "--ready port: the listener is open before the command starts, so an open port says nothing. "
            "Use --ready http, report or notify."
        )

    def test_by_notification_sets_the_variable(self):
        assert plan(INHERITS, ready="notify").workers[0].environment == (("NOTIFY_SOCKET", "/run/drum/notify.sock"),)
        assert plan(INHERITS).workers[0].environment == ()


class TestOurServers:
    def options(self, argv: tuple[str, ...], module: str) -> tuple[Settings, dict[str, str]]:
        """Return what the child reads from its arguments."""
        at = argv.index("-m")
        assert argv[0] == sys.executable
        assert argv[at + 1] == f"drum_supervisor.serve.{module}"
        return from_arguments(argv[at + 2 :])

    def test_model_server_gets_its_settings(self):
        argv = built_in(code_dir="/models/my model", target_type="binary", positive_class_label="--yes").workers[0].argv
        read, others = self.options(argv, "model")
        assert others == {}
        assert (read.code_dir, read.target_type, read.positive_class_label) == ("/models/my model", "binary", "--yes")
        assert read.address == ADDRESS

    def test_error_server_gets_its_settings_and_the_report(self):
        read, others = self.options(built_in(failed_ping="503", error_detail="none").error_server.argv, "error")
        assert others == {"report": "/run/drum/failure.json", "situation": "/run/drum/situation.json"}
        assert (read.failed_ping, read.error_detail.value, read.address) == (503, "none", ADDRESS)

    def test_plain_error_server_differs_by_one_option(self):
        programs = built_in()
        assert programs.plain_error_server.argv == (*programs.error_server.argv, "--plain", "true")
        assert programs.plain_error_server.name == programs.error_server.name == ERROR_SERVER

    def test_stand_in_gets_its_settings_and_loads_no_site(self):
        argv = built_in(url_prefix="v1", failed_ping="503", error_detail="full").stand_in.argv
        at = argv.index("-c")
        assert (argv[0], argv[at - 1]) == (sys.executable, "-S")
        read, others = from_arguments(argv[at + 2 :])
        assert (read.url_prefix, read.failed_ping, read.error_detail.value) == ("/v1", 503, "full")
        files = {"report": "/run/drum/failure.json", "situation": "/run/drum/situation.json"}
        assert others == {**files, "starting": "true"}

    def test_are_not_workers(self):
        programs = built_in()
        assert [each.worker for each in (programs.error_server, programs.plain_error_server)] == [0, 0]
        assert programs.stand_in.worker == 0

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="-P is new in Python 3.11")
    def test_modules_in_the_working_directory_are_ignored(self):
        programs = built_in()
        for program in (*programs.workers, programs.error_server, programs.stand_in):
            assert program.argv[1] == "-P"


class TestPrograms:
    def test_all_have_different_names(self):
        names = [program.name for program in built_in(workers="3").all]
        workers = ["model-server-1", "model-server-2", "model-server-3"]
        assert names == [*workers, *(f"{name}-next" for name in workers), ERROR_SERVER, STAND_IN]

    @pytest.mark.parametrize(("argv", "name"), [([], "flask"), (INHERITS, "command")])
    def test_have_the_server_type(self, argv, name):
        assert plan(argv, code_dir="/model", server_type="flask").server_type == name

    def test_without_model_and_command_is_refused(self):
        with pytest.raises(UsageError) as caught:
            plan([])
        assert str(caught.value) == (
            "Nothing to run: give --code-dir DIR for the built-in model server, or a command after --, "
            "like: drum-supervise start -- uvicorn app:app --fd {fd}"
        )

    def test_command_takes_precedence_over_a_model_folder(self):
        assert plan(INHERITS, code_dir="/model").workers[0].argv[0] == "uvicorn"


def test_children_get_the_port_that_was_bound():
    configured = settings(address="127.0.0.1:0", code_dir="/model")
    bound = replace(ADDRESS, port=43210)
    argv = plan_programs(configured, Command(), bound, RUN_DIR).workers[0].argv
    assert argv[argv.index("--address") + 1] == "127.0.0.1:43210"
