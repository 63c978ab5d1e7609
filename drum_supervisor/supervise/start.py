"""`drum-supervise start`: puts the parts together, runs them, and says the last word."""

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drum_supervisor import gunicorn_parameters
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.contract.failure import Cause
from drum_supervisor.contract.listener import Address, address_of, bind
from drum_supervisor.settings import Settings
from drum_supervisor.supervise import readiness, run_dir, tree
from drum_supervisor.supervise.drum import command_of
from drum_supervisor.supervise.engine import Engine
from drum_supervisor.supervise.fleet import Fleet
from drum_supervisor.supervise.log import Log
from drum_supervisor.supervise.loop import Loop
from drum_supervisor.supervise.output import Sink
from drum_supervisor.supervise.policy import Limits, State
from drum_supervisor.supervise.programs import Programs, is_shared, programs, render
from drum_supervisor.supervise.status import status
from drum_supervisor.supervise.timers import Timers

if TYPE_CHECKING:
    from drum_supervisor.supervise.sampler import Sampler

FLUSH_SECONDS = 2.0
LONGEST_TERMINATION_MESSAGE = 4096  # the kubelet keeps no more


def start(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Supervise a model server until it is stopped, or given up; return the exit code.

    Args:
        argv: the user's command; empty: the built-in model server.

    Raises:
        DrumSupervisorError: it could not begin: bad usage, the address is taken.
    """
    _fill_standard_descriptors()
    with ExitStack() as stack:
        out, err = Sink(1), Sink(2)
        for sink in (out, err):
            stack.callback(sink.close)
            stack.callback(sink.flush, FLUSH_SECONDS)
        termination_log = TerminationLog(Path(settings.termination_log))
        try:
            log = Log(err.write, settings.log_level, settings.log_format)
            code, last_words = _supervise(settings, argv, environ, log, (out, err), stack)
        except DrumSupervisorError as error:
            termination_log.write(str(error))
            raise
        log.last_line(code, last_words)
        if code:
            termination_log.write(last_words)
    return code


def _supervise(
    settings: Settings,
    argv: Sequence[str],
    environ: Mapping[str, str],
    log: Log,
    sinks: tuple[Sink, Sink],
    stack: ExitStack,
) -> tuple[int, str]:
    if not argv and settings.server_type == "gunicorn":
        gunicorn_parameters.read(environ, ignored=gunicorn_parameters.SETTINGS)  # refused here, not by the child
    command = command_of(settings, argv, environ)
    shared = is_shared(settings, command)
    listener, address = _bind(settings, shared, stack)
    directory = run_dir.make(settings.run_dir, environ)
    stack.callback(os.close, run_dir.lock(directory))
    stack.callback(directory.remove)  # ours only once it is locked
    directory.failure.unlink(missing_ok=True)  # of an earlier supervisor
    found = programs(settings, command, address, directory)
    configuration = render(found, directory)
    directory.write(directory.configuration, configuration)
    directory.write(directory.address, f"{address}\n")
    if not tree.become_subreaper():
        log.warning("this kernel does not hand orphans to us: what daemons a model server starts may survive it")
    running = _assemble(settings, found, configuration, directory, address, listener, log, sinks)
    log.information(f"listening on {address.url()}, run directory {directory.path}", address=str(address))
    running.engine.run()
    state = running.loop.state
    return int(state.exit_code), last_words(state)


def _bind(settings: Settings, shared: bool, stack: ExitStack) -> tuple[socket.socket | None, Address]:
    """Bind the listener; where the model server is to bind it, only see that it could."""
    address = settings.address
    if not shared and address.port == 0 and not address.path:
        raise UsageError("--address: with port 0 the model server must inherit the listener: put {fd} in its command.")
    listener = bind(address, settings.backlog)
    bound = address_of(listener)
    if shared:
        stack.callback(_close_listener, listener, address)
        return listener, bound
    _close_listener(listener, address)
    return None, bound


def _close_listener(listener: socket.socket, address: Address) -> None:
    listener.close()
    if address.path:
        with suppress(OSError):
            os.unlink(address.path)


@dataclass
class _Running:
    """One supervisor, put together; what the control socket controls."""

    engine: Engine
    loop: Loop
    address: Address
    directory: run_dir.RunDir

    def status(self) -> dict[str, Any]:
        return status(self.loop, self.engine, self.address, self.directory)

    def serial(self) -> int:
        return self.loop.serial

    def restart(self, worker: int | None) -> None:
        self.loop.restart(worker)

    def stop(self) -> None:
        self.loop.stop()

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]:
        from drum_supervisor.supervise.stats import stats  # noqa: PLC0415 - see _sampler

        sample = self.loop.sampler.ask(max_age, shared_memory, watching=history)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else stats(self.loop, self.engine, found, shared_memory, history)

        return answer


def _assemble(
    settings: Settings,
    found: Programs,
    configuration: str,
    directory: run_dir.RunDir,
    address: Address,
    listener: socket.socket | None,
    log: Log,
    sinks: tuple[Sink, Sink],
) -> _Running:
    timers = Timers(time.monotonic)

    def watch(
        on_ready: Callable[[], None], on_stage: Callable[[str], None], on_failed: Callable[[str], None]
    ) -> readiness.Watcher | None:
        asked, told = _question(settings), (on_ready, on_stage, on_failed)
        return readiness.watcher(found.readiness, engine, timers, address, asked, directory, *told)

    loop = Loop(found, limits(settings, found), directory, log, timers, watch)
    engine = Engine(configuration, {program.name: program for program in found.all}, loop, log, *sinks)
    fleet = Fleet(engine, found, address, listener, timers, settings.stop_timeout, settings.backlog, loop.started)
    loop.attach(engine, fleet, lambda: _sampler(loop, engine))
    running = _Running(engine, loop, address, directory)
    engine.publish(running)
    return running


def _sampler(loop: Loop, engine: Engine) -> "Sampler":
    from drum_supervisor.supervise.sampler import Sampler  # noqa: PLC0415 - after the first start: this takes 10 ms
    from drum_supervisor.supervise.stats import tops  # noqa: PLC0415 - the same

    return Sampler(
        timers=loop.timers,
        tops=lambda: tops(engine, loop.programs, loop.timers.clock(), time.time()),
        is_starting=lambda: bool(loop.state.coming),
        tell=loop.tell,
        workers=loop.limits.workers,
        pid=engine.pid,
    )


def _question(settings: Settings) -> readiness.Question:
    path = settings.url_prefix + (settings.ready_path or "/ping")
    return readiness.Question(path, below=400 if settings.ready_path else 500, failed=settings.ready_failed)


def limits(settings: Settings, found: Programs) -> Limits:
    """Return the part of the settings that the policy knows; without a shared listener a stand-in has none."""
    return Limits(
        workers=len(found.workers),
        startup_timeout=settings.startup_timeout,
        error_server=settings.with_error_server,
        ttl=settings.error_server_ttl,
        max_retries=settings.max_retries,
        retry_interval=settings.retry_interval,
        max_restarts=settings.max_restarts,
        restart_window=settings.restart_window,
        stand_in=settings.while_starting == "respond" and found.shared,
    )


def last_words(state: State) -> str:
    """Return in one line why the supervisor ends: the last line on stderr and the termination message."""
    if state.exit_code == ExitCode.STOPPED or state.report is None:
        return "stopped on request"
    report = state.report
    where = f" in {report.stage}" if report.stage else ""
    what = {
        Cause.INIT_FAILED: f"initialization failed{where}",
        Cause.STARTUP_TIMEOUT: "the start-up deadline passed",
        Cause.KEPT_DYING: "the model server kept dying after it had been ready",
        Cause.DIED: "the model server died and is not to be restarted",
    }[report.cause]
    return " ".join(f"{what}: {report.error}".split())


class TerminationLog:
    """The termination message of Kubernetes: emptied at the start, written at the end, at most 4,096 bytes."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = os.open(path, os.O_WRONLY | os.O_TRUNC)

    def write(self, message: str) -> None:
        """Write the last words; a disk that is full then changes nothing any more."""
        if self._fd is not None:
            with suppress(OSError):
                os.write(self._fd, message.encode("utf-8", "replace")[:LONGEST_TERMINATION_MESSAGE])
            os.close(self._fd)
            self._fd = None


def _fill_standard_descriptors() -> None:
    """Open /dev/null for 0, 1 and 2 where they are closed: else the listener or a pipe would get their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as we live
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
