"""From evidence to a failure report: the sentence or the exception that people get to see."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.contract.report_pipe import InitFailed
from drum_supervisor.contract.usage_series import Curve
from drum_supervisor.resources.oom import OutOfMemory
from drum_supervisor.supervise.failures.evidence import (
    LONGEST_LAST_LINE,
    Evidence,
    death_sentence,
    describe_end,
    describe_exit,
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
from drum_supervisor.supervise.failures.tracebacks import earlier_traceback, last_traceback
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


def exited(status: int) -> int:
    """Return the wait status of a process that exited with `status`."""
    return status << 8


def of(program: str, *arguments: str) -> str:
    """Return what Python itself prints on stderr when `program` fails."""
    environ = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    program = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, *arguments, "-c", program], stderr=subprocess.PIPE, text=True, check=False, env=environ
    )
    assert done.returncode
    return done.stderr


class TestLastTraceback:
    def test_has_type_message_and_text(self):
        assert last_traceback(PLAIN) == InitFailed("", "ValueError", "bad weights", PLAIN)

    def test_is_found_between_other_lines(self):
        stderr = f"INFO: loading\n{PLAIN}INFO: bye\nERROR: Application startup failed. Exiting.\n"
        assert last_traceback(stderr) == InitFailed("", "ValueError", "bad weights", PLAIN)

    @pytest.mark.parametrize("after", ["", "[1] [INFO] Worker exiting\n", "INFO: bye\n", "2026-11-22 10:00 bye\n"])
    def test_of_a_message_that_begins_with_a_line_break_is_read_up_to_the_next_log_line(self, after):
        stderr = PLAIN.replace(": bad weights", ": \n\nLanguage: Python.\nNo weights") + after
        assert last_traceback(stderr).message == "Language: Python.\nNo weights"

    def test_is_the_last_of_several(self):
        assert last_traceback(PLAIN + "then\n" + PLAIN.replace("weights", "luck")).message == "bad luck"

    @pytest.mark.parametrize(
        ("line", "type_", "message"),
        [
            ("ValueError", "ValueError", ""),
            ("ValueError: ", "ValueError", ""),
            ("KeyError: 'weights'", "KeyError", "'weights'"),
            ("custom.errors.BadModel: a: b: c", "BadModel", "a: b: c"),
            ("__main__.load.<locals>.BadModel: no", "BadModel", "no"),
            ("Ошибка: плохо", "Ошибка", "плохо"),
            ("KeyboardInterrupt", "KeyboardInterrupt", ""),
        ],
    )
    def test_reads_the_line_of_the_exception(self, line, type_, message):
        found = last_traceback(PLAIN.replace("ValueError: bad weights", line))
        assert (found.type, found.message) == (type_, message)

    def test_takes_the_indented_lines_of_a_message(self):
        found = last_traceback(PLAIN + "  expected: 3\n  found: 4\nINFO: bye\n")
        assert found.message == "bad weights\n  expected: 3\n  found: 4"

    def test_takes_no_more_than_some_lines_of_a_message(self):
        assert len(last_traceback(PLAIN + "  more\n" * 100).message.splitlines()) == 21

    @pytest.mark.parametrize("line", ["ValueError: bad weights", "ValueError: \n  bad weights"])
    def test_does_not_have_another_process_s_frames_in_its_message(self, line):
        frames = '  File "worker.py", line 8, in run\n    self.load()\n'
        found = last_traceback(PLAIN.replace("ValueError: bad weights", line) + frames)
        assert (found.type, found.message) == ("ValueError", "bad weights")

    def test_leaves_lines_that_may_belong_to_something_else(self):
        assert last_traceback(PLAIN + "second line of the message, or a log line\n").message == "bad weights"

    @pytest.mark.parametrize("newline", ["\r\n", "\n"])
    def test_may_have_any_line_ends(self, newline):
        assert last_traceback(PLAIN.replace("\n", newline)) == InitFailed("", "ValueError", "bad weights", PLAIN)

    @pytest.mark.parametrize("prefix", ["model: ", "[worker 1] ", "2026-01-02 03:04:05,678 ERROR ", "| ", "    "])
    def test_may_have_a_prefix_on_each_line(self, prefix):
        assert last_traceback(textwrap.indent(PLAIN, prefix)) == InitFailed("", "ValueError", "bad weights", PLAIN)

    @pytest.mark.parametrize("prefix", ["ERROR:    ", "2026-01-02 03:04:05 [7] [ERROR] ", "Loading 50%\rLoading 99%\r"])
    def test_may_have_a_prefix_on_its_first_line_only(self, prefix):
        assert last_traceback(prefix + PLAIN) == InitFailed("", "ValueError", "bad weights", PLAIN)

    def test_may_be_colored(self):
        colored = (
            'Traceback (most recent call last):\n  File \x1b[35m"x.py"\x1b[0m, line \x1b[35m1\x1b[0m, in f\n'
            "    \x1b[31mload\x1b[0m()\n\x1b[1;35mValueError\x1b[0m: \x1b[35mbad weights\x1b[0m\n"
        )
        found = last_traceback(colored)
        assert (found.type, found.message) == ("ValueError", "bad weights")
        assert "\x1b" not in found.traceback

    @pytest.mark.parametrize(
        "stderr",
        [
            "",
            "\n",
            "ValueError: bad weights\n",
            "Traceback (most recent call last):",
            "see 'Traceback (most recent call last):' above\n",
            "Traceback (most recent call last):\nValueError: bad weights\n",
            PLAIN.rpartition("ValueError: bad")[0],
            PLAIN.partition("\n")[2],
            PLAIN.replace("ValueError: bad weights", "what is this?"),
            'Traceback (most recent call last):\n  File "x", line 1\n12:00:01 INFO bye\n',
        ],
    )
    def test_is_none_where_there_is_none_or_only_a_part(self, stderr):
        assert last_traceback(stderr) is None

    def test_is_not_hidden_by_text_that_only_mentions_one(self):
        stderr = f"{PLAIN}INFO: see 'Traceback (most recent call last):' above\n"
        assert last_traceback(stderr) == InitFailed("", "ValueError", "bad weights", PLAIN)

    def test_inside_of_a_message_is_the_one_that_is_taken(self):
        stderr = PLAIN.replace("bad weights\n", f"a worker failed:\n{PLAIN.replace('ValueError', 'OSError')}")
        assert last_traceback(stderr).type == "OSError"


WRAPPER = PLAIN.replace("ValueError: bad weights", "gunicorn.errors.HaltServer: a worker failed")
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"


class TestEarlierTraceback:
    @pytest.mark.parametrize(
        "stderr",
        [
            f"{PLAIN}INFO: bye\n{WRAPPER}",
            f"{PLAIN}[7] [ERROR] {WRAPPER}{DURING}{WRAPPER}",
            f"{PLAIN}INFO: again\n{PLAIN}INFO: bye\n{WRAPPER}INFO: bye\n{WRAPPER}",
            WRAPPER.replace("failed", "hangs") + PLAIN + "bye\n" + WRAPPER,
        ],
    )
    def test_is_the_one_before_the_last(self, stderr):
        assert earlier_traceback(stderr) == InitFailed("", "ValueError", "bad weights", PLAIN)

    @pytest.mark.parametrize(
        "stderr",
        [
            "",
            "bye\n",
            PLAIN,
            PLAIN + "again\n" + PLAIN,
            PLAIN + DURING + WRAPPER,
            PLAIN + BECAUSE + WRAPPER,
            WRAPPER.replace("failed\n", f"failed: '{PLAIN}"),  # as hypercorn prints it
        ],
    )
    def test_is_none_where_all_is_one_story(self, stderr):
        assert earlier_traceback(stderr) is None


class TestLastTracebackOfPython:
    """Python's own words, as this version prints them."""

    def test_of_a_chain_is_the_last_exception(self):
        stderr = of("""
            try:
                {}["weights"]
            except KeyError as error:
                raise RuntimeError("no model") from error
        """)
        assert "direct cause" in stderr
        assert (last_traceback(stderr).type, last_traceback(stderr).message) == ("RuntimeError", "no model")

    def test_of_a_class_within_a_function(self):
        stderr = of("""
            def load():
                class BadModel(Exception): pass
                raise BadModel("no")
            load()
        """)
        assert (last_traceback(stderr).type, last_traceback(stderr).message) == ("BadModel", "no")

    def test_of_an_import_with_a_syntax_error(self, tmp_path):
        (tmp_path / "custom.py").write_text("def load_model(:\n")
        found = last_traceback(of(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import custom"))
        assert (found.type, found.message) == ("SyntaxError", "invalid syntax")
        assert "def load_model(:" in found.traceback

    def test_of_an_endless_recursion(self):
        found = last_traceback(of("def f(): f()\nf()"))
        assert found.type == "RecursionError"
        assert found.message.startswith("maximum recursion depth exceeded")

    def test_of_a_thread(self):
        found = last_traceback(
            of("""
            import threading, sys
            threading.Thread(target=lambda: {}["weights"]).start()
            sys.exit(1)
        """)
        )
        assert (found.type, found.message) == ("KeyError", "'weights'")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
    def test_of_a_task_group_is_what_failed_in_it(self):
        stderr = of("""
            import asyncio
            async def load():
                raise ValueError("bad weights")
            async def main():
                async with asyncio.TaskGroup() as group:
                    group.create_task(load())
            asyncio.run(main())
        """)
        for text in (stderr, f"ERROR:    {stderr}\nERROR:    Application startup failed. Exiting.\n"):
            found = last_traceback(text)
            assert (found.type, found.message) == ("ValueError", "bad weights")
            assert "|" not in found.traceback.replace("||", "")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
    def test_of_a_group_of_exceptions_that_were_never_raised_is_the_group(self):
        stderr = of("raise ExceptionGroup('several', [ValueError('a'), TypeError('b')])")
        for text in (stderr, f"ERROR:    {stderr}\nERROR:    Application startup failed. Exiting.\n"):
            found = last_traceback(text)
            assert (found.type, found.message) == ("ExceptionGroup", "several (2 sub-exceptions)")


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT, signal.SIGBUS])
    def test_names_the_signal(self, number):
        assert describe_exit(number) == f"was killed by {number.name}"

    def test_names_the_signal_of_a_dump(self):
        assert describe_exit(signal.SIGSEGV | 0x80) == "was killed by SIGSEGV"

    def test_numbers_a_signal_without_a_name(self):
        assert describe_exit(40) == "was killed by signal 40"

    @pytest.mark.parametrize("status", [0, 1, 3, 255])
    def test_gives_the_exit_status(self, status):
        assert describe_exit(exited(status)) == f"exited with status {status}"

    def test_admits_that_it_is_not_known(self):
        assert describe_exit(None) == "vanished"

    def test_is_told_with_the_time_when_it_had_been_ready(self):
        evidence = replace(EVIDENCE, status=9)
        assert death_sentence(evidence) == "the model server was killed by SIGKILL before it was ready"
        assert death_sentence(replace(evidence, was_ready=True)) == "the model server was killed by SIGKILL after 3.5 s"


