"""The client status: made from the policy's state, written after each change."""

import os
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import ClientStatus, ClientStatusFile
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.status_file import StatusFile, client_status
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.service.context import ServiceStatus
from tests.unit.contexts import make_context

BAD = FailureReport(Cause.INIT_FAILED, "bad weights")
FOR_GOOD = FailureReport(Cause.INIT_FAILED, "invalid syntax", permanent=True)
LIMITS = Limits(max_retries=3)


def of(state: State, limits: Limits = LIMITS, next_at: float = 0.0) -> ClientStatus:
    return client_status(ServiceStatus(limits, state, stage="load_model", entered_at=5.0), next_at)


@pytest.mark.parametrize("phase", Phase)
def test_stage_is_shown_while_starting_and_retrying(phase):
    status = of(State(phase, report=BAD))
    under_way = phase in (Phase.STARTING, Phase.RETRYING)
    assert (status.since, status.stage) == ((5.0, "load_model") if under_way else (0.0, ""))
    assert status.failed == (phase in (Phase.FAILED, Phase.RETRYING))


def test_retries_are_shown():
    status = of(State(Phase.FAILED, attempt=2, retries=1, report=BAD), next_at=9.0)
    assert (status.attempt, status.attempts_left, status.next_at, status.refused) == (2, 2, 9.0, False)


@pytest.mark.parametrize(("retries", "refused"), [(0, True), (3, False)])
def test_refused_retries_are_shown_if_any_are_left(retries, refused):
    status = of(State(Phase.FAILED, retries=retries, report=FOR_GOOD))
    assert (status.attempts_left, status.refused) == (0, refused)


def test_held_while_stopped_by_an_operator():
    status = of(State(stopped_by_operator=frozenset({1})))
    assert (status.held, status.stage, status.since) == (True, "", 0.0)
    assert not of(State(stopped_by_operator=frozenset({1}), starting=frozenset({2}))).held
    assert not of(State(Phase.SERVING, stopped_by_operator=frozenset({1}), ready=frozenset({2}))).held


def test_nothing_is_refused_without_or_with_all_retries():
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits()).refused
    assert not of(State(Phase.FAILED, report=FOR_GOOD), Limits(max_retries=3, retry_permanent=True)).refused


class TestStatusFile:
    def test_has_the_last_stage_and_is_private(self, tmp_path: Path) -> None:
        run_dir, context = RunDir(tmp_path), make_context()
        file, read = StatusFile(context, run_dir), ClientStatusFile(str(run_dir.client_status))
        for stage in ("init", "load_model"):
            context.service.stage = stage
            file.follow()
            assert read().stage == stage
        assert os.stat(run_dir.client_status).st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir()] == ["situation.json"]

    def test_is_written_only_after_changes(self, tmp_path: Path) -> None:
        file = StatusFile(make_context(), RunDir(tmp_path))
        file.follow()
        (tmp_path / "situation.json").unlink()
        file.follow()
        assert not list(tmp_path.iterdir())

    def test_is_not_written_while_stopping(self, tmp_path: Path) -> None:
        context = make_context()
        context.service.state = State(Phase.STOPPING)
        StatusFile(context, RunDir(tmp_path)).follow()
        assert not list(tmp_path.iterdir())

    def test_failed_write_is_logged_once(self, tmp_path: Path) -> None:
        lines: list[bytes] = []
        file = StatusFile(make_context(write=lines.append), RunDir(tmp_path / "gone"))
        file.follow()
        file.follow()
        assert len(lines) == 1
        assert b"could not write situation.json: " in lines[0]
