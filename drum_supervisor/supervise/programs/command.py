"""DRUM: the installed `drum server` as a command. Its options and variables mean the same to us.

Its source is not ours to read: all here is what the program was seen to do (docs/drum.md).
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drum_supervisor.config.parsers import RUNTIME_PARAMETER, runtime_parameter
from drum_supervisor.config.settings import DECLARATIONS, Settings, arguments
from drum_supervisor.contract.exits import UsageError

NAME = "drum"
DEFAULT_PORT = 5000
_SERVER_TYPE = RUNTIME_PARAMETER + "DRUM_SERVER_TYPE"
_WORKERS = RUNTIME_PARAMETER + "CUSTOM_MODEL_WORKERS"
_URL_PREFIX = "URL_PREFIX"
_BINDS_ITSELF = "werkzeug"  # all others are gunicorn to it, as of 1.17.19
_ADDRESS = DECLARATIONS["address"].option
_ERROR_SERVER = DECLARATIONS["with_error_server"].option
_PASSED_ON = "code_dir target_type positive_class_label negative_class_label class_labels_file".split()


@dataclass(frozen=True)
class Command:
    """A command; without arguments: the built-in model server.

    Attributes:
        argv: {fd}, {host} and {port} stand for the number of the listener and the address.
        name: what `status` calls it.
        takes_listener: whether it is known to take a listener that LISTEN_FDS announces.
        own_workers: whether `--workers` is its own business: it is started once.
        environment: variables that are set for it.
    """

    argv: tuple[str, ...] = field(default=())
    name: str = "command"
    takes_listener: bool = False
    own_workers: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def built_in(self) -> bool:
        return not self.argv

    def uses(self, name: str) -> bool:
        return any(f"{{{name}}}" in argument for argument in self.argv)


def is_drum(argv: Sequence[str]) -> bool:
    """Return whether a command is DRUM's server."""
    return len(argv) > 1 and os.path.basename(argv[0]) == NAME and argv[1] == "server"


def told(argv: Sequence[str]) -> dict[str, str]:
    """Return the settings that the options of a `drum server` command say, by name; nothing for other commands."""
    if not is_drum(argv):
        return {}
    found = {}
    for option, value in _options(argv[2:]):
        if option == _ADDRESS and value:
            found["address"] = value if ":" in value else f"{value}:{DEFAULT_PORT}"
        elif option == _ERROR_SERVER:
            found["with_error_server"] = "true"
    return found


def command_of(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Return what to run for the user's command; empty: the built-in model server, or DRUM with `--server-type drum`.

    Raises:
        UsageError: DRUM is asked for and not installed, or without a model folder.
    """
    if is_drum(argv):
        return _drum([_found(argv[0], environ) or argv[0], *argv[1:]], _environment(settings, environ), environ)
    if argv:
        return Command(tuple(argv), environment=error_server_is_ours(environ))
    if settings.server_type != NAME:
        return Command()
    if not settings.code_dir:
        raise UsageError("--server-type drum: give the model folder: --code-dir DIR.")
    program = _found(NAME, environ)
    if program is None:
        raise UsageError(
            f"--server-type drum: no command {NAME!r} in PATH or beside {sys.executable}. Install it, in an "
            "environment of its own perhaps (pip install datarobot-drum), and put that in PATH."
        )
    labels = ("--class-labels", *settings.class_labels) if settings.class_labels else ()
    workers = ((_WORKERS, _numeric(settings.workers)),) if settings.workers > 1 else ()
    return _drum(
        [program, "server", *arguments(settings, _PASSED_ON), *labels],
        (*_environment(settings, environ), *workers),
        environ,
    )


def _drum(argv: Sequence[str], environment: tuple[tuple[str, str], ...], environ: Mapping[str, str]) -> Command:
    """Return DRUM as a command: the address is the one that we serve, and the error server is ours."""
    server_type = runtime_parameter(environ.get(_SERVER_TYPE, "")).strip().lower()
    return Command(
        argv=(*_without_ours(argv), _ADDRESS, "{host}:{port}"),
        name=NAME,
        takes_listener=server_type != _BINDS_ITSELF,
        own_workers=True,
        environment=environment,
    )


def _environment(settings: Settings, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    prefix = ((_URL_PREFIX, settings.url_prefix),) if settings.url_prefix else ()
    return (*error_server_is_ours(environ), *prefix)


def _numeric(value: int) -> str:
    return json.dumps({"type": "numeric", "payload": value})


def _found(program: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of a program that is in PATH, or beside our interpreter."""
    if "/" in program:
        return program
    beside = str(Path(sys.executable).parent)
    return shutil.which(program, path=environ.get("PATH")) or shutil.which(program, path=beside)


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with what follows it, `--name value` and `--name=value` alike."""
    for number, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            yield name, value if equals else following


def _without_ours(argv: Sequence[str]) -> Iterator[str]:
    """Yield the arguments without the options that are ours to say."""
    rest = iter(argv)
    for argument in rest:
        if argument == _ADDRESS:
            next(rest, None)
        elif argument != _ERROR_SERVER and not argument.startswith(f"{_ADDRESS}="):
            yield argument


WITH_ERROR_SERVER = "WITH_ERROR_SERVER"


def error_server_is_ours(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables that keep a DRUM, wherever in a command it is started, from an error server of its own.

    It would answer for a model that could not be loaded, in each of its workers apart.
    """
    return ((WITH_ERROR_SERVER, ""),) if environ.get(WITH_ERROR_SERVER) else ()  # empty is unset, to DRUM
