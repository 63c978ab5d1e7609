"""A context as the parts of a supervisor share it, on the clock of a test."""

import time
from collections.abc import Callable

from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.events import Event
from drum_supervisor.supervise.policy.state import Limits
from drum_supervisor.supervise.programs.program import (
    ERROR_SERVER,
    MODEL_SERVER,
    STAND_IN,
    Program,
    Programs,
    Readiness,
)
from drum_supervisor.supervise.service.context import Context


def make_programs(workers: int = 1) -> Programs:
    model_servers = [Program(f"{MODEL_SERVER}-{slot}", MODEL_SERVER, ("true",), slot, slot) for slot in _slots(workers)]
    error_server = Program(ERROR_SERVER, ERROR_SERVER, ("true",))
    stand_in = Program(STAND_IN, STAND_IN, ("true",))
    return Programs(tuple(model_servers), error_server, error_server, stand_in, True, Readiness.HTTP, "command")


def make_context(
    clock: Callable[[], float] = time.monotonic,
    workers: int = 1,
    wake: Callable[[], object] = lambda: None,
    write: Callable[[bytes], object] = lambda line: None,
) -> Context:
    return Context.create(make_programs(workers), Limits(workers=workers), wake, Log(write), clock)


def add_run(context: Context, slot: int, pid: int) -> Run:
    """Let a worker run."""
    program = context.programs.workers[slot - 1]
    run = context.service.runs[program.name] = Run(program, started=context.now(), pid=pid)
    return run


def taken(context: Context) -> list[Event]:
    """Take the events that were put on the queue."""
    return [event for event, _ in context.queue.take()]


def _slots(workers: int) -> range:
    return range(1, workers + 1)
