"""The lifecycle of a serving process, for Flask and FastAPI: start, fail visibly, shut down in order."""

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

from drum_supervisor.config.parsers import RUNTIME_PARAMETER_PREFIX, parse_runtime_parameter
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

SERVER_TYPE = RUNTIME_PARAMETER_PREFIX + "DRUM_SERVER_TYPE"

# The last stage: import of the framework, and start of the application.
STARTING_SERVER = "starting the server"

_log = logging.getLogger(__name__)


class Runner(Protocol):
    def terminate(self) -> None: ...


class DrumRuntime:
    """The context around a model server: shuts everything down in order, and reports a failed initialization.

    Under the supervisor a failure goes to the report pipe, and the supervisor starts the error server. Without it, and
    with `options.with_error_server`, the error server runs here until it is stopped. The exception propagates.

    Args:
        app: the application of a third-party server, for example gunicorn's.
        flask_app: the former name of `app`.
        progress: reports to the supervisor, by default over the report pipe.
        stop: the process's signal handlers, if already installed.

    Attributes:
        options: None until known, then `drum_supervisor.config.settings.Settings`, or any object with
            `with_error_server`, `address` (`HOST:PORT`) and optionally `server_type`.
        cm_runner: `terminate()` is called at the end.
        trace_provider, metric_provider, log_provider: shut down at the end, in this order.
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
    def flask_app(self) -> "Flask | FastAPI | None":  # the former name of `app`
        return self.app

    @property
    def initialization_succeeded(self) -> bool:
        """Whether the model is ready; setting it reports readiness to the supervisor."""
        return self.progress.is_ready

    @initialization_succeeded.setter
    def initialization_succeeded(self, value: bool) -> None:
        if value:
            self.progress.report_ready()
        else:
            self.progress.is_ready = False

    @cached_property
    def telemetry(self) -> Telemetry:
        """Built on first use from the providers set by then."""
        return Telemetry(self.trace_provider, self.metric_provider, self.log_provider)

    def set_up_telemetry(self, shutdown_seconds: float) -> None:
        """Set the providers, if none is set and the environment names a collector; they shut down in that time."""
        if not any((self.trace_provider, self.metric_provider, self.log_provider)):
            self.trace_provider, self.metric_provider, self.log_provider = setup_otel(
                self._environ, shutdown_seconds=shutdown_seconds / 3, make_global=True
            )

    def take_listener(self, address: Address) -> socket.socket:
        """Return the supervisor's listener, or one bound to `address` (AddressError); the runtime closes it."""
        if self._listener is None:
            self._listener = take_listener(address)
        return self._listener

    def __enter__(self) -> "DrumRuntime":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Return True without an exception, and False with one, so that it propagates."""
        # The order is promised: `cm_runner`, the providers of traces, metrics and logs, the error server.
        failure = exc_value if self._is_failure(exc_value) else None
        is_reported = failure is not None and self.progress.is_supervised
        # The supervisor stops a program which reported its failure, but telemetry is still to be sent.
        with stop_signals_ignored() if is_reported else nullcontext():
            if is_reported:
                self._close_listener()  # so that no client waits for this process
            if failure is not None:
                self._report(failure)
            self._shut_down()
        if failure is not None and not is_reported and getattr(self.options, "with_error_server", False):
            with _logged("The error server cannot run"):
                self.progress.fail(failure)
                self._serve_error(failure)
        self._close_listener()
        return exc_value is None

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()

    def _is_failure(self, error: BaseException | None) -> bool:
        """Whether `error` is a failed initialization: an exit is, a stop is not."""
        if error is None or self.initialization_succeeded or isinstance(error, KeyboardInterrupt | Stopped):
            return False
        return self.stop is None or not self.stop.requested  # user code may turn a stop into another exception

    def _report(self, failure: BaseException) -> None:
        if self.progress.is_supervised:
            self.progress.report_failure(failure)
        with _logged("The failure cannot be recorded"):
            self.telemetry.record_failure(failure, self.progress.stage)

    def _shut_down(self) -> None:
        if self.cm_runner is not None:
            with _logged("cm_runner.terminate() failed"):
                self.cm_runner.terminate()
        for name in ("trace_provider", "metric_provider", "log_provider"):
            provider = getattr(self, name)
            if provider is not None:
                with _logged(f"{name}.shutdown() failed"):
                    provider.shutdown()

    def _serve_error(self, failure: BaseException) -> None:
        option = self.options.address
        address = option if isinstance(option, Address) else parse_address(str(option))
        options: dict[str, Any] = {}
        if self._listener is not None or address.path:
            options["listener"] = self.take_listener(address)
        if isinstance(self.options, Settings):
            options["settings"] = self.options
        if self._serves_fastapi():
            run_error_server_fastapi(address.host, address.port, failure, **options)
        else:
            run_error_server(address.host, address.port, failure, self.app, **options)

    def _serves_fastapi(self) -> bool:
        default = parse_runtime_parameter(self._environ.get(SERVER_TYPE, ""))
        return str(getattr(self.options, "server_type", default)).strip().lower() in ("fastapi", "uvicorn")


@contextmanager
def _logged(failure: str) -> Iterator[None]:
    """Log an exception of the block, which must hide neither another nor the original one."""
    try:
        yield
    except DrumSupervisorError as error:
        _log.error("%s: %s", failure, error)
    except BaseException:  # noqa: BLE001 - the exit or the original exception follows
        _log.exception("%s.", failure)


class CMRunner:
    """Loads the model and serves it.

    Args:
        runtime: has the `options`, and reports the progress.
        app: the application of a third-party server; by default the runtime's.
        worker_ctx: the `WorkerCtx` or `FastAPIWorkerCtx` of a third-party worker, which starts and stops it.
    """

    def __init__(self, runtime: DrumRuntime, app: "Flask | FastAPI | None" = None, worker_ctx: Any = None) -> None:
        self.runtime = runtime
        self.app = runtime.app if app is None else app
        self.worker_ctx = worker_ctx
        self._worker: Worker | None = None

    def run(self) -> None:
        """Load the model and serve it until stopped; with an application, add the model to it and return.

        Raises:
            UsageError: invalid options, or an invalid model.
            AddressError: the address cannot be bound.
            Stopped: a stop signal of the runtime arrived while the model was loading.
            BaseException: any exception of user code.
        """
        settings = from_options(self.runtime.options, os.environ)
        if self.app is not None:
            self._build_worker(settings)
        elif self.runtime.stop is not None:
            self._serve(settings, self.runtime.stop)
        else:
            with stop_signals() as stop, suppress(Stopped):
                self._serve(settings, stop)

    def terminate(self) -> None:
        """Stop and clean up the worker, unless it is a third party's; may be called again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _serve(self, settings: Settings, stop: StopSignals) -> None:
        listener = self.runtime.take_listener(settings.address)
        with ExitStack() as initialization:
            initialization.enter_context(stop.raise_on_stop())  # no client is waiting yet
            worker = self._build_worker(settings)

            def on_ready() -> None:
                stop.install()  # user code may have replaced the handlers
                initialization.close()
                self.runtime.initialization_succeeded = True

            finish = finish_seconds(settings) if self.runtime.telemetry.enabled else 0.0
            worker.serve(ServerConfig(listener, stop, on_ready, drain_seconds(settings.stop_timeout, finish)))

    def _build_worker(self, settings: Settings) -> Worker:
        runtime = self.runtime
        runtime.set_up_telemetry(finish_seconds(settings))
        started = time.monotonic()
        model = load(settings, runtime.progress.begin_stage)
        runtime.telemetry.record_load(time.monotonic() - started)
        runtime.progress.begin_stage(STARTING_SERVER)
        # Under gunicorn the whole server is the master and its descendants.
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
        if not settings.max_requests or settings.server_type == "gunicorn":  # gunicorn counts by itself
            return lambda: None
        return self.runtime.progress.limit_requests(settings.max_requests).count

    def _extend(self, code_dir: Path, framework: str, app: Any) -> None:
        reach = self.runtime.progress.begin_stage
        if extend(app, framework, code_dir, reach):
            reach(STARTING_SERVER)


def finish_seconds(settings: Settings) -> float:
    """Return the time limit for sending the last telemetry, after the last response."""
    return min(3 * SHUTDOWN_SECONDS, settings.stop_timeout / 4)
