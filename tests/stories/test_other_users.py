"""A server that runs as another user and cannot be signalled: nothing breaks, and no stop waits for ever."""

import os
import shutil
import signal
import subprocess
import sys
from functools import cache

import pytest

from tests.stories.conftest import Start
from tests.stories.test_ending import HEAD, REPORT_READY
from tests.stories.test_supervisorctl import ctl
from tests.support import Supervised, until

# root without the capability to signal other users, as in a container that drops it
NO_KILL = ("setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill")
BECOMES_ANOTHER = "os.setgid(12345); os.setuid(12345)\n"


@cache
def refusal() -> str:
    """Return why this machine cannot run these tests, "" if it can."""
    if not shutil.which("setpriv"):
        return "no setpriv"
    become = [sys.executable, "-c", f"import os; {BECOMES_ANOTHER}"]
    return subprocess.run([*NO_KILL, *become], capture_output=True, text=True, check=False).stderr.strip()


pytestmark = pytest.mark.skipif(bool(refusal()), reason=f"cannot become another user: {refusal()[-200:]}")


def serving(start: Start, then: str) -> Supervised:
    code = HEAD + BECOMES_ANOTHER + REPORT_READY + then
    command = ("--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", code)
    supervised = start("--stop-timeout", "0.2", *command, wrapper=NO_KILL)
    supervised.until_phase("serving")
    return supervised


def test_stop_waits_for_a_process_it_may_not_signal(start: Start, tmp_path) -> None:
    supervised = serving(start, "sys.stdout.close(); signal.sigtimedwait([], 2)\n")
    said = ctl(supervised, "signal", "HUP", "model-server").stdout
    assert "runs as another user: no permission to signal it" in said
    assert supervised.stop() == 0
    assert "SIGTERM to pid" in supervised.err.read_text()


def test_second_signal_ends_the_supervisor_anyway(start: Start) -> None:
    supervised = serving(start, "while True: signal.pause()\n")
    pid = supervised.pid()
    supervised.process.terminate()
    supervised.until_phase("stopping")
    assert supervised.stop() == 0
    os.kill(pid, signal.SIGKILL)  # this process has the capability
    until(lambda: not supervised.left())