class TestReportOfAChildThatIsGone:
    def test_has_what_was_seen(self):
        report = report_exit(replace(EVIDENCE, status=exited(3), stderr="no license\n"))
        assert replace(report, message="", stderr_tail="") == replace(
            report, worker=2, pid=4711, exit_status=3, signal=None, attempt=2, started_at=1000.0, failed_at=1003.5,
            seconds=3.457, peak_memory_bytes=123456, stage="load_model", type="", message="", stderr_tail="",
        )  # fmt: skip

    def test_has_signal_or_exit_status(self):
        assert (
            report_exit(replace(EVIDENCE, status=11)).signal,
            report_exit(replace(EVIDENCE, status=11)).exit_status,
        ) == (11, None)
        assert (
            report_exit(replace(EVIDENCE, status=exited(0))).signal,
            report_exit(replace(EVIDENCE, status=0)).exit_status,
        ) == (
            None,
            0,
        )

    @pytest.mark.parametrize("status", [0, 1, 3])
    def test_is_its_traceback_whatever_the_exit_status(self, status):
        report = report_exit(replace(EVIDENCE, status=exited(status), stderr=f"{PLAIN}bye\n"))
        assert report.error == "ValueError: bad weights"
        assert report.traceback == PLAIN
        assert report.cause is Cause.INIT_FAILED

    def test_is_a_sentence_with_its_last_line_where_there_is_no_traceback(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="loading\n  usage: serve [-h]  \n\n"))
        assert report.error == (
            "the model server exited with status 1 before it was ready; its last line on stderr: usage: serve [-h]"
        )

    def test_is_what_kept_it_from_being_started_and_not_that_it_was_not(self):
        report_init_failed = "supervisor: couldn't exec /serve: EACCES\nsupervisor: child process was not spawned\n"
        report = report_exit(replace(EVIDENCE, status=exited(127), stderr=report_init_failed))
        assert report.error.endswith("its last line on stderr: supervisor: couldn't exec /serve: EACCES")

    def test_is_on_stdout_where_stderr_has_none(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="bye\n", stdout=f"{PLAIN}bye\n"))
        assert (report.error, report.traceback) == ("ValueError: bad weights", PLAIN)

    @pytest.mark.parametrize(("stderr", "stdout"), [(f"{PLAIN}bye\n{WRAPPER}", ""), (WRAPPER, f"{PLAIN}bye\n")])
    def test_names_another_error_that_was_printed_before_or_on_stdout(self, stderr, stdout):
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

    def test_is_the_last_line_of_stdout_where_stderr_is_empty(self):
        report = report_exit(replace(EVIDENCE, status=exited(1), stderr="\n", stdout="loading\nno license\n"))
        assert report.message.endswith("; its last line on stdout: no license")

    def test_is_a_sentence_when_it_said_nothing_at_all(self):
        assert (
            report_exit(replace(EVIDENCE, status=exited(1))).error
            == "the model server exited with status 1 before it was ready"
        )

    def test_does_not_blame_an_earlier_traceback_for_a_death_by_signal(self):
        report = report_exit(replace(EVIDENCE, status=9, stderr=PLAIN))
        assert report.error == "the model server was killed by SIGKILL before it was ready"
        assert report.traceback == ""
        assert PLAIN.strip() in report.stderr_tail

    def test_says_why_it_could_not_be_started(self):
        report = report_exit(replace(EVIDENCE, pid=0, spawn_error="can't find command 'uvicorn' in PATH"))
        assert report.error == "can't find command 'uvicorn' in PATH"
        assert (report.exit_status, report.signal) == (None, None)

    def test_names_no_stage_of_one_that_had_been_ready(self):
        assert report_exit(replace(EVIDENCE, status=9, was_ready=True)).stage == ""

    def test_cuts_a_last_line_without_end(self):
        assert (
            len(report_exit(replace(EVIDENCE, status=exited(1), stderr="x" * 60_000)).message) < LONGEST_LAST_LINE + 200
        )

    def test_keeps_the_last_lines(self):
        stderr = "".join(f"line {number}\n" for number in range(200))
        tail = report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr)).stderr_tail.splitlines()
        assert len(tail) == TAIL_LINES
        assert tail[-1] == "line 199"

    def test_shows_no_secret(self):
        report = report_exit(
            replace(EVIDENCE, status=exited(1), stderr=f"password=hunter2\n{PLAIN.replace('bad', 'token=hunter2')}")
        )
        assert "hunter2" not in str(report)


