"""Writes the client status, which stand-in and error server show to clients, after each change."""

from drum_supervisor.contract.client_status import ClientStatus
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.service.context import Context, ServiceStatus


def client_status(service: ServiceStatus, next_at: float) -> ClientStatus:
    """Return the client status; `next_at` is the time of the next retry, or 0."""
    is_starting = service.is_initializing
    return ClientStatus(
        failed=service.state.phase.has_failed,
        stage=service.stage if is_starting else "",
        since=service.entered_at if is_starting else 0.0,
        attempt=service.state.attempt,
        attempts_left=service.attempts_left,
        next_at=next_at,
        refused=service.is_retry_refused and service.state.retries < service.limits.max_retries,
        held=service.is_stopped_by_operator,
    )


class StatusFile:
    """Writes the client status to a file: readers that stall cannot block the supervisor."""

    def __init__(self, context: Context, run_dir: RunDir) -> None:
        self._context = context
        self._run_dir = run_dir
        self._written: ClientStatus | None = None

    def follow(self) -> None:
        # A supervisor that is stopping leaves the last status.
        service = self._context.service
        if service.is_stopping:
            return
        next_at = self._context.next_retry_at() or 0.0
        status = client_status(service, next_at)
        if status == self._written:
            return
        self._written = status
        try:
            self._run_dir.replace(self._run_dir.client_status, status.to_json())
        except OSError as error:
            self._context.log.line("error", f"could not write {self._run_dir.client_status.name}: {error}")
