"""The starting service: what the stand-in answers while nothing else is ready yet. Standard library only."""

from drum_supervisor.services.failure import own_headers
from drum_supervisor.services.messages import Plan, Request, Response, message_response
from drum_supervisor.services.routes import both_forms

NOT_READY = "ERROR: The model server is starting."

_DRAIN_SECONDS = 30.0


class StartingService:
    """Says that it is alive, and that everything else has to wait."""

    def __init__(self, url_prefix: str = "") -> None:
        self._alive = both_forms(url_prefix, "/livez")

    def plan(self, method: str, path: str) -> Plan:
        """Drain every body unread, so that clients get to read the answer."""
        return Plan(drain_seconds=_DRAIN_SECONDS)

    def answer(self, request: Request) -> Response:
        """Answer `/livez` with 200, and any other path, with any method, with 503."""
        if request.path in self._alive:
            return message_response(200, "Starting", own_headers("stand-in"))
        return message_response(503, NOT_READY, (*own_headers("stand-in"), ("Retry-After", "1")))
