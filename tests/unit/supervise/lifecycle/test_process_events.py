"""What is observed of a run becomes events of the policy."""

import signal

import pytest

from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.stats.sampler import Sampler
from tests.unit.contexts import add_run, make_context, taken


@pytest.fixture
def context(clock):
    return make_context(clock)


@pytest.fixture
def process_events(context):
    return ProcessEvents(context, Sampler(context, 1, list))


class TestRequestedStop:
    def end(self, process_events, run: Run) -> None:
        run.stop_requested, run.status = True, int(signal.SIGTERM)
        process_events.on_exit(run)

    def test_of_a_worker_is_reported(self, context, process_events):
        self.end(process_events, add_run(context, slot=1, pid=7))
        assert taken(context) == [events.WorkerStopped(context.now(), 1)]

    @pytest.mark.parametrize("name", ["error_server", "stand_in"])
    def test_of_another_program_is_no_event(self, context, process_events, name):
        self.end(process_events, Run(getattr(context.programs, name), pid=7))
        assert taken(context) == []


class TestExit:
    def test_is_reported_once(self, context, process_events):
        run = add_run(context, slot=1, pid=7)
        run.status = 3 << 8
        process_events.on_exit(run)
        (event,) = taken(context)
        assert isinstance(event, events.WorkerExited)
        assert (event.report.exit_status, event.report.pid) == (3, 7)
        process_events.on_exit(run)
        assert taken(context) == []

    def test_after_a_reported_failure_is_no_event(self, context, process_events):
        run = add_run(context, slot=1, pid=7)
        run.outcome_reported, run.status = True, 3 << 8
        process_events.on_exit(run)
        assert taken(context) == []
