"""The FastAPI front: a service as an ASGI application, whose extensions, routes for example, are FastAPI's."""

import asyncio
from collections.abc import Iterable

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from drum_supervisor.fronts.wire import (
    CLIENT_GONE,
    BodyKeeper,
    has_body,
    merge_headers,
    response_headers,
    split_target,
    too_slow,
)
from drum_supervisor.services.messages import CLOSE, Plan, Request, Response, Service


def create_app(service: Service, title: str = "drum_supervisor") -> FastAPI:
    """Return an application that hands every request to `service` which no route of its own takes.

    Nothing is served that the service does not know: no documentation pages, no redirects. Routes that are added
    later come first, middleware that is added later sees every request.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    no_route = app.router.default

    async def default(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _serve(service, scope, receive, send)
        else:
            await no_route(scope, receive, send)

    app.router.default = default
    return app


async def _serve(service: Service, scope: Scope, receive: Receive, send: Send) -> None:
    method = scope["method"].upper()
    path, query = _target(scope)
    plan = service.plan(method, path)
    headers = merge_headers(_decoded(scope["headers"]))
    keeper = BodyKeeper(plan.keep)
    broken = await _read_body(keeper, receive, plan) if has_body(headers) else ""
    body = b"" if broken else keeper.body()
    request = Request(method, path, query, headers, body, keeper.too_large, broken)
    if plan.blocking:
        response = await run_in_threadpool(service.answer, request)
    else:
        response = service.answer(request)
    await _send(response, send, head_only=method == "HEAD", closing=bool(broken))


def _target(scope: Scope) -> tuple[str, str]:
    # raw_path is not in every server's scope; it has what `path` has lost, a leading http://host for example
    path = scope.get("raw_path")
    if path is None:
        return scope["path"] or "/", scope["query_string"].decode("latin-1")
    path, _ = split_target(path.decode("latin-1"))
    return path, scope["query_string"].decode("latin-1")


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


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
        keeper.add(message.get("body", b""))
        if not message.get("more_body", False):
            return True


async def _send(response: Response, send: Send, head_only: bool, closing: bool) -> None:
    headers = response_headers(response)
    if closing and not any(name.lower() == "connection" for name, _ in headers):
        headers += CLOSE  # the rest of the body would be taken for the next request
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head_only else response.body})
