"""The starting service: the responses while neither a model server nor the error server is ready."""

import time
from collections.abc import Callable

from drum_supervisor.contract.client_status import ClientStatus
from drum_supervisor.http.messages import BodyPlan, Request, Response, json_response
from drum_supervisor.services.failure import FailureService, program_headers
from drum_supervisor.services.routes import slash_forms

STARTING = "ERROR: The model server is starting."
STOPPED = "ERROR: The model server was stopped by an operator."
ALIVE = "Starting"
ALIVE_BUT_STOPPED = "Stopped by an operator"


class StartingService:
    """Answers that the model server is starting, and its stage; after a failure like the error server.

    Args:
        failure: answers once the client status says that the service has failed.
        read_client_status: returns what clients may know.
        url_prefix: prefix of `/livez`.
        clock: seconds, on the clock of the client status.
    """

    def __init__(
        self,
        failure: FailureService,
        read_client_status: Callable[[], ClientStatus],
        url_prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failure = failure
        self._read_client_status = read_client_status
        self._livez = slash_forms(url_prefix, "/livez")
        self._clock = clock
        self._began = clock()

    def plan(self, method: str, path: str) -> BodyPlan:
        """Answer as soon as the head has arrived: the client should soon try again."""
        return BodyPlan(drain_seconds=0.0)

    def answer(self, request: Request) -> Response:
        """Answer `/livez` with 200 and any other path with 503, whatever the method."""
        client_status = self._read_client_status()
        if client_status.failed:
            return self._failure.answer(request)
        is_livez = request.path in self._livez
        headers = program_headers("stand-in")
        if client_status.held:
            content: dict[str, object] = {"message": ALIVE_BUT_STOPPED if is_livez else STOPPED}
        else:
            seconds = round(self._clock() - (client_status.since or self._began), 1)
            content = {"message": ALIVE if is_livez else STARTING, "stage": client_status.stage, "seconds": seconds}
        if is_livez:
            return json_response(200, content, headers)
        return json_response(503, content, (*headers, ("Retry-After", "1")))
