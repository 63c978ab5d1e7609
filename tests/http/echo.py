"""A program for tests, whose service echoes each request.

`echo.py FRONT [drain_seconds=S] [head_seconds=S]`; for stdlib and flask also `max_connections=N`, for flask and
gunicorn `keep_alive=S`, for gunicorn `finish_seconds=S`, `workers=N`, `gevent=1`, `max_requests=N`,
`max_requests_jitter=N`, `timeout=S`, `graceful_timeout=S`.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from typing import Any

from drum_supervisor.contract.listener import parse_address
from drum_supervisor.contract.report_pipe import Reporter
from drum_supervisor.http.messages import BodyPlan, Pending, Request, Response, json_response
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.process import ServerConfig, StopSignals, take_listener
from drum_supervisor.services.executor import BoundedExecutor

SHOWN = ("accept", "content-type", "x-twice", "x-empty")


class EchoService:
    """Returns the request as JSON. The path selects the plan.

    `/keep/N` keeps N bytes of the body, `/hurry/N` drains it for N seconds, `/block/FIFO` takes until the FIFO is
    written to, `/limit/N/FIFO` too, but the client waits N seconds only, `/status/N` answers N.
    """

    def __init__(self) -> None:
        self._turns = BoundedExecutor(100)

    def plan(self, method: str, path: str) -> BodyPlan:
        kind, _, value = path[1:].partition("/")
        if kind == "keep":
            return BodyPlan(keep=int(value))
        if kind == "hurry":
            return BodyPlan(keep=1000, drain_seconds=float(value))
        return BodyPlan()

    def answer(self, request: Request) -> Response | Pending:
        kind, _, value = request.path[1:].partition("/")
        if kind == "block":
            return Pending(self._turns.submit(lambda: self._answer_after(f"/{value}", request)))
        if kind == "limit":
            seconds, _, fifo = value.partition("/")
            answer = self._turns.submit(lambda: self._answer_after(f"/{fifo}", request))
            return Pending(answer, float(seconds), json_response(504, {"too": "late"}))
        return self._answer(request, kind, value)

    def _answer_after(self, fifo: str, request: Request) -> Response:
        with open(fifo, encoding="utf-8") as gate:
            gate.read()
        return self._answer(request, "", "")

    def _answer(self, request: Request, kind: str, value: str) -> Response:
        status = int(value) if kind == "status" else 400 if request.body_broken else 200
        headers = (("X-Echo", request.method), ("X_Echo_Path", str(len(request.path))))
        if status in (204, 304):
            return Response(status, headers=headers)
        return json_response(status, _shown(request), headers)


def _shown(request: Request) -> dict[str, Any]:
    return {
        "pid": os.getpid() if request.path == "/pid" else 0,
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": {name: request.headers[name] for name in SHOWN if name in request.headers},
        "body": hashlib.sha256(request.body).hexdigest() if request.body else "",
        "length": len(request.body),
        "too_large": request.body_too_large,
        "broken": request.body_broken,
    }


def main(front: str, *options: str) -> None:
    stop = StopSignals()
    stop.install()
    reporter = Reporter.from_environment(os.environ)
    given = {name: float(value) for name, _, value in (option.partition("=") for option in options)}
    with take_listener(parse_address("127.0.0.1:0")) as listener:
        serve: Callable[..., int | None] = _SERVE[front]
        code = serve(listener, stop, reporter, {"drain_seconds": 10.0, **given})
    stop.exit(code or 0)


def _config(listener: Any, stop: StopSignals, reporter: Reporter, options: dict[str, Any]) -> ServerConfig:
    seconds = {name: options.pop(name) for name in ("drain_seconds", "head_seconds") if name in options}
    return ServerConfig(listener, stop, InitReport(reporter.send).report_ready, **seconds)


def _stdlib(listener: Any, stop: StopSignals, reporter: Reporter, options: dict[str, Any]) -> None:
    from drum_supervisor.servers import asyncio_server

    asyncio_server.serve(EchoService(), _config(listener, stop, reporter, options), **options)


def _fastapi(listener: Any, stop: StopSignals, reporter: Reporter, options: dict[str, Any]) -> None:
    from drum_supervisor.fronts import fastapi_front
    from drum_supervisor.servers import uvicorn_server

    app = fastapi_front.create_app(EchoService())
    uvicorn_server.serve(app, _config(listener, stop, reporter, options), **options)


def _flask(listener: Any, stop: StopSignals, reporter: Reporter, options: dict[str, Any]) -> None:
    from drum_supervisor.fronts import flask_front
    from drum_supervisor.servers import wsgi_server

    if "keep_alive" in options:
        options["keep_alive_seconds"] = options.pop("keep_alive")
    if "max_connections" in options:
        options["max_connections"] = int(options["max_connections"])
    app = flask_front.create_app(EchoService())
    wsgi_server.serve(app, _config(listener, stop, reporter, options), **options)


_GUNICORN_NUMBERS = ("max_requests", "max_requests_jitter", "timeout", "graceful_timeout", "keep_alive")


def _gunicorn(listener: Any, stop: StopSignals, reporter: Reporter, options: dict[str, Any]) -> int:
    from drum_supervisor.config.gunicorn import GunicornParameters
    from drum_supervisor.fronts import flask_front
    from drum_supervisor.servers.gunicorn import server

    numbers = {name: int(options.pop(name)) for name in _GUNICORN_NUMBERS if name in options}
    worker_class = "gevent" if options.pop("gevent", 0) else "sync"
    workers = int(options.pop("workers", 1))
    parameters = GunicornParameters(workers, backlog=100, worker_class=worker_class, **numbers)
    given = server.Options(parameters=parameters, **options)
    return server.serve(lambda *_: flask_front.create_app(EchoService()), listener, reporter.send, given)


_SERVE = {"stdlib": _stdlib, "fastapi": _fastapi, "flask": _flask, "gunicorn": _gunicorn}


if __name__ == "__main__":
    main(*sys.argv[1:])
