"""Assembles a supervisor from its parts."""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.listener import Address
from drum_supervisor.contract.log_records import as_json, prefixed
from drum_supervisor.supervise.api.program_control import OperatorControl
from drum_supervisor.supervise.api.rpc import DrumNamespace
from drum_supervisor.supervise.api.status import StatusReporter, running_targets
from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.actions import ActionRunner, Alarms
from drum_supervisor.supervise.lifecycle.exporter import Exporter
from drum_supervisor.supervise.lifecycle.health_checks import HealthChecks, Probes
from drum_supervisor.supervise.lifecycle.loop import Follower, Loop, ProgramHandler
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.lifecycle.sd_notify import make_sd_notify
from drum_supervisor.supervise.lifecycle.status_file import StatusFile
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.output.streams import OutputStreams, Sink
from drum_supervisor.supervise.policy.state import Limits
from drum_supervisor.supervise.processes.launcher import Launcher, ServiceAddress
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.watch.memory_limit import MemoryLimitWatch


@dataclass(frozen=True)
class SupervisorOutput:
    log: Log
    streams: OutputStreams
    log_buffer: LogBuffer

    @classmethod
    def create(cls, settings: Settings, out: Sink, err: Sink) -> "SupervisorOutput":
        line_format = None
        if settings.log_prefix:
            line_format = as_json if settings.log_format == "json" else prefixed
        log_buffer = LogBuffer()
        streams = OutputStreams(out, err, line_format, [log_buffer.add])
        return cls(Log(streams.write, settings.log_level, settings.log_format), streams, log_buffer)


@dataclass(frozen=True)
class Parts:
    """What `start` has read, bound and opened."""

    settings: Settings
    environ: Mapping[str, str]
    programs: Programs
    configuration: str  # for supervisord
    run_dir: RunDir
    address: Address
    listener: socket.socket | None  # None: the model server binds the address itself
    metrics_listener: socket.socket | None
    guard_pid: int  # 0: no guard
    essential: frozenset[str]  # the extra programs whose exit stops the supervisor
    output: SupervisorOutput


@dataclass(frozen=True)
class Supervisor:
    context: Context
    engine: Engine
    loop: Loop
    program_control: OperatorControl


def assemble(parts: Parts, stack: ExitStack) -> Supervisor:
    """Return a supervisor that is ready to run; `stack` closes what it opens."""
    settings, programs, output = parts.settings, parts.programs, parts.output
    by_name = {program.name: program for program in programs.all}
    engine = Engine(parts.configuration, EngineContext(output.log, output.streams, by_name, parts.guard_pid))
    context = Context.create(programs, _make_limits(settings, programs), engine.wakeup.wake, output.log)
    service_address = ServiceAddress(parts.address, parts.listener, settings.backlog)
    launcher = Launcher(context, engine, service_address, settings.stop_timeout)
    sampler = Sampler(context, engine.pid, partial(running_targets, engine, context))
    process_events = ProcessEvents(context, sampler)
    alarms = Alarms(context, launcher, process_events.make_timeout_report)
    runner = ActionRunner(context, engine, launcher, alarms, parts.run_dir.failure)
    handlers: dict[str, ProgramHandler] = {program.name: process_events for program in programs.on_the_address}
    if programs.exporter is not None:
        handlers[programs.exporter.name] = Exporter(
            context, launcher, sampler, programs.exporter, parts.metrics_listener
        )
    probes = Probes.of(settings, parts.address, parts.run_dir.notify_socket)
    followers: list[Follower] = [
        StatusFile(context, parts.run_dir),
        HealthChecks(context, process_events, probes, engine),
    ]
    if (notifier := make_sd_notify(parts.environ, context)) is not None:
        stack.callback(notifier.close)
        followers.append(notifier)
    if settings.max_worker_memory:
        MemoryLimitWatch(context, settings.max_worker_memory, _copies(settings, programs))
    address, url, run_dir = str(parts.address), parts.address.url(), str(parts.run_dir.path)
    reporter = StatusReporter(context, engine, address, url, run_dir)
    engine.publish(DrumNamespace(reporter, sampler, output.log_buffer))
    loop = Loop(context, launcher, runner, handlers, followers)
    return Supervisor(context, engine, loop, OperatorControl(context, launcher, parts.essential))


def _make_limits(settings: Settings, programs: Programs) -> Limits:
    return Limits(
        workers=len(programs.workers),
        startup_timeout=settings.startup_timeout,
        error_server=settings.with_error_server,
        ttl=settings.error_server_ttl,
        max_retries=settings.max_retries,
        retry_interval=settings.retry_interval,
        retry_permanent=settings.retry_permanent,
        max_restarts=settings.max_restarts,
        restart_window=settings.restart_window,
        stand_in=programs.shared and settings.while_starting == "respond",
    )


def _copies(settings: Settings, programs: Programs) -> int:
    """Return the number of model server processes in one worker."""
    return settings.workers if programs.server_type == "gunicorn" else 1
