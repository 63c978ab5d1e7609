"""Servers that answer with a failed initialization, in the process in which it failed."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from drum_supervisor.config.settings import Settings, from_environment
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.listener import Address, address_of, bind, inherit_listener
from drum_supervisor.contract.report_pipe import init_failed
from drum_supervisor.http.messages import Service
from drum_supervisor.servers import frameworks
from drum_supervisor.servers.process import drain_seconds, stop_signals, tell
from drum_supervisor.services.failure import FailureService

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flask import Flask

# What an error server takes from the environment.
_ERROR_SETTINGS = ("url_prefix", "error_detail", "failed_ping", "stop_timeout")


def run_error_server(
    host: str,
    port: int | None,
    exc_value: BaseException,
    app: "Flask | FastAPI | None" = None,
    *,
    listener: socket.socket | None = None,
    settings: Settings | None = None,
) -> None:
    """Answer with a failed initialization, by Flask: 200 to `/`, `/ping` and `/health`, and 513 to everything else.

    Without an application it serves until SIGTERM or SIGINT. Given one of Flask's it makes that answer so, and
    returns, as a gunicorn worker needs it.

    Args:
        host: to listen on, an IPv6 address without brackets.
        port: to listen on; 0 takes a free one. The address is written to stderr.
        exc_value: why the initialization failed.
        app: the application to take over.
        listener: already bound; `host` and `port` are not looked at.
        settings: prefix, status of probes, how much of the error is shown; by default the environment's.

    Raises:
        UsageError: there is no port, or the environment's settings are wrong.
        AddressError: it cannot be bound.
    """
    settings = settings or from_environment(_ERROR_SETTINGS, os.environ)
    service = _failure_service(exc_value, settings)
    if hasattr(app, "wsgi_app"):
        from drum_supervisor.fronts import flask_front  # noqa: PLC0415

        flask_front.take_over(app, service)
        return
    front, host_ = frameworks.flask()
    _serve_failure(partial(host_.serve, front.create_app(service)), listener or _bound(host, port), settings)


def run_error_server_fastapi(
    host: str,
    port: int | None,
    exc_value: BaseException,
    *,
    listener: socket.socket | None = None,
    settings: Settings | None = None,
) -> None:
    """Answer with a failed initialization, by FastAPI on uvicorn, until SIGTERM or SIGINT.

    Arguments, answers and errors are those of `run_error_server`.
    """
    settings = settings or from_environment(_ERROR_SETTINGS, os.environ)
    front, host_ = frameworks.fastapi()
    app = front.create_app(_failure_service(exc_value, settings), "DRUM Error Server (FastAPI)")
    _serve_failure(partial(host_.serve, app), listener or _bound(host, port), settings)


def _failure_service(error: BaseException, settings: Settings) -> Service:
    told = init_failed(error, "")
    report = FailureReport(
        Cause.INIT_FAILED, told.message, "", told.type, told.traceback, pid=os.getpid(), failed_at=time.time()
    ).masked()
    return FailureService(lambda: report, settings.error_detail, settings.failed_ping, settings.url_prefix)


def _bound(host: str, port: int | None) -> socket.socket:
    if port is None:
        raise UsageError(f"The error server has no port for {host!r}: give an address like {host or '0.0.0.0'}:8080.")
    return inherit_listener() or bind(Address(host, port))


def _serve_failure(serve: Callable[..., None], listener: socket.socket, settings: Settings) -> None:
    with listener, stop_signals() as stop:
        tell(f"Serving this failure on {address_of(listener).url()} (pid {os.getpid()}) until SIGTERM or Ctrl-C.")
        serve(listener, stop, lambda: None, drain_seconds(settings.stop_timeout))
