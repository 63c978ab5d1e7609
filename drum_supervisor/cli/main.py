"""The command line, `drum-supervise`. Every error of a user ends here as one sentence and an exit code.

What a command needs is imported when it runs: `--help` and completion must not wait for supervisord's modules.
"""

import atexit
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from drum_supervisor import __version__
from drum_supervisor.cli.options import chosen, settings_options
from drum_supervisor.config.settings import DECLARATIONS, Settings, resolve
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode

EXAMPLES = """\b
Examples:
  drum-supervise start --code-dir model --target-type regression
  drum-supervise start --address 127.0.0.1:8080 -- uvicorn app:app --fd {fd}
  drum-supervise start -- gunicorn -b fd://{fd} app:app
  drum-supervise start --address 127.0.0.1:8080 -- flask run --host {host} --port {port}
"""


ELSEWHERE = {
    "check": "check",
    "ctl": "ctl",
    "failure": "operate",
    "logs": "logs",
    "restart": "operate",
    "stats": "stats",
    "status": "operate",
    "stop": "operate",
}
"""The modules of the commands that are not in this one; in each a command is called `<name>_command`."""


class Commands(click.Group):
    """Imports the module of a command when it is asked for: a model server does not wait for those of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, *ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in ELSEWHERE:
            module = import_module(f"drum_supervisor.cli.{ELSEWHERE[cmd_name]}")
            self.add_command(getattr(module, f"{cmd_name}_command"))
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="drum-supervise")
def cli() -> None:
    """Run a model server so that it always answers: with predictions, or with the reason why it cannot.

    When the model cannot be initialized, an error server takes the same port: probes get 200, everything else
    gets 513 and the real error.
    """


@cli.command("start", params=settings_options(), epilog=EXAMPLES, context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def start_command(command: tuple[str, ...], **given: Any) -> NoReturn:
    """Supervise a model server: the built-in one (--code-dir), or any COMMAND after --.

    In the command {fd} becomes the number of the inherited listening socket, {host} and {port} the address. Every
    option can also be given as DRUM_SUPERVISOR_<OPTION> in the environment.
    """
    _start(given, command)


@cli.command("serve", params=settings_options(), context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def serve_command(command: tuple[str, ...], **given: Any) -> NoReturn:
    """Do the same as start, with the defaults of SageMaker: what `docker run IMAGE serve` calls."""
    _start({**given, "profile": given["profile"] or "sagemaker"}, command)


def _start(given: Mapping[str, Any], command: Sequence[str]) -> NoReturn:
    with _stops_obeyed_at_once():
        gc.disable()  # imports leave no garbage: to look for some again and again takes 6 ms
        from drum_supervisor.supervise.start import start

        gc.freeze()  # modules and classes stay: nobody has to look through them later either
        gc.enable()
        _leave(start(resolve(chosen(given, command)), command, os.environ))


def _leave(code: int) -> NoReturn:
    """Exit at once: everything is stopped, and Python's taking itself apart takes longer than all of that (10 ms).

    No output is lost. That of the programs, and our lines, never are in Python's buffers: a `Sink` has them, and
    `start` returns when these are flushed. What others have registered with atexit (logging, coverage, tracers) runs
    here, and then what was printed is flushed. Python would still wait for threads, and the supervisor has none, and
    call `__del__` of what is left, which the kernel frees as well.
    """
    atexit._run_exitfuncs()  # no public function does that; one that raises does not keep the others from running
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more: the exit code says more than that
            stream.flush()
    os._exit(code)


@contextmanager
def _stops_obeyed_at_once() -> Iterator[None]:
    """Let a stop end us while we import, for there is nothing yet; the first process of a container has no default."""
    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, lambda *_: os._exit(ExitCode.STOPPED)) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cli.command("config", params=settings_options(), context_settings={"allow_interspersed_args": False})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def config_command(command: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Print the effective settings, where each comes from, and the supervisord configuration rendered from them."""
    values = chosen(given, command)
    settings = resolve(values)
    if as_json:
        told = {name: {"value": value.text, "source": value.source} for name, value in values.items()}
        click.echo(json.dumps({"settings": told, "supervisord": _rendered(settings, command)}, indent=2))
        return 0
    width = max(len(declared.option) for declared in DECLARATIONS.values())
    for name, value in values.items():
        click.echo(f"{DECLARATIONS[name].option:{width}}  {value.text or '-'}  ({value.source})")
    click.echo(f"\n{_rendered(settings, command)}")
    return 0


def _rendered(settings: Settings, command: Sequence[str]) -> str:
    from drum_supervisor.contract.masking import mask_secrets
    from drum_supervisor.supervise.host.run_dir import RunDir, base_directory
    from drum_supervisor.supervise.lifecycle.exporter import with_exporter
    from drum_supervisor.supervise.programs.auto_workers import resolve_workers
    from drum_supervisor.supervise.programs.command import choose_command
    from drum_supervisor.supervise.programs.plan import make_paths_absolute, plan_programs
    from drum_supervisor.supervise.programs.render import render
    from drum_supervisor.supervise.programs.supervisord_ini import read_extra_programs

    settings, _ = resolve_workers(settings, command, os.environ)
    asked = read_extra_programs(settings.config, os.environ)
    for warning in asked.warnings:
        click.echo(f"drum-supervise: {warning}", err=True)
    settings = make_paths_absolute(settings) if asked.changes_directory else settings
    path = Path(settings.run_dir) if settings.run_dir else base_directory(os.environ) / "PID"
    directory = RunDir(path)
    found = plan_programs(settings, choose_command(settings, command, os.environ), settings.address, directory)
    return mask_secrets(render(with_exporter(found, settings, os.environ, directory), directory, asked))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python complains once more while it exits
        return 1
    except Exception:  # noqa: BLE001 - the last border: whatever it is becomes an exit code
        traceback.print_exc()
        click.echo("drum-supervise: internal error: this is a bug of drum_supervisor, please report it.", err=True)
        return ExitCode.INTERNAL
