"""WSGI without a framework: reading an environ, and observing the requests of an application."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast

from drum_supervisor.fronts.observer import Observation, Observer
from drum_supervisor.http.encoding import merge_headers

StartResponse = Callable[..., Any]
Application = Callable[[Any, Any], Iterable[bytes]]

# The environ key which caches the merged headers.
_HEADERS = "drum_supervisor.headers"


def path_of(environ: Mapping[str, Any]) -> str:
    """Return the decoded path of a request."""
    return str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "replace") or "/"


def headers_of(environ: MutableMapping[str, Any]) -> dict[str, str]:
    """Return the headers of a request by lower-case name."""
    if _HEADERS not in environ:
        environ[_HEADERS] = merge_headers(_pairs(environ))
    return cast("dict[str, str]", environ[_HEADERS])


def _pairs(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            yield key.removeprefix("HTTP_").replace("_", "-"), value


class ObservedWsgiApp:
    """Observes each request of an application, from its head to the last byte of the response."""

    def __init__(self, app: Application, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    def __call__(self, environ: MutableMapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"].upper()
        observation = self._observer.begin(method, path_of(environ), headers_of(environ))

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            observation.status = int(status.partition(" ")[0])
            names = [name.lower() for name, _ in observation.headers]
            others = [header for header in headers if header[0].lower() not in names]
            return start_response(status, [*others, *observation.headers], *rest)

        try:
            with observation:
                body = self._app(environ, start)
        except BaseException as error:
            observation.fail(error)
            observation.finish()
            raise
        return _ObservedBody(body, observation)


class _ObservedBody:
    """The body of a response: each piece is made with its request as the current one, and `close` ends the request."""

    def __init__(self, body: Iterable[bytes], observation: Observation) -> None:
        self._body = body
        self._pieces = iter(body)
        self._observation = observation

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            with self._observation:
                return next(self._pieces)
        except StopIteration:
            raise
        except BaseException as error:
            self._observation.fail(error)
            raise

    def close(self) -> None:
        """End the request; the server calls this after the last byte, or on a failure."""
        try:
            with self._observation:
                if hasattr(self._body, "close"):
                    self._body.close()
        finally:
            self._observation.finish()
