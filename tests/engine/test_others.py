"""Programs of the user's configuration: supervisord runs them, we list and stop them."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from drum_supervisor.supervise.api.status import running_targets
from drum_supervisor.supervise.engine.run import ExtraProgram
from drum_supervisor.supervise.programs.program import Program, Programs, Readiness
from drum_supervisor.supervise.stats.scan import ScanTarget
from tests.engine.conftest import Bench, python
from tests.unit.contexts import make_context

SLEEPS = python("import time; time.sleep(1000)")
EXTRA = """
[program:cache]
command=sleep 1000
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE

[group:mine]
programs=cache
"""


def test_extra_program_is_listed_while_it_runs_and_afterwards(bench: Callable[..., Bench]) -> None:
    made = bench({"model-server": SLEEPS}, EXTRA)
    seen: list[ExtraProgram] = []
    found: list[list[ScanTarget]] = []
    worker = Program("model-server", "model-server", ("true",), 1)
    error_server = Program("error-server", "error-server", ("true",))
    programs = Programs((worker,), error_server, error_server, error_server, True, Readiness.REPORT, "command")
    context = replace(make_context(), programs=programs)

    def step() -> bool:
        (other,) = made.engine.extra_programs()
        if other.state == "running" and not seen:
            seen.append(other)
            run = made.start("model-server")
            context.service.runs[worker.name] = run
            found.append(running_targets(made.engine, context))
            assert found[0][0] == ScanTarget("model-server", run.pid, run.started, 1)
            made.engine.kill("model-server")
            made.engine.stop_extra(999, 10.0)
        return bool(seen) and not made.engine.has_extra_running() and context.service.current_run(worker.name) is None

    made.until(step)
    (other,) = seen
    assert (other.name, other.group) == ("mine:cache", "mine")
    assert other.started_at == pytest.approx(time.time(), abs=60)
    assert found[0][1] == ScanTarget("mine:cache", other.pid, 0.0)
    assert found[0][1].started == pytest.approx(time.monotonic(), abs=60)
    assert made.engine.extra_programs()[0].pid == 0
