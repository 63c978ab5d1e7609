"""Our supervisor in a benchmark: start, wait, query, and stop it with all its programs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from bench.children import LONGEST, running
from bench.places import Place
from drum_supervisor.contract.control_client import ControlClient, ControlError
from drum_supervisor.contract.listener import Address, parse_address
from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.status import Status

ANY_PORT = ("--address", "127.0.0.1:0")
REPORTING = ("--listener", "inherit", "--ready", "report")


@dataclass(frozen=True)
class Supervised:
    """A running supervisor."""

    process: "Popen[bytes]"
    run_dir: Path

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.run_dir / "supervisor.sock", timeout=LONGEST)

    @property
    def address(self) -> Address:
        return parse_address((self.run_dir / "address").read_text().strip())

    def until(self, phase: str, longest: float = 2 * LONGEST) -> Status:
        """Return the first status in this phase; a `TimeoutError` if there is none."""
        return self._until(lambda status: status.phase.value == phase, phase, longest)

    def restart(self, longest: float = 120.0) -> None:
        """Replace all workers and wait until the new ones are ready."""
        ticket = self.client.restart()
        self._until(lambda status: _is_over(status, ticket), "restarted", longest)

    def _until(self, met: Callable[[Status], bool], what: str, longest: float) -> Status:
        deadline = time.monotonic() + longest
        status = self._first_status(deadline)
        while not met(status):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {what} within {longest:g} s but {status.phase.value}")
            status = self.client.wait(status.serial, 1.0)
        return status

    def _first_status(self, deadline: float) -> Status:
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(ControlError):
                return self.client.status()
            time.sleep(0.005)
        raise TimeoutError("the supervisor does not answer")


@contextmanager
def supervised(
    place: Place, folder: Path, *arguments: str, streams: int | None = None, **environ: str
) -> Iterator[Supervised]:
    """Run a supervisor with these arguments; `folder` gets its run directory and, without `streams`, its output."""
    folder.mkdir(exist_ok=True)
    argv = [place.program("drum-supervise"), "start", "--run-dir", str(folder / "run"), *arguments]
    piped = {} if streams is None else {"stdout": streams, "stderr": streams}
    with running(argv, place.environ(**environ), folder, **piped) as process:
        yield Supervised(process, folder / "run")


def _is_over(status: Status, ticket: int) -> bool:
    settled = status.phase is Phase.SERVING and not (status.workers_coming or status.replacing)
    return settled and status.restarts.request >= ticket
