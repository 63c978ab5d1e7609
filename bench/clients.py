"""Clients of the benchmarks: one request on one connection, and wrk."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.children import LONGEST
from bench.places import Place

REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


def asked(port: int) -> socket.socket:
    """Connect and send a request without waiting for the response."""
    connection = socket.create_connection(("127.0.0.1", port), LONGEST)
    connection.sendall(REQUEST)
    return connection


def status_of(connection: socket.socket) -> int:
    """Wait for the whole response and return its status."""
    answer = b""
    with closing(connection):
        while data := connection.recv(65536):
            answer += data
    return int(answer.split()[1])


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port that the kernel does not assign, but that a server can bind with SO_REUSEADDR."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


@dataclass(frozen=True)
class Load:
    """wrk's result."""

    requests: int
    per_second: float
    p50: float  # ms
    p99: float
    failed: int  # broken or refused connections, timeouts, unsuccessful responses


def wrk(
    place: Place, port: int, connections: int, seconds: int, path: str = "/", script: Path | None = None
) -> "subprocess.Popen[str]":
    """Start wrk, which sends the next request on a connection at once, or when `script` says so."""
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", "--timeout", "60s"]
    scripted = ["--script", str(script)] if script else []
    argv = [place.program("wrk"), *options, *scripted, "--latency", f"http://127.0.0.1:{port}{path}"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def seen_by(process: "subprocess.Popen[str]", interrupt: bool = False) -> Load:
    """Wait for wrk, or interrupt it, and return its result."""
    if interrupt:
        process.send_signal(signal.SIGINT)
    return load_from(process.communicate()[0])


def load_from(text: str) -> Load:
    """Parse wrk's output."""
    found = re.search(r"(\d+) requests in ", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not found or not rate:
        raise TimeoutError(f"wrk measured nothing: {text.strip()}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return Load(
        requests=int(found[1]),
        per_second=float(rate[1]),
        p50=_milliseconds(text, 50),
        p99=_milliseconds(text, 99),
        failed=failed + (int(others[1]) if others else 0),
    )


def _milliseconds(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0
