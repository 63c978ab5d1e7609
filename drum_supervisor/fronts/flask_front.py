"""The Flask front: a service as a WSGI application, which users extend as usual in Flask."""

import socket
from collections.abc import Mapping, MutableMapping
from concurrent.futures import TimeoutError as FutureTimeoutError  # not the built-in one before Python 3.11
from contextlib import suppress
from typing import Any

from flask import Flask, request
from flask import Response as FlaskResponse

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.fronts.wsgi import ObservedWsgiApp, headers_of, path_of
from drum_supervisor.http.body import BodySpool
from drum_supervisor.http.deadlines import Deadlines
from drum_supervisor.http.encoding import (
    BAD_CHUNKS,
    CLIENT_GONE,
    READ_SIZE,
    describe_timeout,
    has_body,
    response_headers,
)
from drum_supervisor.http.messages import BodyPlan, Pending, Response, Service

# Environ keys of the connection: werkzeug and gunicorn pass it, although PEP 3333 does not define one.
_CONNECTION_KEYS = ("gunicorn.socket", "werkzeug.socket")

# The status of a routing exception for a route which exists: redirect to the form with a slash, wrong method.
_ROUTE_EXISTS = (308, 405)


def create_app(service: Service, name: str = "drum_supervisor") -> Flask:
    """Return an application in which `service` answers every request without a route of its own.

    It serves nothing else: no static files, no redirects. Routes added later come first; `before_request` functions and
    the like added later see every request.
    """
    app = new_app(name)
    mount(app, service)
    return app


def new_app(name: str = "drum_supervisor") -> Flask:
    """Return an application without routes."""
    return Flask(name, static_folder=None)


def mount(app: Flask, service: Service) -> None:
    """Let `service` answer every request for which `app` has no route."""
    dispatch, deadlines = app.dispatch_request, Deadlines()

    def dispatch_or_respond(*context: Any) -> Any:
        failure = request.routing_exception
        if failure is None or failure.code in _ROUTE_EXISTS:
            return dispatch(*context)
        return _flask_response(_respond(service, request.environ, deadlines))

    app.dispatch_request = dispatch_or_respond  # type: ignore[method-assign]


def observe(app: Flask, observer: Observer) -> None:
    """Let `observer` see every request to `app`, outside of everything it does."""
    app.wsgi_app = ObservedWsgiApp(app.wsgi_app, observer)  # type: ignore[method-assign]


def _respond(service: Service, environ: MutableMapping[str, Any], deadlines: Deadlines) -> Response:
    method, path = environ["REQUEST_METHOD"].upper(), path_of(environ)
    plan = service.plan(method, path)
    headers = headers_of(environ)
    with BodySpool(plan.keep) as spool:
        broken = _read_body(spool, environ, plan, deadlines) if has_body(headers) else ""
        query = environ.get("QUERY_STRING", "")
        response = service.answer(spool.build_request(method, path, query, headers, broken))
        return _await_response(response) if isinstance(response, Pending) else response


def _await_response(pending: Pending) -> Response:
    try:
        return pending.future.result(pending.seconds)
    except FutureTimeoutError:
        pending.future.cancel()
        return pending.timeout_response


def _connection(environ: Mapping[str, Any]) -> socket.socket | None:
    return next((environ[key] for key in _CONNECTION_KEYS if key in environ), None)


def _read_body(spool: BodySpool, environ: Mapping[str, Any], plan: BodyPlan, deadlines: Deadlines) -> str:
    """Read the body to its end; return why that failed, or an empty string.

    After `plan.drain_seconds` the receiving side of the connection is shut down. A socket timeout would not do: it
    starts again with each byte, and servers read until a buffer is full.
    """
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    close_reading = _CloseReading(_connection(environ))
    try:
        with deadlines.after(plan.drain_seconds, close_reading):
            while (piece := request.stream.read(READ_SIZE)) and not close_reading.called:
                spool.add(piece)
        # some servers end a truncated body as if it were complete
        is_short = not is_chunked and spool.length < (request.content_length or 0)
    except Exception:  # noqa: BLE001 - each server raises its own errors for bad clients
        is_short = True
    if close_reading.called:
        return describe_timeout(plan.drain_seconds)
    return (BAD_CHUNKS if is_chunked else CLIENT_GONE) if is_short else ""


class _CloseReading:
    def __init__(self, connection: socket.socket | None) -> None:
        self.called = False
        self._connection = connection

    def __call__(self) -> None:
        self.called = True
        if self._connection is not None:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RD)


def _flask_response(response: Response) -> FlaskResponse:
    headers = response_headers(response)
    result = FlaskResponse(response.body, response.status, headers)
    if response.status in (204, 304):
        result.headers.pop("Content-Type", None)  # set by Flask
    return result
