"""From evidence to a failure report: the sentence or the exception that people see."""

import signal
from dataclasses import replace

import pytest

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.contract.report_pipe import InitFailedMessage
from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.resources.oom import OomKill
from drum_supervisor.supervise.failures.evidence import (
    MAX_LAST_LINE,
    Evidence,
    describe_end,
)
from drum_supervisor.supervise.failures.report import (
    TAIL_LINES,
    report_error_answer,
    report_exit,
    report_init_failed,
    report_oom_kill,
    report_startup_timeout,
    report_worker_death,
)
from tests.unit.control_groups import MIB

EVIDENCE = Evidence(
    program="model server",
    worker=2,
    pid=4711,
    started_at=1000.0,
    failed_at=1003.5,
    seconds=3.45678,
    attempt=2,
    stage="load_model",
    peak_memory_bytes=123456,
)

PLAIN = """\
Traceback (most recent call last):
  File "custom.py", line 5, in load_model
    raise ValueError("bad weights")
ValueError: bad weights
"""
WRAPPER = PLAIN.replace("ValueError: bad weights", "gunicorn.errors.HaltServer: a worker failed")


def exited(status: int) -> int:
    """Return the wait status of a process that exited with `status`."""
    return status << 8


class TestReportExit:
    def test_has_the_evidence(self):
        report = report_exit(replace(EVIDENCE, status=exited(3), stderr="no license\n"))
        assert replace(report, message="", stderr_tail="") == replace(
            report, worker=2, pid=4711, exit_status=3, signal=None, attempt=2, started_at=1000.0, failed_at=1003.5,
            seconds=3.457, peak_memory_bytes=123456, stage="load_model", type="", message="", stderr_tail="",
        )  # fmt: skip

    def test_has_signal_or_exit_status(self):
        killed, ended = report_exit(replace(EVIDENCE, status=11)), report_exit(replace(EVIDENCE, status=exited(0)))
        assert (killed.signal, killed.exit_status) == (11, None)
        assert (ended.signal, ended.exit_status) == (None, 0)

    @pytest.mark.parametrize("status", [0, 1, 3])
    def test_is_the_traceback_for_any_exit_status(self, status):
        report = report_exit(replace(EVIDENCE, status=exited(status), stderr=f"{PLAIN}bye\n"))
        assert report.error == "ValueError: bad weights"
        assert report.traceback == PLAIN
        assert report.cause is Cause.INIT_FAILED

    def test_without_a_traceback_has_the_last_line(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="loading\n  usage: serve [-h]  \n\n"))
        assert report.error == (
            "the model server exited with status 1 before it was ready; its last line on stderr: usage: serve [-h]"
        )

    def test_skips_the_line_that_supervisord_adds(self):
        stderr = "supervisor: couldn't exec /serve: EACCES\nsupervisor: child process was not spawned\n"
        report = report_exit(replace(EVIDENCE, status=exited(127), stderr=stderr))
        assert report.error.endswith("its last line on stderr: supervisor: couldn't exec /serve: EACCES")

    def test_is_the_traceback_on_stdout_if_stderr_has_none(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="bye\n", stdout=f"{PLAIN}bye\n"))
        assert (report.error, report.traceback) == ("ValueError: bad weights", PLAIN)

    @pytest.mark.parametrize(("stderr", "stdout"), [(f"{PLAIN}bye\n{WRAPPER}", ""), (WRAPPER, f"{PLAIN}bye\n")])
    def test_names_an_earlier_error_or_one_on_stdout(self, stderr, stdout):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr, stdout=stdout))
        assert report.error == "HaltServer: a worker failed; also printed: ValueError: bad weights"
        assert report.traceback == f"{PLAIN}\n{WRAPPER}"

    @pytest.mark.parametrize(("stderr", "stdout"), [(PLAIN, PLAIN), ("", PLAIN)])
    def test_names_no_error_twice(self, stderr, stdout):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr, stdout=stdout))
        assert report.error == "ValueError: bad weights"

    def test_is_an_error_of_another_language(self):
        printed = "TypeError: no weights\n    at load (server.js:1:24)\n\nNode.js v20.20.2\n"
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr=printed))
        assert (report.error, report.traceback) == ("TypeError: no weights", printed)

    def test_is_the_last_line_of_stdout_if_stderr_is_empty(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="\n", stdout="loading\nno license\n"))
        assert report.message.endswith("; its last line on stdout: no license")

    def test_without_any_output_is_a_sentence(self):
        assert (
            report_exit(replace(EVIDENCE, status=exited(1))).error
            == "the model server exited with status 1 before it was ready"
        )

    def test_traceback_does_not_explain_a_signal(self):
        report = report_exit(replace(EVIDENCE, status=9, stderr=PLAIN))
        assert report.error == "the model server was killed by SIGKILL before it was ready"
        assert report.traceback == ""
        assert PLAIN.strip() in report.stderr_tail

    def test_has_the_error_of_a_failed_spawn(self):
        report = report_exit(replace(EVIDENCE, pid=0, spawn_error="can't find command 'uvicorn' in PATH"))
        assert report.error == "can't find command 'uvicorn' in PATH"
        assert (report.exit_status, report.signal) == (None, None)

    def test_has_no_stage_after_ready(self):
        assert report_exit(replace(EVIDENCE, status=9, was_ready=True)).stage == ""

    def test_cuts_a_long_last_line(self):
        assert len(report_exit(replace(EVIDENCE, status=exited(1), stderr="x" * 60_000)).message) < MAX_LAST_LINE + 200

    def test_keeps_the_last_lines(self):
        stderr = "".join(f"line {number}\n" for number in range(200))
        tail = report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr)).stderr_tail.splitlines()
        assert len(tail) == TAIL_LINES
        assert tail[-1] == "line 199"

    def test_masks_secrets(self):
        report = report_exit(
            replace(EVIDENCE, status=exited(1), stderr=f"password=hunter2\n{PLAIN.replace('bad', 'token=hunter2')}")
        )
        assert "hunter2" not in str(report)


