"""The FastAPI front: a service as an ASGI application, whose extensions, routes for example, are FastAPI's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from drum_supervisor.fronts.asgi import ObservedApplication, headers_of, path_of
from drum_supervisor.fronts.observer import Observer
from drum_supervisor.http.body import BodyKeeper
from drum_supervisor.http.encoding import CLIENT_GONE, has_body, response_headers, too_slow
from drum_supervisor.http.messages import CLOSE, Pending, Plan, Response, Service

# Newer releases of FastAPI observe each request once more, probes too, when there are global providers; older ones
# take any argument and ignore it.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


def create_app(service: Service, title: str = "drum_supervisor") -> FastAPI:
    """Return an application that hands every request to `service` which no route of its own takes.

    Nothing is served that the service does not know: no documentation pages, no redirects. Routes that are added
    later come first, middleware that is added later sees every request.
    """
    app = FastAPI(
        title=title,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    mount(app, service)
    return app


def mount(app: FastAPI, service: Service) -> None:
    """Let `service` answer every request to `app` that no route of the application takes."""
    no_route = app.router.default

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _serve(service, scope, receive, send)
        else:
            await no_route(scope, receive, send)

    app.router.default = default


def observe(app: FastAPI, observer: Observer) -> None:
    """Let `observer` see every request to `app`, from outside of all middleware; before the application starts."""
    build = app.build_middleware_stack

    def build_observed() -> Any:
        return ObservedApplication(build(), observer)

    app.build_middleware_stack = build_observed  # type: ignore[method-assign]


def add_lifespan(app: FastAPI, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> None:
    """Let `lifespan` begin before the application's own and end after it; before the application starts."""
    own = app.router.lifespan_context

    @asynccontextmanager
    async def both(application: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(application), own(application) as state:
            yield state

    app.router.lifespan_context = both


async def _serve(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    method, path = scope["method"].upper(), path_of(scope)
    plan = service.plan(method, path)
    headers = headers_of(scope)
    with BodyKeeper(plan.keep) as keeper:
        broken = await _read_body(keeper, receive, plan) if has_body(headers) else ""
        query = scope["query_string"].decode("latin-1")
        response = service.answer(keeper.request(method, path, query, headers, broken))
        if isinstance(response, Pending):
            response = await _outcome(response)
    await _send(response, send, head_only=method == "HEAD", closing=bool(broken))


async def _outcome(pending: Pending) -> Response:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(pending.future), pending.seconds)
    except asyncio.TimeoutError:
        return pending.too_late


async def _read_body(keeper: BodyKeeper, receive: Receive, plan: Plan) -> str:
    """Read the body to its end; return why that failed, or an empty text."""
    try:
        complete = await asyncio.wait_for(_keep(keeper, receive), plan.drain_seconds)
    except asyncio.TimeoutError:
        return too_slow(plan.drain_seconds)
    return "" if complete else CLIENT_GONE


async def _keep(keeper: BodyKeeper, receive: Receive) -> bool:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return False
        piece = message.get("body", b"")
        if keeper.needs_disk(piece):
            await asyncio.to_thread(keeper.add, piece)
        else:
            keeper.add(piece)
        if not message.get("more_body", False):
            return True


async def _send(response: Response, send: Send, head_only: bool, closing: bool) -> None:
    headers = response_headers(response)
    if closing and not any(name.lower() == "connection" for name, _ in headers):
        headers += CLOSE  # the rest of the body would be taken for the next request
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head_only else response.body})
