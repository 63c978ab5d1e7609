"""Sentences about the end of a program."""

import signal
from dataclasses import replace

import pytest

from drum_supervisor.supervise.failures.evidence import Evidence, describe_death, describe_exit

EVIDENCE = Evidence(program="model server", worker=2, pid=4711, started_at=1000.0, failed_at=1003.5, seconds=3.45678)


class TestDescribeExit:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT, signal.SIGBUS])
    def test_names_the_signal(self, number):
        assert describe_exit(number) == f"was killed by {number.name}"

    def test_names_the_signal_of_a_core_dump(self):
        assert describe_exit(signal.SIGSEGV | 0x80) == "was killed by SIGSEGV"

    def test_numbers_a_signal_without_a_name(self):
        assert describe_exit(40) == "was killed by signal 40"

    @pytest.mark.parametrize("status", [0, 1, 3, 255])
    def test_gives_the_exit_status(self, status):
        assert describe_exit(status << 8) == f"exited with status {status}"

    def test_unknown_status_is_vanished(self):
        assert describe_exit(None) == "vanished"


def test_death_names_the_program_and_the_time():
    evidence = replace(EVIDENCE, status=9)
    assert describe_death(evidence) == "the model server was killed by SIGKILL before it was ready"
    assert describe_death(replace(evidence, was_ready=True)) == "the model server was killed by SIGKILL after 3.5 s"
