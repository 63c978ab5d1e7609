"""Servers which answer with a failed initialization, in the process in which it failed."""

import os
import socket
import time
from typing import TYPE_CHECKING, Any

from drum_supervisor.config.settings import Settings, from_environment
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.listener import Address, address_of, bind, inherit_listener
from drum_supervisor.contract.report_pipe import init_failed
from drum_supervisor.servers import frameworks
from drum_supervisor.servers.process import ServerConfig, drain_seconds, log_line, stop_signals
from drum_supervisor.services.failure import FailureService

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flask import Flask

# The settings which an error server reads from the environment.
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
    """Answer with a failed initialization on Flask: 200 to `/`, `/ping` and `/health`, 513 to everything else.

    Without `app` it serves until SIGTERM or SIGINT. With a Flask application it replaces the application's responses
    and returns, which suits a gunicorn worker.

    Args:
        host: address to listen on; an IPv6 address without brackets.
        port: port to listen on; 0 takes a free one. The address is written to stderr.
        exc_value: why the initialization failed.
        app: the application to take over.
        listener: a bound socket, used instead of `host` and `port`.
        settings: prefix, status of probes, detail of the error; by default read from the environment.

    Raises:
        UsageError: `port` is None, or the environment's settings are wrong.
        AddressError: the address cannot be bound.
    """
    settings = settings or from_environment(_ERROR_SETTINGS, os.environ)
    service = _failure_service(exc_value, settings)
    front, server = frameworks.flask()
    if hasattr(app, "wsgi_app"):
        _replace_responses(app, front, service)
        return
    _serve_failure(server, front.create_app(service), listener or _bind(host, port), settings)


def run_error_server_fastapi(
    host: str,
    port: int | None,
    exc_value: BaseException,
    *,
    listener: socket.socket | None = None,
    settings: Settings | None = None,
) -> None:
    """Answer with a failed initialization on FastAPI and uvicorn, until SIGTERM or SIGINT.

    Arguments, responses and errors are those of `run_error_server`.
    """
    settings = settings or from_environment(_ERROR_SETTINGS, os.environ)
    front, server = frameworks.fastapi()
    app = front.create_app(_failure_service(exc_value, settings), "DRUM Error Server (FastAPI)")
    _serve_failure(server, app, listener or _bind(host, port), settings)


def _replace_responses(app: Any, front: frameworks.Front, service: FailureService) -> None:
    app.wsgi_app = front.create_app(service, app.import_name).wsgi_app


def _failure_service(error: BaseException, settings: Settings) -> FailureService:
    failure = init_failed(error, "")
    report = FailureReport(
        Cause.INIT_FAILED, failure.message, "", failure.type, failure.traceback, pid=os.getpid(), failed_at=time.time()
    ).masked()
    return FailureService(lambda: report, settings.error_detail, settings.failed_ping, settings.url_prefix)


def _bind(host: str, port: int | None) -> socket.socket:
    if port is None:
        raise UsageError(f"The error server has no port for {host!r}: give an address like {host or '0.0.0.0'}:8080.")
    return inherit_listener() or bind(Address(host, port))


def _serve_failure(server: frameworks.Server, app: Any, listener: socket.socket, settings: Settings) -> None:
    with listener, stop_signals() as stop:
        log_line(f"Serving this failure on {address_of(listener).url()} (pid {os.getpid()}) until SIGTERM or Ctrl-C.")
        server.serve(app, ServerConfig(listener, stop, lambda: None, drain_seconds(settings.stop_timeout)))
