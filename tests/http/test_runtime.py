"""`DrumRuntime` and `CMRunner` in a third-party program, without a supervisor, on a real port."""

import re
import socket
import textwrap

import pytest

from drum_supervisor.contract.listener import Address, parse_address
from drum_supervisor.contract.report_pipe import REPORT_FD_VARIABLE, InitFailedMessage, ReadyMessage
from tests.http.children import Child, Raw, answer, request
from tests.support import TIMEOUT

SERVER_TYPE = "MLOPS_RUNTIME_PARAM_DRUM_SERVER_TYPE"
ALONE = {REPORT_FD_VARIABLE: ""}
OK = {"message": "Error Server Running", "error": "ValueError: bad weights"}
FAILED = {"message": "ERROR: ValueError: bad weights"}

FAILING = """
    import sys
    from types import SimpleNamespace
    from drum_supervisor.runtime import DrumRuntime
    class Runner:
        def terminate(self):
            print("terminated", flush=True)
    try:
        with DrumRuntime() as runtime:
            runtime.cm_runner = Runner()
            runtime.options = SimpleNamespace(with_error_server=True, address="127.0.0.1:0")
            {options}
            {failure}
    finally:
        print(sorted({{"flask", "fastapi", "uvicorn"}} & sys.modules.keys()))
"""

SERVING = """
    from types import SimpleNamespace
    from drum_supervisor.runtime import CMRunner, DrumRuntime
    with DrumRuntime() as runtime:
        runtime.options = SimpleNamespace(
            code_dir={folder!r}, target_type="unstructured", server_type={server_type!r}, with_error_server=True,
            address="127.0.0.1:0", class_labels=None,
        )
        runtime.cm_runner = CMRunner(runtime)
        runtime.cm_runner.run()
    print("ended", runtime.initialization_succeeded)
"""


@pytest.fixture
def run(start, tmp_path):
    """Run a program without a supervisor."""

    def run_program(program: str, supervised: bool = False, **environ: str) -> Child:
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(program))
        alone = {} if supervised else ALONE
        return start(str(file), supervised=supervised, environ={**alone, **environ})

    return run_program


def failing(failure: str = 'raise ValueError("bad weights")', options: str = "") -> str:
    return FAILING.format(failure=failure, options=options)


def address_of(child: Child) -> Address:
    """Return the address in the log of the program."""
    found = child.until(lambda: re.search(r"Serving .*?http://(\S+) \(pid", child.stderr))
    return parse_address(found[1])


