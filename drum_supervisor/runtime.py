"""The lifecycle of a process that serves a model, for Flask and FastAPI alike: begin, fail visibly, end in order."""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from drum_supervisor.config.parsers import RUNTIME_PARAMETER, runtime_parameter
from drum_supervisor.config.settings import Settings, from_options
from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.listener import Address, parse_address
from drum_supervisor.model.extension import extend
from drum_supervisor.model.loading import load
from drum_supervisor.otel.providers import Provider
from drum_supervisor.resource_monitor import ResourceMonitor
from drum_supervisor.servers.error_servers import run_error_server, run_error_server_fastapi
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.process import (
    ServerConfig,
    Stopped,
    StopSignals,
    drain_seconds,
    stop_signals,
    stop_signals_ignored,
    take_listener,
)
from drum_supervisor.servers.worker import Embedding, Worker
from drum_supervisor.services.model import ModelService
from drum_supervisor.telemetry import SHUTDOWN_SECONDS, Telemetry, setup_otel

if TYPE_CHECKING:
    from fastapi import FastAPI
    from flask import Flask

__all__ = ["CMRunner", "DrumRuntime", "run_error_server", "run_error_server_fastapi"]

SERVER_TYPE = RUNTIME_PARAMETER + "DRUM_SERVER_TYPE"

# The last stage: importing the framework, and the start of the application.
STARTING_SERVER = "starting the server"

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """What a runtime owns; `CMRunner` is one."""

    def terminate(self) -> None:
        """End what runs; called once, whatever happened before."""


