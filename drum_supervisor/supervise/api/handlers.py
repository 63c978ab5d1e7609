"""What the control socket controls: one supervisor, put together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drum_supervisor.contract.listener import Address
from drum_supervisor.contract.log_records import Piece
from drum_supervisor.supervise.api.status import status
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.policy.events import Phase, RestartCause
from drum_supervisor.supervise.watch.headroom import room_for_another
from drum_supervisor.supervise.watch.memory_limit import OverMemoryLimit

NO_OVERLAP = (
    "--overlap needs workers that inherit the listener and report when they are ready (--ready report): else nobody "
    "can tell the new one from the old one"
)
LONGEST_ANSWER = 32 * 1024  # bytes of output in one answer to `logs`, which is sent at once


@dataclass
class ControlHandlers:
    """Answers and obeys; what it does not know itself, it asks the loop."""

    engine: Engine
    loop: Loop
    address: Address
    directory: RunDir
    transcript: LogBuffer
    log: Log

    def status(self) -> dict[str, Any]:
        return status(self.loop, self.engine, self.address, self.directory)

    def serial(self) -> int:
        return self.loop.changes.serial

    def output(self, position: int) -> list[Piece]:
        """Return what was written since; if that is nothing, have whoever waits looked at again when there is some."""
        pieces = self.transcript.since(position, LONGEST_ANSWER)
        self.loop.changes.output_awaited_at = None
        if not pieces:
            self.transcript.on_next = self.loop.changes.output_awaited
        return pieces

    def restart_refused(self, overlap: bool, force: bool) -> str:
        """Return why there cannot be such a restart, an empty text if there can."""
        if not overlap or self.loop.state.phase is not Phase.SERVING:
            return ""
        if not self.loop.programs.spares:
            return NO_OVERLAP
        room = None if force else room_for_another(self.loop.fleet.pids_of_workers())
        return "" if room is None or room.is_enough else f"{room.sentence}; --force starts a second one all the same"

    def restart(self, worker: int | None, overlap: bool) -> None:
        self.loop.restart(worker, overlap)

    def renew_spent(self, place: int) -> None:
        """Replace a worker that has answered enough requests."""
        self._renew(place, RestartCause.REQUESTS)

    def renew_grown(self, grown: OverMemoryLimit) -> None:
        """Replace a worker that has grown too large."""
        self.log.line("warning", grown.sentence, pid=grown.pid)
        self._renew(grown.place, RestartCause.MEMORY)

    def _renew(self, place: int, cause: RestartCause) -> None:
        """Replace a worker that could go on; with overlap, where there is room for that."""
        self.loop.restart(place, overlap=not self.restart_refused(overlap=True, force=False), cause=cause)

    def serving(self) -> dict[int, int]:
        """Return the pid of each worker that is ready, by its place."""
        loop = self.loop
        runs = [self.engine.run_of(each.name) for each in loop.programs.sides if each.worker in loop.state.ready]
        return {run.program.place: run.pid for run in runs if run is not None and not run.stop_asked}

    def stop(self) -> None:
        self.loop.stop()

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]:
        from drum_supervisor.supervise.api.stats import stats  # noqa: PLC0415 - not before the first start: this takes 10 ms

        sample = self.loop.sampler.ask(max_age, shared_memory, watching=history)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else stats(self.loop, self.engine, found, shared_memory, history)

        return answer

    def metrics(self, max_age: float) -> Callable[[], dict[str, Any] | None]:
        from drum_supervisor.supervise.api.stats import metrics  # noqa: PLC0415 - the same

        sample = self.loop.sampler.ask(max_age, shared_memory=False, watching=False)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else metrics(self.loop, self.engine, found)

        return answer
