"""A real engine in this process, driven by the steps of a test."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import ControlState, ExtraProgramExit, ProgramState, Run
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.streams import OutputStreams, Sink
from drum_supervisor.supervise.programs.program import Program, Programs, Readiness
from drum_supervisor.supervise.programs.render import render
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms
from tests.unit.processes import adopt


class Recorder:
    """Callbacks that record what the engine reports, and call `step` at the end of each turn."""

    def __init__(self) -> None:
        self.engine: Engine
        self.exits: list[Run] = []
        self.lines: list[bytes] = []
        self.signals: list[int] = []
        self.turns = 0
        self.step: Callable[[], object] = lambda: None
        self.begin: Callable[[], object] = lambda: None
        self.at_exit: Callable[[Run], object] = lambda run: None

    def on_begin(self) -> None:
        self.begin()

    def on_signal(self, number: int) -> None:
        self.signals.append(number)

    def on_line(self, run: Run, line: bytes) -> None:
        self.lines.append(line)

    def on_exit(self, run: Run) -> None:
        self.exits.append(run)
        self.at_exit(run)

    def on_turn(self) -> None:
        self.turns += 1
        self.step()

    def next_wakeup(self) -> float:
        return float("inf")


class Reports:
    """Records what the engine reports about extra programs."""

    def __init__(self) -> None:
        self.exited: list[ExtraProgramExit] = []
        self.gave_up: list[ExtraProgramExit] = []
        self.started: list[str] = []
        self.changes = 0

    def start(self, program: Program) -> str:
        return "no"

    stop = start

    def is_worker(self, program: Program) -> bool:
        return True

    def control_state(self, program: Program) -> ControlState:
        return ControlState(ProgramState.STOPPED)

    def on_extra_changed(self) -> None:
        self.changes += 1

    def on_extra_started(self, name: str, pid: int) -> None:
        self.started.append(name)

    def on_extra_exited(self, program_exit: ExtraProgramExit) -> None:
        self.exited.append(program_exit)

    def on_extra_gave_up(self, program_exit: ExtraProgramExit) -> None:
        self.gave_up.append(program_exit)


class Bench:
    """One engine, its callbacks, and the files its programs write to."""

    def __init__(self, folder: Path, commands: dict[str, list[str]], extra: str = "") -> None:
        self.programs = {name: Program(name, name, tuple(argv), 1) for name, argv in commands.items()}
        workers = tuple(self.programs.values())
        error_server = Program("error-server", "error-server", ("true",))
        stand_in = Program("stand-in", "stand-in", ("true",))
        found = Programs(workers, error_server, error_server, stand_in, True, Readiness.REPORT, "command")
        directory = RunDir(folder)
        self.out_path, self.err_path = folder / "out", folder / "err"
        self.log_lines: list[bytes] = []
        self._files = [open(self.out_path, "ab"), open(self.err_path, "ab")]
        self.owner = Recorder()
        self.program_control = Reports()
        known = {program.name: program for program in found.all}
        sinks = [Sink(file.fileno()) for file in self._files]
        log = Log(self.log_lines.append, "debug")
        text = render(found, directory, ExtraPrograms()) + extra
        self.engine = self.owner.engine = Engine(text, EngineContext(log, OutputStreams(*sinks), known))

    def start(self, name: str, listener_fd: int | None = None) -> Run:
        run = Run(self.programs[name])
        self.engine.start(run, listener_fd)
        return run

    def until(self, met: Callable[[], bool]) -> None:
        """Run the engine until `met` is true at the end of a turn."""
        self.owner.step = lambda: self.engine.end() if met() else None
        self.run()

    def run(self) -> None:
        self.engine.run(self.owner, self.program_control)

    def output(self) -> str:
        return self.out_path.read_text()

    def close(self) -> None:
        for file in self._files:
            file.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make an engine for some commands, with extra configuration."""
    benches: list[Bench] = []
    adopt(orphans=True)

    def make(commands: dict[str, list[str]], extra: str = "") -> Bench:
        benches.append(Bench(tmp_path, commands, extra))
        return benches[-1]

    yield make
    for made in benches:
        made.close()
    adopt(orphans=False)  # other tests do not reap orphans


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
