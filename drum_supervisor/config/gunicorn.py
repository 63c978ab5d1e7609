"""DRUM's runtime parameters for gunicorn, each declared once, on its field of `GunicornParameters`.

Each is read from `MLOPS_RUNTIME_PARAM_<NAME>`, as DRUM's JSON or as plain text, and then from `<NAME>`.
Documentation and tests derive from DECLARATIONS.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from drum_supervisor.config import parsers
from drum_supervisor.config.declaration import find_variable
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import DEFAULT_BACKLOG

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class _Kind(NamedTuple):
    accepted: str
    parse: Callable[[str], Any]


class RuntimeParameter(NamedTuple):
    """One parameter as a user writes it; an empty default means: not set.

    Attributes:
        field: of `GunicornParameters`.
        accepted: the range or the choices, for documentation.
        variables: more variables, read after `<NAME>`.
    """

    field: str
    name: str
    default: str
    accepted: str
    parse: Callable[[str], Any]
    help: str
    variables: tuple[str, ...]

    @property
    def all_variables(self) -> tuple[str, ...]:
        return (parsers.RUNTIME_PARAMETER_PREFIX + self.name, self.name, *self.variables)


def _integer(lowest: int, highest: int) -> _Kind:
    return _Kind(f"{lowest} to {highest}", parsers.integer(lowest, highest))


def _choice(*choices: str) -> _Kind:
    return _Kind(", ".join(choices), parsers.choice(*choices))


def _parameter(name: str, default: str, kind: _Kind, help: str, *variables: str) -> Any:
    value = kind.parse(default) if default else None
    return field(default=value, metadata={"declaration": (name, default, *kind, help, variables)})


@dataclass(frozen=True)
class GunicornParameters:
    """The values of the runtime parameters; None means: not set. All times are in seconds."""

    workers: int = _parameter(
        "CUSTOM_MODEL_WORKERS", "1", _integer(1, parsers.MAX_WORKERS), "Number of worker processes.", "MAX_WORKERS"
    )
    backlog: int = _parameter(
        "DRUM_WEBSERVER_BACKLOG",
        str(DEFAULT_BACKLOG),
        _integer(1, 10000),
        "Connections that the kernel queues until a worker accepts them.",
    )
    timeout: int = _parameter(
        "DRUM_CLIENT_REQUEST_TIMEOUT",
        "0",
        _integer(0, 3600),
        "Seconds without a heartbeat after which a worker is killed. 0: never.",
    )
    max_requests: int = _parameter(
        "DRUM_GUNICORN_MAX_REQUESTS",
        "0",
        _integer(0, 10000),
        "Requests after which a worker is recycled. 0: never.",
    )
    max_requests_jitter: int = _parameter(
        "DRUM_GUNICORN_MAX_REQUESTS_JITTER",
        "0",
        _integer(0, 10000),
        "Largest random number of requests added to max_requests, for each worker.",
    )
    worker_class: str = _parameter(
        "DRUM_GUNICORN_WORKER_CLASS", "sync", _choice("sync", "gevent"), "How a worker handles connections."
    )
    graceful_timeout: int | None = _parameter(
        "DRUM_GUNICORN_GRACEFUL_TIMEOUT", "", _integer(1, 3600), "Seconds to finish requests after a stop."
    )
    keep_alive: int | None = _parameter(
        "DRUM_GUNICORN_KEEP_ALIVE", "", _integer(0, 3600), "Seconds that an idle connection stays open."
    )
    log_level: str | None = _parameter(
        "DRUM_GUNICORN_LOG_LEVEL", "", _choice(*LOG_LEVELS), "Lowest severity of gunicorn's own log lines."
    )


# Fields that are settings of `drum-supervise start`.
SHARED_SETTINGS = ("workers", "backlog")

DECLARATIONS: Mapping[str, RuntimeParameter] = {
    declared.name: RuntimeParameter(declared.name, *declared.metadata["declaration"])
    for declared in fields(GunicornParameters)
}


def read_parameters(environ: Mapping[str, str], ignored: Collection[str] = ()) -> GunicornParameters:
    """Return the parameters that `environ` sets, without the `ignored` fields.

    Raises:
        UsageError: a value is not accepted. The message names the variable, the value and what is accepted.
    """
    given = {name: _read_one(declared, environ) for name, declared in DECLARATIONS.items() if name not in ignored}
    return GunicornParameters(**{name: value for name, value in given.items() if value is not None})


def _read_one(declared: RuntimeParameter, environ: Mapping[str, str]) -> Any:
    found = find_variable(declared.all_variables, environ)
    if found is None:
        return None
    try:
        return declared.parse(found.text)
    except ValueError as error:
        raise UsageError(f"{found.source}: {found.text!r} is not accepted: {error}.") from error
