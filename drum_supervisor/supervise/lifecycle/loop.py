"""The engine's callbacks become events; at the end of each turn the policy decides, and actions follow."""

import signal
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from drum_supervisor.contract.report_pipe import InvalidMessageError, Message, decode
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.lifecycle.actions import ActionRunner
from drum_supervisor.supervise.policy import counters, events, table
from drum_supervisor.supervise.policy.state import State
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.service.context import Context


class ProgramHandler(Protocol):
    """Handles the events of a program's runs."""

    def on_start(self, run: Run) -> None: ...

    def on_message(self, run: Run, message: Message) -> None: ...

    def on_exit(self, run: Run) -> None: ...


class Follower(Protocol):
    """Reads the state of the service after each round of decisions, whether it has changed or not."""

    def follow(self) -> None: ...


class Loop:
    """The engine's callbacks; all of it runs in the engine's thread.

    Args:
        handlers: by program name.
        followers: called in this order.
    """

    def __init__(
        self,
        context: Context,
        launcher: Launcher,
        runner: ActionRunner,
        handlers: Mapping[str, ProgramHandler],
        followers: Sequence[Follower],
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._runner = runner
        self._handlers = handlers
        self._followers = followers

    # --- what the engine reports

    def on_begin(self) -> None:
        self._context.queue.put(events.SupervisorStarted(self._context.now()))

    def on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        self._context.log.information(f"received {name}", signal=name)
        if number == signal.SIGHUP:
            self._context.request_restart()
        elif number != signal.SIGUSR2:  # supervisord reopens log files for that one
            self._context.request_stop()

    def on_line(self, run: Run, line: bytes) -> None:
        if run.stop_requested:
            return
        try:
            message = decode(line)
        except InvalidMessageError as error:
            self._context.log.warning(f"{run.label} sent an invalid message on its report pipe: {error}", pid=run.pid)
        else:
            self._handlers[run.program.name].on_message(run, message)

    def on_exit(self, run: Run) -> None:
        self._launcher.sweep_after(run)
        self._handlers[run.program.name].on_exit(run)
        self._context.waiters.note_change()

    def on_turn(self) -> None:
        self._context.timers.ring()
        self._decide()
        self._start_pending()
        if self._context.service.is_stopping and self._launcher.has_stopped_everything():
            self._context.queue.put(events.AllStopped(self._context.now()))
        self._decide()
        self._context.waiters.answer()

    def next_wakeup(self) -> float:
        return 0.0 if self._context.queue else self._context.timers.seconds_left()

    # --- the end of a turn

    def _decide(self) -> None:
        for event, about in self._context.queue.take():
            self._decide_on(event, about)
        for follower in self._followers:
            follower.follow()

    def _decide_on(self, event: events.Event, about: Run | None) -> None:
        service = self._context.service
        before = service.state
        service.state, actions = table.decide(before, event, service.limits)
        service.counters = counters.count_decision(service.counters, before.phase, service.state.phase, actions)
        if isinstance(event, events.WorkerReady) and about is not None:
            service.counters = counters.record_startup(service.counters, about.program.slot, event.at - about.started)
        if service.state is not before:
            self._changed(before)
        for action in actions:
            self._runner.carry_out(action)

    def _changed(self, before: State) -> None:
        service, log = self._context.service, self._context.log
        state = service.state
        self._context.waiters.note_change()
        if state.phase is not before.phase:
            service.since, service.entered_at = time.time(), self._context.now()
            log.line("debug", f"phase is now {state.phase.value}", phase=state.phase.value)
        if state.swapped != before.swapped:
            self._rename_workers()
        if state.restart_failure not in (None, before.restart_failure):
            log.warning(f"rolling restart aborted: {state.restart_failure.error}")

    def _rename_workers(self) -> None:
        workers = self._context.programs.all_workers
        self._launcher.rename_workers({each.name: self._context.display_name(each) for each in workers})

    def _start_pending(self) -> None:
        for run in self._launcher.advance():
            self._context.waiters.note_change()
            self._handlers[run.program.name].on_start(run)
            if run.program.worker and not run.spawn_error:
                self._runner.set_startup_deadline()