class TestReportOfAChildThatSpoke:
    TOLD = InitFailed("init", "ValueError", "token=hunter2", "Traceback ...\n")

    def test_is_in_its_own_words_but_for_secrets(self):
        report = report_init_failed(EVIDENCE, self.TOLD)
        assert (report.stage, report.error, report.traceback) == (
            "init",
            "ValueError: token=********",
            "Traceback ...\n",
        )
        assert (report.cause, report.exit_status, report.signal) == (Cause.INIT_FAILED, None, None)

    def test_is_in_the_last_stage_that_was_reached_when_it_names_none(self):
        assert report_init_failed(EVIDENCE, replace(self.TOLD, stage="")).stage == "load_model"


class TestPermanent:
    """What no other attempt changes; everything else may pass."""

    @pytest.mark.parametrize("name", ["SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError"])
    def test_is_what_is_wrong_with_the_code_or_with_what_is_installed(self, name):
        printed = replace(EVIDENCE, status=exited(1), stderr=PLAIN.replace("ValueError", name))
        assert report_exit(printed).permanent
        assert report_worker_death(printed, 5, exited(1)).permanent
        assert report_init_failed(EVIDENCE, InitFailed("importing", name, "bad")).permanent

    def test_is_what_says_so_itself(self):
        assert report_init_failed(EVIDENCE, InitFailed("load_model", "", "no code directory", permanent=True)).permanent

    @pytest.mark.parametrize("name", ["ValueError", "ImportError", "OSError", "MemoryError", "FileNotFoundError"])
    def test_is_nothing_else(self, name):
        assert not report_exit(replace(EVIDENCE, status=exited(1), stderr=PLAIN.replace("ValueError", name))).permanent

    @pytest.mark.parametrize("status", [9, 11, exited(1), None])
    def test_is_no_death_without_a_word(self, status):
        assert not report_exit(replace(EVIDENCE, status=status)).permanent

    def test_is_nothing_after_it_was_ready(self):
        stderr = PLAIN.replace("ValueError", "SyntaxError")
        assert not report_exit(replace(EVIDENCE, status=exited(1), stderr=stderr, was_ready=True)).permanent

    def test_is_no_deadline_whatever_was_printed(self):
        assert not report_startup_timeout(
            replace(EVIDENCE, stderr=PLAIN.replace("ValueError", "SyntaxError")), 1.0
        ).permanent

    @pytest.mark.parametrize(
        ("error", "permanent"),
        [
            ("can't find command 'nonsense' in PATH", True),
            ("command at '/tmp/x' is not executable", True),
            ("no permission to run command '/tmp/x'", True),
            ("unknown error during fork for 'model-server': EAGAIN", False),
        ],
    )
    def test_is_a_command_that_is_not_there(self, error, permanent):
        assert report_exit(replace(EVIDENCE, pid=0, spawn_error=error)).permanent is permanent