class TestReportInitFailed:
    REPORTED = InitFailedMessage("init", "ValueError", "token=hunter2", "Traceback ...\n")

    def test_has_the_reported_error_with_secrets_masked(self):
        report = report_init_failed(EVIDENCE, self.REPORTED)
        assert (report.stage, report.error, report.traceback) == (
            "init",
            "ValueError: token=********",
            "Traceback ...\n",
        )
        assert (report.cause, report.exit_status, report.signal) == (Cause.INIT_FAILED, None, None)

    def test_without_a_stage_has_the_last_reported_stage(self):
        assert report_init_failed(EVIDENCE, replace(self.REPORTED, stage="")).stage == "load_model"


class TestPermanent:
    """Which failures another attempt cannot fix."""

    @pytest.mark.parametrize("name", ["SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError"])
    def test_error_in_code_or_installation(self, name):
        printed = replace(EVIDENCE, status=exited(1), stderr=PLAIN.replace("ValueError", name))
        assert report_exit(printed).permanent
        assert report_worker_death(printed, 5, exited(1)).permanent
        assert report_init_failed(EVIDENCE, InitFailedMessage("importing", name, "bad")).permanent

    def test_error_that_was_reported_as_permanent(self):
        assert report_init_failed(
            EVIDENCE, InitFailedMessage("load_model", "", "no code directory", permanent=True)
        ).permanent

    @pytest.mark.parametrize("name", ["ValueError", "ImportError", "OSError", "MemoryError", "FileNotFoundError"])
    def test_no_other_exception(self, name):
        assert not report_exit(replace(EVIDENCE, status=exited(1), stderr=PLAIN.replace("ValueError", name))).permanent

    @pytest.mark.parametrize("status", [9, 11, exited(1), None])
    def test_no_death_without_output(self, status):
        assert not report_exit(replace(EVIDENCE, status=status)).permanent

    def test_no_failure_after_ready(self):
        stderr = PLAIN.replace("ValueError", "SyntaxError")
        assert not report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr, was_ready=True)).permanent

    def test_no_startup_timeout(self):
        assert not report_startup_timeout(
            replace(EVIDENCE, stderr=PLAIN.replace("ValueError", "SyntaxError")), 1.0
        ).permanent

    @pytest.mark.parametrize(
        ("error", "is_unusable"),
        [
            ("can't find command 'nonsense' in PATH", True),
            ("unknown error during fork for 'model-server': EAGAIN", False),
            ("Too many processes in process table to spawn 'command'", False),
        ],
    )
    def test_missing_command_but_not_a_failed_fork(self, error, is_unusable):
        evidence = replace(EVIDENCE, pid=0, spawn_error=error, is_command_unusable=is_unusable)
        assert report_exit(evidence).permanent is is_unusable


