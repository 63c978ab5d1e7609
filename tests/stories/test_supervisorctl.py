"""supervisorctl and XML-RPC clients work unchanged, and their requests go through the policy."""

import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervisor.xmlrpc import Faults, SupervisorTransport

from tests.stories.conftest import Start
from tests.stories.test_commands import script
from tests.stories.test_ending import IGNORING_CHILD, serving
from tests.stories.test_swap import REPAIRABLE, under_load
from tests.support import TIMEOUT, Supervised, until

DIES = ("--listener", "inherit", "--ready", "report", "--", sys.executable, "-c", "raise OSError('no weights')")


def ctl(supervised: Supervised, *command: str) -> "subprocess.CompletedProcess[str]":
    argv = [script("supervisorctl"), "-s", f"unix://{supervised.run_dir}/supervisor.sock", *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@contextmanager
def server(supervised: Supervised) -> Iterator[Any]:
    """Return a proxy of the server, made as in supervisord's documentation."""
    with closing(SupervisorTransport(None, None, f"unix://{supervised.run_dir}/supervisor.sock")) as transport:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)


def call_method(supervised: Supervised, method: str, *arguments: object) -> Any:
    with server(supervised) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)


def states(supervised: Supervised) -> dict[str, str]:
    return {info["name"]: info["statename"] for info in call_method(supervised, "getAllProcessInfo")}


def fault(supervised: Supervised, method: str, *arguments: object) -> xmlrpc.client.Fault:
    with pytest.raises(xmlrpc.client.Fault) as raised:
        call_method(supervised, method, *arguments)
    return raised.value


def test_stop_keeps_the_model_server_down_until_start(start: Start) -> None:
    supervised = serving(start)
    assert ctl(supervised, "stop", "model-server").stdout == "model-server: stopped\n"
    assert ctl(supervised, "status").stdout.split()[:2] == ["model-server", "STOPPED"]
    status = supervised.status()
    assert [status["phase"], status["programs"][0]["state"], status["failure"]] == ["starting", "stopped", None]
    assert ctl(supervised, "stop", "model-server").stdout == "model-server: ERROR (not running)\n"
    assert ctl(supervised, "start", "model-server").stdout == "model-server: started\n"
    assert supervised.status()["phase"] == "serving"
    assert ctl(supervised, "start", "model-server").stdout == "model-server: ERROR (already started)\n"
    assert supervised.status()["restarts"]["crash"] == 0
    assert supervised.stop() == 0


def test_clients_learn_of_a_stop_by_an_operator(start: Start) -> None:
    supervised = serving(start, arguments=("--while-starting", "respond"))
    ctl(supervised, "stop", "model-server")
    answer = supervised.get("/ping")
    assert (answer.status, answer.json()["message"]) == (503, "ERROR: The model server was stopped by an operator.")
    assert ctl(supervised, "start", "model-server").stdout == "model-server: started\n"
    assert supervised.stop() == 0


def test_stop_waits_for_all_descendants(start: Start) -> None:
    supervised = serving(start, IGNORING_CHILD, arguments=("--stop-timeout", "0.5"))
    assert ctl(supervised, "stop", "all").stdout == "model-server: stopped\n"
    guard = {"sh"}
    assert {process.name() for process in supervised.left() if process.pid != supervised.process.pid} == guard
    assert supervised.stop() == 0


@pytest.mark.parametrize("what", ["model-server", "all", "model-server:*"])
def test_restart_returns_when_the_server_is_ready(start: Start, what: str) -> None:
    supervised = serving(start)
    before = supervised.pid()
    assert ctl(supervised, "restart", what).stdout == "model-server: stopped\nmodel-server: started\n"
    assert states(supervised) == {"model-server": "RUNNING"}
    assert supervised.pid() == int(ctl(supervised, "pid", "model-server").stdout) != before
    assert supervised.stop() == 0


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_restart_loses_no_connection(start: Start, model: Callable[[str], Path], server_type: str) -> None:
    folder = model(REPAIRABLE)
    (folder / "weights").touch()
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server_type)
    with under_load(supervised.address) as client:
        supervised.until(lambda: client.outcomes[200] >= 20)
        assert ctl(supervised, "restart", "model-server").returncode == 0
        before = client.outcomes[200]
        supervised.until(lambda: client.outcomes[200] >= before + 50)
    assert set(client.outcomes) == {200}, client.outcomes
    assert supervised.stop() == 0


