"""The command line, `drum-supervise`. Every user error becomes one sentence and an exit code here.

A command imports what it needs when it runs: `--help` and completion must not wait for supervisord's modules.
"""

import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TextIO

import click

from drum_supervisor import __version__
from drum_supervisor.cli.options import choose_values, settings_options
from drum_supervisor.config.settings import resolve
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode

EXAMPLES = """\b
Examples:
  drum-supervise start --code-dir model --target-type regression
  drum-supervise start --address 127.0.0.1:8080 -- uvicorn app:app --fd {fd}
  drum-supervise start -- gunicorn -b fd://{fd} app:app
  drum-supervise start --address 127.0.0.1:8080 -- flask run --host {host} --port {port}
"""

# Subcommands in modules of their own, where the function is called `<name>_command`.
SUBCOMMAND_MODULES = {
    "check": "check",
    "config": "config",
    "ctl": "ctl",
    "failure": "operate",
    "logs": "logs",
    "restart": "operate",
    "stats": "stats",
    "status": "operate",
    "stop": "operate",
}


class LazyGroup(click.Group):
    """Imports the module of a subcommand on use, so that a model server does not wait for those of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *SUBCOMMAND_MODULES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in SUBCOMMAND_MODULES:
            module = import_module(f"drum_supervisor.cli.{SUBCOMMAND_MODULES[cmd_name]}")
            self.add_command(getattr(module, f"{cmd_name}_command"))
        return super().get_command(ctx, cmd_name)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="drum-supervise")
def cli() -> None:
    """Run a model server that always answers: with predictions, or with the reason why it cannot.

    When initialization fails, an error server takes over the port: probes get 200, all other requests get 513 and
    the real error.
    """


@cli.command("start", params=settings_options(), epilog=EXAMPLES, context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def start_command(command: tuple[str, ...], **given: Any) -> int:
    """Supervise the built-in model server, or any COMMAND.

    The built-in model server needs --code-dir; COMMAND comes after --. In COMMAND, {fd} becomes the number of the
    inherited listening socket; {host} and {port} become the address. Every option can also be set in the environment,
    as DRUM_SUPERVISOR_<OPTION>.
    """
    return _start(given, command)


@cli.command("serve", params=settings_options(), context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def serve_command(command: tuple[str, ...], **given: Any) -> int:
    """Start with the defaults of SageMaker.

    This is the command of `docker run IMAGE serve`.
    """
    return _start({**given, "profile": given["profile"] or "sagemaker"}, command)


def _start(given: Mapping[str, Any], command: Sequence[str]) -> int:
    with _exit_on_stop_signals():
        gc.disable()  # imports leave no garbage, and searching for it takes 20 ms
        from drum_supervisor.supervise.start import start

        gc.freeze()  # modules and classes stay: later collections skip them
        gc.enable()
        code = start(resolve(choose_values(given, command)), command, os.environ)
    _flush(sys.stdout)
    _flush(sys.stderr)
    return code


def _flush(stream: TextIO) -> None:
    """Write what is buffered, or discard it if it has no reader: Python would fail to write it and exit with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _exit_on_stop_signals() -> Iterator[None]:
    """Exit at once on a stop signal during imports, when nothing runs yet; PID 1 has no default action for signals."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, lambda *_: os._exit(ExitCode.STOPPED)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    try:
        result = cli.main(args=argv, prog_name="drum-supervise", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except DrumSupervisorError as error:
        click.echo(f"drum-supervise: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        _flush(sys.stdout)
        return 1
    except Exception:  # noqa: BLE001 - every bug becomes an exit code
        traceback.print_exc()
        click.echo("drum-supervise: internal error: this is a bug of drum_supervisor, please report it.", err=True)
        return ExitCode.INTERNAL
