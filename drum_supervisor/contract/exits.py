"""Exit codes of `drum-supervise`, and the errors which end a process with one of them."""

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """Published exit codes, besides `128 + n` for a death by signal n (`signal_exit_code`)."""

    STOPPED = 0
    USAGE = 2
    INIT_FAILED = 3
    STARTUP_TIMEOUT = 4
    KEPT_DYING = 5
    ADDRESS = 6
    INTERNAL = 70


def signal_exit_code(number: int) -> int:
    """Return the shell's exit code for a death by signal `number`."""
    return 128 + number


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11, and `signal 40` for 40, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class DrumSupervisorError(Exception):
    """Ends a process with a message instead of a traceback: what happened, with the wrong value, and what to do."""

    exit_code: int = ExitCode.INTERNAL


class UsageError(DrumSupervisorError):
    """A wrong option, environment variable, configuration file or model folder."""

    exit_code = ExitCode.USAGE


class AddressError(DrumSupervisorError):
    """The serving address could not be bound."""

    exit_code = ExitCode.ADDRESS
