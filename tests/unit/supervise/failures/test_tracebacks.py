"""Errors in the output of a program: tracebacks of Python, and stacks of other languages."""

import os
import subprocess
import sys
import textwrap

import pytest

from drum_supervisor.contract.report_pipe import InitFailedMessage
from drum_supervisor.supervise.failures.tracebacks import (
    MAX_STACK,
    find_earlier_traceback,
    find_last_stack,
    find_last_traceback,
)

PLAIN = """\
Traceback (most recent call last):
  File "custom.py", line 5, in load_model
    raise ValueError("bad weights")
ValueError: bad weights
"""


def run_python(program: str, *arguments: str) -> str:
    """Return what Python prints on stderr when `program` fails."""
    environ = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    program = textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, *arguments, "-c", program], stderr=subprocess.PIPE, text=True, check=False, env=environ
    )
    assert done.returncode
    return done.stderr


class TestLastTraceback:
    def test_has_type_message_and_text(self):
        assert find_last_traceback(PLAIN) == InitFailedMessage("", "ValueError", "bad weights", PLAIN)

    def test_is_found_between_other_lines(self):
        stderr = f"INFO: loading\n{PLAIN}INFO: bye\nERROR: Application startup failed. Exiting.\n"
        assert find_last_traceback(stderr) == InitFailedMessage("", "ValueError", "bad weights", PLAIN)

    @pytest.mark.parametrize("after", ["", "[1] [INFO] Worker exiting\n", "INFO: bye\n", "2026-11-22 10:00 bye\n"])
    def test_message_after_a_line_break_ends_at_a_log_line(self, after):
        stderr = PLAIN.replace(": bad weights", ": \n\nLanguage: Python.\nNo weights") + after
        assert find_last_traceback(stderr).message == "Language: Python.\nNo weights"

    def test_is_the_last_of_several(self):
        assert find_last_traceback(PLAIN + "then\n" + PLAIN.replace("weights", "luck")).message == "bad luck"

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
    def test_type_and_message_are_read_from_the_last_line(self, line, type_, message):
        found = find_last_traceback(PLAIN.replace("ValueError: bad weights", line))
        assert (found.type, found.message) == (type_, message)

    def test_message_has_its_indented_lines(self):
        found = find_last_traceback(PLAIN + "  expected: 3\n  found: 4\nINFO: bye\n")
        assert found.message == "bad weights\n  expected: 3\n  found: 4"

    def test_message_has_a_limited_number_of_lines(self):
        assert len(find_last_traceback(PLAIN + "  more\n" * 100).message.splitlines()) == 21

    @pytest.mark.parametrize("line", ["ValueError: bad weights", "ValueError: \n  bad weights"])
    def test_message_has_no_frames_of_another_process(self, line):
        frames = '  File "worker.py", line 8, in run\n    self.load()\n'
        found = find_last_traceback(PLAIN.replace("ValueError: bad weights", line) + frames)
        assert (found.type, found.message) == ("ValueError", "bad weights")

    def test_message_has_no_lines_that_are_not_indented(self):
        assert find_last_traceback(PLAIN + "second line of the message, or a log line\n").message == "bad weights"

    @pytest.mark.parametrize("newline", ["\r\n", "\n"])
    def test_may_have_any_line_endings(self, newline):
        assert find_last_traceback(PLAIN.replace("\n", newline)) == InitFailedMessage(
            "", "ValueError", "bad weights", PLAIN
        )

    @pytest.mark.parametrize("prefix", ["model: ", "[worker 1] ", "2026-01-02 03:04:05,678 ERROR ", "| ", "    "])
    def test_may_have_a_prefix_on_each_line(self, prefix):
        assert find_last_traceback(textwrap.indent(PLAIN, prefix)) == InitFailedMessage(
            "", "ValueError", "bad weights", PLAIN
        )

    @pytest.mark.parametrize("prefix", ["ERROR:    ", "2026-01-02 03:04:05 [7] [ERROR] ", "Loading 50%\rLoading 99%\r"])
    def test_may_have_a_prefix_on_its_first_line_only(self, prefix):
        assert find_last_traceback(prefix + PLAIN) == InitFailedMessage("", "ValueError", "bad weights", PLAIN)

    def test_may_be_colored(self):
        colored = (
            'Traceback (most recent call last):\n  File \x1b[35m"x.py"\x1b[0m, line \x1b[35m1\x1b[0m, in f\n'
            "    \x1b[31mload\x1b[0m()\n\x1b[1;35mValueError\x1b[0m: \x1b[35mbad weights\x1b[0m\n"
        )
        found = find_last_traceback(colored)
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
    def test_is_none_if_missing_or_incomplete(self, stderr):
        assert find_last_traceback(stderr) is None

    def test_is_found_before_text_that_mentions_a_traceback(self):
        stderr = f"{PLAIN}INFO: see 'Traceback (most recent call last):' above\n"
        assert find_last_traceback(stderr) == InitFailedMessage("", "ValueError", "bad weights", PLAIN)

    def test_traceback_inside_a_message_wins(self):
        stderr = PLAIN.replace("bad weights\n", f"a worker failed:\n{PLAIN.replace('ValueError', 'OSError')}")
        assert find_last_traceback(stderr).type == "OSError"


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
    def test_is_the_last_but_one(self, stderr):
        assert find_earlier_traceback(stderr) == InitFailedMessage("", "ValueError", "bad weights", PLAIN)

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
    def test_is_none_within_one_chain_or_message(self, stderr):
        assert find_earlier_traceback(stderr) is None


