"""What the supervisor observed of one run of a program, and sentences about its end."""

import os
import signal
from dataclasses import dataclass

from drum_supervisor.contract.exits import signal_exit_code, signal_name
from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.resources.oom import OomKill

MAX_LAST_LINE = 500
_NOT_SPAWNED = "supervisor: child process was not spawned"  # supervisord's last line; the one before says why


@dataclass(frozen=True)
class Evidence:
    """What the supervisor observed of one run of a program; attributes as in `FailureReport`."""

    program: str  # its name
    worker: int
    pid: int
    started_at: float
    failed_at: float
    seconds: float
    attempt: int = 1
    status: int | None = None  # as from wait(2); None while it runs
    stage: str = ""  # of initialization, the last one that it reported
    stderr: str = ""  # the end of it
    stdout: str = ""
    peak_memory_bytes: int | None = None
    was_ready: bool = False
    spawn_error: str = ""
    is_command_unusable: bool = False
    oom_kill: OomKill | None = None  # in its cgroup since its start; after it was ready: a recent one
    curve: UsageSeries | None = None

    @property
    def has_exited(self) -> bool:
        """Whether it exited, with any status, rather than being killed."""
        return self.status is not None and os.WIFEXITED(self.status)

    @property
    def oom_sentence(self) -> str:
        """The sentence for a program that was OOM-killed, also if its shell reports that by 137; otherwise empty."""
        killed = (-signal.SIGKILL, signal_exit_code(signal.SIGKILL))
        if self.oom_kill is None or self.status is None or os.waitstatus_to_exitcode(self.status) not in killed:
            return ""
        return self.oom_kill.describe(self.seconds)


def describe_exit(status: int | None) -> str:
    """Return a wait status in words: `was killed by SIGSEGV`, `exited with status 1`."""
    if status is None:
        return "vanished"
    if os.WIFSIGNALED(status):
        return f"was killed by {signal_name(os.WTERMSIG(status))}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def describe_end(evidence: Evidence) -> str:
    how = describe_exit(evidence.status)
    return f"{how}, {evidence.oom_sentence}" if evidence.oom_sentence else how


def describe_death(evidence: Evidence) -> str:
    """Return how and when a program ended: `the model server was killed by SIGSEGV before it was ready`."""
    when = f"after {evidence.seconds:.1f} s" if evidence.was_ready else "before it was ready"
    return f"the {evidence.program} {describe_exit(evidence.status)} {when}"


def describe_last_line(evidence: Evidence) -> str:
    """Return `; its last line on stderr: ...`; empty if the program printed nothing."""
    for name, text in (("stderr", evidence.stderr), ("stdout", evidence.stdout)):
        lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", _NOT_SPAWNED)]
        if lines:
            return f"; its last line on {name}: {lines[-1][:MAX_LAST_LINE]}"
    return ""
