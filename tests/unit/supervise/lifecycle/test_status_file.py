"""The situation that clients are told of: made from the policy's state, written with each change."""

import os
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import Situation, SituationFile
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.status_file import StatusFile, situation
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.events import Phase
from drum_supervisor.supervise.policy.state import Limits, State

BAD = FailureReport(Cause.INIT_FAILED, "bad weights")
FOR_GOOD = FailureReport(Cause.INIT_FAILED, "invalid syntax", permanent=True)
LIMITS = Limits(max_retries=3)


def of(state: State, limits: Limits = LIMITS, next_at: float = 0.0) -> Situation:
    return situation(state, limits, "load_model", 5.0, next_at)


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
    told = of(State(held=frozenset({1})))
    assert (told.held, told.stage, told.since) == (True, "", 0.0)
    assert not of(State(held=frozenset({1}), coming=frozenset({2}))).held
    assert not of(State(Phase.SERVING, held=frozenset({1}), ready=frozenset({2}))).held


def test_nothing_is_refused_where_nothing_was_wanted_or_everything_is():
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits()).refused
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits(max_retries=3, retry_permanent=True)).refused


class TestBoard:
    def test_shows_the_last_situation_to_the_owner_alone(self, tmp_path: Path) -> None:
        run_dir = RunDir(tmp_path)
        board, read = StatusFile(run_dir, Log(lambda line: None)), SituationFile(str(run_dir.situation))
        for stage in ("init", "load_model"):
            board.show(Situation(stage=stage))
            assert read().stage == stage
        assert os.stat(run_dir.situation).st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["situation.json"]

    def test_writes_only_what_is_new(self, tmp_path: Path) -> None:
        board = StatusFile(RunDir(tmp_path), Log(lambda line: None))
        board.show(Situation())
        (tmp_path / "situation.json").unlink()
        board.show(Situation())
        assert not list(tmp_path.iterdir())

    def test_that_cannot_be_written_is_told_once_and_stops_nobody(self, tmp_path: Path) -> None:
        lines: list[bytes] = []
        board = StatusFile(RunDir(tmp_path / "gone"), Log(lines.append))
        board.show(Situation())
        board.show(Situation())
        assert len(lines) == 1
        assert b"could not be brought up to date" in lines[0]
