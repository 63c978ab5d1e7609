"""Routing: the prefix, both slash forms, and the errors of unknown paths and methods."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from drum_supervisor.http.messages import Request, Response
from drum_supervisor.services.executor import BoundedExecutor

Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    """One path of a service."""

    path: str  # without prefix and trailing slash
    methods: tuple[str, ...]  # those of the handler; OPTIONS is always added
    handler: Handler
    executor: BoundedExecutor | None = None  # runs the handler; None: the handler never blocks
    keeps_body: bool = False  # the handler needs the body of a request

    @property
    def allow(self) -> str:
        return ", ".join((*self.methods, "OPTIONS"))


class RequestError(Exception):
    """A request is refused with a status and a sentence for the client."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Router:
    """Finds the route of a request. Every path works with and without a trailing slash, without redirects."""

    def __init__(self, prefix: str, routes: Iterable[Route]) -> None:
        self._by_path = {form: route for route in routes for form in slash_forms(prefix, route.path)}

    def name(self, path: str) -> str:
        """Return the declared path of the route, without prefix and trailing slash; empty without a route."""
        route = self._by_path.get(path)
        return "" if route is None else route.path

    def keeps_body(self, method: str, path: str) -> bool:
        route = self._by_path.get(path)
        return route is not None and route.keeps_body and method in route.methods

    def find(self, method: str, path: str) -> Route:
        """Return the route of a request; raise RequestError for an unknown path or a wrong method."""
        route = self._by_path.get(path)
        if route is None:
            raise RequestError(404, f"there is nothing at {path[:200]}")
        if method == "OPTIONS":
            return Route(path, ("OPTIONS",), lambda _: Response(204, headers=(("Allow", route.allow),)))
        if method not in route.methods:
            raise RequestError(405, f"{path} answers {route.allow}, not {method[:20]}", (("Allow", route.allow),))
        return route


def slash_forms(prefix: str, path: str) -> tuple[str, ...]:
    """Return `path` under `prefix` without and with a trailing slash; the root without a prefix has one form."""
    bare = prefix + path.rstrip("/")
    return (bare, f"{bare}/") if bare else ("/",)
