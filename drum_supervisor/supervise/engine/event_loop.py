"""supervisord's main loop and poller, with the overrides that the engine needs.

What supervisord does by itself - restarts, back-off, logging - is turned off or overridden. Each override names the
trap that it avoids, and has a test that fails when the trap is gone. Measured on supervisor 4.3.0.
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

MAX_REAPED_PER_TURN = 1000
ROUNDING_SECONDS = 0.001  # supervisord acts once a time is past, not when it is reached


class EngineLoop(Supervisor):
    """The main loop. supervisord's turn is: poll, read and write, state transitions, reap, signals, tick."""

    ending = False
    early_signals: Iterable[int] = ()

    def __init__(self, options: Any, wakeup: Wakeup, watched: dict[int, Dispatcher]) -> None:
        super().__init__(options)
        self.wakeup = wakeup
        self.watched = watched
        self.context: EngineContext = options.context
        self.drum_namespace: Any = None
        options.seconds_left = self._seconds_left

    def runforever(self) -> None:
        self.wakeup.on_signals()
        for number in self.early_signals:
            self.options.signal_receiver.receive(number, None)
        self.wakeup.wake()  # else the first poll sleeps a second before anything is spawned
        self.context.callbacks.on_begin()
        super().runforever()

    def get_process_map(self) -> dict[int, Dispatcher]:
        return {**super().get_process_map(), **self.watched}

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        # supervisord stops at 100, by recursion, and logs each unknown child. When thousands die at once, the rest
        # waits for the next turn, which follows at once.
        for _ in range(MAX_REAPED_PER_TURN):
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process = self.options.pidhistory.pop(pid, None)
            if process is not None:
                process.finish(pid, status, usage)
            else:
                self.options.orphans.forget(pid)
        self.wakeup.wake()

    def handle_signal(self) -> None:
        # All of them: supervisord handles one per turn, and sleeps before it sees the next.
        while number := self.options.get_signal():
            if number == signal.SIGUSR2:
                self._reopen_logs()
            if number != signal.SIGCHLD:
                self.context.callbacks.on_signal(number)

    def _reopen_logs(self) -> None:
        # Those of extra programs, which may have been rotated.
        for group in self.process_groups.values():
            group.reopenlogs()

    def tick(self, now: float | None = None) -> None:
        # Programs are started here, when nothing is half done (fact: never spawn in an event callback).
        super().tick(now)
        if self.options.mood < SupervisorStates.RUNNING and not self.ending:
            self._handle_rpc_mood()
        self.context.callbacks.on_turn()

    def _seconds_left(self) -> float:
        # Until supervisord must act: restart a program, or kill one.
        now = time.time()
        processes = (process for group in self.process_groups.values() for process in group.processes.values())
        left = [process.seconds_left(now) for process in processes]
        return max(min(left, default=inf), 0.0) + ROUNDING_SECONDS

    def _handle_rpc_mood(self) -> None:
        # `supervisorctl shutdown` and `reload` set the mood; the policy decides what happens.
        number = signal.SIGTERM if self.options.mood == SupervisorStates.SHUTDOWN else signal.SIGHUP
        self.options.mood = SupervisorStates.RUNNING
        self.context.callbacks.on_signal(number)


class Poller(PollPoller):
    """Polls until the next timer instead of for a second, and notices a pipe whose reader is gone."""

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        # `timeout` is supervisord's second. It overlooks POLLERR: it would spin on a full pipe whose reader is gone.
        seconds = min(self.options.context.callbacks.next_wakeup(), self.options.seconds_left())
        readable, writable = [], []
        for fd, mask in self._poll_fds(max(0.0, min(timeout, seconds))):
            if self._ignore_invalid(fd, mask):
                continue
            if mask & (self.READ | select.POLLERR) and fd in self.readables:
                readable.append(fd)
            if mask & (self.WRITE | select.POLLERR | select.POLLHUP) and fd in self.writables:
                writable.append(fd)
        return readable, writable


class Orphans:
    """The orphans that the kernel hands to the supervisor; the guard is a child, but not an orphan."""

    def __init__(self, guard_pid: int = 0) -> None:
        self._guard_pid = guard_pid
        self._programs: dict[int, str] = {}

    def find(self, started: Container[int]) -> dict[int, str]:
        """Return the orphans, which are not in `started`, by pid, with the name of their program, "" or UNKNOWN."""
        pids = [pid for pid in proctree.children(os.getpid()) if pid not in started and pid != self._guard_pid]
        # One that has died since it was found first stays among them until it is reaped.
        found = {pid: self._programs[pid] for pid in pids if pid in self._programs}
        found.update(
            (pid, proctree.read_program(pid)) for pid in pids if pid not in found and not proctree.is_zombie(pid)
        )
        self._programs = {pid: program for pid, program in found.items() if program != proctree.UNKNOWN}
        return found

    def forget(self, pid: int) -> None:
        self._programs.pop(pid, None)
