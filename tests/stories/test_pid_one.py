"""The supervisor as PID 1 of a namespace, as in a container.

The kernel treats PID 1 differently: signals without a handler do not reach it, every orphan becomes its child, and its
exit ends all others.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.support import Supervised, until

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
PROC_OF_ANOTHER = NAMESPACE[:-1]
NO_PROC = (*NAMESPACE, "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
CLOSED = (*NAMESPACE, "sh", "-c", 'exec "$@" >&- 2>&-', "sh")


@cache
def _refusal() -> str:
    """Return why a PID namespace cannot be made here, "" if it can."""
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


pytestmark = pytest.mark.skipif(bool(_refusal()), reason=f"cannot make a PID namespace: {_refusal()}")


DIES_ORPHANED = "subprocess.run(['sh', '-c', 'true & (true &) ; setsid true & setsid sleep 0 &'])\n"
SLEEPS_ON = "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"


def first_process(supervised: Supervised) -> psutil.Process:
    """Return the supervisor's process outside of its namespace: the child of `unshare`."""
    (child,) = supervised.until(psutil.Process(supervised.process.pid).children)
    return child


def program(code: str) -> tuple[str, ...]:
    head = "import os, signal, subprocess, sys\n"
    tail = 'os.write(4, b\'{"kind": "ready"}\\n\')\nwhile True: signal.pause()\n'
    return ("--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", head + code + tail)


def serving(start: Start, code: str = "", wrapper: Sequence[str] = NAMESPACE, arguments=()) -> Supervised:
    supervised = start(*arguments, *program(code), wrapper=wrapper)
    supervised.until(lambda: " is ready after " in supervised.err.read_text())
    return supervised


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_with_a_handler_stop_it(start: Start, number: signal.Signals) -> None:
    supervised = serving(start)
    first_process(supervised).send_signal(number)
    assert supervised.wait() == 0
    assert supervised.last_line == "drum-supervise: exit 0: stopped on request"


def test_signals_without_a_handler_change_nothing(start: Start) -> None:
    supervised = serving(start)
    assert supervised.status()["pid"] == 1
    first = first_process(supervised)
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGVTALRM, signal.SIGIO, signal.SIGPIPE, signal.SIGUSR2):
        first.send_signal(number)
    assert supervised.status()["phase"] == "serving"
    first.terminate()
    assert supervised.wait() == 0


def test_orphans_are_reaped(start: Start) -> None:
    supervised = serving(start, DIES_ORPHANED)
    first = first_process(supervised)
    until(lambda: len(first.children(recursive=True)) == 1, supervised.process, supervised.output)
    assert all(child.status() != psutil.STATUS_ZOMBIE for child in first.children(recursive=True))
    first.terminate()
    assert supervised.wait() == 0


@pytest.mark.parametrize(
    ("custom", "code"),
    [
        ("raise OSError('no weights')", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ],
)
def test_container_exit_code_is_that_of_the_cause(start: Start, model, tmp_path, custom: str, code: int) -> None:
    log = tmp_path / "termination-log"
    log.write_text("of the container before")
    given = ("--code-dir", model(custom), "--target-type", "unstructured", "--no-error-server")
    supervised = start(*given, "--termination-log", log, wrapper=NAMESPACE)
    assert supervised.wait() == code
    assert supervised.last_line == f"drum-supervise: exit {code}: {log.read_text()}"


def test_closed_output_does_not_stop_it(start: Start) -> None:
    supervised = start(*program("print('x' * 100000, flush=True)\n"), wrapper=CLOSED)
    assert supervised.until_phase("serving")["ready"]
    first_process(supervised).terminate()
    assert supervised.wait() == 0


@pytest.mark.parametrize("wrapper", [PROC_OF_ANOTHER, NO_PROC], ids=["of another namespace", "none"])
@pytest.mark.parametrize("left", ["", SLEEPS_ON], ids=["nothing left", "a daemon left"])
def test_wrong_or_missing_proc_does_not_block_a_stop(start: Start, wrapper: Sequence[str], left: str) -> None:
    # the pids in that /proc are those of other processes, such as this one
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        supervised = serving(start, left, wrapper)
        first_process(supervised).terminate()
        assert supervised.wait() == 0
        assert supervised.left() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


BLOCKS = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "supervisor":
            open(os.environ["TEST_FIFO"]).read()
sys.meta_path.insert(0, Finder())
"""


def test_stop_during_the_first_imports_is_obeyed(start: Start, tmp_path: Path, fifo: Callable[[str], Path]) -> None:
    # PID 1 has no default action: a lost SIGTERM means that the container is killed much later
    (tmp_path / "sitecustomize.py").write_text(BLOCKS)
    gate = fifo("gate")
    supervised = start(*program(""), wrapper=NAMESPACE, PYTHONPATH=f"{tmp_path}:{os.getcwd()}", TEST_FIFO=str(gate))
    with open(gate, "w"):  # opens during its imports
        first_process(supervised).terminate()
        assert supervised.wait() == 0
