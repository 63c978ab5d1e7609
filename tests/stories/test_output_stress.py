"""Floods of unread output: signals, readiness and the error server do not wait for a reader, and no line is lost."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.stories.test_ending import HEAD, PAUSE, REPORT_READY
from tests.support import Supervised

FLOOD = "subprocess.Popen(['yes', 'x' * 1000])\n"  # endless
FLOOD_ERR = "subprocess.Popen(['yes', 'x' * 1000], stdout=2)\n"
LINES = 400_000  # several times the capacity of the buffer
NUMBERS = f"for number in range({LINES}): print(number)\nprint('last words', end='', flush=True)\n"


class Pipe:
    """A named pipe for a supervisor's output, which the test reads when it wants to."""

    def __init__(self, path: Path, stream: str) -> None:
        self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.wrapper = ("sh", "-c", f'exec "$@" {stream}>{path}', "sh")

    def all(self) -> bytes:
        """Read until all writers have closed it."""
        os.set_blocking(self.reader, True)
        return b"".join(iter(lambda: os.read(self.reader, 1 << 20), b""))


@pytest.fixture
def stalled(fifo: Callable[[str], Path]) -> Iterator[Callable[..., Pipe]]:
    """Make a pipe that is open for reading and not read."""
    made: list[Pipe] = []

    def make(stream: str = "1") -> Pipe:
        made.append(Pipe(fifo("output"), stream))
        return made[-1]

    yield make
    for pipe in made:
        os.close(pipe.reader)


def command(*parts: str) -> tuple[str, ...]:
    return ("--listener", "inherit", "--ready", "report", "--", sys.executable, "-c", HEAD + "".join(parts))


@pytest.fixture(params=["1", "2"], ids=["stdout", "stderr"])
def flooding(request, start: Start, stalled) -> Callable[..., Supervised]:
    """Start a server with a process that floods an unread pipe."""
    flood = FLOOD if request.param == "1" else FLOOD_ERR

    def begin(*parts: str, arguments: tuple[str, ...] = ()) -> Supervised:
        return start(*arguments, *command(flood, *parts), wrapper=stalled(request.param).wrapper)

    return begin


def test_start_restart_and_stop_do_not_wait_for_a_reader(flooding) -> None:
    supervised = flooding(REPORT_READY, PAUSE)
    supervised.until_phase("serving")
    assert supervised.run("restart").returncode == 0
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_error_server_does_not_wait_for_a_reader(flooding) -> None:
    supervised = flooding("raise ValueError('no weights')\n")
    supervised.until_status(lambda status: status["programs"][-1]["state"] == "ready")
    assert supervised.get("/x").status == 513
    assert supervised.stop() == 0


def test_blocked_worker_does_not_block_others(flooding) -> None:
    floods_itself = "if os.environ['DRUM_SUPERVISOR_PROGRAM'].endswith('-1'):\n    while True: print('x' * 1000)\n"
    supervised = flooding(REPORT_READY, floods_itself, PAUSE, arguments=("--workers", "2"))
    supervised.until_status(lambda status: status["workers_ready"] == 2)
    assert supervised.run("restart", "--worker", "2").returncode == 0
    assert supervised.stop() == 0


def test_late_reader_gets_all_output_of_an_exited_program(start: Start, stalled) -> None:
    pipe = stalled()
    supervised = start("--no-error-server", *command(NUMBERS, "sys.exit(1)\n"), wrapper=pipe.wrapper)
    supervised.until(lambda: supervised.status()["phase"] == "starting")
    read = pipe.all().decode()
    assert supervised.wait() == 3
    *numbers, last = read.split("\n")
    assert last == "last words"
    assert numbers == [str(number) for number in range(LINES)]


def test_flood_of_output_to_a_fast_reader(start: Start) -> None:
    discarded = ("sh", "-c", 'exec "$@" >/dev/null', "sh")
    supervised = start(*command(FLOOD, REPORT_READY, PAUSE), wrapper=discarded)
    supervised.until_phase("serving")
    assert supervised.run("restart").returncode == 0
    assert supervised.status()["programs"][0]["state"] == "ready"
    assert supervised.stop() == 0