def test_stand_in_answers_while_stopped_by_an_operator(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(REPAIRABLE)
    (folder / "weights").touch()
    supervised = start("--while-starting", "respond", "--code-dir", folder, "--target-type", "unstructured")
    supervised.until_phase("serving")
    ctl(supervised, "stop", "model-server")
    supervised.until(lambda: supervised.get("/ping").status == 503)
    assert states(supervised) == {"model-server": "STOPPED", "stand-in": "RUNNING"}
    ctl(supervised, "start", "model-server")
    supervised.until(lambda: supervised.get("/ping").status == 200)
    assert supervised.stop() == 0


def test_stop_and_start_one_of_several_workers(start: Start) -> None:
    supervised = serving(start, arguments=("--workers", "2"))
    supervised.until_status(lambda status: status["workers_ready"] == 2)
    assert ctl(supervised, "stop", "model-server-1").stdout == "model-server-1: stopped\n"
    assert states(supervised) == {"model-server-1": "STOPPED", "model-server-2": "RUNNING"}
    status = supervised.status()
    assert [status["phase"], status["degraded"], status["workers_coming"]] == ["serving", True, 0]
    assert ctl(supervised, "restart", "model-server-2").returncode == 0
    assert ctl(supervised, "start", "model-server:model-server-1").returncode == 0
    assert states(supervised) == {"model-server-1": "RUNNING", "model-server-2": "RUNNING"}
    assert supervised.stop() == 0


@pytest.mark.parametrize("what", ["model-server:*", "model-server", "all"])
def test_stop_and_start_all_of_several_workers(start: Start, what: str) -> None:
    supervised = serving(start, arguments=("--workers", "2"))
    assert ctl(supervised, "stop", what).returncode == 0
    assert states(supervised) == {"model-server-1": "STOPPED", "model-server-2": "STOPPED"}
    assert supervised.status()["phase"] == "starting"
    assert ctl(supervised, "start", what).returncode == 0
    assert states(supervised) == {"model-server-1": "RUNNING", "model-server-2": "RUNNING"}
    assert supervised.stop() == 0


def test_restart_with_overlap_keeps_the_program_name(start: Start) -> None:
    supervised = serving(start)
    assert supervised.run("restart", "--overlap", "--force").returncode == 0
    supervised.until(lambda: states(supervised) == {"model-server": "RUNNING"})
    assert ctl(supervised, "restart", "model-server").stdout == "model-server: stopped\nmodel-server: started\n"
    assert fault(supervised, "startProcess", "model-server-next").faultCode == Faults.SPAWN_ERROR
    assert supervised.stop() == 0


def test_failed_model_is_fatal_and_start_retries_it(start: Start) -> None:
    supervised = start(*DIES)
    supervised.until_phase("failed")
    supervised.until(lambda: states(supervised) == {"error-server": "RUNNING", "model-server": "FATAL"})
    assert call_method(supervised, "getProcessInfo", "model-server")["description"] == "OSError: no weights"
    assert ctl(supervised, "start", "model-server").stdout == "model-server: ERROR (abnormal termination)\n"
    assert [supervised.status()[name] for name in ("phase", "attempt")] == ["failed", 2]
    again = fault(supervised, "startProcess", "model-server")
    assert again.faultString == "ABNORMAL_TERMINATION: OSError: no weights"
    assert ctl(supervised, "stop", "model-server").stdout == "model-server: ERROR (not running)\n"
    assert supervised.stop() == 0


def test_error_server_and_stand_in_cannot_be_controlled(start: Start) -> None:
    supervised = start(*DIES)
    supervised.until_status(lambda status: status["programs"][-1]["state"] == "ready")
    said = ctl(supervised, "stop", "error-server").stdout
    assert said == "FAILED: error-server is started and stopped by the supervisor: start or stop the model server\n"
    refusal = fault(supervised, "startProcess", "stand-in")
    assert (
        refusal.faultString
        == "SPAWN_ERROR: stand-in is started and stopped by the supervisor: start or stop the model server"
    )
    assert ctl(supervised, "stop", "all").stdout == ""
    assert states(supervised)["error-server"] == "RUNNING"
    assert "a request to stop error-server was refused" in supervised.err.read_text()
    assert supervised.stop() == 0


def test_kill_by_signal_command_is_a_crash(start: Start) -> None:
    supervised = serving(start)
    assert ctl(supervised, "signal", "KILL", "model-server").stdout == "model-server: signalled\n"
    supervised.until_status(lambda status: status["restarts"]["crash"] == 1 and status["phase"] == "serving")
    assert supervised.stop() == 0


def test_configuration_can_be_neither_reread_nor_removed(start: Start) -> None:
    supervised = serving(start)
    said = "CANT_REREAD: the configuration is read once, when the supervisor starts"
    assert ctl(supervised, "reread").stdout == f"ERROR: {said}\n"
    assert said in ctl(supervised, "update").stdout
    assert "ERROR: process group already active" in ctl(supervised, "add", "model-server").stdout
    assert "it can be stopped, but not removed" in ctl(supervised, "remove", "model-server").stdout
    ctl(supervised, "stop", "model-server")
    assert "it can be stopped, but not removed" in ctl(supervised, "remove", "model-server").stdout
    assert "model-server" in ctl(supervised, "avail").stdout
    assert supervised.stop() == 0


def test_logs_are_read_and_cleared(start: Start) -> None:
    supervised = serving(start, "print('hello', flush=True)\n")
    until(lambda: ctl(supervised, "tail", "model-server").stdout.strip() == "hello")
    assert "model-server" in ctl(supervised, "maintail").stdout
    assert ctl(supervised, "clear", "model-server").stdout == "model-server: cleared\n"
    assert ctl(supervised, "tail", "model-server").stdout.strip() == ""
    assert call_method(supervised, "clearLog")
    assert "model-server" not in ctl(supervised, "maintail").stdout
    assert Path("/dev/null").is_char_device()  # supervisord would remove it, as root
    assert fault(supervised, "sendProcessStdin", "model-server", "hello").faultCode == Faults.NO_FILE
    assert supervised.stop() == 0


def test_no_call_breaks_the_supervisor(start: Start) -> None:
    # every method, for every kind of program name, with right and wrong arguments
    supervised = serving(start, arguments=("--stop-timeout", "1"))
    names = ("model-server", "model-server:*", "error-server", "stand-in", "unknown", "", ":", "a:b:c")
    with server(supervised) as proxy:
        methods = [name for name in proxy.system.listMethods() if name.startswith("supervisor.")]
        assert "supervisor.getState" in methods  # inherited
        for method in set(methods) - {"supervisor.shutdown", "supervisor.restart"}:
            for arguments in [(), *((name,) for name in names), ("model-server", "HUP"), ("error-server", 0, 10)]:
                assert call(proxy, method, arguments) is not None, method
        supervised.until_status(lambda status: not status["workers_coming"])  # a signal during its start is a failure
        call(proxy, "supervisor.startProcess", ("model-server",))
    assert supervised.until_phase("serving")["programs"][0]["state"] == "ready"
    assert supervised.stop() == 0


def call(proxy: Any, method: str, arguments: tuple[object, ...]) -> object:
    try:
        return getattr(proxy, method)(*arguments)
    except xmlrpc.client.Error as error:  # supervisord answers some bad requests with 500 and goes on
        return error


def test_web_pages_go_through_the_policy(start: Start) -> None:
    supervised = serving(start)
    assert "STOPPED" not in states(supervised).values()
    for action, state in (("stop", "STOPPED"), ("start", "RUNNING"), ("restart", "RUNNING"), ("clearlog", "RUNNING")):
        assert page(supervised, f"/index.html?processname=model-server&action={action}").startswith("HTTP/1.1 30")
        assert states(supervised) == {"model-server": state}
    assert "running" in page(supervised, "/")
    assert supervised.status()["restarts"]["crash"] == 0
    assert supervised.stop() == 0


def page(supervised: Supervised, path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(supervised.run_dir / "supervisor.sock"))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()
