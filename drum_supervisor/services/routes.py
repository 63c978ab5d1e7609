"""Which path leads to what: the prefix, both slash forms, and the refusals that need no service to be understood."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from drum_supervisor.services.messages import Request, Response

Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    """One path of a service.

    Attributes:
        path: with the prefix.
        methods: that the handler answers; OPTIONS comes on top.
        handler: answers a request.
        blocking: whether that takes long.
    """

    path: str
    methods: tuple[str, ...]
    handler: Handler
    blocking: bool = False

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
        expanded = (replace(route, path=form) for route in routes for form in both_forms(prefix, route.path))
        self._by_path = {route.path: route for route in expanded}

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes, prefix and slash forms included."""
        return tuple(self._by_path.values())

    def is_blocking(self, method: str, path: str) -> bool:
        """Whether the handler of such a request takes long."""
        route = self._by_path.get(path)
        return route is not None and route.blocking and method in route.methods

    def answer(self, request: Request) -> Response:
        """Answer by the handler of the request's route.

        Raises:
            RequestError: no such path, or not with this method.
        """
        route = self._by_path.get(request.path)
        if route is None:
            raise RequestError(404, f"there is nothing at {request.path[:200]}")
        if request.method == "OPTIONS":
            return Response(204, headers=(("Allow", route.allow),))
        if request.method not in route.methods:
            raise RequestError(
                405, f"{request.path} answers {route.allow}, not {request.method[:20]}", (("Allow", route.allow),)
            )
        return route.handler(request)


def both_forms(prefix: str, path: str) -> tuple[str, ...]:
    """Return `path` below `prefix` without and with a trailing slash; the root without a prefix has one form."""
    bare = prefix + path.rstrip("/")
    return (bare, f"{bare}/") if bare else ("/",)
