import json
import os
import stat
from dataclasses import fields, replace

import pytest

from drum_supervisor.contract.failure_report import Cause, FailureReport, read_failure, write_failure
from drum_supervisor.contract.json_records import to_json
from drum_supervisor.contract.usage_series import UsageSeries

SHORT = FailureReport(Cause.INIT_FAILED, "bad weights")
FULL = FailureReport(
    cause=Cause.KEPT_DYING,
    message="плохо\nweights \N{FIRE} \0 \u2028",
    stage="load_model",
    type="ValueError",
    traceback="Traceback (most recent call last):\nValueError: плохо\n",
    worker=3,
    pid=4711,
    exit_status=None,
    signal=11,
    attempt=2,
    started_at=1700000000.25,
    failed_at=1700000003.5,
    seconds=3.25,
    peak_memory_bytes=123456789,
    out_of_memory=True,
    memory_limit_bytes=134217728,
    permanent=True,
    stderr_tail="last words",
    curve=UsageSeries((1.5, 0.25), (1 << 40, 2), (3, None), (99.5, 0.0)),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "failure.json"


@pytest.mark.parametrize("report", [SHORT, FULL, replace(FULL, exit_status=1, signal=None)])
def test_report_round_trips(report, path):
    write_failure(report, path)
    assert read_failure(path) == report


def test_full_report_has_no_default_value():  # so that the round trip covers every field
    defaults = {each.name: getattr(SHORT, each.name) for each in fields(SHORT)}
    assert [name for name in defaults if getattr(FULL, name) == defaults[name]] == ["exit_status"]


def test_file_is_private_whatever_the_umask(path):
    before = os.umask(0)
    try:
        write_failure(FULL, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("cause", "code"),
    [(Cause.INIT_FAILED, 137), (Cause.DIED, 137), (Cause.KEPT_DYING, 5), (Cause.STARTUP_TIMEOUT, 4)],
)
def test_oom_kill_has_the_exit_code_of_sigkill(cause, code):  # whatever the master's exit status
    assert FailureReport(cause, "out of memory", exit_status=0, out_of_memory=True).exit_code == code


def test_newer_report_replaces_the_older(path):
    write_failure(FULL, path)
    write_failure(SHORT, path)
    assert read_failure(path) == SHORT


def test_open_file_keeps_the_old_report(path):
    write_failure(FULL, path)
    with path.open(encoding="utf-8") as reader:
        write_failure(SHORT, path)
        assert json.load(reader)["message"] == FULL.message


def test_write_leaves_no_other_file(path):
    write_failure(FULL, path)
    write_failure(SHORT, path)
    assert list(path.parent.iterdir()) == [path]


def test_failed_write_keeps_the_old_report(path):
    write_failure(FULL, path)
    unwritable = replace(SHORT, message=object())
    with pytest.raises(TypeError):
        write_failure(unwritable, path)
    assert list(path.parent.iterdir()) == [path]
    assert read_failure(path) == FULL


def test_missing_directory_raises(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        write_failure(SHORT, tmp_path / "gone" / "failure.json")


def test_missing_file_is_no_report(path):
    assert read_failure(path) is None


def test_directory_in_its_place_is_no_report(tmp_path):
    assert read_failure(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\0" * 100,
        b"null",
        b"5",
        b'"cause"',
        b"[]",
        b"[[" * 50_000,
        b"{}",
        b'{"cause": "init_failed"}',
        b'{"message": "no cause"}',
        b'{"cause": "bad luck", "message": "m"}',
        b'{"cause": ["init_failed"], "message": "m"}',
        b'{"cause": null, "message": "m"}',
        b'{"cause": "init_failed", "message": 5}',
        b'{"cause": "init_failed", "message": null}',
        b'{"cause": "init_failed", "message": "m", "worker": "1"}',
        b'{"cause": "init_failed", "message": "m", "seconds": "3 s"}',
        b'{"cause": "init_failed", "message": "m", "signal": 1.5}',
        b'{"cause": "init_failed", "message": "m", "traceback": ["line"]}',
        b'{"cause": "init_failed", "message": "m", "curve": 5}',
        b'{"cause": "init_failed", "message": "m", "curve": {"rss_bytes": []}}',
    ],
    ids=lambda content: str(content[:60]),
)
def test_garbage_is_no_report(content, path):
    path.write_bytes(content)
    assert read_failure(path) is None


@pytest.mark.parametrize("column", [["x"], [1, 2], [], "12", None, 5])
def test_invalid_curve_is_no_report(column, path):
    record = json.loads(to_json(FULL))
    record["curve"].update(seconds_before=column, rss_bytes=record["curve"]["rss_bytes"][:1])
    path.write_text(json.dumps(record))
    assert read_failure(path) is None


def test_seconds_may_be_an_integer(path):
    path.write_text('{"cause": "init_failed", "message": "m", "seconds": 3}')
    assert read_failure(path) == FailureReport(Cause.INIT_FAILED, "m", seconds=3.0)


def test_unknown_fields_are_ignored(path):
    path.write_text('{"cause": "init_failed", "message": "m", "since_version_9": {}}')
    assert read_failure(path) == FailureReport(Cause.INIT_FAILED, "m")


def test_json_has_every_field():
    record = json.loads(to_json(FULL))
    assert list(record) == [each.name for each in fields(FULL)]
    assert record["error"] == f"ValueError: {FULL.message}"
    assert record["cause"] == "kept_dying"


@pytest.mark.parametrize(
    ("type_", "message", "error"),
    [("ValueError", "bad", "ValueError: bad"), ("ValueError", "", "ValueError"), ("", "bad", "bad"), ("", "", "")],
)
def test_error_joins_type_and_message(type_, message, error):
    assert replace(SHORT, type=type_, message=message).error == error


@pytest.mark.parametrize(
    ("cause", "signal", "code"),
    [
        (Cause.INIT_FAILED, None, 3),
        (Cause.INIT_FAILED, 9, 137),
        (Cause.INIT_FAILED, 11, 139),
        (Cause.STARTUP_TIMEOUT, None, 4),
        (Cause.STARTUP_TIMEOUT, 15, 4),
        (Cause.KEPT_DYING, None, 5),
        (Cause.KEPT_DYING, 11, 5),
        (Cause.DIED, None, 5),
        (Cause.DIED, 9, 137),
    ],
)
def test_each_cause_has_its_exit_code(cause, signal, code):
    assert replace(SHORT, cause=cause, signal=signal).exit_code == code


def test_secrets_are_masked_in_all_texts():
    text = "password=hunter2"
    masked = replace(FULL, message=text, traceback=text, stderr_tail=text).masked()
    assert "hunter2" not in to_json(masked)
    assert masked == replace(
        FULL, message="password=********", traceback="password=********", stderr_tail="password=********"
    )
