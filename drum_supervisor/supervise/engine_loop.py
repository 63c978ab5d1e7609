"""supervisord's main loop, poller and options, with the overrides that the engine needs.

What supervisord does by itself - restarting, backing off, logging - is turned off or overridden; each override names
the trap it avoids, and has a test that fails when the trap is gone. Measured on supervisor 4.3.0.
"""

import os
import select
import signal
from typing import Any, NoReturn

from supervisor.options import ProcessConfig, ServerOptions
from supervisor.poller import PollPoller
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.supervise.engine_process import ManagedConfig, Surroundings, close_fd
from drum_supervisor.supervise.running import Dispatcher
from drum_supervisor.supervise.wakeup import Wakeup


class EngineLoop(Supervisor):  # type: ignore[misc]
    """The main loop. supervisord's turn is: poll, read and write, state transitions, reap, signals, tick."""

    ending = False

    def __init__(self, options: "EngineOptions", wakeup: Wakeup, watched: dict[int, Dispatcher]) -> None:
        super().__init__(options)
        self.wakeup = wakeup
        self.watched = watched
        self.owner = options.around.owner
        self.controlled: Any = None

    def runforever(self) -> None:
        self.wakeup.on_signals()
        self.wakeup.wake()  # the first poll would sleep a second before anything is spawned
        self.owner.on_begin()
        super().runforever()

    def get_process_map(self) -> dict[int, Dispatcher]:
        """Add our own descriptors to those that the loop polls."""
        return {**super().get_process_map(), **self.watched}

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        """Reap all that is dead: supervisord stops at 100, by recursion, and logs each stranger."""
        while True:
            pid, status = self.options.waitpid()
            if not pid:
                return
            process = self.options.pidhistory.pop(pid, None)
            if process is not None:
                process.finish(pid, status)

    def handle_signal(self) -> None:
        """Pass on all signals; supervisord would look at one in a turn, and sleep before it sees the next."""
        while number := self.options.get_signal():
            if number != signal.SIGCHLD:
                self.owner.on_signal(number)

    def tick(self, now: float | None = None) -> None:
        """The end of a turn, where nothing is half done (fact: never spawn in an event callback)."""
        super().tick(now)
        if self.options.mood < SupervisorStates.RUNNING and not self.ending:
            self._asked_over_rpc()
        self.owner.on_turn()

    def _asked_over_rpc(self) -> None:
        """`supervisorctl shutdown` and `reload` set the mood; the policy decides what becomes of it."""
        number = signal.SIGTERM if self.options.mood == SupervisorStates.SHUTDOWN else signal.SIGHUP
        self.options.mood = SupervisorStates.RUNNING
        self.owner.on_signal(number)


class _Poller(PollPoller):  # type: ignore[misc]
    """Polls until the next alarm instead of for a second, and sees a pipe whose reader is gone."""

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """Wait; `timeout` is supervisord's second, the most we ever wait.

        supervisord overlooks POLLERR: with nobody at the other end of a full pipe it would spin.
        """
        wanted = self.options.around.owner.next_wakeup()
        readable, writable = [], []
        for fd, mask in self._poll_fds(max(0.0, min(timeout, wanted))):
            if self._ignore_invalid(fd, mask):
                continue
            if mask & (self.READ | select.POLLERR) and fd in self.readables:
                readable.append(fd)
            if mask & (self.WRITE | select.POLLERR | select.POLLHUP) and fd in self.writables:
                writable.append(fd)
        return readable, writable


class EngineOptions(ServerOptions):  # type: ignore[misc]
    """supervisord's options and its calls into the operating system."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        super().__init__()
        self.poller = _Poller(self)

    def usage(self, message: object) -> NoReturn:
        """Raise instead of exiting from within a library."""
        raise UsageError(f"supervisord: {message}")

    def make_logger(self) -> None:
        self.logger = self.around.log

    def set_uid_or_exit(self) -> None:
        """We run as whoever started us; supervisord would warn about root."""

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, klass: type[ProcessConfig] | None = None
    ) -> Any:
        ours = section.partition(":")[2] in self.around.known
        return super().processes_from_section(parser, section, group_name, ManagedConfig if ours else klass)

    def waitpid(self) -> tuple[int | None, int | None]:
        """Reap one child and note its peak memory and its CPU, which nothing else tells of the dead."""
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None, None
        self.around.peak_memory_bytes = usage.ru_maxrss * 1024
        self.around.cpu_seconds = usage.ru_utime + usage.ru_stime
        return pid, status

    def close_parent_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_parent_pipes(pipes)
        close_fd(pipes.get("report"))

    def close_child_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_child_pipes(pipes)
        close_fd(pipes.get("child_report"))
