"""From evidence to a failure report: what a dead child said, its wait status, the last traceback in its stderr."""

import os
import re
from dataclasses import dataclass

from drum_supervisor.contract.exits import signal_name
from drum_supervisor.contract.failure import Cause, FailureReport
from drum_supervisor.contract.report import InitFailed

TAIL_LINES = 50
LONGEST_LAST_LINE = 500
# Log formats and exception groups put something before each line: what stands before the first frame.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\r?\n(?P<prefix>.*?)  File ")
_LAST_LINE = re.compile(r"^(?P<type>[^\W\d][\w.<>]*)(?:: (?P<message>.*))?$")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Evidence:
    """What the supervisor saw of one run of a program.

    Attributes:
        program: its name.
        status: its wait status as from wait(2), None while it is alive.
        stage: the last one it reported.
        stderr: the end of its stderr.
        was_ready: whether it ever was ready.
        The rest is as in `FailureReport`.
    """

    program: str
    worker: int
    pid: int
    started_at: float
    failed_at: float
    seconds: float
    attempt: int = 1
    status: int | None = None
    stage: str = ""
    stderr: str = ""
    peak_memory_bytes: int | None = None
    was_ready: bool = False
    spawn_error: str = ""


@dataclass(frozen=True)
class Complaint:
    """An error that a program told, on the report pipe or in its stderr."""

    type: str
    message: str
    traceback: str
    stage: str = ""


def said(evidence: Evidence, told: InitFailed) -> FailureReport:
    """Return the report for a failure that the child itself reported."""
    return _report(evidence, Complaint(told.type, told.message, told.traceback, told.stage))


def gone(evidence: Evidence) -> FailureReport:
    """Return the report for a child that died without a word on the report pipe.

    An exit by itself is explained by the last traceback on stderr, if there is one; a death by a signal is not:
    what was printed before it is another story.
    """
    if evidence.spawn_error:
        return _report(evidence, Complaint("", evidence.spawn_error, ""))
    sentence = death_sentence(evidence)
    if evidence.status is None or not os.WIFEXITED(evidence.status):
        return _report(evidence, Complaint("", sentence, ""))
    return _report(
        evidence, last_traceback(evidence.stderr) or Complaint("", sentence + _last_line(evidence.stderr), "")
    )


def too_slow(evidence: Evidence, timeout: float) -> FailureReport:
    """Return the report for a start-up deadline that passed."""
    where = f", still in {evidence.stage}" if evidence.stage else ""
    message = f"the {evidence.program} was not ready within {timeout:g} s{where}"
    return _report(evidence, Complaint("", message, ""), Cause.STARTUP_TIMEOUT)


def death_sentence(evidence: Evidence) -> str:
    """Return how the program ended: `the model-server was killed by SIGSEGV before it was ready`."""
    when = f"after {evidence.seconds:.1f} s" if evidence.was_ready else "before it was ready"
    return f"the {evidence.program} {ending(evidence.status)} {when}"


def ending(status: int | None) -> str:
    """Say a wait status in words: `was killed by SIGSEGV`, `exited with status 1`."""
    if status is None:
        return "vanished"
    if os.WIFSIGNALED(status):
        return f"was killed by {signal_name(os.WTERMSIG(status))}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f"; its last line on stderr: {lines[-1][:LONGEST_LAST_LINE]}" if lines else ""


def last_traceback(stderr: str) -> Complaint | None:
    """Return the exception of the last Python traceback in `stderr`; None when there is none, or it is cut off."""
    plain = _COLOR.sub("", stderr)
    found = list(_TRACEBACK.finditer(plain))
    if not found:
        return None
    lines = [line.removeprefix(found[-1]["prefix"]) for line in plain[found[-1].start() :].splitlines()]
    for number, line in enumerate(lines[1:], 1):
        if line and not line.startswith((" ", "\t", "+", "|")):
            match = _LAST_LINE.match(line)
            if match is None:
                return None
            message = "\n".join([match["message"] or "", *_continued(lines[number + 1 :])]).strip()
            return Complaint(match["type"].rpartition(".")[2], message, "\n".join(lines[: number + 1]) + "\n")
    return None


def _continued(lines: list[str]) -> list[str]:
    """A message of several lines cannot be told from what was printed after it: only indented lines are taken."""
    found = []
    for line in lines[:20]:
        if not line.startswith((" ", "\t")) or line.lstrip().startswith("+-"):
            break
        found.append(line)
    return found


def _report(evidence: Evidence, complaint: Complaint, cause: Cause = Cause.INIT_FAILED) -> FailureReport:
    status = evidence.status
    return FailureReport(
        cause=cause,
        stage="" if evidence.was_ready else complaint.stage or evidence.stage,
        type=complaint.type,
        message=complaint.message,
        traceback=complaint.traceback,
        worker=evidence.worker,
        pid=evidence.pid,
        exit_status=os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None,
        attempt=evidence.attempt,
        started_at=evidence.started_at,
        failed_at=evidence.failed_at,
        seconds=round(evidence.seconds, 3),
        peak_memory_bytes=evidence.peak_memory_bytes,
        stderr_tail="\n".join(evidence.stderr.splitlines()[-TAIL_LINES:]),
    ).masked()