class TestReportErrorAnswer:
    def test_has_the_message_and_the_printed_traceback(self):
        report = report_error_answer(replace(EVIDENCE, stderr=PLAIN), "the model is not there")
        assert (report.error, report.traceback) == ("the model is not there", PLAIN)
        assert report.cause is Cause.INIT_FAILED

    @pytest.mark.parametrize("message", ["bad weights", "bad weights\nin w.bin"])
    def test_has_the_type_of_an_exception_with_this_message(self, message):
        assert report_error_answer(replace(EVIDENCE, stderr=PLAIN), message).error == f"ValueError: {message}"

    def test_has_no_type_of_an_exception_without_message(self):
        stderr = PLAIN.replace(": bad weights", "")
        assert report_error_answer(replace(EVIDENCE, stderr=stderr), "bad weights").error == "bad weights"

    def test_needs_no_traceback(self):
        assert report_error_answer(EVIDENCE, "bad weights").error == "bad weights"


class TestReportWorkerDeath:
    def test_of_an_exit_is_the_traceback(self):
        report = report_worker_death(replace(EVIDENCE, stderr=PLAIN), 815, exited(3))
        assert (report.error, report.pid, report.exit_status) == ("ValueError: bad weights", 815, 3)

    def test_of_a_signal_is_a_sentence(self):
        report = report_worker_death(replace(EVIDENCE, stderr=PLAIN), 815, int(signal.SIGKILL))
        assert report.error == "the worker 815 of the model server was killed by SIGKILL before it was ready"
        assert (report.signal, report.exit_code) == (9, 137)

    @pytest.mark.parametrize(("status", "ended"), [(exited(9), "exited with status 9"), (None, "vanished")])
    def test_without_output_is_a_sentence(self, status, ended):
        report = report_worker_death(replace(EVIDENCE, was_ready=True), 815, status)
        assert report.error == f"the worker 815 of the model server {ended} before it was ready"


