"""`python -m drum_supervisor.serve.error` and `.stand_in`: they answer when nothing else does."""

import json
import os
import subprocess
import sys

import pytest

from drum_supervisor.contract.failure import Cause, FailureReport, write_failure
from tests.http.children import ROOT, ask, request

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
FAILED = {"message": "ERROR: ValueError: bad weights"}


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "failure.json"
    write_failure(FailureReport(Cause.INIT_FAILED, "bad weights", "load_model", "ValueError"), path)
    return path


@pytest.fixture(params=[*SERVER_TYPES, "plain"])
def options(request):
    return ["--plain", "true"] if request.param == "plain" else ["--server-type", request.param]


@pytest.fixture
def broken(tmp_path):
    """A folder whose modules, first on the path, break the frameworks."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "fastapi.py").write_text("raise ImportError('no fastapi here')")
    (folder / "flask.py").write_text("import sys; sys.exit('no flask here')")
    return folder


def test_error_server_answers_with_the_failure(start, report, options):
    child = start("-m", "drum_supervisor.serve.error", "--report", str(report), *options).until_ready()
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


def test_error_server_obeys_its_options(start, report, options):
    given = ["--failed-ping", "503", "--error-detail", "none", "--url-prefix", "v1"]
    child = start("-m", "drum_supervisor.serve.error", "--report", str(report), *options, *given).until_ready()
    assert ask(child.listener, request("GET", "/v1/ping")).status == 503
    assert ask(child.listener, request("GET", "/ping")).status == 513
    assert b"bad weights" not in ask(child.listener, request("GET", "/v1/x")).body


@pytest.mark.parametrize(("server_type", "why"), [("fastapi", "no fastapi here"), ("flask", "no flask here")])
def test_standard_library_answers_if_the_framework_cannot(start, report, broken, server_type, why):
    argv = ["-m", "drum_supervisor.serve.error", "--report", str(report), "--server-type", server_type]
    child = start(*argv, environ={"PYTHONPATH": f"{broken}{os.pathsep}{ROOT}"}).until_ready()
    raw = ask(child.listener, request("POST", "/invocations", b"x"))
    assert (raw.status, json.loads(raw.body)) == (513, FAILED)
    (line,) = child.stderr.splitlines()
    assert why in line
    child.terminate()
    assert child.end() == 0


def test_error_server_needs_a_report(start):
    child = start("-m", "drum_supervisor.serve.error")
    assert child.end() == 2
    assert "--report" in child.stderr


def test_stand_in_says_that_the_model_is_starting(start):
    child = start("-m", "drum_supervisor.serve.stand_in", "--url-prefix", "v1").until_ready()
    assert ask(child.listener, request("GET", "/v1/livez")).status == 200
    raw = ask(child.listener, request("POST", "/v1/invocations", b"x" * 100_000))
    assert (raw.status, raw.header("retry-after")) == (503, "1")
    child.terminate()
    assert child.end() == 0


def test_stand_in_answers_with_the_failure_if_there_is_one(start, report):
    child = start("-m", "drum_supervisor.serve.stand_in", "--report", str(report)).until_ready()
    raw = ask(child.listener, request("GET", "/x"))
    assert (raw.status, json.loads(raw.body)) == (513, FAILED)


def test_stand_in_does_not_need_the_report_it_is_told_of(start, tmp_path):
    child = start("-m", "drum_supervisor.serve.stand_in", "--report", str(tmp_path / "not_there")).until_ready()
    assert ask(child.listener, request("GET", "/x")).status == 503


@pytest.mark.parametrize("argv", [("--address",), ("--nonsense", "x"), ("--address", "nonsense")])
def test_stand_in_refuses_what_it_does_not_know(start, argv):
    child = start("-m", "drum_supervisor.serve.stand_in", *argv, supervised=False)
    assert child.end() == 2
    assert "Traceback" not in child.stderr


def test_stand_in_is_small(start):
    child = start("-m", "drum_supervisor.serve.stand_in").until_ready()
    assert child.memory() < 20_000_000


def test_stand_in_loads_nothing_large():
    program = "import sys, drum_supervisor.serve.stand_in; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    large = {"asyncio", "click", "configparser", "email", "fastapi", "flask", "http.server", "logging", "supervisor"}
    assert not large & set(loaded.stdout.split())
