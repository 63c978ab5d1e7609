"""A program for tests that serves a service which answers with what it was asked.

`echo.py FRONT [drain_seconds=S] [head_seconds=S] [max_connections=N]`
"""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from drum_supervisor.contract.listener import parse_address
from drum_supervisor.contract.report import Reporter
from drum_supervisor.hosts.process import StopSignals, take_listener
from drum_supervisor.hosts.progress import Progress
from drum_supervisor.services.messages import Plan, Request, Response, json_response

SHOWN = ("accept", "content-type", "x-twice", "x-empty")


class EchoService:
    """Says what it was asked. The path decides on the plan.

    `/keep/N` keeps N bytes of the body, `/hurry/N` drains it for N seconds, `/block/FIFO` blocks until the FIFO is
    written to, `/status/N` answers N.
    """

    def plan(self, method: str, path: str) -> Plan:
        kind, _, value = path[1:].partition("/")
        if kind == "keep":
            return Plan(keep=int(value), blocking=True)
        if kind == "hurry":
            return Plan(keep=1000, drain_seconds=float(value))
        return Plan(blocking=kind == "block")

    def answer(self, request: Request) -> Response:
        kind, _, value = request.path[1:].partition("/")
        if kind == "block":
            with open(f"/{value}", encoding="utf-8") as fifo:
                fifo.read()
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
    stop.leave(code or 0)


def _stdlib(listener: Any, stop: StopSignals, reporter: Reporter, options: Mapping[str, Any]) -> None:
    from drum_supervisor.fronts import stdlib_front

    stdlib_front.serve(EchoService(), listener, stop, Progress(reporter.send).become_ready, **options)


def _fastapi(listener: Any, stop: StopSignals, reporter: Reporter, options: Mapping[str, Any]) -> None:
    from drum_supervisor.fronts import fastapi_front
    from drum_supervisor.hosts import uvicorn_host

    app = fastapi_front.create_app(EchoService())
    uvicorn_host.serve(app, listener, stop, Progress(reporter.send).become_ready, **options)


def _flask(listener: Any, stop: StopSignals, reporter: Reporter, options: Mapping[str, Any]) -> None:
    from drum_supervisor.fronts import flask_front
    from drum_supervisor.hosts import werkzeug_host

    app = flask_front.create_app(EchoService())
    werkzeug_host.serve(app, listener, stop, Progress(reporter.send).become_ready, **options)


def _gunicorn(listener: Any, stop: StopSignals, reporter: Reporter, options: Mapping[str, Any]) -> int:
    from drum_supervisor.fronts import flask_front
    from drum_supervisor.hosts import gunicorn_host

    given = gunicorn_host.Options(workers=1, backlog=100, **options)
    return gunicorn_host.serve(lambda _: flask_front.create_app(EchoService()), listener, reporter.send, given)


_SERVE = {"stdlib": _stdlib, "fastapi": _fastapi, "flask": _flask, "gunicorn": _gunicorn}


if __name__ == "__main__":
    main(*sys.argv[1:])
