"""ASGI without a framework: what a scope says about a request, and the observing of an application's requests."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from drum_supervisor.fronts.observer import Observation, Observer
from drum_supervisor.http.encoding import merge_headers, split_target

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

# Where the headers are kept in a scope: several need them.
_HEADERS = "drum_supervisor.headers"


def path_of(scope: Message) -> str:
    """Return the decoded path of a request."""
    # raw_path is not in every server's scope; it has what `path` has lost, a leading http://host for example
    path = scope.get("raw_path")
    if path is None:
        return scope["path"] or "/"
    return split_target(path.decode("latin-1"))[0]


def headers_of(scope: Message) -> dict[str, str]:
    """Return the headers of a request by their lower-case names."""
    if _HEADERS not in scope:
        raw = scope["headers"]
        scope[_HEADERS] = merge_headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)
    return cast("dict[str, str]", scope[_HEADERS])


class ObservedApplication:
    """An application each of whose requests is seen from its head to the last byte of its answer."""

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
                message = _noted(message, observation)
            await send(message)

        try:
            with observation:
                await self._app(scope, receive, send_observed)
        except BaseException as error:
            observation.fail(error)
            raise
        finally:
            observation.finish()


def _noted(start: Message, observation: Observation) -> Message:
    observation.status = start["status"]
    own = [(name.lower().encode(), value.encode("latin-1")) for name, value in observation.headers]
    names = [name for name, _ in own]
    others = [(name, value) for name, value in start.get("headers", ()) if bytes(name).lower() not in names]
    return {**start, "headers": [*others, *own]}