class TestReportOfAServerThatSaysSo:
    def test_has_its_message_and_the_traceback_that_it_printed(self):
        report = report_error_answer(replace(EVIDENCE, stderr=PLAIN), "the model is not there")
        assert (report.error, report.traceback) == ("the model is not there", PLAIN)
        assert report.cause is Cause.INIT_FAILED

    @pytest.mark.parametrize("message", ["bad weights", "bad weights\nin w.bin"])
    def test_has_the_type_of_the_exception_that_says_the_same(self, message):
        assert report_error_answer(replace(EVIDENCE, stderr=PLAIN), message).error == f"ValueError: {message}"

    def test_has_no_type_of_one_that_says_nothing(self):
        stderr = PLAIN.replace(": bad weights", "")
        assert report_error_answer(replace(EVIDENCE, stderr=stderr), "bad weights").error == "bad weights"

    def test_needs_no_traceback(self):
        assert report_error_answer(EVIDENCE, "bad weights").error == "bad weights"


class TestReportOfAWorkerOfTheServersOwn:
    def test_is_its_traceback_when_it_exited(self):
        report = report_worker_death(replace(EVIDENCE, stderr=PLAIN), 815, exited(3))
        assert (report.error, report.pid, report.exit_status) == ("ValueError: bad weights", 815, 3)

    def test_is_how_it_ended_when_a_signal_killed_it(self):
        report = report_worker_death(replace(EVIDENCE, stderr=PLAIN), 815, int(signal.SIGKILL))
        assert report.error == "the worker 815 of the model server was killed by SIGKILL before it was ready"
        assert (report.signal, report.exit_code) == (9, 137)

    @pytest.mark.parametrize(("status", "ended"), [(exited(9), "exited with status 9"), (None, "vanished")])
    def test_is_a_sentence_when_nothing_was_printed(self, status, ended):
        report = report_worker_death(replace(EVIDENCE, was_ready=True), 815, status)
        assert report.error == f"the worker 815 of the model server {ended} before it was ready"