class TestRealTracebacks:
    """Tracebacks as this version of Python prints them."""

    def test_of_a_chain_is_the_last_exception(self):
        stderr = run_python("""
            try:
                {}["weights"]
            except KeyError as error:
                raise RuntimeError("no model") from error
        """)
        assert "direct cause" in stderr
        assert (find_last_traceback(stderr).type, find_last_traceback(stderr).message) == ("RuntimeError", "no model")

    def test_of_a_local_class(self):
        stderr = run_python("""
            def load():
                class BadModel(Exception): pass
                raise BadModel("no")
            load()
        """)
        assert (find_last_traceback(stderr).type, find_last_traceback(stderr).message) == ("BadModel", "no")

    def test_of_an_import_with_a_syntax_error(self, tmp_path):
        (tmp_path / "custom.py").write_text("def load_model(:\n")
        found = find_last_traceback(run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import custom"))
        assert (found.type, found.message) == ("SyntaxError", "invalid syntax")
        assert "def load_model(:" in found.traceback

    def test_of_an_infinite_recursion(self):
        found = find_last_traceback(run_python("def f(): f()\nf()"))
        assert found.type == "RecursionError"
        assert found.message.startswith("maximum recursion depth exceeded")

    def test_of_a_thread(self):
        found = find_last_traceback(
            run_python("""
            import threading, sys
            threading.Thread(target=lambda: {}["weights"]).start()
            sys.exit(1)
        """)
        )
        assert (found.type, found.message) == ("KeyError", "'weights'")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
    def test_of_a_task_group_is_its_exception(self):
        stderr = run_python("""
            import asyncio
            async def load():
                raise ValueError("bad weights")
            async def main():
                async with asyncio.TaskGroup() as group:
                    group.create_task(load())
            asyncio.run(main())
        """)
        for text in (stderr, f"ERROR:    {stderr}\nERROR:    Application startup failed. Exiting.\n"):
            found = find_last_traceback(text)
            assert (found.type, found.message) == ("ValueError", "bad weights")
            assert "|" not in found.traceback.replace("||", "")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are new in Python 3.11")
    def test_of_a_group_without_tracebacks_is_the_group(self):
        stderr = run_python("raise ExceptionGroup('several', [ValueError('a'), TypeError('b')])")
        for text in (stderr, f"ERROR:    {stderr}\nERROR:    Application startup failed. Exiting.\n"):
            found = find_last_traceback(text)
            assert (found.type, found.message) == ("ExceptionGroup", "several (2 sub-exceptions)")


# As node 20, OpenJDK 17 and go 1.19 print them.
NODE = """\
/srv/server.js:1
function load(){ throw new TypeError("the weights are not there"); }
                 ^

TypeError: the weights are not there
    at load (/srv/server.js:1:24)
    at Object.<anonymous> (/srv/server.js:2:1)

Node.js v20.20.2
"""
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: cannot load: gone
\tat A.main(A.java:1)
Caused by: java.lang.ArithmeticException: / by zero
\tat A.main(A.java:1)
\tat java.base/java.lang.reflect.Method.invoke(Method.java:569)
"""
GO = """\
panic: the weights are not there

goroutine 1 [running]:
main.main()
\t/srv/server.go:18 +0x245
"""
UNPARSABLE = """\
  File "/srv/server.py", line 1
    def (
        ^
SyntaxError: invalid syntax
"""


@pytest.mark.parametrize(
    ("printed", "type_", "message"),
    [
        (NODE, "TypeError", "the weights are not there"),
        (NODE.replace("weights are", "weights\nare"), "TypeError", "the weights\nare not there"),
        (NODE.replace("TypeError: the", "Error [ERR_MODULE_NOT_FOUND]: the"), "Error", "the weights are not there"),
        (NODE.replace("TypeError: the weights are not there\n", "Error\n"), "Error", ""),
        (JAVA, "IllegalStateException", "cannot load: gone"),
        (GO, "panic", "the weights are not there"),
        (GO.replace("\n\n", "\n[signal SIGSEGV: segmentation violation]\n\n"), "panic", "the weights are not there"),
        (UNPARSABLE, "SyntaxError", "invalid syntax"),
        (UNPARSABLE.replace("    def (\n        ^\nSyntax", "Tab"), "TabError", "invalid syntax"),
        (NODE + "INFO: again\n" + NODE.replace("weights", "cables"), "TypeError", "the cables are not there"),
        (NODE + GO.replace("weights", "cables"), "panic", "the cables are not there"),
    ],
)
def test_finds_type_and_message_of_the_last_error(printed: str, type_: str, message: str) -> None:
    found = find_last_stack(f"starting\n{printed}")
    assert (found.type, found.message) == (type_, message)


def test_stack_is_the_printed_text() -> None:
    assert find_last_stack(JAVA).traceback == JAVA
    assert find_last_stack("12:00 starting\n" + GO).traceback == GO
    assert len(find_last_stack(GO + "x" * MAX_STACK).traceback) == MAX_STACK


@pytest.mark.parametrize("printed", ["", "\n", "panic: no\n", "Error: none\n", "we met at noon\n at the bar\n"])
def test_output_without_a_stack(printed: str) -> None:
    assert find_last_stack(printed) is None


def test_long_output_is_searched_quickly() -> None:
    assert find_last_stack(("word " * 20 + "\n") * 600) is None
    assert find_last_stack("Error: x\n" * 7000) is None
