"""Status and failure as text: complete, aligned, from the same values as JSON."""

from dataclasses import replace

import pytest

from drum_supervisor.cli.tables import failure_text, status_text
from drum_supervisor.cli.text import duration
from drum_supervisor.config.parsers import format_size
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.status import OomKills, ProgramStatus, RestartCounts, Status
from drum_supervisor.contract.usage_series import UsageSeries

STATUS = Status(
    phase=Phase.SERVING,
    ready=True,
    degraded=False,
    error_server_active=False,
    server_type="fastapi",
    since="2026-01-02T03:04:05.678+00:00",
    attempt=1,
    attempts_left=2,
    next_retry_at=None,
    workers=2,
    workers_ready=2,
    workers_coming=0,
    workers_held=0,
    startup_seconds={},
    restarts=RestartCounts(crash=0, request=0, retry=0, memory=0, requests=0),
    failures={},
    swaps={},
    out_of_memory=None,
    address="0.0.0.0:8080",
    url="http://127.0.0.1:8080",
    stage="",
    replacing=0,
    restart_failure=None,
    programs=(
        ProgramStatus("model-server-1", worker=1, pid=7, state="ready", uptime_s=61.5, memory_bytes=52428800),
        ProgramStatus("model-server-2", worker=2, pid=None, state="stopped", uptime_s=None, memory_bytes=None),
    ),
    failure=None,
    run_dir="/run/user/0/drum-supervisor/7",
    pid=6,
    version="0.1.0",
    serial=12,
)
SINCE = 1767323045.678

REPORT = FailureReport(
    Cause.INIT_FAILED,
    "bad weights",
    stage="load_model",
    type="ValueError",
    traceback="Traceback (most recent call last):\nValueError: bad weights\n",
    worker=2,
    pid=4711,
    exit_status=1,
    attempt=3,
    failed_at=1767323045.6,
    seconds=3.25,
    peak_memory_bytes=52428800,
    stderr_tail="loading\nbye\n",
)


class TestStatus:
    def test_shows_everything(self):
        assert status_text(STATUS, SINCE + 125) == (
            "Phase     serving, for 2 min 5 s\n"
            "Address   http://127.0.0.1:8080\n"
            "Server    fastapi, 2 of 2 workers ready\n"
            "Attempt   1, 2 left\n"
            "Restarts  none\n"
            "Run dir   /run/user/0/drum-supervisor/7\n"
            "\n"
            "PROGRAM         STATE    PID  UPTIME     MEMORY\n"
            "model-server-1  ready    7    1 min 1 s  50.0 MiB\n"
            "model-server-2  stopped  -    -          -"
        )

    def test_missing_workers_are_degraded(self):
        assert "serving, degraded, for" in status_text(replace(STATUS, degraded=True), SINCE)

    def test_shows_stage_failure_and_retry(self):
        failed = replace(
            STATUS,
            phase=Phase.RETRYING,
            stage="load_model",
            failure=REPORT,
            next_retry_at="2026-01-02T03:05:00.000+00:00",
            restarts=replace(STATUS.restarts, crash=2, retry=1),
        )
        lines = status_text(failed, SINCE).splitlines()
        assert "Stage     load_model" in lines
        assert "Failure   ValueError: bad weights" in lines
        assert "Attempt   1, 2 left, next at 2026-01-02T03:05:00.000+00:00" in lines
        assert "Restarts  2 by crash, 1 by retry" in lines

    @pytest.mark.parametrize(
        ("kills", "peak", "limit", "line"),
        [
            (1, 52428800, 52428800, "1 process was killed by the kernel, the last 3.0 s ago at 50.0 MiB of 50.0 MiB"),
            (7, None, 52428800, "7 processes were killed by the kernel, the last 3.0 s ago at 50.0 MiB"),
            (2, 52428800, None, "2 processes were killed by the kernel, the last 3.0 s ago"),
        ],
    )
    def test_counts_oom_kills(self, kills, peak, limit, line):
        status = replace(STATUS, out_of_memory=OomKills(kills, "2026-01-02T03:04:05.678+00:00", limit, peak))
        assert f"Out of memory  {line}" in status_text(status, SINCE + 3).splitlines()

    def test_permanent_failure_is_not_retried(self):
        permanent = replace(REPORT, permanent=True)
        failed = replace(STATUS, phase=Phase.FAILED, attempts_left=0, failure=permanent)
        assert "Attempt   1, 0 left, not retried: it would only fail again" in status_text(failed, SINCE).splitlines()
        degraded = replace(failed, phase=Phase.SERVING)
        assert "Attempt   1, 0 left" in status_text(degraded, SINCE).splitlines()

    def test_clock_set_back_gives_no_negative_time(self):
        assert "for 0.0 s" in status_text(STATUS, SINCE - 100)

    def test_headings_without_programs(self):
        assert status_text(replace(STATUS, programs=()), SINCE).endswith("PROGRAM  STATE  PID  UPTIME  MEMORY")

    def test_no_trailing_spaces(self):
        assert all(line == line.rstrip() for line in status_text(STATUS, SINCE).splitlines())