class TestOutOfMemory:
    """The kernel has killed a process of the control group since the start: perhaps the one that it is about."""

    FULL = OutOfMemory(512 * MIB, 512 * MIB)
    SENTENCE = "out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.5 s after start"
    ALSO = "; the kernel also killed a process, out of memory at 512.0 MiB of 512.0 MiB"

    @pytest.fixture
    def evidence(self) -> Evidence:
        return replace(EVIDENCE, out_of_memory=self.FULL)

    @pytest.mark.parametrize("status", [int(signal.SIGKILL), exited(137)])
    def test_is_the_reason_when_the_program_was_killed(self, evidence, status):
        report = report_exit(replace(evidence, status=status, stderr=PLAIN))
        assert (report.error, report.out_of_memory, report.exit_code) == (self.SENTENCE, True, 137)
        assert report.memory_limit_bytes == 512 * MIB

    def test_is_the_reason_of_a_master_that_gives_up_without_a_word(self, evidence):
        report = report_exit(replace(evidence, status=exited(0)))
        assert report.error == f"{self.SENTENCE}; the model server exited with status 0 before it was ready"
        assert (report.out_of_memory, report.exit_status, report.exit_code) == (True, 0, 137)

    @pytest.mark.parametrize("status", [int(signal.SIGKILL), None])
    def test_is_the_reason_of_a_worker_that_was_killed_or_of_which_nothing_is_known(self, evidence, status):
        report = report_worker_death(evidence, 815, status)
        assert report.error.startswith(self.SENTENCE)
        assert (report.pid, report.out_of_memory, report.exit_code) == (815, True, 137)

    def test_is_added_to_an_error_that_was_told(self, evidence):
        report = report_init_failed(evidence, InitFailed("load", "ValueError", "bad weights"))
        assert report.error == f"ValueError: bad weights{self.ALSO}"
        assert (report.out_of_memory, report.exit_code) == (False, 3)

    def test_is_added_to_an_error_that_was_printed(self, evidence):
        assert report_exit(replace(evidence, status=exited(1), stderr=PLAIN)).message == f"bad weights{self.ALSO}"
        assert report_worker_death(replace(evidence, stderr=PLAIN), 815, exited(3)).message == f"bad weights{self.ALSO}"
        assert report_worker_death(replace(evidence, stderr=PLAIN), 815, None).message == f"bad weights{self.ALSO}"

    @pytest.mark.parametrize("status", [int(signal.SIGSEGV)])
    def test_is_added_to_another_signal(self, evidence, status):
        for report in (report_exit(replace(evidence, status=status)), report_worker_death(evidence, 815, status)):
            assert report.message.endswith(f"was killed by SIGSEGV before it was ready{self.ALSO}")
            assert report.exit_code == 139

    def test_is_added_to_a_deadline_and_to_an_answer(self, evidence):
        assert report_startup_timeout(evidence, 5.0).message.endswith(self.ALSO)
        assert report_error_answer(evidence, "no weights").message == f"no weights{self.ALSO}"

    def test_is_not_said_on_the_word_of_a_model_alone(self):
        report = report_init_failed(EVIDENCE, InitFailed("load", "", "out of memory: it thinks"))
        assert (report.out_of_memory, report.exit_code) == (False, 3)

    def test_below_a_server_that_goes_on_is_told_with_the_process_that_it_was(self, evidence):
        report = report_oom_kill(replace(evidence, was_ready=True, stage="load_model"), 815)
        assert (report.error, report.pid, report.signal, report.stage) == (self.SENTENCE, 815, 9, "")
        assert report_oom_kill(evidence, None).pid == EVIDENCE.pid

    def test_belongs_to_the_end_of_a_program_in_the_log(self, evidence):
        assert describe_end(replace(evidence, status=int(signal.SIGKILL))) == f"was killed by SIGKILL, {self.SENTENCE}"
        assert describe_end(replace(evidence, status=exited(1))) == "exited with status 1"
        assert describe_end(replace(EVIDENCE, status=int(signal.SIGKILL))) == "was killed by SIGKILL"


