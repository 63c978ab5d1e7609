"""Fixtures for stories: supervisors, model folders, ports and named pipes."""

import os
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from tests.support import Supervised


class Start(Protocol):
    def __call__(
        self,
        *arguments: object,
        command: str = "start",
        before: Callable[[], None] | None = None,
        wrapper: Sequence[str] = (),
        **environ: str,
    ) -> Supervised: ...


STARTED = pytest.StashKey[list[Supervised]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the output of the supervisors of a failed test."""
    report = yield
    if report.failed:
        report.sections += [("supervisor", each.output()) for each in item.stash.get(STARTED, [])]
    return report


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start a supervisor on a free port; the test fails if an exited supervisor has left a process."""
    started = request.node.stash[STARTED] = []

    def begin(
        *arguments: object, command: str = "start", before=None, wrapper: Sequence[str] = (), **environ: str
    ) -> Supervised:
        folder = tmp_path / f"supervisor-{len(started)}"
        folder.mkdir()
        given = [str(argument) for argument in arguments]
        address = [] if "--address" in given else ["--address", "127.0.0.1:0"]
        started.append(Supervised(folder, [*address, *given], environ, command, before, wrapper))
        return started[-1]

    yield begin
    for supervised in started:
        supervised.close()


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], Path]:
    """Make a model folder with this custom.py."""

    def make(custom: str, name: str = "model") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "custom.py").write_text(custom)
        return folder

    return make


@pytest.fixture
def reserved_port() -> Iterator[int]:
    """A reserved port, for commands that bind it themselves.

    It is bound here, but nothing listens: the kernel does not assign it to another process, and still lets a server
    with SO_REUSEADDR bind it.
    """
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield int(reservation.getsockname()[1])


@pytest.fixture
def fifo(tmp_path: Path) -> Callable[[str], Path]:
    """Make a named pipe: opening it for writing waits until the program under test opens it for reading."""

    def make(name: str) -> Path:
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return make
