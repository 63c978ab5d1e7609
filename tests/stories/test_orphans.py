"""Thousands of orphans of a model server are reaped without disturbing the service."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.support import Supervised

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
MANY = 10_000

# All children have exited before their parent does, so the supervisor inherits all zombies at once.
BURST = f"""
import os, sys
os.write(4, b'{{"kind": "ready"}}\\n')
open(sys.argv[1]).read()
parent = os.fork()
if parent == 0:
    for _ in range({MANY}):
        if os.fork() == 0:
            os._exit(0)
    os._exit(0)
os.waitpid(parent, 0)
print("all handed over", flush=True)
open(sys.argv[1]).read()
"""


@cache
def no_namespace() -> str:
    """Return why a PID namespace cannot be made here, "" if it can."""
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False).stderr.strip()


def supervisor(supervised: Supervised) -> psutil.Process:
    """Return the supervisor's process outside of its namespace."""
    process = psutil.Process(supervised.process.pid)
    return process if process.cmdline()[0] == sys.executable else process.children()[0]


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", [(), NAMESPACE], ids=["child subreaper", "first process"])
def test_ten_thousand_orphans_are_reaped_at_once(
    start: Start, fifo: Callable[[str], Path], wrapper: Sequence[str]
) -> None:
    if wrapper and no_namespace():
        pytest.skip(f"cannot make a PID namespace: {no_namespace()}")
    gate = fifo("gate")
    command = ("--listener", "inherit", "--ready", "report", "--", sys.executable, "-ISc", BURST, gate)
    supervised = start(*command, wrapper=wrapper)
    before = supervised.until_phase("serving")
    process = supervisor(supervised)
    children = process.children()
    gate.write_text("")
    answered = 0
    while "all handed over" not in supervised.out.read_text():
        answered += supervised.status()["phase"] == "serving"
    supervised.until(lambda: process.children() == children)
    after = supervised.status()
    assert answered
    assert [after["programs"][0]["pid"], after["restarts"]] == [before["programs"][0]["pid"], before["restarts"]]
    process.terminate()
    assert supervised.wait() == 0
