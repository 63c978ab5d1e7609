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
from drum_supervisor.supervise import lines, readiness, run_dir, tree, worker_count
from drum_supervisor.supervise.drum import command_of
from drum_supervisor.supervise.engine import Engine
from drum_supervisor.supervise.exporter import Exporter, bind_metrics, with_exporter
from drum_supervisor.supervise.fleet import Fleet
from drum_supervisor.supervise.history import Phase, RestartCause
from drum_supervisor.supervise.lines import Form
from drum_supervisor.supervise.liveness import Check, Liveness
from drum_supervisor.supervise.log import Log
from drum_supervisor.supervise.loop import Loop
from drum_supervisor.supervise.outlets import Outlets
from drum_supervisor.supervise.output import Sink
from drum_supervisor.supervise.programs import Programs, is_shared, programs, render
from drum_supervisor.supervise.renewal import Grown, Renewal
from drum_supervisor.supervise.room import room_for_another
from drum_supervisor.supervise.service_manager import service_manager
from drum_supervisor.supervise.state import Limits, State
from drum_supervisor.supervise.status import standing, status
from drum_supervisor.supervise.timers import Timers
from drum_supervisor.supervise.transcript import Piece, Transcript

if TYPE_CHECKING:
    from drum_supervisor.supervise.sampler import Sampler

FLUSH_SECONDS = 2.0
NO_OVERLAP = (
    "--overlap needs workers that inherit the listener and report when they are ready (--ready report): else nobody "
    "can tell the new one from the old one"
)
LONGEST_ANSWER = 32 * 1024  # bytes of output in one answer to `logs`, which is sent at once
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
            outlets = Outlets(out, err, form=_form(settings))
            log = Log(outlets.write, settings.log_level, settings.log_format)
            code, last_words = _supervise(settings, argv, environ, log, outlets, stack)
        except DrumSupervisorError as error:
            termination_log.write(str(error))
            raise
        log.last_line(code, last_words)
        if code:
            termination_log.write(last_words)
    return code


def _form(settings: Settings) -> Form | None:
    if not settings.log_prefix:
        return None
    return lines.as_json if settings.log_format == "json" else lines.prefixed


def _supervise(
    settings: Settings,
    argv: Sequence[str],
    environ: Mapping[str, str],
    log: Log,
    outlets: Outlets,
    stack: ExitStack,
) -> tuple[int, str]:
    if not argv and settings.server_type == "gunicorn":
        gunicorn_parameters.read(environ, ignored=gunicorn_parameters.SETTINGS)  # refused here, not by the child
    settings, counted = worker_count.decided(settings, argv, environ)
    if counted:
        log.information(counted)
    command = command_of(settings, argv, environ)
    shared = is_shared(settings, command)
    listener, address = _bind(settings, shared, stack)
    directory = run_dir.make(settings.run_dir, environ)
    stack.callback(os.close, run_dir.lock(directory))
    stack.callback(directory.remove)  # ours only once it is locked
    directory.failure.unlink(missing_ok=True)  # of an earlier supervisor
    found = with_exporter(programs(settings, command, address, directory), settings, environ, directory)
    configuration = render(found, directory)
    directory.write(directory.configuration, configuration)
    directory.write(directory.address, f"{address}\n")
    if not tree.become_subreaper():
        log.warning("this kernel does not hand orphans to us: what daemons a model server starts may survive it")
    if not tree.is_own_proc():
        log.warning("/proc is missing or of another PID namespace: what daemons a model server starts are not seen")
    metrics_listener = bind_metrics(settings, directory, log, stack)
    running = _assemble(settings, found, configuration, directory, address, listener, metrics_listener, log, outlets)
    if (manager := service_manager(environ, running.loop.timers)) is not None:
        stack.callback(manager.close)
        running.loop.on_change = lambda: manager.tell(standing(running.loop))
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
    transcript: Transcript
    log: Log

    def status(self) -> dict[str, Any]:
        return status(self.loop, self.engine, self.address, self.directory)

    def serial(self) -> int:
        return self.loop.serial

    def output(self, position: int) -> list[Piece]:
        """Return what was written since; if that is nothing, have whoever waits looked at again when there is some."""
        pieces = self.transcript.since(position, LONGEST_ANSWER)
        self.loop.output_awaited_at = None
        if not pieces:
            self.transcript.on_next = self.loop.output_awaited
        return pieces

    def restart_refused(self, overlap: bool, force: bool) -> str:
        """Return why there cannot be such a restart, an empty text if there can."""
        if not overlap or self.loop.state.phase is not Phase.SERVING:
            return ""
        if not self.loop.programs.spares:
            return NO_OVERLAP
        room = None if force else room_for_another(self.loop.fleet.pids_of_workers())
        return "" if room is None or room.is_enough else f"{room.sentence}; --force starts a second one all the same"

    def restart(self, worker: int | None, overlap: bool) -> None:
        self.loop.restart(worker, overlap)

    def renew(self, place: int, cause: RestartCause) -> None:
        """Replace a worker that could go on; with overlap, where there is room for that."""
        self.loop.restart(place, overlap=not self.restart_refused(overlap=True, force=False), cause=cause)

    def renew_grown(self, grown: Grown) -> None:
        """Replace a worker that has grown too large."""
        self.log.line("warning", grown.sentence, pid=grown.pid)
        self.renew(grown.place, RestartCause.MEMORY)

    def serving(self) -> dict[int, int]:
        """Return the pid of each worker that is ready, by its place."""
        loop = self.loop
        runs = [self.engine.run_of(each.name) for each in loop.programs.sides if each.worker in loop.state.ready]
        return {run.program.place: run.pid for run in runs if run is not None and not run.stop_asked}

    def stop(self) -> None:
        self.loop.stop()

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]:
        from drum_supervisor.supervise.stats import stats  # noqa: PLC0415 - see _sampler

        sample = self.loop.sampler.ask(max_age, shared_memory, watching=history)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else stats(self.loop, self.engine, found, shared_memory, history)

        return answer

    def metrics(self, max_age: float) -> Callable[[], dict[str, Any] | None]:
        from drum_supervisor.supervise.stats import metrics  # noqa: PLC0415 - the same

        sample = self.loop.sampler.ask(max_age, shared_memory=False, watching=False)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else metrics(self.loop, self.engine, found)

        return answer


