"""What stand-in and error server tell clients of the state: the situation, written down with each change."""

from drum_supervisor.contract.client_status import Situation
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.events import Phase
from drum_supervisor.supervise.policy.state import Limits, State, attempts_left, is_refused


def situation(state: State, limits: Limits, stage: str, since: float, next_at: float) -> Situation:
    """Return the situation.

    Args:
        stage: the last one that was reported.
        since: when the phase began, by the monotonic clock.
        next_at: when the next retry comes, 0 if none is planned.
    """
    held = bool(state.held) and state.phase is Phase.STARTING and not state.coming
    under_way = state.phase in (Phase.STARTING, Phase.RETRYING) and not held
    return Situation(
        failed=state.phase in (Phase.FAILED, Phase.RETRYING),
        stage=stage if under_way else "",
        since=since if under_way else 0.0,
        attempt=state.attempt,
        attempts_left=attempts_left(state, limits),
        next_at=next_at,
        refused=is_refused(state, limits) and state.retries < limits.max_retries,
        held=held,
    )


class StatusFile:
    """Where the situation is written down: a file, so that nobody waits for those who read it."""

    def __init__(self, run_dir: RunDir, log: Log) -> None:
        self._run_dir = run_dir
        self._log = log
        self._written = ""

    def show(self, situation: Situation) -> None:
        """Write it, if it is another one."""
        text = situation.to_text()
        if text == self._written:
            return
        self._written = text
        try:
            self._run_dir.replace(self._run_dir.situation, text)
        except OSError as error:
            self._log.line("error", f"what clients are told could not be brought up to date: {error}")