class DrumRuntime:
    """Around everything that a model server does: whatever ends it, all is ended in order, and a failure is told.

    Whether an initialization that fails is answered with the error by a server depends on `options.with_error_server`.
    Under the supervisor it is reported, and the supervisor starts the error server; without one it runs right here,
    until a stop is asked for. The exception is raised on in any case.

    Args:
        app: the application of somebody else's server, if there is one: gunicorn's, for example.
        flask_app: the former name of `app`.
        progress: tells the supervisor; by default through the report pipe, if there is one.
        stop: the signals of the process, if somebody has taken them.
        environ: the environment.

    Attributes:
        options: how to serve, None until it is known: `drum_supervisor.config.settings.Settings`, or anything that has
            `with_error_server`, `address` (`HOST:PORT`) and perhaps `server_type`.
        cm_runner: what runs; its `terminate()` is called in the end.
        trace_provider, metric_provider, log_provider: shut down in the end, in this order.
    """

    def __init__(
        self,
        app: "Flask | FastAPI | None" = None,
        *,
        flask_app: "Flask | FastAPI | None" = None,
        progress: InitReport | None = None,
        stop: StopSignals | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if flask_app is not None:
            warnings.warn("DrumRuntime(flask_app=...) is DrumRuntime(app=...) now.", DeprecationWarning, stacklevel=2)
            if app is not None:
                raise TypeError("DrumRuntime takes app or flask_app, not both.")
        self.app = flask_app if app is None else app
        self.options: Any = None
        self.cm_runner: Runner | None = None
        self.trace_provider: Provider | None = None
        self.metric_provider: Provider | None = None
        self.log_provider: Provider | None = None
        self.progress = progress or InitReport.from_environment(environ)
        self.stop = stop
        self._environ = environ
        self._listener: socket.socket | None = None

    @property
    def flask_app(self) -> "Flask | FastAPI | None":
        """The former name of `app`."""
        return self.app

    @property
    def initialization_succeeded(self) -> bool:
        """Whether the model is ready. Setting it tells the supervisor: this is what readiness is reported from."""
        return self.progress.is_ready

    @initialization_succeeded.setter
    def initialization_succeeded(self, value: bool) -> None:
        if value:
            self.progress.report_ready()
        else:
            self.progress.is_ready = False

    @cached_property
    def telemetry(self) -> Telemetry:
        """What the collector is told; set the providers before the first use."""
        return Telemetry(self.trace_provider, self.metric_provider, self.log_provider)

    def set_up_telemetry(self, shutdown_seconds: float) -> None:
        """Set the providers, unless some are set, if the environment names a collector.

        Args:
            shutdown_seconds: how long their shutdown may take, all together.
        """
        if not any((self.trace_provider, self.metric_provider, self.log_provider)):
            self.trace_provider, self.metric_provider, self.log_provider = setup_otel(
                self._environ, shutdown_seconds=shutdown_seconds / 3, make_global=True
            )

    def take_listener(self, address: Address) -> socket.socket:
        """Return the listener of the supervisor, or one that is bound to `address`; kept until the runtime ends.

        Raises:
            AddressError: it cannot be bound.
        """
        if self._listener is None:
            self._listener = take_listener(address)
        return self._listener

    def __enter__(self) -> "DrumRuntime":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Shut everything down; return True without an exception, and False with one, which so is raised on.

        The order is a promise: `cm_runner`, then the providers of traces, metrics and logs, then the error server.
        """
        failure = exc_value if self._is_failure(exc_value) else None
        is_reported = failure is not None and self.progress.is_supervised
        # The supervisor stops a program that has reported its failure: the rest is still to be sent.
        with stop_signals_ignored() if is_reported else nullcontext():
            if is_reported:
                self._close_listener()  # no client waits for somebody who will not answer
            if failure is not None:
                self._tell(failure)
            self._shut_down()
        if failure is not None and not is_reported and getattr(self.options, "with_error_server", False):
            with _guarded("The error server cannot run"):
                self.progress.fail(failure)
                self._serve_error(failure)
        self._close_listener()
        return exc_value is None

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _is_failure(self, error: BaseException | None) -> bool:
        """Whether `error` means that the initialization failed: an exit does, somebody's stop does not."""
        if error is None or self.initialization_succeeded or isinstance(error, KeyboardInterrupt | Stopped):
            return False
        return self.stop is None or not self.stop.requested  # the user's code makes other exceptions of a stop

    def _tell(self, failure: BaseException) -> None:
        if self.progress.is_supervised:
            self.progress.report_failure(failure)
        with _guarded("The failure cannot be recorded"):
            self.telemetry.record_failure(failure, self.progress.stage)

    def _shut_down(self) -> None:
        if self.cm_runner is not None:
            with _guarded("cm_runner.terminate() failed"):
                self.cm_runner.terminate()
        for name in ("trace_provider", "metric_provider", "log_provider"):
            provider = getattr(self, name)
            if provider is not None:
                with _guarded(f"{name}.shutdown() failed"):
                    provider.shutdown()

    def _serve_error(self, failure: BaseException) -> None:
        given = self.options.address
        address = given if isinstance(given, Address) else parse_address(str(given))
        how: dict[str, Any] = {}
        if self._listener is not None or address.path:
            how["listener"] = self.take_listener(address)
        if isinstance(self.options, Settings):
            how["settings"] = self.options
        if self._serves_fastapi():
            run_error_server_fastapi(address.host, address.port, failure, **how)
        else:
            run_error_server(address.host, address.port, failure, self.app, **how)

    def _serves_fastapi(self) -> bool:
        if hasattr(self.options, "server_type"):
            server_type = self.options.server_type
        else:
            server_type = runtime_parameter(self._environ.get(SERVER_TYPE, ""))
        return str(server_type).strip().lower() in ("fastapi", "uvicorn")


@contextmanager
def _guarded(what_failed: str) -> Iterator[None]:
    """Log what the block raises: one failure must hide neither another nor the original error."""
    try:
        yield
    except DrumSupervisorError as error:
        _log.error("%s: %s", what_failed, error)
    except BaseException:  # noqa: BLE001 - it ends in an exit or goes on to the original error
        _log.exception("%s.", what_failed)


class CMRunner:
    """Owns the loaded model and runs it.

    Args:
        runtime: its `options` say what to load and how to serve it; it is told how far that has come.
        app: the application of somebody else's server; the runtime's, if there is one.
        worker_ctx: the `WorkerCtx` or `FastAPIWorkerCtx` of somebody else's worker, who starts and stops it.
    """

    def __init__(self, runtime: DrumRuntime, app: "Flask | FastAPI | None" = None, worker_ctx: Any = None) -> None:
        self.runtime = runtime
        self.app = runtime.app if app is None else app
        self.worker_ctx = worker_ctx
        self._worker: Worker | None = None

    def run(self) -> None:
        """Load the model and serve it until a stop is asked for; given an application, put it on that and return.

        Raises:
            UsageError: the options are wrong, or the model is; in a sentence that says what to do.
            AddressError: the address cannot be bound.
            Stopped: by the stop signals of the runtime, while the model was being loaded.
            BaseException: whatever the user's code raises.
        """
        settings = from_options(self.runtime.options, os.environ)
        if self.app is not None:
            self._begin(settings)
        elif self.runtime.stop is not None:
            self._serve(settings, self.runtime.stop)
        else:
            with stop_signals() as stop, suppress(Stopped):
                self._serve(settings, stop)

    def terminate(self) -> None:
        """End what lives as long as the worker, unless that is somebody else's; again: does nothing."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _serve(self, settings: Settings, stop: StopSignals) -> None:
        listener = self.runtime.take_listener(settings.address)
        with ExitStack() as initialization:
            initialization.enter_context(stop.raise_on_stop())  # there is no client to answer yet
            worker = self._begin(settings)

            def on_ready() -> None:
                stop.install()  # the user's code may have taken the signals
                initialization.close()
                self.runtime.initialization_succeeded = True

            finish = finish_seconds(settings) if self.runtime.telemetry.enabled else 0.0
            worker.serve(ServerConfig(listener, stop, on_ready, drain_seconds(settings.stop_timeout, finish)))

    def _begin(self, settings: Settings) -> Worker:
        """Load the model and put it on an application."""
        runtime = self.runtime
        runtime.set_up_telemetry(finish_seconds(settings))
        began = time.monotonic()
        model = load(settings, runtime.progress.begin_stage)
        runtime.telemetry.record_load(time.monotonic() - began)
        runtime.progress.begin_stage(STARTING_SERVER)
        # Under gunicorn the whole server is the master, and whatever is below it.
        monitor = ResourceMonitor(pid=os.getppid() if settings.server_type == "gunicorn" else None)
        service = ModelService(model, settings, monitor=monitor)
        worker = self._worker = Worker(
            service,
            runtime.telemetry,
            settings.server_type,
            Embedding(self.app, self.worker_ctx),
            on_answer=self._on_answer(settings),
            extend=partial(self._extend, model.code_dir),
        )
        worker.context.add_closeable(monitor)
        worker.context.add_closeable(service)
        return worker

    def _on_answer(self, settings: Settings) -> Callable[[], None]:
        """Count requests where they are limited; gunicorn counts those of its workers itself."""
        if not settings.max_requests or settings.server_type == "gunicorn":
            return lambda: None
        return self.runtime.progress.limit_requests(settings.max_requests).count

    def _extend(self, code_dir: Path, framework: str, app: Any) -> None:
        reach = self.runtime.progress.begin_stage
        if extend(app, framework, code_dir, reach):
            reach(STARTING_SERVER)


def finish_seconds(settings: Settings) -> float:
    """Return how long it may take to send the last telemetry, once everything is answered."""
    return min(3 * SHUTDOWN_SECONDS, settings.stop_timeout / 4)