class TestFailure:
    def test_shows_everything(self):
        assert failure_text(REPORT) == (
            "ValueError: bad weights\n"
            "\n"
            "Cause        init_failed\n"
            "Stage        load_model\n"
            "Failed at    2026-01-02T03:04:05+00:00, 3.2 s after its start\n"
            "Process      pid 4711, worker 2, attempt 3, exit status 1\n"
            "Peak memory  50.0 MiB\n"
            "\n"
            "Traceback (most recent call last):\n"
            "ValueError: bad weights\n"
            "\n"
            "The last lines of its stderr:\n"
            "loading\n"
            "bye"
        )

    def test_leaves_out_unknown_values(self):
        text = failure_text(FailureReport(Cause.INIT_FAILED, "no luck"))
        assert text.startswith("no luck\n\nCause")
        for word in ("Stage", "Peak memory", "Traceback", "stderr", "exit status", "signal"):
            assert word not in text

    def test_permanent_failure_says_what_to_do(self):
        text = failure_text(replace(REPORT, permanent=True))
        assert (
            "Permanent    another attempt would only fail again: repair it, then run drum-supervise restart\n" in text
        )

    def test_names_the_signal(self):
        assert "attempt 3, killed by signal 9" in failure_text(replace(REPORT, signal=9, exit_status=None))

    def test_draws_the_last_minutes(self):
        curve = UsageSeries((2.0, 1.0, 0.0), (0, 52428800, 104857600), (None, None, None), (0.0, 100.0, 50.0))
        assert (
            "Peak memory  50.0 MiB\n"
            "\n"
            "Memory  ▁▅█\n"
            "        min 0.0 MiB, max 100.0 MiB, last 100.0 MiB, over 2.0 s\n"
            "CPU     ▁█▅\n"
            "        min 0.0 %, max 100.0 %, last 50.0 %, over 2.0 s\n"
            "\n"
        ) in failure_text(replace(REPORT, curve=curve))

    def test_draws_in_ascii(self):
        curve = UsageSeries((1.0, 0.0), (1, 2), (1, 2), (1.0, 2.0))
        assert failure_text(replace(REPORT, curve=curve), "ascii").isascii()

    def test_shows_the_traceback_once(self):
        text = failure_text(replace(REPORT, stderr_tail=f"\n{REPORT.traceback}\n"))
        assert text.count("Traceback") == 1
        assert "stderr" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0.0 s"),
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (3.25, "3.2 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 0 s"),
        (60, "1 min 0 s"),
        (61.99, "1 min 1 s"),
        (3599.9, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (5.5 * 86400, "5 d 12 h"),
        (400 * 86400, "400 d 0 h"),
    ],
)
def test_duration_has_the_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.0 MiB"),
        (52428800, "50.0 MiB"),
        (1024**3 - 1, "1024.0 MiB"),
        (1024**3, "1.00 GiB"),
        (1536 * 1024**2, "1.50 GiB"),
    ],
)
def test_size_is_in_mebibytes_or_gibibytes(number, text):
    assert format_size(number) == text