def ask(address: Address, method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> Raw:
    with socket.create_connection((address.host, address.port), TIMEOUT) as connection:
        connection.sendall(request(method, path, body, headers))
        return answer(connection, head_only=method == "HEAD")


BY = {
    "flask, the default": ("", {}, ["flask"]),
    "flask by options": ("runtime.options.server_type = 'flask'", {SERVER_TYPE: "fastapi"}, ["flask"]),
    "gunicorn by options": ("runtime.options.server_type = 'gunicorn'", {}, ["flask"]),
    "fastapi by options": ("runtime.options.server_type = 'fastapi'", {}, ["fastapi", "uvicorn"]),
    "fastapi by the environment": ("", {SERVER_TYPE: "fastapi"}, ["fastapi", "uvicorn"]),
    "uvicorn by a runtime parameter": (
        "",
        {SERVER_TYPE: '{"type": "string", "payload": "uvicorn"}'},
        ["fastapi", "uvicorn"],
    ),
    "flask by the environment": ("", {SERVER_TYPE: "flask"}, ["flask"]),
}


@pytest.mark.parametrize("case", BY)
def test_failure_is_served_until_a_stop_then_raised(run, case):
    options, environ, loaded = BY[case]
    child = run(failing(options=options), **environ)
    address = address_of(child)
    for path in ("/", "/ping", "/ping/", "/health", "/health/"):
        raw = ask(address, "GET", path)
        assert (raw.status, raw.json()) == (200, OK), path
    for method, path in [
        ("POST", "/predict/"),
        ("PUT", "/x"),
        ("OPTIONS", "/"),
        ("GET", "/docs"),
        ("PATCH", "/stats/"),
    ]:
        raw = ask(address, method, path)
        assert (raw.status, raw.json()) == ((200, OK) if path == "/" else (513, FAILED)), (method, path)
    assert child.stdout == "terminated\n"
    child.terminate()
    assert child.end() == 1
    assert child.stdout.splitlines() == ["terminated", str(loaded)]
    assert child.stderr.splitlines()[-1] == "ValueError: bad weights"


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_exit_during_initialization_is_served(run, server_type):
    child = run(failing("sys.exit(7)", f"runtime.options.server_type = {server_type!r}"))
    raw = ask(address_of(child), "GET", "/predict")
    assert (raw.status, raw.json()) == (513, {"message": "ERROR: SystemExit: the model called sys.exit(7)"})
    child.terminate()
    assert child.end() == 7


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_failure_is_served_on_ipv6(run, server_type):
    options = f"runtime.options.server_type = {server_type!r}; runtime.options.address = '[::1]:0'"
    child = run(failing(options=options))
    address = address_of(child)
    assert address.host == "::1"
    assert ask(address, "GET", "/ping").json() == OK
    child.terminate()
    assert child.end() == 1


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_failure_is_served_outside_of_the_main_thread(run, server_type):
    body = textwrap.indent(textwrap.dedent(failing(options=f"runtime.options.server_type = {server_type!r}")), "    ")
    child = run(f"import threading\ndef main():\n{body}\nthreading.Thread(target=main).start()\n")
    assert ask(address_of(child), "GET", "/ping").json() == OK


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_address_in_use_does_not_hide_the_original_error(run, server_type):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = f"runtime.options.server_type = {server_type!r}; runtime.options.address = {address!r}"
        child = run(failing(options=options))
        assert child.end() == 1
    assert f"The error server cannot run: Address {address} is in use" in child.stderr
    assert child.stderr.splitlines()[-1] == "ValueError: bad weights"


def test_supervised_failure_is_reported_not_served(run):
    child = run(failing(), supervised=True)
    assert child.end() == 1
    (failure,) = child.failures()
    assert (failure.type, failure.message) == ("ValueError", "bad weights")
    assert child.stdout.splitlines() == ["terminated", "[]"]
    assert child.stderr.count("Traceback (most recent call last)") == 1


def test_stop_does_not_cut_off_the_cleanup(run, fifo):
    slow = f"runtime.log_provider = type('Slow', (), {{'shutdown': lambda self: open({str(fifo)!r}).read()}})()"
    child = run(failing(options=slow), supervised=True)
    child.until(child.failures)
    child.terminate()
    with open(fifo, "w", encoding="ascii"):
        pass
    assert child.end() == 1


@pytest.fixture
def folder(tmp_path):
    """A model folder; `custom` is its custom.py."""
    (tmp_path / "model").mkdir()

    def make(load: str = "return 'model'") -> str:
        (tmp_path / "model" / "custom.py").write_text(
            f"def load_model(code_dir):\n    {load}\n"
            "def score_unstructured(model, data, **kwargs):\n    return f'{model} {len(data)}'\n"
        )
        return str(tmp_path / "model")

    return make


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_runner_serves_the_model_until_a_stop(run, folder, server_type):
    child = run(SERVING.format(folder=folder(), server_type=server_type))
    address = address_of(child)
    assert ask(address, "POST", "/invocations", b"abc").body == b"model 3"
    assert ask(address, "GET", "/ping").json() == {"message": "OK"}
    child.terminate()
    assert child.end() == 0
    assert child.stdout == "ended True\n"


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_failed_model_is_served_on_the_same_port(run, folder, server_type):
    child = run(SERVING.format(folder=folder("raise ValueError('bad weights')"), server_type=server_type))
    address = address_of(child)
    raw = ask(address, "POST", "/invocations", b"abc")
    assert (raw.status, raw.json()) == (513, FAILED)
    served = set(re.findall(r"http://(\S+)", child.stderr))
    assert served == {str(address)}
    child.terminate()
    assert child.end() == 1


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_runner_reports_to_the_supervisor(run, folder, server_type):
    child = run(SERVING.format(folder=folder(), server_type=server_type), supervised=True).until_ready()
    child.terminate()
    assert child.end() == 0
    assert child.messages().count(ReadyMessage()) == 1
    assert not [message for message in child.messages() if isinstance(message, InitFailedMessage)]


@pytest.mark.parametrize("server_type", ["flask", "fastapi"])
def test_stop_while_loading_is_not_a_failure(run, folder, server_type, fifo):
    child = run(SERVING.format(folder=folder(f"open({str(fifo)!r}).read()"), server_type=server_type))
    with open(fifo, "w", encoding="ascii"):
        child.terminate()
        assert child.end() == 0
    assert child.stdout == "ended False\n"
