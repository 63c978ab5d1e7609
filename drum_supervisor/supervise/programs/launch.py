"""What one launch runs: planned from settings, arguments and environment, before anything is bound or started.

`start` runs the plan, `config` prints it, `check` asks it: they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drum_supervisor.config.settings import AUTO, Settings
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.auto_workers import resolve_workers
from drum_supervisor.supervise.programs.command import Command, choose_command
from drum_supervisor.supervise.programs.plan import (
    is_listener_shared,
    make_paths_absolute,
    plan_exporter,
    plan_programs,
)
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.programs.render import render
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms, read_extra_programs


@dataclass(frozen=True)
class LaunchPlan:
    """What one launch runs.

    Attributes:
        settings: with automatic values resolved.
        workers_note: how the number of workers came about; empty if it was given.
    """

    settings: Settings
    command: Command
    shares_listener: bool
    extra: ExtraPrograms
    environ: Mapping[str, str]
    workers_note: str = ""

    def programs(self, address: Address, run_dir: RunDir) -> Programs:
        """Return the programs that serve `address`."""
        found = plan_programs(self.settings, self.command, address, run_dir)
        return replace(found, exporter=plan_exporter(self.settings, self.environ, run_dir))

    def configuration(self, programs: Programs, run_dir: RunDir) -> str:
        """Return supervisord's configuration of these programs and of the extra ones."""
        return render(programs, run_dir, self.extra)


def plan_launch(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> LaunchPlan:
    """Plan a launch.

    Args:
        argv: the user's command; empty: the built-in model server.

    Raises:
        UsageError: nothing to run, a bad configuration file, or options that contradict each other.
    """
    if not argv and settings.server_type == "gunicorn":
        from drum_supervisor.config import gunicorn  # noqa: PLC0415 - other servers do not need it

        # Read for its errors: they are reported here, not by the child.
        gunicorn.read_parameters(environ, ignored=gunicorn.SHARED_SETTINGS)
    workers_note = ""
    if settings.workers == AUTO:
        one = replace(settings, workers=1)
        shares_listener = is_listener_shared(one, choose_command(one, argv, environ))
        settings, workers_note = resolve_workers(settings, shares_listener)
    extra = read_extra_programs(settings.config, environ)
    if extra.changes_directory:
        settings = make_paths_absolute(settings)
    command = choose_command(settings, argv, environ)
    return LaunchPlan(settings, command, is_listener_shared(settings, command), extra, environ, workers_note)
