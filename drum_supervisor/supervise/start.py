"""`drum-supervise start`: prepares, assembles and runs the supervisor, and reports why it exited."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import DrumSupervisorError, UsageError
from drum_supervisor.contract.listener import Address, address_of, bind, close
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine import prctl
from drum_supervisor.supervise.engine.wakeup import EarlySignals
from drum_supervisor.supervise.host import run_dir
from drum_supervisor.supervise.host.guard import Guard, GuardedProcesses
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.streams import Sink
from drum_supervisor.supervise.programs.launch import plan_launch
from drum_supervisor.supervise.programs.plan import python_command
from drum_supervisor.supervise.termination_message import STOPPED_ON_REQUEST, TerminationLog, describe_termination
from drum_supervisor.supervise.wiring import Parts, Supervisor, SupervisorOutput, assemble

METRICS_BACKLOG = 128
FLUSH_SECONDS = 2.0  # at most, for the last output


def start(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Supervise a model server until it is stopped or has failed for good; return the exit code.

    Args:
        argv: the user's command; empty: the built-in model server.

    Raises:
        DrumSupervisorError: the supervisor could not start: bad usage, or the address is in use.
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
            output = SupervisorOutput.create(settings, out, err)
            supervisor, guard = _prepare(settings, argv, environ, output, stack)
            supervisor.engine.run(supervisor.loop, supervisor.program_control, early.numbers)
            if guard:
                guard.dismiss()
        except DrumSupervisorError as error:
            termination_log.write(str(error))
            raise
        state = supervisor.context.service.state
        reason = describe_termination(state)
        output.log.exit_line(int(state.exit_code), reason)
        if reason != STOPPED_ON_REQUEST:
            termination_log.write(reason)
    return int(state.exit_code)


def _prepare(
    settings: Settings, argv: Sequence[str], environ: Mapping[str, str], output: SupervisorOutput, stack: ExitStack
) -> tuple[Supervisor, Guard | None]:
    log, launch = output.log, plan_launch(settings, argv, environ)
    settings = launch.settings
    if launch.workers_note:
        log.information(launch.workers_note)
    for warning in launch.extra.warnings:
        log.warning(warning)
    listener, address = _bind(settings, launch.shares_listener, stack)
    directory = _make_run_dir(settings, environ, stack)
    programs = launch.programs(address, directory)
    metrics_listener = _bind_metrics(settings, directory, log, stack)
    configuration = launch.configuration(programs, directory)
    directory.write(directory.configuration, configuration)
    directory.write(directory.address, f"{address}\n")
    _adopt_orphans(log)
    guard = _start_guard(settings, listener)
    parts = Parts(
        settings=settings,
        environ=environ,
        programs=programs,
        configuration=configuration,
        run_dir=directory,
        address=address,
        listener=listener,
        metrics_listener=metrics_listener,
        guard_pid=guard.pid if guard else 0,
        essential=launch.extra.essential,
        output=output,
    )
    supervisor = _assemble(parts, guard, stack)
    log.information(f"listening on {address.url()}, run directory {directory.path}", address=str(address))
    return supervisor, guard


def _make_run_dir(settings: Settings, environ: Mapping[str, str], stack: ExitStack) -> run_dir.RunDir:
    """Create and lock the run directory, which is removed at the exit."""
    directory = run_dir.make(settings.run_dir, environ)
    stack.callback(os.close, run_dir.lock(directory))
    stack.callback(directory.remove)  # not before it is locked, and so is ours
    # Files of an earlier supervisor: for the socket of a killed one supervisord would sleep 0.3 s, and log that in its
    # own format.
    for stale in (directory.failure, directory.socket):
        stale.unlink(missing_ok=True)
    return directory


def _adopt_orphans(log: Log) -> None:
    if not prctl.become_subreaper():
        log.warning("child subreaper not supported: daemons started by the model server may outlive it")
    if not proctree.is_proc_of_own_namespace():
        log.warning("/proc is missing or of another PID namespace: daemons started by the model server cannot be found")


def _assemble(parts: Parts, guard: Guard | None, stack: ExitStack) -> Supervisor:
    try:
        return assemble(parts, stack)
    except DrumSupervisorError:  # supervisord refuses the configuration: there is nothing to guard
        if guard:
            guard.dismiss()
        raise


def _start_guard(settings: Settings, listener: socket.socket | None) -> Guard | None:
    if os.getpid() == 1:  # with the first process of a PID namespace the kernel kills all others
        return None
    inode = os.fstat(listener.fileno()).st_ino if listener else 0
    return Guard(
        python_command("supervise.host.guard"), GuardedProcesses(os.urandom(16).hex(), inode), settings.stop_timeout
    )


def _bind(settings: Settings, shared: bool, stack: ExitStack) -> tuple[socket.socket | None, Address]:
    """Bind the listener; if the model server binds the address itself, only check that this is possible."""
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


def _bind_metrics(settings: Settings, directory: run_dir.RunDir, log: Log, stack: ExitStack) -> socket.socket | None:
    """Bind --metrics-address, if there is one, and log it."""
    if settings.metrics_address is None:
        return None
    listener = bind(settings.metrics_address, METRICS_BACKLOG, "--metrics-address")
    stack.callback(close, listener, settings.metrics_address)
    address = address_of(listener)
    directory.write(directory.metrics_address, f"{address}\n")
    log.information(f"metrics on {address.url()}/metrics", metrics_address=str(address))
    return listener


def _fill_standard_descriptors() -> None:
    # /dev/null for closed descriptors: else the listener or a pipe would get the number 0, 1 or 2.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as we live
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
