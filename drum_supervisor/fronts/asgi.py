"""ASGI without a framework: reading a scope, and observing the requests of an application."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from drum_supervisor.fronts.observer import Observation, Observer
from drum_supervisor.http.encoding import merge_headers, split_target

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

# The scope key which caches the merged headers.
_HEADERS = "drum_supervisor.headers"


def path_of(scope: Message) -> str:
    """Return the decoded path of a request."""
    # not every server sets raw_path; it keeps what `path` loses, a leading http://host for example
    path = scope.get("raw_path")
    if path is None:
        return scope["path"] or "/"
    return split_target(path.decode("latin-1"))[0]


def headers_of(scope: Message) -> dict[str, str]:
    """Return the headers of a request by lower-case name."""
    if _HEADERS not in scope:
        raw = scope["headers"]
        scope[_HEADERS] = merge_headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)
    return cast("dict[str, str]", scope[_HEADERS])


class ObservedAsgiApp:
    """Observes each request of an application, from its head to the last byte of the response."""

    def __init__(self, app: Application, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        observation = self._observer.begin(scope["method"].upper(), path_of(scope), headers_of(scope))

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = _record_start(message, observation)
            await send(message)

        try:
            with observation:
                await self._app(scope, receive, send_observed)
        except BaseException as error:
            observation.fail(error)
            raise
        finally:
            observation.finish()


def _record_start(start: Message, observation: Observation) -> Message:
    observation.status = start["status"]
    own = [(name.lower().encode(), value.encode("latin-1")) for name, value in observation.headers]
    names = [name for name, _ in own]
    others = [(name, value) for name, value in start.get("headers", ()) if bytes(name).lower() not in names]
    return {**start, "headers": [*others, *own]}
