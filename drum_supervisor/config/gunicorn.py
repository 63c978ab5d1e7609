"""DRUM's runtime parameters for gunicorn, each declared once, on its field of `GunicornParameters`.

Each is read from `MLOPS_RUNTIME_PARAM_<NAME>`, as DRUM's JSON or as plain text, and then from `<NAME>`.
Documentation and tests derive from DECLARATIONS.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from drum_supervisor.config import parsers
from drum_supervisor.config.declaration import RUNTIME_PARAMETER, runtime_parameter
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import DEFAULT_BACKLOG

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class _Kind(NamedTuple):
    accepted: str
    read: Callable[[str], Any]


class Declaration(NamedTuple):
    """How one parameter is written and read; an empty default means: not set.

    Attributes:
        field: of `GunicornParameters`.
        accepted: the range or the choices, for people.
        also: further variables, which hold plain text.
    """

    field: str
    name: str
    default: str
    accepted: str
    read: Callable[[str], Any]
    help: str
    also: tuple[str, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """All environment variables that set it, the first one that is not empty wins."""
        return (RUNTIME_PARAMETER + self.name, self.name, *self.also)


def _numbers(lowest: int, highest: int) -> _Kind:
    return _Kind(f"{lowest} to {highest}", parsers.whole_number(lowest, highest))


def _one_of(*choices: str) -> _Kind:
    return _Kind(", ".join(choices), parsers.choice(*choices))


def _parameter(name: str, default: str, kind: _Kind, help: str, *also: str) -> Any:
    value = kind.read(default) if default else None
    return field(default=value, metadata={"declaration": (name, default, *kind, help, also)})


@dataclass(frozen=True)
class GunicornParameters:
    """What the runtime parameters say; None means: not set. All times are in seconds."""

    workers: int = _parameter(
        "CUSTOM_MODEL_WORKERS", "1", _numbers(1, 199), "Number of worker processes.", "MAX_WORKERS"
    )
    backlog: int = _parameter(
        "DRUM_WEBSERVER_BACKLOG",
        str(DEFAULT_BACKLOG),
        _numbers(1, 10000),
        "Connections that the kernel keeps waiting until a worker takes them.",
    )
    timeout: int = _parameter(
        "DRUM_CLIENT_REQUEST_TIMEOUT",
        "0",
        _numbers(0, 3600),
        "Seconds after which a worker that shows no sign of life is killed; 0: never.",
    )
    max_requests: int = _parameter(
        "DRUM_GUNICORN_MAX_REQUESTS",
        "0",
        _numbers(0, 10000),
        "Requests after which a worker is replaced by a new one; 0: never.",
    )
    max_requests_jitter: int = _parameter(
        "DRUM_GUNICORN_MAX_REQUESTS_JITTER",
        "0",
        _numbers(0, 10000),
        "Each worker takes a random number of requests more, up to this one.",
    )
    worker_class: str = _parameter(
        "DRUM_GUNICORN_WORKER_CLASS", "sync", _one_of("sync", "gevent"), "How a worker takes connections."
    )
    graceful_timeout: int | None = _parameter(
        "DRUM_GUNICORN_GRACEFUL_TIMEOUT", "", _numbers(1, 3600), "Seconds that requests may take after a stop."
    )
    keep_alive: int | None = _parameter(
        "DRUM_GUNICORN_KEEP_ALIVE", "", _numbers(0, 3600), "Seconds that a connection waits for its next request."
    )
    log_level: str | None = _parameter(
        "DRUM_GUNICORN_LOG_LEVEL", "", _one_of(*LOG_LEVELS), "Least severe of gunicorn's own log lines."
    )


# Fields that are settings of `drum-supervise start`.
SETTINGS = ("workers", "backlog")

DECLARATIONS: Mapping[str, Declaration] = {
    declared.name: Declaration(declared.name, *declared.metadata["declaration"])
    for declared in fields(GunicornParameters)
}


def read(environ: Mapping[str, str], ignored: Collection[str] = ()) -> GunicornParameters:
    """Return the parameters that `environ` sets; empty variables count as unset, as in DRUM.

    Args:
        ignored: fields that are set by other means.

    Raises:
        UsageError: a value is not accepted; the sentence names the variable, the value and what is accepted.
    """
    given = {name: _given(declared, environ) for name, declared in DECLARATIONS.items() if name not in ignored}
    return GunicornParameters(**{name: value for name, value in given.items() if value is not None})


def _given(declared: Declaration, environ: Mapping[str, str]) -> Any:
    for variable in declared.variables:
        text = environ.get(variable, "")
        if variable.startswith(RUNTIME_PARAMETER):
            text = runtime_parameter(text)
        if text.strip():
            return _convert(declared, variable, text)
    return None


def _convert(declared: Declaration, variable: str, text: str) -> Any:
    try:
        return declared.read(text)
    except ValueError as error:
        raise UsageError(f"${variable}: {text!r} is not accepted: {error}.") from error
