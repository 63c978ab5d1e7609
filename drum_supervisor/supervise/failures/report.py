"""From evidence to a failure report: what a dead child said, its wait status, the last traceback in its stderr."""

import os
import re
import signal
from dataclasses import dataclass, replace
from itertools import takewhile

from drum_supervisor.contract.exits import of_signal, signal_name
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.report_pipe import InitFailed
from drum_supervisor.contract.usage_series import Curve
from drum_supervisor.resources.oom import OutOfMemory
from drum_supervisor.supervise.failures.tracebacks import last_stack

TAIL_LINES = 50
OUT_OF_MEMORY = "out of memory: "
KILLED = "was killed by SIGKILL"
LONGEST_LAST_LINE = 500
# Log formats and exception groups put something before each line: what stands before the first frame.
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\r?\n(?P<prefix>.*?)  File ")
_LAST_LINE = re.compile(r"^(?P<type>[^\W\d][\w.<>]*)(?:: (?P<message>.*))?$")
# What a server prints after a traceback: a log line, as most formats begin one, or the next exception of a chain.
_LOG_LINE = re.compile(r"\[|\d{4}-\d\d-\d\d|[A-Z]{4,8}[ :]|Traceback |During handling |The above exception ")
# Two workers that print at the same time may leave one without its head.
_FRAME = re.compile(r'[ \t]+File "[^"]*", line \d+, in ')
_CHAINS = ("another exception occurred:", "the direct cause of the following exception:")
# What no other attempt changes, only somebody who changes the code, or what is installed.
_PERMANENT = ("SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Evidence:
    """What the supervisor saw of one run of a program.

    Attributes:
        program: its name.
        status: its wait status as from wait(2), None while it is alive.
        stage: the last one it reported.
        stderr, stdout: the end of each.
        was_ready: whether it ever was ready.
        out_of_memory: what the kernel has to say about that, if it killed anybody since the start (or lately, if it
            was ready).
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
    stdout: str = ""
    peak_memory_bytes: int | None = None
    was_ready: bool = False
    spawn_error: str = ""
    out_of_memory: OutOfMemory | None = None
    curve: Curve | None = None


@dataclass(frozen=True)
class Complaint:
    """An error that a program told, on the report pipe or in its stderr; `permanent`: it says so itself."""

    type: str
    message: str
    traceback: str
    stage: str = ""
    permanent: bool = False


def said(evidence: Evidence, told: InitFailed) -> FailureReport:
    """Return the report for a failure that the child itself reported; a master reports how its worker ended."""
    if evidence.out_of_memory and KILLED in told.message:
        sentence = evidence.out_of_memory.sentence(evidence.seconds)
        return _report(evidence, Complaint(told.type, f"{sentence} ({told.message})", told.traceback, told.stage))
    return _report(evidence, Complaint(told.type, told.message, told.traceback, told.stage, told.permanent))


def gone(evidence: Evidence) -> FailureReport:
    """Return the report for a child that died without a word on the report pipe.

    An exit by itself is explained by the last traceback that it printed, if there is one; a death by a signal is
    not: what was printed before it is another story. An exit that nothing explains, after the kernel has killed, is
    that of a master which gives up because of a worker (hypercorn exits with 0 then).
    """
    if evidence.spawn_error:
        no_such_command = "command" in evidence.spawn_error  # else it is the fork that failed
        return _report(evidence, Complaint("", evidence.spawn_error, "", permanent=no_such_command))
    if (killed := _killed_for_memory(evidence)) is not None:
        return _report(evidence, killed)
    sentence = death_sentence(evidence)
    if evidence.status is None or not os.WIFEXITED(evidence.status):
        return _report(evidence, Complaint("", sentence, ""))
    return _report(evidence, _explained(evidence) or _unexplained(evidence, sentence + _last_line(evidence)))


def _unexplained(evidence: Evidence, sentence: str) -> Complaint:
    """Return the complaint of a program that says nothing itself, but the kernel may."""
    if evidence.out_of_memory is not None:
        sentence = f"{evidence.out_of_memory.sentence(evidence.seconds)}; {sentence}"
    return Complaint("", sentence, "")


def answered(evidence: Evidence, message: str) -> FailureReport:
    """Return the report for a server that answers requests, and says in the answer that it was not initialized.

    The traceback that it printed goes with it, and where both say the same thing, the type of the exception as well.
    """
    found = _printed(evidence)
    if found is None:
        return _report(evidence, Complaint("", message, ""))
    return _report(
        evidence, replace(found, type=found.type if _is_same(message, found.message) else "", message=message)
    )


def _is_same(told: str, printed: str) -> bool:
    """Whether one says what the other does, or its beginning."""
    one, other = (" ".join(text.split()) for text in (told, printed))
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def worker_gone(evidence: Evidence, pid: int, status: int | None) -> FailureReport:
    """Return the report for a server of which a worker of its own died; the server itself goes on.

    Args:
        pid: of the worker.
        status: its wait status, None when that is unknown.
    """
    name = f"worker {pid} of the {evidence.program}"
    worker = replace(evidence, program=name, pid=pid, status=status, was_ready=False)
    if (killed := _killed_for_memory(worker)) is not None:
        return _report(worker, killed)
    if status is not None and os.WIFSIGNALED(status):
        return _report(worker, Complaint("", death_sentence(worker), ""))
    return _report(worker, _explained(evidence) or _unexplained(worker, death_sentence(worker)))


def killed_below(evidence: Evidence, pid: int | None) -> FailureReport:
    """Return the report for a process below a server, `pid` if that is known, that was killed for want of memory."""
    killed = replace(evidence, pid=pid or evidence.pid, status=int(signal.SIGKILL))
    found = evidence.out_of_memory or OutOfMemory()
    return _report(killed, Complaint("", found.sentence(evidence.seconds), ""))


def unresponsive(evidence: Evidence, sentence: str) -> FailureReport:
    """Return the report for a server that was ready, runs, and answers no more."""
    return _report(evidence, Complaint("", sentence, ""))


def too_slow(evidence: Evidence, timeout: float) -> FailureReport:
    """Return the report for a start-up deadline that passed, with the last error that was printed meanwhile.

    Some servers go on after a failure, and start what failed again and again.
    """
    where = f", still in {evidence.stage}" if evidence.stage else ""
    message = f"the {evidence.program} was not ready within {timeout:g} s{where}"
    printed = _printed(evidence)
    if printed is None:
        return _report(evidence, Complaint("", message, ""), Cause.STARTUP_TIMEOUT)
    complaint = Complaint("", f"{message}; the last error that it printed: {_in_short(printed)}", printed.traceback)
    return _report(evidence, complaint, Cause.STARTUP_TIMEOUT)


def _killed_for_memory(evidence: Evidence) -> Complaint | None:
    """Return the complaint of a program that the kernel killed for want of memory, or whose shell says so by 137."""
    status = evidence.status
    is_killed = status is not None and os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, of_signal(signal.SIGKILL))
    if evidence.out_of_memory is None or not is_killed:
        return None
    return Complaint("", evidence.out_of_memory.sentence(evidence.seconds), "")


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


def full_ending(evidence: Evidence) -> str:
    """Say how a program ended, and whether that was for want of memory."""
    killed = _killed_for_memory(evidence)
    return f"{ending(evidence.status)}, {killed.message}" if killed else ending(evidence.status)


_SAYS_NOTHING = "supervisor: child process was not spawned"  # supervisord; the line before says why


def _last_line(evidence: Evidence) -> str:
    for name, text in (("stderr", evidence.stderr), ("stdout", evidence.stdout)):
        lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", _SAYS_NOTHING)]
        if lines:
            return f"; its last line on {name}: {lines[-1][:LONGEST_LAST_LINE]}"
    return ""


def _in_short(complaint: Complaint) -> str:
    return f"{complaint.type}: {complaint.message}".strip(": ").splitlines()[0][:LONGEST_LAST_LINE]


def _explained(evidence: Evidence) -> Complaint | None:
    """Return the last error that was printed, with another one that stands before it, or on stdout.

    A server that gives up because of a worker (gunicorn, LitServe, MLflow) raises an exception that says no more than
    that, after the worker has printed the reason.
    """
    last = _printed(evidence)
    other = earlier_traceback(evidence.stderr) or last_traceback(evidence.stdout)
    if last is None or other is None or (other.type, other.message) == (last.type, last.message):
        return last
    message = f"{last.message}; also printed: {_in_short(other)}"
    return replace(last, message=message, traceback=f"{other.traceback}\n{last.traceback}")


def _printed(evidence: Evidence) -> Complaint | None:
    """Return the last error that was printed on stderr, else that on stdout: there are servers that log there."""
    for text in (evidence.stderr, evidence.stdout):
        if traceback := last_traceback(text):
            return traceback
        if stack := last_stack(text):
            return Complaint(stack.type, stack.message, stack.text)
    return None


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
            rest = list(takewhile(lambda line: not _FRAME.match(line), lines[number + 1 :]))
            continued = _begun_anew(rest) if match["message"] == "" else _continued(rest)
            message = "\n".join([match["message"] or "", *continued]).strip()
            return Complaint(match["type"].rpartition(".")[2], message, "\n".join(lines[: number + 1]) + "\n")
    return None


def earlier_traceback(stderr: str) -> Complaint | None:
    """Return the last exception before that of the last traceback which is another one, and of another story."""
    text = _COLOR.sub("", stderr)
    last = earlier = last_traceback(text)
    while last is not None and earlier is not None:
        text = text[: [*_TRACEBACK.finditer(text)][-1].start()]
        earlier = last_traceback(text)
        if earlier and not _goes_on(text, earlier) and (earlier.type, earlier.message) != (last.type, last.message):
            return earlier
    return None


def _goes_on(text: str, exception: Complaint) -> bool:
    """Whether a traceback that follows `text` belongs to the last exception in it: to its chain, or its message."""
    in_message = bool(exception.message) and text.endswith(exception.message)
    return in_message or text.rstrip().endswith(_CHAINS)


def _continued(lines: list[str]) -> list[str]:
    """A message of several lines cannot be told from what was printed after it: only indented lines are taken."""
    found = []
    for line in lines[:20]:
        if not line.startswith((" ", "\t")) or line.lstrip().startswith("+-"):
            break
        found.append(line)
    return found


def _begun_anew(lines: list[str]) -> list[str]:
    """A message that begins with a line break: what says anything at all is in the lines that follow."""
    found: list[str] = []
    for line in lines[:20]:
        if _LOG_LINE.match(line):
            break
        if line.strip():
            found.append(line.strip())
    return found


def _report(evidence: Evidence, complaint: Complaint, cause: Cause = Cause.INIT_FAILED) -> FailureReport:
    status, memory = evidence.status, evidence.out_of_memory
    is_out_of_memory = memory is not None and complaint.message.startswith(OUT_OF_MEMORY)
    also = f"; {memory.addition}" if memory is not None and not is_out_of_memory else ""
    return FailureReport(
        cause=cause,
        stage="" if evidence.was_ready else complaint.stage or evidence.stage,
        type=complaint.type,
        message=complaint.message + also,
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
        out_of_memory=is_out_of_memory,
        memory_limit_bytes=memory.limit_bytes if memory else None,
        permanent=cause is Cause.INIT_FAILED and not evidence.was_ready and _is_permanent(complaint),
        stderr_tail="\n".join(evidence.stderr.splitlines()[-TAIL_LINES:]),
        curve=evidence.curve,
    ).masked()


def _is_permanent(complaint: Complaint) -> bool:
    return complaint.permanent or complaint.type in _PERMANENT
