"""Writes the client status, which stand-in and error server show to clients, after each change."""

from drum_supervisor.contract.client_status import ClientStatus
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.policy.state import Phase, attempts_left, is_retry_refused
from drum_supervisor.supervise.service.context import Context, ServiceStatus


def client_status(service: ServiceStatus, next_at: float) -> ClientStatus:
    """Return the client status; `next_at` is the time of the next retry, or 0."""
    state, limits = service.state, service.limits
    is_held = bool(state.stopped_by_operator) and state.phase is Phase.STARTING and not state.starting
    is_starting = state.phase in (Phase.STARTING, Phase.RETRYING) and not is_held
    return ClientStatus(
        failed=state.phase in (Phase.FAILED, Phase.RETRYING),
        stage=service.stage if is_starting else "",
        since=service.entered_at if is_starting else 0.0,
        attempt=state.attempt,
        attempts_left=attempts_left(state, limits),
        next_at=next_at,
        refused=is_retry_refused(state, limits) and state.retries < limits.max_retries,
        held=is_held,
    )


class StatusFile:
    """Writes the client status to a file: readers that stall cannot block the supervisor."""

    def __init__(self, context: Context, run_dir: RunDir) -> None:
        self._context = context
        self._run_dir = run_dir
        self._written = ""

    def follow(self) -> None:
        # A supervisor that is stopping leaves the last status.
        service = self._context.service
        if service.is_stopping:
            return
        next_at = self._context.next_retry_at() or 0.0
        text = client_status(service, next_at).to_json()
        if text == self._written:
            return
        self._written = text
        try:
            self._run_dir.replace(self._run_dir.client_status, text)
        except OSError as error:
            self._context.log.line("error", f"could not write {self._run_dir.client_status.name}: {error}")
