"""The limits of the built-in model server: concurrency, queue, time and size. On every server."""

import hashlib
import os
from contextlib import ExitStack, suppress

import pytest

from tests.http.children import Child, Raw, answer, ask, connect, request

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
CUSTOM = """
import hashlib
def load_model(code_dir):
    return 1
def score_unstructured(model, data, **kwargs):
    if data == b"wait":
        with open({fifo!r}) as gate:
            gate.read()
    return hashlib.sha256(data).hexdigest()
"""
BINARY = "Content-Type: application/octet-stream"


@pytest.fixture(params=SERVER_TYPES)
def server_type(request):
    return request.param


@pytest.fixture
def serve(start, tmp_path, server_type, fifo):
    """Start the model server with these limits."""

    def serve_model(*options: str, **environ: str) -> Child:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "custom.py").write_text(CUSTOM.format(fifo=str(fifo)))
        given = ["--code-dir", str(folder), "--target-type", "unstructured", "--server-type", server_type, *options]
        return start("-m", "drum_supervisor.serve.model", *given, environ=environ).until_ready()

    return serve_model


def invoke(child: Child, body: bytes):
    return ask(child.listener, request("POST", "/invocations", body, [BINARY]))


def begin(child: Child, stack: ExitStack, body: bytes = b"wait"):
    connection = stack.enter_context(connect(child.listener))
    connection.sendall(request("POST", "/invocations", body, [BINARY]))
    return connection


def released(fifo, waiting) -> list[Raw]:
    """Release the predictions blocked on the FIFO until all are answered; return the responses."""
    answers: list[Raw] = []
    while len(answers) < len(waiting):
        with suppress(OSError):  # no reader yet, or none left
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        answers += [raw for raw in map(_answer_if_there, waiting) if raw is not None]
    return answers


def test_full_queue_is_503_except_for_probes(serve, fifo):
    child = serve("--max-queue-depth", "2")
    with ExitStack() as stack:
        waiting = [begin(child, stack) for _ in range(5)]
        # One is in the model and two wait: of the five, in whichever order they came, two are refused.
        refused = [raw for raw in map(_answer_if_there, waiting) if raw is not None]
        while len(refused) < 2:
            refused += [raw for raw in map(_answer_if_there, waiting) if raw is not None]
        assert [(raw.status, raw.header("retry-after")) for raw in refused] == [(503, "1")] * 2
        assert refused[0].json() == {"message": "ERROR: the model is busy: the queue of 2 is full"}
        assert ask(child.listener, request("GET", "/ping")).status == 200
        assert ask(child.listener, request("GET", "/stats/")).status == 200
        left = [connection for connection in waiting if connection.fileno() >= 0]
        assert [raw.status for raw in released(fifo, left)] == [200] * 3
    assert invoke(child, b"x").status == 200


def _answer_if_there(connection):
    """Return the response if it arrives soon, and close the connection."""
    if connection.fileno() < 0:
        return None
    connection.settimeout(0.1)
    try:
        if not connection.recv(1, 2):  # MSG_PEEK
            raise AssertionError("closed without an answer")
    except TimeoutError:
        return None
    finally:
        if connection.fileno() >= 0:
            connection.settimeout(20)
    raw = answer(connection)
    connection.close()
    return raw


def test_as_many_at_once_as_the_parameter_says(serve, fifo):
    child = serve("--max-concurrent-requests", "3")
    with ExitStack() as stack:
        waiting = [begin(child, stack) for _ in range(3)]
        with open(fifo, "w", encoding="ascii"):  # all three read it now, or will
            assert ask(child.listener, request("GET", "/ping")).status == 200
        assert [raw.status for raw in released(fifo, waiting)] == [200] * 3


def test_slow_prediction_is_504_and_keeps_its_thread(serve, fifo):
    child = serve("--request-timeout", "0.3")
    raw = invoke(child, b"wait")
    assert (raw.status, raw.header("retry-after")) == (504, "1")
    assert raw.json() == {"message": "ERROR: the model has not answered within 0.3 seconds"}
    assert invoke(child, b"x").status == 504  # the model is still busy with the first one
    assert ask(child.listener, request("GET", "/ping")).status == 200
    fifo.write_text("")
    child.until(lambda: invoke(child, b"x").status == 200)


def test_large_uploads_go_to_disk_while_they_arrive(serve):
    child = serve()
    body = os.urandom(6_000_000)
    before = child.memory()
    with ExitStack() as stack:
        head = request("POST", "/invocations", b"", [BINARY, f"Content-Length: {len(body)}"])
        slow = [stack.enter_context(connect(child.listener)) for _ in range(30)]
        for connection in slow:
            connection.sendall(head + body[:-1])
        assert ask(child.listener, request("GET", "/ping")).status == 200
        assert child.memory() - before < 100_000_000  # of 180 MB
        for connection in slow[:3]:
            connection.sendall(body[-1:])
            raw = answer(connection)
            assert (raw.status, raw.body.decode()) == (200, hashlib.sha256(body).hexdigest())
