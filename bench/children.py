"""Child processes of the benchmarks, the stamps that report their start, and their figures from /proc."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from bench.places import APPS

LONGEST = 20.0
IDLE_CHILD = ("sh", str(APPS / "idle.sh"))
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Stamp:
    """A child has started: its pid, and when we noticed, in seconds of the monotonic clock."""

    pid: int
    at: float


class Stamps:
    """A named pipe to which each child first writes its pid.

    The reader sleeps in poll(2): no polling, and the child needs no clock.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stamps"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self._poller = select.poll()
        self._poller.register(self._fd, select.POLLIN)

    def __enter__(self) -> "Stamps":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)
        self.path.unlink()

    def next(self, timeout: float = LONGEST) -> Stamp:
        """Wait for the next stamp; a `TimeoutError` if there is none."""
        if not self._poller.poll(timeout * 1000):
            raise TimeoutError(f"no child began within {timeout:g} s")
        at = time.monotonic()
        text = b""
        while not text.endswith(b"\n"):
            text += os.read(self._fd, 1)
        return Stamp(int(text), at)

    def clear(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._fd, 4096):
                pass


@contextmanager
def running(
    argv: Sequence[str], environ: Mapping[str, str], folder: Path, **options: object
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program with its output in a file in `folder`; at the end kill it and all its descendants."""
    mark = f"BENCH_MARK={uuid4()}"
    with open(folder / "log", "ab") as log:
        given = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options}
        marked = {**environ, "BENCH_MARK": mark.partition("=")[2]}
        process = subprocess.Popen(argv, env=marked, cwd=folder, start_new_session=True, **given)
    try:
        yield process
    finally:
        kill_marked(mark)
        process.wait()


def kill_marked(mark: str) -> None:
    """Kill all processes with `mark` in their environment: some supervisors start them in sessions of their own."""
    while pids := [pid for pid in all_pids() if _is_marked(pid, mark.encode())]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def exit_seconds(process: "subprocess.Popen[bytes]", timeout: float = LONGEST) -> float:
    """Send TERM; return the seconds until the process has exited."""
    end = os.pidfd_open(process.pid)
    try:
        began = time.monotonic()
        process.terminate()
        poller = select.poll()
        poller.register(end, select.POLLIN)
        if not poller.poll(timeout * 1000):
            raise TimeoutError(f"not gone {timeout:g} s after TERM")
        return time.monotonic() - began
    finally:
        os.close(end)


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process's threads, with a resolution of nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _is_marked(pid: int, mark: bytes) -> bool:
    with suppress(OSError):
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
