"""Hostile clients: model server and error server neither crash nor grow, and keep answering others."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.support import Supervised

MIB = 1024 * 1024
GROWTH = 64 * MIB
GOOD = "def score_unstructured(model, data, **kwargs): return 'fine'\ndef load_model(d): return 1\n"
BROKEN = GOOD.replace("return 1", "raise RuntimeError('the real error')")
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"

SERVERS = ("fastapi", "flask", "gunicorn")
MODELS = {"model-server": GOOD, "error-server": BROKEN}


@pytest.fixture(params=SERVERS)
def server_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=MODELS)
def victim(
    request: pytest.FixtureRequest, start: Start, model: Callable[[str], Path], server_type: str
) -> Iterator["Victim"]:
    folder = model(MODELS[request.param])
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server_type)
    supervised.until_status(lambda s: any(p["name"] == request.param and p["state"] == "ready" for p in s["programs"]))
    yield Victim(supervised, request.param)
    assert supervised.stop() == 0


class Victim:
    def __init__(self, supervised: Supervised, program: str) -> None:
        self.supervised = supervised
        self.program = program
        self.pid = supervised.pid(program)
        self.usual = 200 if program == "model-server" else 513
        self.assert_well()
        self.before = self.memory()

    def memory(self) -> int:
        process = psutil.Process(self.pid)
        return int(sum(each.memory_info().rss for each in (process, *process.children(recursive=True))))

    def assert_well(self) -> None:
        assert self.supervised.get("/ping").status == 200
        assert self.supervised.post("/invocations", b"x", "text/plain").status == self.usual

    def assert_unharmed(self) -> None:
        self.assert_well()
        assert self.supervised.pid(self.program) == self.pid
        assert self.memory() < self.before + GROWTH

    def attack(self, *pieces: bytes, is_last: bool = False) -> bytes:
        """Send the pieces on one connection, as far as the server reads them; return the answer.

        Args:
            is_last: half-close the connection; uvicorn then leaves complete requests unanswered.
        """
        with self.supervised.connect() as sock:
            try:
                for piece in pieces:
                    sock.sendall(piece)
                if is_last:
                    sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server has closed the connection
            try:
                return b"".join(iter(lambda: sock.recv(65536), b""))
            except ConnectionResetError:
                return b""


def test_body_of_200_mib_is_refused(victim: Victim) -> None:
    chunk = bytes(MIB)
    answer = victim.attack(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (200 * MIB), *[chunk] * 200)
    assert answer.split()[1] == (b"413" if victim.program == "model-server" else b"513")
    victim.assert_unharmed()


def test_chunked_body_of_200_mib_is_refused(victim: Victim) -> None:
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    answer = victim.attack(
        HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunk] * 200, b"0\r\n\r\n"
    )
    assert answer.split()[1] == (b"413" if victim.program == "model-server" else b"513")
    victim.assert_unharmed()


def test_malformed_chunks_do_no_harm(victim: Victim) -> None:
    for body in (b"xyz\r\nabc", b"-5\r\nabc", b"5\r\nab", b"ffffffffffffffffffff\r\nabc", b"5;" + b"x" * 100_000):
        answer = victim.attack(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body, is_last=True)
        assert answer == b"" or answer.split()[1] in (b"400", b"431", b"513"), answer
    victim.assert_unharmed()


def test_ten_thousand_headers_do_no_harm(victim: Victim) -> None:
    headers = b"".join(b"X-Header-%d: %s\r\n" % (number, b"v" * 50) for number in range(10_000))
    answer = victim.attack(HEAD + headers + b"Content-Length: 0\r\n\r\n")
    assert answer == b"" or answer.split()[1] in (b"400", b"431"), answer[:200]
    victim.assert_unharmed()


def test_garbage_does_no_harm(victim: Victim) -> None:
    for garbage in (
        b"\0" * 1000,
        b"\xff" * 100_000,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ):
        victim.attack(garbage, is_last=True)
    victim.assert_unharmed()


def test_hundred_slow_clients_do_no_harm(victim: Victim) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(victim.supervised.connect()) for _ in range(100)]
        request = HEAD + b"Content-Length: 100000\r\n\r\n"
        for number, sock in enumerate(slow):
            sock.sendall(request[: number % len(request) + 1])
        for byte in (b"P", b"\r", b"x"):
            for sock in slow:
                sock.sendall(byte)
            victim.assert_well()
        assert victim.memory() < victim.before + GROWTH
    victim.assert_unharmed()
