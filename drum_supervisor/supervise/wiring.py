"""Puts one supervisor together: engine, loop, fleet and what they need of each other."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract import masking
from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.api.handlers import ControlHandlers
from drum_supervisor.supervise.api.program_control import OperatorControl
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.health import readiness
from drum_supervisor.supervise.health.liveness import Check, Liveness
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.actions import ActionRunner
from drum_supervisor.supervise.lifecycle.alarms import Alarms
from drum_supervisor.supervise.lifecycle.exporter import Exporter
from drum_supervisor.supervise.lifecycle.health_checks import HealthChecks
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.lifecycle.status_file import StatusFile
from drum_supervisor.supervise.lifecycle.waiters import Waiters
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.streams import OutputStreams
from drum_supervisor.supervise.policy.state import Limits
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.watch.memory_limit import MemoryLimitWatch

if TYPE_CHECKING:
    from drum_supervisor.supervise.stats.sampler import Sampler


@dataclass(frozen=True)
class Parts:
    """What was read, bound and opened before anything runs.

    Attributes:
        configuration: for supervisord, rendered.
        listener: of the model server; None where it binds its own.
        metrics_listener: of the exporter; None where it has none.
        guard_pid: 0 without a guard.
        essential: the names of the further programs that the supervisor does not outlive.
    """

    settings: Settings
    programs: Programs
    configuration: str
    run_dir: RunDir
    address: Address
    listener: socket.socket | None
    metrics_listener: socket.socket | None
    log: Log
    outlets: OutputStreams
    guard_pid: int
    essential: frozenset[str]


def assemble(parts: Parts) -> ControlHandlers:
    """Return a supervisor that only needs to be run.

    The loop is first, as the engine's owner, and gets what works with the engine afterwards.
    """
    settings, found, log, timers = parts.settings, parts.programs, parts.log, Timers(time.monotonic)
    loop = Loop(found, limits(settings, found), timers, StatusFile(parts.run_dir, log), log)
    owner = Exporter(loop, found.exporter, parts.metrics_listener, log)
    desk = OperatorControl(loop, log, parts.essential)
    known = {program.name: program for program in found.all}
    engine = Engine(parts.configuration, known, owner, log, parts.outlets, parts.guard_pid, desk)
    changes = Waiters(timers, engine.wakeup.wake)
    patience = (settings.stop_timeout, settings.backlog)
    fleet = Launcher(engine, found, parts.address, parts.listener, timers, *patience, loop.started)
    sampler = cache(lambda: _sampler(loop, engine))
    controls = ControlHandlers(engine, loop, parts.address, parts.run_dir, parts.outlets.transcript, log)
    witness = ProcessEvents(found, fleet, sampler, timers, log, loop.post, changes.note, controls.renew_spent)
    lookout = _lookout(parts, loop, engine, witness)
    alarms = _alarms(loop, fleet, witness, log)
    executor = ActionRunner(found, loop.limits, engine, fleet, alarms, changes, timers, parts.run_dir, log)
    loop.attach(engine, fleet, changes, alarms, witness, lookout, executor, sampler)
    _renew_grown(settings, found, controls)
    engine.publish(controls)
    return controls


def _lookout(parts: Parts, loop: Loop, engine: Engine, witness: ProcessEvents) -> HealthChecks:
    settings, found, timers, log = parts.settings, parts.programs, loop.timers, parts.log

    def watch(
        on_ready: Callable[[], None], on_stage: Callable[[str], None], on_failed: Callable[[str], None]
    ) -> readiness.Watcher | None:
        asked, told = _question(settings), (on_ready, on_stage, on_failed)
        return readiness.watcher(found.readiness, engine, timers, parts.address, asked, parts.run_dir, *told)

    def check(on_unresponsive: Callable[[str], None]) -> readiness.Watcher | None:
        asked = _alive_check(settings)
        return Liveness(engine, timers, parts.address, asked, log, on_unresponsive) if asked else None

    return HealthChecks(found, witness, watch, check, lambda: loop.state.ready, timers, log, loop.post)


def _alarms(loop: Loop, fleet: Launcher, witness: ProcessEvents, log: Log) -> Alarms:
    def too_slow() -> FailureReport:
        first = min(loop.state.coming, default=1)
        return witness.too_slow(first, loop.limits.startup_timeout)

    return Alarms(loop.timers, log, len(loop.programs.sides), fleet.seconds_to_wait, too_slow, loop.post)


def _renew_grown(settings: Settings, found: Programs, controls: ControlHandlers) -> None:
    """Have workers replaced that have grown too large."""
    if settings.max_worker_memory:
        copies = settings.workers if found.server_type == "gunicorn" else 1
        MemoryLimitWatch(
            controls.loop.timers, settings.max_worker_memory, controls.serving, copies, controls.renew_grown
        )


def _sampler(loop: Loop, engine: Engine) -> "Sampler":
    from drum_supervisor.supervise.api.stats import tops  # noqa: PLC0415 - the same
    from drum_supervisor.supervise.stats.sampler import Sampler  # noqa: PLC0415 - after the first start: this takes 10 ms

    masking.prepare()
    return Sampler(
        timers=loop.timers,
        tops=lambda: tops(engine, loop.programs, loop.timers.clock(), time.time()),
        is_starting=lambda: bool(loop.state.coming),
        tell=loop.changes.tell_soon,
        workers=loop.limits.workers,
        pid=engine.pid,
    )


def _question(settings: Settings) -> readiness.Question:
    path = settings.url_prefix + (settings.ready_path or "/ping")
    return readiness.Question(path, below=400 if settings.ready_path else 500, failed=settings.ready_failed)


def _alive_check(settings: Settings) -> Check | None:
    if not settings.alive_path:
        return None
    path = settings.url_prefix + settings.alive_path
    return Check(path, settings.alive_interval, settings.alive_timeout, settings.alive_failures)


def limits(settings: Settings, found: Programs) -> Limits:
    """Return the part of the settings that the policy knows; without a shared listener a stand-in has none."""
    return Limits(
        workers=len(found.workers),
        startup_timeout=settings.startup_timeout,
        error_server=settings.with_error_server,
        ttl=settings.error_server_ttl,
        max_retries=settings.max_retries,
        retry_interval=settings.retry_interval,
        retry_permanent=settings.retry_permanent,
        max_restarts=settings.max_restarts,
        restart_window=settings.restart_window,
        stand_in=settings.while_starting == "respond" and found.shared,
    )
