"""`python -m drum_supervisor.serve.error`, also as the stand-in: it answers when nothing else can."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import ClientStatus
from drum_supervisor.contract.failure_report import Cause, FailureReport, write_failure
from drum_supervisor.services import failure
from tests.http.children import ROOT, answer, ask, connect, request
from tests.support import TIMEOUT

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
FAILED = {"message": "ERROR: ValueError: bad weights"}
PING = b'{"message": "Error Server Running", "error": "ValueError: bad weights"}'
FOR_GOOD = ClientStatus(failed=True, refused=True)
ERROR_SERVER = ("-m", "drum_supervisor.serve.error")
STAND_IN = ("-S", *ERROR_SERVER, "--starting", "true")

BODY = b'{"message": "ERROR: ValueError: bad weights"%s}'
NOT_RETRIED = b', "retry": {"attempt": 1, "attempts_left": 0, "message": "%s"}' % failure.NOT_RETRIED.encode()


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "failure.json"
    write_failure(FailureReport(Cause.INIT_FAILED, "bad weights", "load_model", "ValueError"), path)
    return path


@pytest.fixture
def situation(tmp_path):
    """Write the client status, as the supervisor does."""
    path = tmp_path / "situation.json"

    def show(situation):
        path.with_suffix(".new").write_text(situation.to_json())
        os.replace(path.with_suffix(".new"), path)
        return path

    return show


@pytest.fixture(params=[*SERVER_TYPES, "plain", "stand-in"])
def explaining(request, start, report, situation):
    """Start each program which answers with the failure."""

    def begin(*options):
        file = str(situation(ClientStatus(failed=True)))
        given = ["--report", str(report), "--situation", file, *options]
        if request.param == "stand-in":
            return start(*STAND_IN, *given).until_ready()
        front = ["--plain", "true"] if request.param == "plain" else ["--server-type", request.param]
        return start(*ERROR_SERVER, *given, *front).until_ready()

    return begin


@pytest.fixture
def broken(tmp_path):
    """A folder whose modules, first on the path, break the frameworks."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "fastapi.py").write_text("raise ImportError('no fastapi here')")
    (folder / "flask.py").write_text("import sys; sys.exit('no flask here')")
    return folder


def test_failure_is_answered(explaining):
    child = explaining()
    ping = ask(child.listener, request("GET", "/ping"))
    assert (ping.status, json.loads(ping.body)["error"]) == (200, "ValueError: bad weights")
    for method, path in (
        ("POST", "/invocations"),
        ("FOO", "/x"),
        ("GET", "/docs"),
        ("GET", "//ping"),
        ("PUT", "/%2Fping"),
    ):
        raw = ask(child.listener, request(method, path, b"x" * 100_000))
        assert (raw.status, json.loads(raw.body)) == (513, FAILED)
        assert raw.headers["connection"] == ["close"]
    assert ask(child.listener, request("HEAD", "/x")).header("content-length") == str(len(raw.body))
    child.terminate()
    assert child.end() == 0
    assert child.stderr == ""


@pytest.mark.parametrize(
    ("shown", "retry"), [(ClientStatus(failed=True), b""), (FOR_GOOD, NOT_RETRIED)], ids=["none", "refused"]
)
def test_body_is_the_same_byte_for_byte(explaining, situation, shown, retry):
    child = explaining()
    situation(shown)
    raw = ask(child.listener, request("PUT", "/x"))
    assert (raw.body, raw.header("retry-after")) == (BODY % retry, "")
    assert ask(child.listener, request("GET", "/ping")).body == PING


def test_next_attempt_is_shown_without_a_restart(explaining, situation):
    child = explaining()
    situation(ClientStatus(failed=True, attempts_left=2, next_at=time.monotonic() + TIMEOUT))
    raw = ask(child.listener, request("PUT", "/x"))
    left = raw.json()["retry"].pop("next_in_seconds")
    assert 0 < left <= TIMEOUT
    assert raw.header("retry-after") == str(left)
    page = ask(child.listener, request("GET", "/", headers=["Accept: text/html"])).body.decode()
    assert "<dt>Retry</dt><dd>attempt 2 in " in page
    situation(ClientStatus(failed=True, attempt=2, attempts_left=1, since=time.monotonic(), stage="load_model"))
    raw = ask(child.listener, request("PUT", "/x"))
    retry = raw.json()["retry"]
    assert 0 <= retry.pop("seconds") <= TIMEOUT
    assert retry == {"attempt": 2, "attempts_left": 1, "stage": "load_model"}
    assert raw.header("retry-after") == "1"