def _assemble(
    settings: Settings,
    found: Programs,
    configuration: str,
    directory: run_dir.RunDir,
    address: Address,
    listener: socket.socket | None,
    metrics_listener: socket.socket | None,
    log: Log,
    outlets: Outlets,
) -> _Running:
    timers = Timers(time.monotonic)

    def watch(
        on_ready: Callable[[], None], on_stage: Callable[[str], None], on_failed: Callable[[str], None]
    ) -> readiness.Watcher | None:
        asked, told = _question(settings), (on_ready, on_stage, on_failed)
        return readiness.watcher(found.readiness, engine, timers, address, asked, directory, *told)

    def check(on_unresponsive: Callable[[str], None]) -> readiness.Watcher | None:
        asked = _alive_check(settings)
        return Liveness(engine, timers, address, asked, log, on_unresponsive) if asked else None

    loop = Loop(found, limits(settings, found), directory, log, timers, watch, check)
    owner = Exporter(loop, found.exporter, metrics_listener, log)
    engine = Engine(configuration, {program.name: program for program in found.all}, owner, log, outlets)
    fleet = Fleet(engine, found, address, listener, timers, settings.stop_timeout, settings.backlog, loop.started)
    loop.attach(engine, fleet, lambda: _sampler(loop, engine))
    running = _Running(engine, loop, address, directory, outlets.transcript, log)
    loop.on_spent = lambda place: running.renew(place, RestartCause.REQUESTS)
    if settings.max_worker_memory:
        copies = settings.workers if found.server_type == "gunicorn" else 1
        Renewal(timers, settings.max_worker_memory, running.serving, copies, running.renew_grown)
    engine.publish(running)
    return running


def _sampler(loop: Loop, engine: Engine) -> "Sampler":
    from drum_supervisor.supervise.sampler import Sampler  # noqa: PLC0415 - after the first start: this takes 10 ms
    from drum_supervisor.supervise.stats import tops  # noqa: PLC0415 - the same

    return Sampler(
        timers=loop.timers,
        tops=lambda: tops(engine, loop.programs, loop.timers.clock(), time.time()),
        is_starting=lambda: bool(loop.state.coming),
        tell=loop.tell_soon,
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
        Cause.DIED: "the model server is not to be restarted",
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
                os.write(self._fd, cut(message, LONGEST_TERMINATION_MESSAGE))
            os.close(self._fd)
            self._fd = None


def cut(text: str, longest: int) -> bytes:
    """Return the beginning of `text`, at most so many bytes, and no part of a character: it stays valid UTF-8."""
    return text.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore").encode("utf-8")


def _fill_standard_descriptors() -> None:
    """Open /dev/null for 0, 1 and 2 where they are closed: else the listener or a pipe would get their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as we live
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
