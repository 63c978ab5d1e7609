"""`python -m drum_supervisor.serve.model`: initialize first, accept second, and report errors."""

import os
import re
import signal
import socket
import textwrap

import pytest

from drum_supervisor.contract.report_pipe import InitFailedMessage, ReadyMessage, StageMessage
from tests.http.children import ANSWER_SECONDS, answer, ask, connect, listening, request

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
GOOD = """
    import os
    def load_model(code_dir):
        return "model"
    def score_unstructured(model, data, **kwargs):
        return f"{model} {os.getpid()} {len(data)}"
"""


@pytest.fixture(params=SERVER_TYPES)
def server_type(request):
    return request.param


@pytest.fixture
def serve(start, tmp_path):
    """Start the model server with this `custom.py`."""

    def serve_model(custom: str, server_type: str, *options: str, **others):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "custom.py").write_text(textwrap.dedent(custom))
        given = ["--code-dir", str(folder), "--target-type", "unstructured", "--server-type", server_type, *options]
        return start("-m", "drum_supervisor.serve.model", *given, **others)

    return serve_model


def test_good_model_is_loaded_and_then_served(serve, server_type):
    child = serve(GOOD, server_type).until_ready()
    stages = [message.name for message in child.messages() if isinstance(message, StageMessage)]
    assert stages == ["importing", "load_model", "starting the server"]
    assert ask(child.listener, request("GET", "/ping")).status == 200
    raw = ask(child.listener, request("POST", "/invocations", b"abc"))
    assert (raw.status, raw.body.split()[0], raw.body.split()[2]) == (200, b"model", b"3")
    child.terminate()
    assert child.end() == 0
    assert child.messages().count(ReadyMessage()) == 1
    assert not child.failures()


def test_gunicorn_serves_from_each_worker(serve):
    child = serve(GOOD, "gunicorn", "--workers", "2").until_ready(2)
    pids = set()

    def both_answered() -> bool:
        pids.add(ask(child.listener, request("POST", "/invocations", b"x")).body.split()[1])
        return len(pids) == 2

    child.until(both_answered)
    child.terminate()
    assert child.end() == 0


def test_models_output_is_passed_through(serve, server_type):
    custom = "import sys\nprint('out')\nprint('err', file=sys.stderr)\n" + textwrap.dedent(GOOD)
    child = serve(custom, server_type).until_ready()
    assert child.stdout == "out\n"
    assert child.stderr == "err\n"


BROKEN = {
    "raises": (
        "def load_model(code_dir): raise ValueError('bad weights')",
        InitFailedMessage("load_model", "ValueError", "bad weights"),
    ),
    "raises at import": ("raise RuntimeError('no')", InitFailedMessage("importing", "RuntimeError", "no")),
    "import error": (
        "import surely_not_there",
        InitFailedMessage("importing", "ModuleNotFoundError", "No module named 'surely_not_there'"),
    ),
    "sys.exit": (
        "import sys\ndef load_model(code_dir): sys.exit(7)",
        InitFailedMessage("load_model", "SystemExit", "the model called sys.exit(7)"),
    ),
    "stop iteration": (
        "def load_model(code_dir): return next(iter([]))",
        InitFailedMessage("load_model", "StopIteration", ""),
    ),
    "keeps a thread": (
        "import threading, time\n"
        "def load_model(code_dir):\n"
        "    threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "    raise ValueError('bad weights')",
        InitFailedMessage("load_model", "ValueError", "bad weights"),
    ),
}
HOOKS = "\ndef score_unstructured(model, data, **kwargs): pass\n"


@pytest.mark.parametrize("case", BROKEN)
def test_failure_is_reported_with_its_stage(serve, server_type, case):
    custom, expected = BROKEN[case]
    child = serve(custom + HOOKS, server_type)
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.type, failure.message) == (expected.stage, expected.type, expected.message)
    assert "Traceback (most recent call last)" in failure.traceback
    assert child.stderr.count("Traceback (most recent call last)") == 1
    assert ReadyMessage() not in child.messages()


def test_users_mistake_has_no_traceback(serve, server_type):
    child = serve("def load_model(code_dir): pass" + HOOKS, server_type)
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.type, failure.traceback) == ("load_model", "", "")
    assert "returned None" in failure.message
    assert failure.message in child.stderr
    assert "Traceback" not in child.stderr


