"""What stand-in and error server tell clients of the state: the situation, written down with each change."""

from drum_supervisor.contract.client_status import Situation
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.state import Phase, attempts_left, is_retry_refused
from drum_supervisor.supervise.service.context import Context, Service


def situation(service: Service, next_at: float) -> Situation:
    """Return the client status; `next_at`: when the next retry comes, 0 if none is planned."""
    state, limits = service.state, service.limits
    held = bool(state.stopped_by_operator) and state.phase is Phase.STARTING and not state.starting
    under_way = state.phase in (Phase.STARTING, Phase.RETRYING) and not held
    return Situation(
        failed=state.phase in (Phase.FAILED, Phase.RETRYING),
        stage=service.stage if under_way else "",
        since=service.entered_at if under_way else 0.0,
        attempt=state.attempt,
        attempts_left=attempts_left(state, limits),
        next_at=next_at,
        refused=is_retry_refused(state, limits) and state.retries < limits.max_retries,
        held=held,
    )


class StatusFile:
    """Writes the client status to a file, so that the supervisor never waits for its readers."""

    def __init__(self, context: Context, run_dir: RunDir) -> None:
        self._context = context
        self._run_dir = run_dir
        self._written = ""

    def follow(self) -> None:
        """Write the client status if it has changed; a supervisor that is stopping leaves it as it was."""
        service = self._context.service
        if service.state.phase is Phase.STOPPING:
            return
        next_at = self._context.timers.at((Alarm.RETRY, 0)) or 0.0
        text = situation(service, next_at).to_text()
        if text == self._written:
            return
        self._written = text
        try:
            self._run_dir.replace(self._run_dir.client_status, text)
        except OSError as error:
            self._context.log.line("error", f"could not write {self._run_dir.client_status.name}: {error}")
