"""The FastAPI front: a service as an ASGI application, which users extend as usual in FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from drum_supervisor.fronts.asgi import ObservedAsgiApp, headers_of, path_of
from drum_supervisor.fronts.observer import Observer
from drum_supervisor.http.body import BodySpool
from drum_supervisor.http.encoding import CLIENT_GONE, describe_timeout, has_body, response_headers
from drum_supervisor.http.messages import CLOSE, BodyPlan, Pending, Response, Service

# Newer releases of FastAPI trace each request themselves, probes too, when global providers exist; older ones ignore
# unknown arguments.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


def create_app(service: Service, title: str = "drum_supervisor") -> FastAPI:
    """Return an application in which `service` answers every request without a route of its own.

    It serves nothing else: no documentation pages, no redirects. Routes added later come first; middleware added later
    sees every request.
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
    """Let `service` answer every request for which `app` has no route."""
    no_route = app.router.default

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _serve(service, scope, receive, send)
        else:
            await no_route(scope, receive, send)

    app.router.default = default


def observe(app: FastAPI, observer: Observer) -> None:
    """Let `observer` see every request, outside all middleware; call before the application starts."""
    build = app.build_middleware_stack

    def build_observed() -> Any:
        return ObservedAsgiApp(build(), observer)

    app.build_middleware_stack = build_observed  # type: ignore[method-assign]


def add_lifespan(app: FastAPI, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> None:
    """Wrap `lifespan` around the application's own; call before the application starts."""
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
    with BodySpool(plan.keep) as spool:
        broken = await _read_body(spool, receive, plan) if has_body(headers) else ""
        query = scope["query_string"].decode("latin-1")
        response = service.answer(spool.build_request(method, path, query, headers, broken))
        if isinstance(response, Pending):
            response = await _await_response(response)
    await _send(response, send, omit_body=method == "HEAD", close=bool(broken))


async def _await_response(pending: Pending) -> Response:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(pending.future), pending.seconds)
    except asyncio.TimeoutError:
        return pending.timeout_response


async def _read_body(spool: BodySpool, receive: Receive, plan: BodyPlan) -> str:
    """Read the body to its end; return why that failed, or an empty string."""
    try:
        complete = await asyncio.wait_for(_store(spool, receive), plan.drain_seconds)
    except asyncio.TimeoutError:
        return describe_timeout(plan.drain_seconds)
    return "" if complete else CLIENT_GONE


async def _store(spool: BodySpool, receive: Receive) -> bool:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return False
        piece = message.get("body", b"")
        if spool.needs_disk(piece):
            await asyncio.to_thread(spool.add, piece)
        else:
            spool.add(piece)
        if not message.get("more_body", False):
            return True


async def _send(response: Response, send: Send, omit_body: bool, close: bool) -> None:
    headers = response_headers(response)
    if close and not any(name.lower() == "connection" for name, _ in headers):
        headers += CLOSE  # the unread rest of the body would be parsed as the next request
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if omit_body else response.body})