def test_two_failed_workers_are_one_failure(serve):
    child = serve("def load_model(code_dir): raise ValueError('bad weights')" + HOOKS, "gunicorn", "--workers", "2")
    assert child.end() == 3
    assert {failure.message for failure in child.failures()} == {"bad weights"}


SILENT = {
    "os._exit(9)": ("os._exit(9)", "exited with status 9"),
    "os._exit(0)": ("os._exit(0)", "exited with status 0"),
    "os._exit(3)": ("os._exit(3)", "exited with status 3"),
    "segmentation fault": ("ctypes.string_at(0)", "was killed by SIGSEGV"),
    "SIGKILL": ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("case", SILENT)
def test_silent_death_before_ready_ends_gunicorn(serve, case, workers):
    statement, how = SILENT[case]
    custom = f"import ctypes, os\ndef load_model(code_dir): {statement}"
    child = serve(custom + HOOKS, "gunicorn", "--workers", workers)
    assert child.end() == 3
    (failure,) = child.failures()
    assert failure.stage == "load_model"
    assert failure.message.startswith("gunicorn worker (pid ")
    assert failure.message.endswith(f") {how} before it was ready")
    assert failure.message in child.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ready_worker_which_dies_is_replaced(serve, workers):
    child = serve(GOOD, "gunicorn", "--workers", workers).until_ready(int(workers))
    pid = int(ask(child.listener, request("POST", "/invocations", b"x")).body.split()[1])
    os.kill(pid, signal.SIGKILL)
    child.until_ready(int(workers) + 1)
    assert ask(child.listener, request("POST", "/invocations", b"x")).status == 200
    assert not child.failures()


@pytest.mark.parametrize("handler", ["ZeroDivisionError", "BaseException"])
@pytest.mark.parametrize(
    ("server_type", "workers"), [("fastapi", "1"), ("flask", "1"), ("gunicorn", "1"), ("gunicorn", "2")]
)
def test_stop_while_loading_ends_promptly_with_status_0(serve, server_type, fifo, workers, handler):
    custom = f"""
    def load_model(code_dir):
        while True:
            try:
                open({str(fifo)!r}).read()
            except {handler}:
                pass
    def score_unstructured(model, data, **kwargs): pass
    """
    options = ["--workers", workers] if server_type == "gunicorn" else []
    child = serve(custom, server_type, *options)
    child.until(lambda: child.messages().count(StageMessage("load_model")) == int(workers))
    child.terminate()
    assert child.end() == 0
    child.until_gone()
    assert not child.failures()


def test_requests_wait_while_the_model_loads(serve, server_type, fifo):
    custom = f"def load_model(code_dir): return open({str(fifo)!r}).read()" + HOOKS
    child = serve(custom, server_type)
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/ping"))
        child.until(lambda: StageMessage("load_model") in child.messages())
        assert ReadyMessage() not in child.messages()
        fifo.write_text("model")
        assert answer(connection).status == 200


def test_wrong_option_is_a_usage_error(start):
    child = start("-m", "drum_supervisor.serve.model", "--server-type", "apache")
    assert child.end() == 2
    assert "--server-type" in child.stderr
    assert "Traceback" not in child.stderr


def test_missing_framework_is_a_failure(serve, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "fastapi.py").write_text("raise ImportError('broken on purpose')")
    path = f"{tmp_path / 'broken'}:{os.getcwd()}"
    child = serve(GOOD, "fastapi", environ={"PYTHONPATH": path})
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.message) == ("starting the server", "broken on purpose")


def test_unsupervised_server_binds_and_logs_the_address(serve, server_type):
    child = serve(GOOD, server_type, "--address", "127.0.0.1:0", supervised=False)
    line = child.until(lambda: re.search(r"Serving on http://127.0.0.1:([0-9]+) ", child.stderr))
    with socket.create_connection(("127.0.0.1", int(line[1])), ANSWER_SECONDS) as connection:
        connection.sendall(request("GET", "/ping"))
        assert answer(connection).status == 200
    child.terminate()
    assert child.end() == 0


def test_address_in_use_has_its_own_exit_code(serve, server_type):
    with listening() as taken:
        port = taken.getsockname()[1]
        child = serve(GOOD, server_type, "--address", f"127.0.0.1:{port}", supervised=False)
        assert child.end() == 6
    assert "in use" in child.stderr
