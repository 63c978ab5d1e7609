"""Errors of other languages, as node 20, OpenJDK 17 and go 1.19 print them."""

import pytest

from drum_supervisor.supervise.failures.tracebacks import LONGEST_STACK, last_stack

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
UNREADABLE = """\
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
        (UNREADABLE, "SyntaxError", "invalid syntax"),
        (UNREADABLE.replace("    def (\n        ^\nSyntax", "Tab"), "TabError", "invalid syntax"),
        (NODE + "INFO: again\n" + NODE.replace("weights", "cables"), "TypeError", "the cables are not there"),
        (NODE + GO.replace("weights", "cables"), "panic", "the cables are not there"),
    ],
)
def test_type_and_message_of_the_last_error(printed: str, type_: str, message: str) -> None:
    found = last_stack(f"starting\n{printed}")
    assert (found.type, found.message) == (type_, message)


def test_the_text_is_as_it_was_printed() -> None:
    assert last_stack(JAVA).traceback == JAVA
    assert last_stack("12:00 starting\n" + GO).traceback == GO
    assert len(last_stack(GO + "x" * LONGEST_STACK).traceback) == LONGEST_STACK


@pytest.mark.parametrize("printed", ["", "\n", "panic: no\n", "Error: none\n", "we met at noon\n at the bar\n"])
def test_none_where_there_is_none(printed: str) -> None:
    assert last_stack(printed) is None


def test_a_long_output_does_not_take_long() -> None:
    assert last_stack(("word " * 20 + "\n") * 600) is None
    assert last_stack("Error: x\n" * 7000) is None
