"""The situation that clients are told of: made from the policy's state, written with each change."""

import os
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import Situation, SituationFile
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.status_file import StatusFile, client_status
from drum_supervisor.supervise.policy.state import Limits, Phase, State
from drum_supervisor.supervise.service.context import ServiceStatus
from tests.unit.contexts import make_context

BAD = FailureReport(Cause.INIT_FAILED, "bad weights")
FOR_GOOD = FailureReport(Cause.INIT_FAILED, "invalid syntax", permanent=True)
LIMITS = Limits(max_retries=3)


def of(state: State, limits: Limits = LIMITS, next_at: float = 0.0) -> Situation:
    return client_status(ServiceStatus(limits, state, stage="load_model", entered_at=5.0), next_at)


@pytest.mark.parametrize("phase", Phase)
def test_an_attempt_is_under_way_while_starting_and_retrying(phase):
    told = of(State(phase, report=BAD))
    under_way = phase in (Phase.STARTING, Phase.RETRYING)
    assert (told.since, told.stage) == ((5.0, "load_model") if under_way else (0.0, ""))
    assert told.failed == (phase in (Phase.FAILED, Phase.RETRYING))


def test_retries_are_told():
    told = of(State(Phase.FAILED, attempt=2, retries=1, report=BAD), next_at=9.0)
    assert (told.attempt, told.attempts_left, told.next_at, told.refused) == (2, 2, 9.0, False)


@pytest.mark.parametrize(("retries", "refused"), [(0, True), (3, False)])
def test_retries_that_are_refused_are_told_if_there_would_be_any(retries, refused):
    told = of(State(Phase.FAILED, retries=retries, report=FOR_GOOD))
    assert (told.attempts_left, told.refused) == (0, refused)


def test_a_service_is_held_while_operators_have_stopped_its_workers_and_none_is_coming():
    told = of(State(stopped_by_operator=frozenset({1})))
    assert (told.held, told.stage, told.since) == (True, "", 0.0)
    assert not of(State(stopped_by_operator=frozenset({1}), starting=frozenset({2}))).held
    assert not of(State(Phase.SERVING, stopped_by_operator=frozenset({1}), ready=frozenset({2}))).held


def test_nothing_is_refused_where_nothing_was_wanted_or_everything_is():
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits()).refused
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits(max_retries=3, retry_permanent=True)).refused


class TestStatusFile:
    def test_has_the_last_stage_and_is_private(self, tmp_path: Path) -> None:
        run_dir, context = RunDir(tmp_path), make_context()
        file, read = StatusFile(context, run_dir), SituationFile(str(run_dir.situation))
        for stage in ("init", "load_model"):
            context.service.stage = stage
            file.follow()
            assert read().stage == stage
        assert os.stat(run_dir.situation).st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["situation.json"]

    def test_is_written_only_when_something_is_new(self, tmp_path: Path) -> None:
        file = StatusFile(make_context(), RunDir(tmp_path))
        file.follow()
        (tmp_path / "situation.json").unlink()
        file.follow()
        assert not list(tmp_path.iterdir())

    def test_is_left_alone_by_a_supervisor_that_stops(self, tmp_path: Path) -> None:
        context = make_context()
        context.service.state = State(Phase.STOPPING)
        StatusFile(context, RunDir(tmp_path)).follow()
        assert not list(tmp_path.iterdir())

    def test_a_failed_write_is_logged_once(self, tmp_path: Path) -> None:
        lines: list[bytes] = []
        file = StatusFile(make_context(write=lines.append), RunDir(tmp_path / "gone"))
        file.follow()
        file.follow()
        assert len(lines) == 1
        assert b"could not write situation.json: " in lines[0]
