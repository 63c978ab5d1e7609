"""The Flask front: a service as a WSGI application, whose extensions, blueprints for example, are Flask's."""

import socket
from collections.abc import Mapping, MutableMapping
from concurrent.futures import TimeoutError as FutureTimeoutError  # another one than TimeoutError before 3.11
from contextlib import suppress
from typing import Any

from flask import Flask, request
from flask import Response as FlaskResponse

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.fronts.wsgi import CONNECTION, ObservedApplication, headers_of, path_of
from drum_supervisor.http.body import BodyKeeper
from drum_supervisor.http.deadlines import Deadlines
from drum_supervisor.http.encoding import BAD_CHUNKS, CLIENT_GONE, PIECE, has_body, response_headers, too_slow
from drum_supervisor.http.messages import Pending, Plan, Response, Service

# Where a WSGI server puts the connection: not in the standard, but we do, and werkzeug and gunicorn.
_CONNECTIONS = (CONNECTION, "werkzeug.socket", "gunicorn.socket")

# What werkzeug's router says about a route that was added later: "add a slash", and "not with this method".
_ROUTE_IS_FOUND = (308, 405)


def create_app(service: Service, name: str = "drum_supervisor") -> Flask:
    """Return an application that hands every request to `service` which no route of its own takes.

    Nothing is served that the service does not know: no static files, no redirects. Routes that are added later come
    first, `before_request` functions and the like that are added later see every request.
    """
    app = new_app(name)
    mount(app, service)
    return app


def new_app(name: str = "drum_supervisor") -> Flask:
    """Return an application that serves nothing yet."""
    return Flask(name, static_folder=None)


def mount(app: Flask, service: Service) -> None:
    """Let `service` answer every request to `app` that no route of the application takes."""
    dispatch, deadlines = app.dispatch_request, Deadlines()

    def dispatch_or_answer(*context: Any) -> Any:
        failure = request.routing_exception
        if failure is None or failure.code in _ROUTE_IS_FOUND:
            return dispatch(*context)
        return _flask_response(_answer(service, request.environ, deadlines))

    app.dispatch_request = dispatch_or_answer  # type: ignore[method-assign]


def take_over(app: Any, service: Service) -> None:
    """Let `service` answer every request to `app`, one of Flask's, and nothing of the application any."""
    app.wsgi_app = create_app(service, app.import_name).wsgi_app


def observe(app: Flask, observer: Observer) -> None:
    """Let `observer` see every request to `app`, from outside of all that it does."""
    app.wsgi_app = ObservedApplication(app.wsgi_app, observer)  # type: ignore[method-assign]


def _answer(service: Service, environ: MutableMapping[str, Any], deadlines: Deadlines) -> Response:
    method, path = environ["REQUEST_METHOD"].upper(), path_of(environ)
    plan = service.plan(method, path)
    headers = headers_of(environ)
    with BodyKeeper(plan.keep) as keeper:
        broken = _read_body(keeper, environ, plan, deadlines) if has_body(headers) else ""
        query = environ.get("QUERY_STRING", "")
        response = service.answer(keeper.request(method, path, query, headers, broken))
        return _outcome(response) if isinstance(response, Pending) else response


def _outcome(pending: Pending) -> Response:
    try:
        return pending.future.result(pending.seconds)
    except FutureTimeoutError:
        pending.future.cancel()
        return pending.too_late


def _connection(environ: Mapping[str, Any]) -> socket.socket | None:
    return next((environ[key] for key in _CONNECTIONS if key in environ), None)


def _read_body(keeper: BodyKeeper, environ: Mapping[str, Any], plan: Plan, deadlines: Deadlines) -> str:
    """Read the body to its end; return why that failed, or an empty text.

    After `plan.drain_seconds` the connection is made to be at its end. A time-out of the socket would not do: it
    begins anew with each byte, and servers read until a buffer is full.
    """
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    give_up = _GiveUp(_connection(environ))
    try:
        with deadlines.after(plan.drain_seconds, give_up):
            while (piece := request.stream.read(PIECE)) and not give_up.called:
                keeper.add(piece)
        # gunicorn ends a body that is too short as if it were complete
        is_short = not is_chunked and keeper.length < (request.content_length or 0)
    except Exception:  # noqa: BLE001 - each server has its own errors for what clients do
        is_short = True
    if give_up.called:
        return too_slow(plan.drain_seconds)
    return (BAD_CHUNKS if is_chunked else CLIENT_GONE) if is_short else ""


class _GiveUp:
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
        result.headers.pop("Content-Type", None)  # Flask's own
    return result
