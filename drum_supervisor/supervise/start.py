"""`drum-supervise start`: puts the parts together, runs them, and says the last word."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import DrumSupervisorError, UsageError
from drum_supervisor.contract.listener import Address, address_of, bind, close
from drum_supervisor.contract.log_records import as_json, prefixed
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine import prctl
from drum_supervisor.supervise.engine.wakeup import EarlySignals
from drum_supervisor.supervise.host import run_dir
from drum_supervisor.supervise.host.guard import Charges, Guard
from drum_supervisor.supervise.lifecycle.exporter import bind_metrics, with_exporter
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.output.streams import OutputStreams, Sink
from drum_supervisor.supervise.programs import auto_workers
from drum_supervisor.supervise.programs.command import command_of
from drum_supervisor.supervise.programs.plan import is_shared, programs, python
from drum_supervisor.supervise.programs.render import render
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms, absolute, further
from drum_supervisor.supervise.termination_message import STOPPED_ON_REQUEST, TerminationLog, termination_reason
from drum_supervisor.supervise.wiring import Output, Parts, Supervisor, assemble

FLUSH_SECONDS = 2.0


def start(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Supervise a model server until it is stopped, or given up; return the exit code.

    Args:
        argv: the user's command; empty: the built-in model server.

    Raises:
        DrumSupervisorError: it could not start: bad usage, or the address is taken.
    """
    _fill_standard_descriptors()
    with ExitStack() as stack:
        early = stack.enter_context(EarlySignals())
        out, err = Sink(1), Sink(2)
        for sink in (out, err):
            stack.callback(sink.close)
            stack.callback(sink.flush, FLUSH_SECONDS)
        termination_log = TerminationLog(Path(settings.termination_log))
        try:
            output = _output(settings, out, err)
            supervisor, guard = _prepared(settings, argv, environ, output, stack)
            supervisor.engine.run(supervisor.loop, supervisor.program_control, early.numbers)
            if guard:
                guard.dismiss()
        except DrumSupervisorError as error:
            termination_log.write(str(error))
            raise
        state = supervisor.context.service.state
        reason = termination_reason(state)
        output.log.exit_line(int(state.exit_code), reason)
        if reason != STOPPED_ON_REQUEST:
            termination_log.write(reason)
    return int(state.exit_code)


def _output(settings: Settings, out: Sink, err: Sink) -> Output:
    line_format = None
    if settings.log_prefix:
        line_format = as_json if settings.log_format == "json" else prefixed
    log_buffer = LogBuffer()
    streams = OutputStreams(out, err, line_format, [log_buffer.add])
    return Output(Log(streams.write, settings.log_level, settings.log_format), streams, log_buffer)


def _prepared(
    settings: Settings, argv: Sequence[str], environ: Mapping[str, str], output: Output, stack: ExitStack
) -> tuple[Supervisor, Guard | None]:
    """Bind, lock and render all that a supervisor needs; return it, with its guard."""
    log = output.log
    settings, extra = _decided(settings, argv, environ, log)
    command = command_of(settings, argv, environ)
    listener, address = _bind(settings, is_shared(settings, command), stack)
    directory = _run_dir(settings, environ, stack)
    found = with_exporter(programs(settings, command, address, directory), settings, environ, directory)
    metrics_listener = bind_metrics(settings, directory, log, stack)
    configuration = render(found, directory, extra)
    directory.write(directory.configuration, configuration)
    directory.write(directory.address, f"{address}\n")
    _adopt_orphans(log)
    guard = _guard(settings, listener)
    parts = Parts(
        settings=settings,
        environ=environ,
        programs=found,
        configuration=configuration,
        run_dir=directory,
        address=address,
        listener=listener,
        metrics_listener=metrics_listener,
        guard_pid=guard.pid if guard else 0,
        essential=extra.essential,
        output=output,
    )
    supervisor = _assembled(parts, guard, stack)
    log.information(f"listening on {address.url()}, run directory {directory.path}", address=str(address))
    return supervisor, guard


def _decided(
    settings: Settings, argv: Sequence[str], environ: Mapping[str, str], log: Log
) -> tuple[Settings, ExtraPrograms]:
    """Return the settings with everything decided that was left to us, and the programs of the user's configuration."""
    if not argv and settings.server_type == "gunicorn":
        from drum_supervisor.config import gunicorn  # noqa: PLC0415 - no other server should wait for it

        gunicorn.read(environ, ignored=gunicorn.SETTINGS)  # refused here, not by the child
    settings, sentence = auto_workers.decided(settings, argv, environ)
    if sentence:
        log.information(sentence)
    extra = further(settings.config, environ)
    for warning in extra.warnings:
        log.warning(warning)
    return (absolute(settings) if extra.has_directory else settings), extra


def _run_dir(settings: Settings, environ: Mapping[str, str], stack: ExitStack) -> run_dir.RunDir:
    """Make the run directory and lock it; it goes with us."""
    directory = run_dir.make(settings.run_dir, environ)
    stack.callback(os.close, run_dir.lock(directory))
    stack.callback(directory.remove)  # ours only once it is locked
    for left in (directory.failure, directory.socket):  # of an earlier supervisor; for the socket of a killed one
        left.unlink(missing_ok=True)  # supervisord would sleep 0.3 s, and say so in a format of its own
    return directory


def _adopt_orphans(log: Log) -> None:
    if not prctl.become_subreaper():
        log.warning("child subreaper not supported: daemons started by the model server may outlive it")
    if not proctree.is_own_proc():
        log.warning("/proc is missing or of another PID namespace: daemons started by the model server are not found")


def _assembled(parts: Parts, guard: Guard | None, stack: ExitStack) -> Supervisor:
    """Dismiss the guard if supervisord refuses the configuration: then there is nothing to guard."""
    try:
        return assemble(parts, stack)
    except DrumSupervisorError:
        if guard:
            guard.dismiss()
        raise


def _guard(settings: Settings, listener: socket.socket | None) -> Guard | None:
    """With the first process of a PID namespace the kernel ends everything by itself."""
    if os.getpid() == 1:
        return None
    inode = os.fstat(listener.fileno()).st_ino if listener else 0
    return Guard(python("supervise.host.guard"), Charges(os.urandom(16).hex(), inode), settings.stop_timeout)


def _bind(settings: Settings, shared: bool, stack: ExitStack) -> tuple[socket.socket | None, Address]:
    """Bind the listener; where the model server is to bind it, only see that it could."""
    address = settings.address
    if not shared and address.port == 0 and not address.path:
        raise UsageError("--address: with port 0 the model server must inherit the listener: put {fd} in its command.")
    listener = bind(address, settings.backlog)
    bound = address_of(listener)
    if shared:
        stack.callback(close, listener, address)
        return listener, bound
    close(listener, address)
    return None, bound


def _fill_standard_descriptors() -> None:
    """Open /dev/null for 0, 1 and 2 where they are closed: else the listener or a pipe would get their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as we live
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
