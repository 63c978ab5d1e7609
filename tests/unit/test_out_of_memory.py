"""Whether memory ran out, told by counters of the kernel."""

import pytest

from drum_supervisor.supervise.out_of_memory import MemoryWatch, OutOfMemory
from tests.unit.control_groups import MIB, NAMES, PID, lay_out


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (OutOfMemory(512 * MIB, 500 * MIB), "killed by the kernel at 500.0 MiB of 512.0 MiB, 3.2 s after start"),
        (OutOfMemory(512 * MIB, None), "killed by the kernel at 512.0 MiB, 3.2 s after start"),
        (OutOfMemory(None, 500 * MIB), "killed by the kernel, 3.2 s after start"),
        (OutOfMemory(), "killed by the kernel, 3.2 s after start"),
    ],
)
def test_sentence_says_what_is_known(found, sentence):
    assert found.sentence(3.24) == f"out of memory: {sentence}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_said_when_the_kernel_killed_nobody_meanwhile(name, tmp_path):
    assert MemoryWatch(PID, lay_out(name, tmp_path)).verdict() is None


def test_process_without_control_groups_has_no_verdict(tmp_path):
    assert MemoryWatch(PID, tmp_path).verdict() is None
