"""Fixtures shared by unit tests."""

import codecs
import fcntl
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.listener import Address, bind
from tests.unit.clocks import Clock
from tests.unit.processes import Spawner, adopt

NOBODY = 65534

pytest.register_assert_rewrite("tests.unit.policy_world")


def run_in_child(call: Callable[[], Any], uid: int | None = None) -> Any:
    """Call a function in a forked child; return its result, passed on as JSON.

    Raises:
        RuntimeError: `call` raised; the message is its traceback.
    """
    codecs.lookup("ascii")  # loaded on first use; the child may not be allowed to read the standard library
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run_and_exit(call, uid, fcntl.fcntl(writing, fcntl.F_DUPFD_CLOEXEC, 64))
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        answer = json.load(pipe)
    os.waitpid(pid, 0)
    if "failed" in answer:
        raise RuntimeError(answer["failed"])
    return answer["value"]


def _run_and_exit(call: Callable[[], Any], uid: int | None, writing: int) -> None:
    try:
        if uid is not None:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        answer = {"value": call()}
    except BaseException:  # noqa: BLE001  (the parent raises it)
        answer = {"failed": traceback.format_exc()}
    try:
        with open(writing, "w", encoding="utf-8") as pipe:
            json.dump(answer, pipe)
    finally:
        os._exit(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    """Real processes; this process is their child subreaper, as a supervisor is."""
    adopt(orphans=True)
    made = Spawner()
    yield made
    made.end()
    adopt(orphans=False)


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, short_path: Path) -> Iterator[socket.socket]:
    address = Address("127.0.0.1", 0) if request.param == "tcp" else Address(path=str(short_path / "model.sock"))
    with bind(address) as bound:
        yield bound


@pytest.fixture
def in_child() -> Callable[[Callable[[], Any]], Any]:
    """Run a function in a child process, where it may change descriptors and environment; return its result."""
    return run_in_child


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], Any]], Any]:
    """Run a function in a child process without root's privileges; return its result."""
    uid = NOBODY if os.geteuid() == 0 else None
    return lambda call: run_in_child(call, uid)