class TestReportOfADeadline:
    def test_says_how_long_was_waited_and_where_it_stands(self):
        report = report_startup_timeout(EVIDENCE, 600.0)
        assert report.error == "the model server was not ready within 600 s, still in load_model"
        assert (report.cause, report.exit_code, report.stage) == (Cause.STARTUP_TIMEOUT, 4, "load_model")

    def test_says_no_more_than_is_known(self):
        assert (
            report_startup_timeout(replace(EVIDENCE, stage=""), 0.5).error
            == "the model server was not ready within 0.5 s"
        )

    @pytest.mark.parametrize("stream", ["stderr", "stdout"])
    def test_names_the_last_error_that_was_printed(self, stream):
        report = report_startup_timeout(replace(EVIDENCE, stage="", **{stream: f"{PLAIN}INFO: again\n"}), 2.0)
        assert report.message == (
            "the model server was not ready within 2 s; the last error that it printed: ValueError: bad weights"
        )
        assert (report.cause, report.type, report.traceback) == (Cause.STARTUP_TIMEOUT, "", PLAIN)

    def test_names_only_the_first_line_of_an_error_and_not_all_of_a_long_one(self):
        printed = PLAIN.replace("bad weights", "bad" * 1000) + "  expected: 3\n"
        report = report_startup_timeout(replace(EVIDENCE, stderr=printed), 2.0)
        assert "expected" not in report.message
        assert len(report.message) < LONGEST_LAST_LINE + 200


def test_every_report_has_the_curve_of_the_run():
    curve = Curve((1.0,), (5,), (None,), (0.0,))
    evidence = replace(EVIDENCE, curve=curve, status=exited(1))
    reports = [
        report_exit(evidence),
        report_init_failed(evidence, InitFailed("load_model", "ValueError", "bad")),
        report_error_answer(evidence, "no"),
        report_startup_timeout(evidence, 2.0),
        report_worker_death(evidence, 7, exited(1)),
    ]
    assert {report.curve for report in reports} == {curve}
    assert report_exit(EVIDENCE).curve is None
