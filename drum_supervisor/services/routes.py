"""Which path leads to what: the prefix, both slash forms, and the refusals that need no service to be understood."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from drum_supervisor.services.messages import Effort, Request, Response

Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    """One path of a service.

    Attributes:
        path: with the prefix.
        methods: that the handler answers; OPTIONS comes on top.
        handler: answers a request.
        effort: what that takes.
    """

    path: str
    methods: tuple[str, ...]
    handler: Handler
    effort: Effort = Effort.NONE

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

    def effort(self, method: str, path: str) -> Effort:
        """Return what the answer to such a request takes."""
        route = self._by_path.get(path)
        return route.effort if route is not None and method in route.methods else Effort.NONE

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
