"""From settings to programs: which commands run, which inherit the listener, how readiness is detected."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import drum_supervisor
from drum_supervisor.config.settings import Settings, to_arguments
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.fds import LISTENER_FD
from drum_supervisor.contract.listener import Address
from drum_supervisor.otel.environment import exports_metrics
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.command import Command
from drum_supervisor.supervise.programs.program import (
    ERROR_SERVER,
    EXPORTER,
    MODEL_SERVER,
    STAND_IN,
    STANDBY_SUFFIX,
    Program,
    Programs,
    Readiness,
)

_FOR_PROMETHEUS = "prometheus_client"
_FOR_OTLP = "opentelemetry.exporter.otlp.proto.http"
_MODEL_SETTINGS = (
    "code_dir target_type server_type positive_class_label negative_class_label class_labels class_labels_file "
    "url_prefix max_body max_concurrent_requests max_queue_depth request_timeout max_requests stop_timeout backlog"
).split()
_ERROR_SETTINGS = "server_type failed_ping error_detail url_prefix stop_timeout".split()


def plan_programs(settings: Settings, command: Command, address: Address, run_dir: RunDir) -> Programs:
    """Return the programs for `settings` and the user's command.

    Args:
        address: the one that is served, with the real port.

    Raises:
        UsageError: nothing to run, or options that contradict each other.
    """
    shared = is_listener_shared(settings, command)
    readiness = _readiness(settings, command, shared)
    count = count_workers(settings, command, shared)
    model = _model_argv(settings, address) if command.built_in else _fill_placeholders(command, address)
    workers = _workers(command, model, count, run_dir.notify_socket if readiness is Readiness.NOTIFY else None)
    can_overlap = shared and readiness is Readiness.REPORT
    failure = _failure_arguments(settings, address, run_dir)
    error = (*python_command("serve.error"), *failure)
    return Programs(
        workers=workers,
        standbys=tuple(_standby(worker, count) for worker in workers) if can_overlap else (),
        error_server=Program(ERROR_SERVER, ERROR_SERVER, error),
        plain_error_server=Program(ERROR_SERVER, ERROR_SERVER, (*error, "--plain", "true")),
        stand_in=Program(STAND_IN, STAND_IN, (*_STAND_IN, *failure, "--starting", "true")),
        shared=shared,
        readiness=readiness,
        server_type=settings.server_type if command.built_in else command.name,
        built_in=command.built_in,
    )


def plan_exporter(settings: Settings, environ: Mapping[str, str], run_dir: RunDir) -> Program | None:
    """Return the exporter if metrics are offered on an address or sent to a collector, else None.

    Raises:
        UsageError: there is an address, but prometheus_client is not installed.
    """
    if settings.metrics_address and not _is_installed(_FOR_PROMETHEUS):
        raise UsageError(
            f"--metrics-address {settings.metrics_address}: metrics need {_FOR_PROMETHEUS}, which is not installed: "
            "pip install 'drum_supervisor[metrics]'."
        )
    sends = exports_metrics(environ) and _is_installed(_FOR_OTLP)
    if not settings.metrics_address and not sends:
        return None
    options = ("--socket", str(run_dir.socket), "--stop-timeout", f"{settings.stop_timeout:g}")
    return Program(EXPORTER, EXPORTER, (*python_command("serve.exporter"), *options))


def _is_installed(module: str) -> bool:
    """Look for a module without importing it; OpenTelemetry's parent packages have no code."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def make_paths_absolute(settings: Settings) -> Settings:
    """Return settings that mean the same files in any working directory."""
    paths = {name: getattr(settings, name) for name in ("code_dir", "class_labels_file")}
    return replace(settings, **{name: os.path.abspath(path) for name, path in paths.items() if path})


def is_listener_shared(settings: Settings, command: Command) -> bool:
    """Return whether the model server inherits the listener."""
    if settings.listener == "auto":
        return command.built_in or command.uses("fd") or command.takes_listener
    if settings.listener == "bind" and command.uses("fd"):
        raise UsageError("--listener bind: the command uses {fd}, which only an inherited listener has.")
    return settings.listener == "inherit"


