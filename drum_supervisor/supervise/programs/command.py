"""The command that serves the model: the user's own, the built-in model server, or an installed DRUM.

DRUM's source is not ours to read: all that is known here of `drum server` was observed (docs/drum.md). Its options and
variables mean the same to us.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.config.parsers import RUNTIME_PARAMETER_PREFIX, parse_runtime_parameter
from drum_supervisor.config.settings import DECLARATIONS, Settings, to_arguments
from drum_supervisor.contract.exits import UsageError

DRUM = "drum"
DRUM_PORT = 5000
WITH_ERROR_SERVER = "WITH_ERROR_SERVER"
_SERVER_TYPE = RUNTIME_PARAMETER_PREFIX + "DRUM_SERVER_TYPE"
_WORKERS = RUNTIME_PARAMETER_PREFIX + "CUSTOM_MODEL_WORKERS"
_URL_PREFIX = "URL_PREFIX"
_BINDS_PORT = "werkzeug"  # DRUM runs all other server types as gunicorn, as of 1.17.19
_ADDRESS = DECLARATIONS["address"].option
_ERROR_SERVER = DECLARATIONS["with_error_server"].option
_DRUM_SETTINGS = "code_dir target_type positive_class_label negative_class_label class_labels_file".split()

_Environment = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Command:
    """The command of the model server; without arguments: the built-in one."""

    argv: tuple[str, ...] = ()  # may have the placeholders {fd}, the listener's descriptor, {host} and {port}
    name: str = "command"  # in `status`
    takes_listener: bool = False  # is known to take a listener that LISTEN_FDS announces
    starts_workers: bool = False  # by itself: then it runs once, whatever `--workers` says
    environment: _Environment = ()  # in addition to the supervisor's own

    @property
    def built_in(self) -> bool:
        return not self.argv

    def uses(self, placeholder: str) -> bool:
        return any(f"{{{placeholder}}}" in argument for argument in self.argv)


def choose_command(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Return the user's command; without one the built-in model server, or DRUM with `--server-type drum`.

    Raises:
        UsageError: DRUM is requested and not installed, or without a model folder.
    """
    if is_drum_server(argv):
        return _drum([_find(argv[0], environ) or argv[0], *argv[1:]], _drum_environment(settings, environ), environ)
    if argv:
        return Command(tuple(argv), environment=_without_drum_error_server(environ))
    if settings.server_type == DRUM:
        return _installed_drum(settings, environ)
    return Command()


def is_drum_server(argv: Sequence[str]) -> bool:
    return len(argv) > 1 and os.path.basename(argv[0]) == DRUM and argv[1] == "server"


def read_drum_options(argv: Sequence[str]) -> dict[str, str]:
    """Return the settings that the options of a `drum server` command set, by name; {} for any other command."""
    if not is_drum_server(argv):
        return {}
    found = {}
    for option, value in _options(argv[2:]):
        if option == _ADDRESS and value:
            found["address"] = value if ":" in value else f"{value}:{DRUM_PORT}"
        elif option == _ERROR_SERVER:
            found["with_error_server"] = "true"
    return found


def _installed_drum(settings: Settings, environ: Mapping[str, str]) -> Command:
    if not settings.code_dir:
        raise UsageError("--server-type drum: give the model folder: --code-dir DIR.")
    program = _find(DRUM, environ)
    if program is None:
        raise UsageError(
            f"--server-type drum: no command {DRUM!r} in PATH or beside {sys.executable}. Install it, perhaps in an "
            "environment of its own (pip install datarobot-drum), and add that to PATH."
        )
    labels = ("--class-labels", *settings.class_labels) if settings.class_labels else ()
    workers = ((_WORKERS, _numeric_parameter(settings.workers)),) if settings.workers > 1 else ()
    argv = [program, "server", *to_arguments(settings, _DRUM_SETTINGS), *labels]
    return _drum(argv, (*_drum_environment(settings, environ), *workers), environ)


def _drum(argv: Sequence[str], environment: _Environment, environ: Mapping[str, str]) -> Command:
    server_type = parse_runtime_parameter(environ.get(_SERVER_TYPE, "")).strip().lower()
    return Command(
        argv=(*_without_our_options(argv), _ADDRESS, "{host}:{port}"),
        name=DRUM,
        takes_listener=server_type != _BINDS_PORT,
        starts_workers=True,
        environment=environment,
    )


def _without_our_options(argv: Sequence[str]) -> Iterator[str]:
    rest = iter(argv)
    for argument in rest:
        if argument == _ADDRESS:
            next(rest, None)
        elif argument != _ERROR_SERVER and not argument.startswith(f"{_ADDRESS}="):
            yield argument


def _drum_environment(settings: Settings, environ: Mapping[str, str]) -> _Environment:
    prefix = ((_URL_PREFIX, settings.url_prefix),) if settings.url_prefix else ()
    return (*_without_drum_error_server(environ), *prefix)


def _without_drum_error_server(environ: Mapping[str, str]) -> _Environment:
    # Any command may start DRUM, whose own error server would answer in each of its workers separately.
    return ((WITH_ERROR_SERVER, ""),) if environ.get(WITH_ERROR_SERVER) else ()  # DRUM takes empty as unset


def _numeric_parameter(value: int) -> str:
    return json.dumps({"type": "numeric", "payload": value})


def _find(program: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of a program in PATH, or next to our interpreter."""
    if "/" in program:
        return program
    scripts = str(Path(sys.executable).parent)
    return shutil.which(program, path=environ.get("PATH")) or shutil.which(program, path=scripts)


def _options(to_arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value, `--name value` and `--name=value` alike."""
    for number, argument in enumerate(to_arguments):
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            following = to_arguments[number + 1] if number + 1 < len(to_arguments) else ""
            yield name, value if equals else following
