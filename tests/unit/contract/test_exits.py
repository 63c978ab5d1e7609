import signal

import pytest

from drum_supervisor.contract.exits import (
    AddressError,
    DrumSupervisorError,
    ExitCode,
    UsageError,
    signal_exit_code,
    signal_name,
)


def test_published_codes_do_not_change():  # scripts and orchestrators branch on them
    assert {code.name: code.value for code in ExitCode} == {
        "STOPPED": 0,
        "USAGE": 2,
        "INIT_FAILED": 3,
        "STARTUP_TIMEOUT": 4,
        "KEPT_DYING": 5,
        "ADDRESS": 6,
        "INTERNAL": 70,
    }


def test_signal_has_the_exit_code_of_a_shell():
    assert signal_exit_code(signal.SIGKILL) == 137
    assert signal_exit_code(signal.SIGSEGV) == 139


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "SIGTERM"), (11, "SIGSEGV"), (64, "SIGRTMAX"), (40, "signal 40"), (0, "signal 0")],
)
def test_signals_have_names(number, name):
    assert signal_name(number) == name


@pytest.mark.parametrize(("error", "code"), [(DrumSupervisorError, 70), (UsageError, 2), (AddressError, 6)])
def test_each_error_has_its_exit_code(error, code):
    assert error("why").exit_code == code
