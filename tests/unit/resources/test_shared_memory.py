import os
import time

import pytest

from drum_supervisor.resources.procfs import read_stat
from drum_supervisor.resources.shared_memory import complete
from tests.unit.stats_records import PROCESS, PROGRAM, STOPPED, stats


@pytest.fixture
def own():
    """Return the record of this process without shared memory."""
    started_at = time.time() - read_stat(os.getpid()).age
    return {**PROCESS, "pid": os.getpid(), "uss_bytes": None, "pss_bytes": None, "started_at": started_at}


def incomplete(*processes):
    program = {**PROGRAM, "processes": list(processes), "counts_shared_once": False, "memory_bytes": 1}
    return stats(programs=[program])


def completed(*processes):
    return complete(incomplete(*processes)).programs[0]


def test_large_process_is_completed(own):
    program = completed(own)
    (process,) = program.processes
    assert 0 < process.uss_bytes <= process.pss_bytes == program.memory_bytes
    assert program.counts_shared_once is True


def test_known_values_are_not_read_again(own):
    program = completed({**own, "pss_bytes": 7, "uss_bytes": 5})
    assert (program.processes[0].pss_bytes, program.processes[0].uss_bytes, program.memory_bytes) == (7, 5, 7)


def test_process_with_a_reused_pid_is_left_alone(own):
    other = {**own, "started_at": own["started_at"] - 60, "rss_bytes": 1234}
    program = completed(own, other)
    assert program.processes[1] == incomplete(other).programs[0].processes[0]
    assert program.memory_bytes == program.processes[0].pss_bytes + 1234
    assert program.counts_shared_once is False


def test_inaccessible_process_is_left_alone(own, tmp_path):
    before = incomplete(own)
    assert complete(before, proc=tmp_path).programs[0].processes == before.programs[0].processes


def test_program_that_does_not_run_is_left_alone():
    before = stats(programs=[STOPPED])
    assert complete(before) == before