def test_options_apply(explaining):
    child = explaining("--failed-ping", "503", "--error-detail", "none", "--url-prefix", "/v1")
    assert ask(child.listener, request("GET", "/v1/ping")).status == 503
    assert ask(child.listener, request("GET", "/ping")).status == 513
    assert b"bad weights" not in ask(child.listener, request("GET", "/v1/x")).body


@pytest.mark.parametrize(("server_type", "why"), [("fastapi", "no fastapi here"), ("flask", "no flask here")])
def test_standard_library_replaces_a_broken_framework(start, report, broken, server_type, why):
    argv = [*ERROR_SERVER, "--report", str(report), "--server-type", server_type]
    child = start(*argv, environ={"PYTHONPATH": f"{broken}{os.pathsep}{ROOT}"}).until_ready()
    raw = ask(child.listener, request("POST", "/invocations", b"x"))
    assert (raw.status, json.loads(raw.body)) == (513, FAILED)
    (line,) = child.stderr.splitlines()
    assert why in line
    child.terminate()
    assert child.end() == 0


def test_error_server_needs_a_report(start):
    child = start(*ERROR_SERVER)
    assert child.end() == 2
    assert "--report" in child.stderr


@pytest.fixture
def stand_in(start, tmp_path):
    """Start the stand-in, by default without files."""

    def begin(*options, report=tmp_path / "no_report", situation=tmp_path / "no_situation"):
        files = ("--report", str(report), "--situation", str(situation))
        return start(*STAND_IN, *files, *options).until_ready()

    return begin


def test_stand_in_reports_the_start(stand_in):
    child = stand_in("--url-prefix", "/v1")
    assert ask(child.listener, request("GET", "/v1/livez")).status == 200
    raw = ask(child.listener, request("POST", "/v1/invocations", b"x" * 1_000_000))
    assert (raw.status, raw.header("retry-after")) == (503, "1")
    child.terminate()
    assert child.end() == 0
    assert child.stderr == ""


def test_stand_in_reports_a_failure_at_once(stand_in, report, situation):
    child = stand_in(report=report, situation=situation(ClientStatus(stage="init", since=time.monotonic())))
    raw = ask(child.listener, request("GET", "/x"))
    assert (raw.status, raw.json()["stage"]) == (503, "init")
    situation(ClientStatus(failed=True))
    raw = ask(child.listener, request("GET", "/x"))
    assert (raw.status, raw.json()) == (513, FAILED)
    situation(ClientStatus())
    assert ask(child.listener, request("GET", "/x")).status == 503


def test_stand_in_needs_none_of_its_files(stand_in):
    assert ask(stand_in().listener, request("GET", "/x")).status == 503


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize(("data", "status"), [(b"nonsense\r\n\r\n", 400), (b"x" * 70_000, 431)])
def test_stand_in_refuses_bad_requests(stand_in, situation, failed, data, status):
    child = stand_in(situation=situation(ClientStatus(failed=failed)))
    assert ask(child.listener, data).status == status


@pytest.mark.parametrize("argv", [("--report",), ("--failed-ping", "x"), ("--nonsense", "x")])
def test_stand_in_refuses_wrong_options(start, argv):
    child = start(*STAND_IN, *argv, supervised=False)
    assert child.end() == 2
    assert "Traceback" not in child.stderr


def test_second_stop_kills_the_stand_in(stand_in):
    child = stand_in()
    with connect(child.listener) as silent:
        ask(child.listener, request("GET", "/x"))  # so that it has accepted both
        child.terminate()
        child.until(lambda: is_closed(child.listener, child.process.pid))
        child.terminate()
        assert child.end() == 128 + signal.SIGTERM
        assert silent.recv(1) == b""


def test_stand_in_answers_everything_accepted(stand_in):
    child = stand_in()
    with connect(child.listener) as late, connect(child.listener) as uploading:
        uploading.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n")
        assert answer(uploading).status == 503
        child.terminate()
        child.until(lambda: is_closed(child.listener, child.process.pid))
        late.sendall(request("GET", "/x"))
        assert answer(late).status == 503
        for _ in range(20):
            uploading.sendall(b"x" * 100_000)
    assert child.end() == 0


def is_closed(listener, pid):
    """Return whether the process has closed its copy of the listener."""
    inode = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
    try:
        return inode not in [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    except FileNotFoundError:  # it is just closing something
        return False


def test_stand_in_is_small_even_after_a_failure(stand_in, report, situation):
    child = stand_in(report=report, situation=situation(ClientStatus(failed=True)))
    assert ask(child.listener, request("GET", "/x")).status == 513
    assert child.memory() < 28_000_000
