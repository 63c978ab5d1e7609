"""Exit codes of `drum-supervise`, and the errors that end a process with one of them."""

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """Published exit codes; `128 + n` (died of signal n) comes on top, see `of_signal`."""

    STOPPED = 0
    USAGE = 2
    INIT_FAILED = 3
    STARTUP_TIMEOUT = 4
    KEPT_DYING = 5
    ADDRESS = 6
    INTERNAL = 70


def of_signal(number: int) -> int:
    """Return the exit code that says "died of signal `number`", as a shell does."""
    return 128 + number


def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11, and `signal 64` for numbers that have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class DrumSupervisorError(Exception):
    """Base of all errors that end a process with a message instead of a traceback.

    The text is one sentence for a person: what happened, with the value that was wrong, and what to do.
    """

    exit_code: int = ExitCode.INTERNAL


class UsageError(DrumSupervisorError):
    """A wrong option, environment variable, configuration file or model folder."""

    exit_code = ExitCode.USAGE


class AddressError(DrumSupervisorError):
    """The address to serve on could not be bound."""

    exit_code = ExitCode.ADDRESS