def count_workers(settings: Settings, command: Command, shared: bool) -> int:
    """Return the number of model server processes that the supervisor itself starts."""
    if command.built_in and settings.server_type == "gunicorn":
        return 1  # its master starts the workers
    if command.starts_workers:
        return 1
    if settings.workers > 1 and not shared:
        raise UsageError(
            f"--workers {settings.workers}: a command that binds the port itself can run only once. Use its own "
            "option for workers, or let it inherit the listener: {fd} in the command, or --listener inherit."
        )
    return settings.workers


def python_command(module: str) -> tuple[str, ...]:
    """Return the beginning of a command that runs a module of this package, such as `serve.model`."""
    return (sys.executable, *_SAFE_PATH, "-m", f"drum_supervisor.{module}")


def _readiness(settings: Settings, command: Command, shared: bool) -> Readiness:
    if settings.ready == "auto":
        return Readiness.REPORT if command.built_in else Readiness.HTTP
    readiness = Readiness(settings.ready)
    if readiness is Readiness.PORT and shared:
        raise UsageError(
            "--ready port: the listener is open before the command starts, so an open port says nothing. "
            "Use --ready http, report or notify."
        )
    return readiness


def _workers(command: Command, argv: tuple[str, ...], count: int, notify_socket: Path | None) -> tuple[Program, ...]:
    notify = (("NOTIFY_SOCKET", str(notify_socket)),) if notify_socket else ()
    return tuple(
        Program(
            MODEL_SERVER if count == 1 else f"{MODEL_SERVER}-{slot}",
            MODEL_SERVER,
            argv,
            worker=slot,
            slot=slot,
            environment=(*command.environment, *notify),
            announced=not command.uses("fd"),
        )
        for slot in range(1, count + 1)
    )


def _standby(worker: Program, count: int) -> Program:
    return replace(worker, name=f"{worker.name}{STANDBY_SUFFIX}", worker=worker.slot + count)


def _model_argv(settings: Settings, address: Address) -> tuple[str, ...]:
    if not settings.code_dir:
        raise UsageError(
            "Nothing to run: give --code-dir DIR for the built-in model server, or a command after --, "
            "like: drum-supervise start -- uvicorn app:app --fd {fd}"
        )
    workers = ("--workers", str(settings.workers)) if settings.server_type == "gunicorn" else ()
    return (
        *python_command("serve.model"),
        *to_arguments(settings, _MODEL_SETTINGS),
        "--address",
        str(address),
        *workers,
    )


def _failure_arguments(settings: Settings, address: Address, run_dir: RunDir) -> list[str]:
    files = ["--report", str(run_dir.failure), "--situation", str(run_dir.client_status)]
    return [*files, *to_arguments(settings, _ERROR_SETTINGS), "--address", str(address)]


# The working directory, often the model folder, must not shadow modules (Python 3.11 and later).
_SAFE_PATH = ("-P",) if sys.version_info >= (3, 11) else ()

# `-S`: it starts faster without `site` and installed packages. Without `-P` the first entry of the path is empty: the
# working directory.
_STAND_IN = (
    sys.executable,
    *_SAFE_PATH,
    "-S",
    "-c",
    f"import sys; sys.path = [*filter(None, sys.path), {str(Path(drum_supervisor.__file__).parents[1])!r}]; "
    "from drum_supervisor.serve.error import main; main()",
)


def _fill_placeholders(command: Command, address: Address) -> tuple[str, ...]:
    """Replace {fd}, {host} and {port}; all other braces belong to the command."""
    if address.path and (command.uses("host") or command.uses("port")):
        raise UsageError(
            f"--address {address}: a unix socket has no {{host}} and no {{port}}. Let the command inherit it ({{fd}}), "
            "or write its path into the command."
        )
    values = {"{fd}": str(LISTENER_FD), "{host}": address.host, "{port}": str(address.port)}
    return tuple(_replace_all(argument, values) for argument in command.argv)


def _replace_all(text: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    return text
