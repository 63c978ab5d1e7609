"""A server that runs as another user, whom the supervisor may not signal: nothing breaks, and nobody waits for ever."""

import os
import shutil
import signal
import subprocess
import sys
from functools import cache

import pytest

from tests.stories.conftest import Start
from tests.stories.test_ending import HEAD, UP
from tests.stories.test_supervisorctl import ctl
from tests.support import Supervised, until

# root, and yet not allowed to signal others: as in a container that drops this capability
NO_KILL = ("setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill")
BECOMES_ANOTHER = "os.setgid(12345); os.setuid(12345)\n"


@cache
def refusal() -> str:
    """Return why this machine cannot show that; nothing if it can."""
    if not shutil.which("setpriv"):
        return "no setpriv"
    become = [sys.executable, "-c", f"import os; {BECOMES_ANOTHER}"]
    return subprocess.run([*NO_KILL, *become], capture_output=True, text=True, check=False).stderr.strip()


pytestmark = pytest.mark.skipif(bool(refusal()), reason=f"no other user here: {refusal()[-200:]}")


def serving(start: Start, then: str) -> Supervised:
    command = ("--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", HEAD + BECOMES_ANOTHER + UP)
    supervised = start("--stop-timeout", "0.2", *command[:-1], command[-1] + then, wrapper=NO_KILL)
    supervised.until_phase("serving")
    return supervised


def test_its_end_is_waited_for(start: Start, tmp_path) -> None:
    supervised = serving(start, "sys.stdout.close(); signal.sigtimedwait([], 2)\n")
    said = ctl(supervised, "signal", "HUP", "model-server").stdout
    assert "runs as another user: no permission to signal it" in said
    assert supervised.stop() == 0
    assert "SIGTERM to pid" in supervised.err.read_text()


def test_a_second_signal_ends_the_supervisor_all_the_same(start: Start) -> None:
    supervised = serving(start, "while True: signal.pause()\n")
    pid = supervised.pid()
    supervised.process.terminate()
    supervised.until_phase("stopping")
    assert supervised.stop() == 0
    os.kill(pid, signal.SIGKILL)  # we may
    until(lambda: not supervised.left())