class TestOomKill:
    """An OOM kill in the cgroup since the start may have hit the program."""

    OOM_KILL = OomKill(512 * MIB, 512 * MIB)
    SENTENCE = "out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.5 s after start"
    ALSO = "; the kernel also killed a process, out of memory at 512.0 MiB of 512.0 MiB"

    @pytest.fixture
    def evidence(self) -> Evidence:
        return replace(EVIDENCE, oom_kill=self.OOM_KILL)

    @pytest.mark.parametrize("status", [int(signal.SIGKILL), exited(137)])
    def test_explains_a_killed_program(self, evidence, status):
        report = report_exit(replace(evidence, status=status, stderr=PLAIN))
        assert (report.error, report.out_of_memory, report.exit_code) == (self.SENTENCE, True, 137)
        assert report.memory_limit_bytes == 512 * MIB

    def test_explains_a_master_that_exits_without_an_error(self, evidence):
        report = report_exit(replace(evidence, status=exited(0)))
        assert report.error == f"{self.SENTENCE}; the model server exited with status 0 before it was ready"
        assert (report.out_of_memory, report.exit_status, report.exit_code) == (True, 0, 137)

    @pytest.mark.parametrize("status", [int(signal.SIGKILL), None])
    def test_explains_a_worker_that_was_killed_or_vanished(self, evidence, status):
        report = report_worker_death(evidence, 815, status)
        assert report.error.startswith(self.SENTENCE)
        assert (report.pid, report.out_of_memory, report.exit_code) == (815, True, 137)

    def test_is_added_to_a_reported_error(self, evidence):
        report = report_init_failed(evidence, InitFailedMessage("load", "ValueError", "bad weights"))
        assert report.error == f"ValueError: bad weights{self.ALSO}"
        assert (report.out_of_memory, report.exit_code) == (False, 3)

    def test_is_added_to_a_printed_error(self, evidence):
        assert report_exit(replace(evidence, status=exited(1), stderr=PLAIN)).message == f"bad weights{self.ALSO}"
        assert report_worker_death(replace(evidence, stderr=PLAIN), 815, exited(3)).message == f"bad weights{self.ALSO}"
        assert report_worker_death(replace(evidence, stderr=PLAIN), 815, None).message == f"bad weights{self.ALSO}"

    @pytest.mark.parametrize("status", [int(signal.SIGSEGV)])
    def test_is_added_to_another_signal(self, evidence, status):
        for report in (report_exit(replace(evidence, status=status)), report_worker_death(evidence, 815, status)):
            assert report.message.endswith(f"was killed by SIGSEGV before it was ready{self.ALSO}")
            assert report.exit_code == 139

    def test_is_added_to_a_timeout_and_to_an_error_answer(self, evidence):
        assert report_startup_timeout(evidence, 5.0).message.endswith(self.ALSO)
        assert report_error_answer(evidence, "no weights").message == f"no weights{self.ALSO}"

    def test_is_not_claimed_because_a_model_says_so(self):
        report = report_init_failed(EVIDENCE, InitFailedMessage("load", "", "out of memory: it thinks"))
        assert (report.out_of_memory, report.exit_code) == (False, 3)

    def test_of_a_helper_is_added_to_a_message_that_sounds_like_one(self, evidence):
        report = report_init_failed(evidence, InitFailedMessage("load", "", "out of memory: on the GPU"))
        assert (report.out_of_memory, report.exit_code) == (False, 3)
        assert report.error == f"out of memory: on the GPU{self.ALSO}"

    def test_below_a_running_server_names_the_process(self, evidence):
        report = report_oom_kill(replace(evidence, was_ready=True, stage="load_model"), 815)
        assert (report.error, report.pid, report.signal, report.stage) == (self.SENTENCE, 815, 9, "")
        assert report_oom_kill(evidence, None).pid == EVIDENCE.pid

    def test_is_part_of_the_end_in_the_log(self, evidence):
        assert describe_end(replace(evidence, status=int(signal.SIGKILL))) == f"was killed by SIGKILL, {self.SENTENCE}"
        assert describe_end(replace(evidence, status=exited(1))) == "exited with status 1"
        assert describe_end(replace(EVIDENCE, status=int(signal.SIGKILL))) == "was killed by SIGKILL"


class TestReportStartupTimeout:
    def test_names_the_timeout_and_the_stage(self):
        report = report_startup_timeout(EVIDENCE, 600.0)
        assert report.error == "the model server was not ready within 600 s, still in load_model"
        assert (report.cause, report.exit_code, report.stage) == (Cause.STARTUP_TIMEOUT, 4, "load_model")

    def test_without_a_stage(self):
        assert (
            report_startup_timeout(replace(EVIDENCE, stage=""), 0.5).error
            == "the model server was not ready within 0.5 s"
        )

    @pytest.mark.parametrize("stream", ["stderr", "stdout"])
    def test_names_the_last_printed_error(self, stream):
        report = report_startup_timeout(replace(EVIDENCE, stage="", **{stream: f"{PLAIN}INFO: again\n"}), 2.0)
        assert report.message == (
            "the model server was not ready within 2 s; the last error that it printed: ValueError: bad weights"
        )
        assert (report.cause, report.type, report.traceback) == (Cause.STARTUP_TIMEOUT, "", PLAIN)

    def test_names_only_the_first_line_and_cuts_a_long_one(self):
        printed = PLAIN.replace("bad weights", "bad" * 1000) + "  expected: 3\n"
        report = report_startup_timeout(replace(EVIDENCE, stderr=printed), 2.0)
        assert "expected" not in report.message
        assert len(report.message) < MAX_LAST_LINE + 200


def test_every_report_has_the_resource_usage_of_the_run():
    curve = UsageSeries((1.0,), (5,), (None,), (0.0,))
    evidence = replace(EVIDENCE, curve=curve, status=exited(1))
    reports = [
        report_exit(evidence),
        report_init_failed(evidence, InitFailedMessage("load_model", "ValueError", "bad")),
        report_error_answer(evidence, "no"),
        report_startup_timeout(evidence, 2.0),
        report_worker_death(evidence, 7, exited(1)),
    ]
    assert {report.curve for report in reports} == {curve}
    assert report_exit(EVIDENCE).curve is None
