"""Which path leads to what: the prefix, both slash forms, and the refusals that need no service to be understood."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from drum_supervisor.http.messages import Request, Response

if TYPE_CHECKING:
    from drum_supervisor.services.executor import Turns  # its threads are not for the stand-in

Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    """One path of a service.

    Attributes:
        path: with the prefix.
        methods: that the handler answers; OPTIONS comes on top.
        handler: answers a request.
        turns: make that handler's answers; None: it answers at once.
        keeps_body: whether it needs the body of a request.
    """

    path: str
    methods: tuple[str, ...]
    handler: Handler
    turns: "Turns | None" = None
    keeps_body: bool = False

    @property
    def allow(self) -> str:
        """The value of an `Allow` header."""
        return ", ".join((*self.methods, "OPTIONS"))


class RequestError(Exception):
    """A request that is answered with a status and a sentence for the client."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Router:
    """Finds the route of a request; each path is served with and without a trailing slash, without redirects."""

    def __init__(self, prefix: str, routes: Iterable[Route]) -> None:
        forms = [(form, route) for route in routes for form in both_forms(prefix, route.path)]
        self._by_path = {form: replace(route, path=form) for form, route in forms}
        self._names = {form: route.path for form, route in forms}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, prefix and slash forms included."""
        return tuple(self._by_path.values())

    def name(self, path: str) -> str:
        """Return the path of the route as the service declares it; empty when there is none for `path`."""
        return self._names.get(path, "")

    def keeps_body(self, method: str, path: str) -> bool:
        """Return whether the body of such a request is needed."""
        route = self._by_path.get(path)
        return route is not None and route.keeps_body and method in route.methods

    def find(self, method: str, path: str) -> Route:
        """Return the route of a request.

        Raises:
            RequestError: no such path, or not with this method.
        """
        route = self._by_path.get(path)
        if route is None:
            raise RequestError(404, f"there is nothing at {path[:200]}")
        if method == "OPTIONS":
            return Route(path, ("OPTIONS",), lambda _: Response(204, headers=(("Allow", route.allow),)))
        if method not in route.methods:
            raise RequestError(405, f"{path} answers {route.allow}, not {method[:20]}", (("Allow", route.allow),))
        return route


def both_forms(prefix: str, path: str) -> tuple[str, ...]:
    """Return `path` below `prefix` without and with a trailing slash; the root without a prefix has one form."""
    bare = prefix + path.rstrip("/")
    return (bare, f"{bare}/") if bare else ("/",)
