"""supervisord's main loop, poller and options, with the overrides that the engine needs.

What supervisord does by itself - restarting, backing off, logging - is turned off or overridden; each override names
the trap it avoids, and has a test that fails when the trap is gone. Measured on supervisor 4.3.0.
"""

import os
import select
import signal
import time
from collections.abc import Container, Iterable
from math import inf
from typing import Any

from supervisor.poller import PollPoller
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.run import Dispatcher
from drum_supervisor.supervise.engine.wakeup import Wakeup

REAPED_AT_ONCE = 1000
A_LITTLE_LATER = 0.001  # seconds: supervisord wants a time to be past, not reached


class EngineLoop(Supervisor):  # type: ignore[misc]
    """The main loop. supervisord's turn is: poll, read and write, state transitions, reap, signals, tick."""

    ending = False
    early: Iterable[int] = ()

    def __init__(self, options: Any, wakeup: Wakeup, watched: dict[int, Dispatcher]) -> None:
        super().__init__(options)
        self.wakeup = wakeup
        self.watched = watched
        self.context: EngineContext = options.context
        self.controlled: Any = None
        options.seconds_left = self._seconds_left

    def runforever(self) -> None:
        self.wakeup.on_signals()
        for number in self.early:
            self.options.signal_receiver.receive(number, None)
        self.wakeup.wake()  # the first poll would sleep a second before anything is spawned
        self.context.callbacks.on_begin()
        super().runforever()

    def get_process_map(self) -> dict[int, Dispatcher]:
        """Add our own descriptors to those that the loop polls."""
        return {**super().get_process_map(), **self.watched}

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        """Reap all that is dead: supervisord stops at 100, by recursion, and logs each stranger.

        When thousands die at once, the rest has to wait for the next turn, which comes at once.
        """
        for _ in range(REAPED_AT_ONCE):
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process = self.options.pidhistory.pop(pid, None)
            if process is not None:
                process.usage = usage
                process.finish(pid, status)
            else:
                self.options.orphans.forget(pid)
        self.wakeup.wake()

    def handle_signal(self) -> None:
        """Pass on all signals; supervisord would look at one in a turn, and sleep before it sees the next."""
        while number := self.options.get_signal():
            if number == signal.SIGUSR2:
                self._reopen_logs()
            if number != signal.SIGCHLD:
                self.context.callbacks.on_signal(number)

    def _reopen_logs(self) -> None:
        """Open the log files of further programs anew: somebody may have moved them away."""
        for group in self.process_groups.values():
            group.reopenlogs()

    def tick(self, now: float | None = None) -> None:
        """The end of a turn, where nothing is half done (fact: never spawn in an event callback)."""
        super().tick(now)
        if self.options.mood < SupervisorStates.RUNNING and not self.ending:
            self._asked_over_rpc()
        self.context.callbacks.on_turn()

    def _seconds_left(self) -> float:
        """Return in how many seconds supervisord has something to do: to start a program again, or to kill one."""
        now = time.time()
        processes = (process for group in self.process_groups.values() for process in group.processes.values())
        left = [process.seconds_left(now) for process in processes]
        return max(min(left, default=inf), 0.0) + A_LITTLE_LATER

    def _asked_over_rpc(self) -> None:
        """`supervisorctl shutdown` and `reload` set the mood; the policy decides what becomes of it."""
        number = signal.SIGTERM if self.options.mood == SupervisorStates.SHUTDOWN else signal.SIGHUP
        self.options.mood = SupervisorStates.RUNNING
        self.context.callbacks.on_signal(number)


class Poller(PollPoller):  # type: ignore[misc]
    """Polls until the next alarm instead of for a second, and sees a pipe whose reader is gone."""

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """Wait; `timeout` is supervisord's second, the most we ever wait.

        supervisord overlooks POLLERR: with nobody at the other end of a full pipe it would spin.
        """
        wanted = min(self.options.context.callbacks.next_wakeup(), self.options.seconds_left())
        readable, writable = [], []
        for fd, mask in self._poll_fds(max(0.0, min(timeout, wanted))):
            if self._ignore_invalid(fd, mask):
                continue
            if mask & (self.READ | select.POLLERR) and fd in self.readables:
                readable.append(fd)
            if mask & (self.WRITE | select.POLLERR | select.POLLHUP) and fd in self.writables:
                writable.append(fd)
        return readable, writable


class Orphans:
    """Our orphans, with the program that each comes from.

    Args:
        guard: a child that is no orphan either.
    """

    def __init__(self, guard: int = 0) -> None:
        self._guard = guard
        self._programs: dict[int, str] = {}

    def look(self, started: Container[int]) -> dict[int, str]:
        """Return them with the name of their program, "" or UNKNOWN.

        One that has died since it was looked at first is among them until it is reaped.

        Args:
            started: the processes that are no orphans.
        """
        here = [pid for pid in proctree.children(os.getpid()) if pid not in started and pid != self._guard]
        found = {pid: self._programs[pid] for pid in here if pid in self._programs}
        found.update(
            (pid, proctree.program_of(pid)) for pid in here if pid not in found and not proctree.is_zombie(pid)
        )
        self._programs = {pid: program for pid, program in found.items() if program != proctree.UNKNOWN}
        return found

    def forget(self, pid: int) -> None:
        """Forget one that was reaped: its number may come again."""
        self._programs.pop(pid, None)
