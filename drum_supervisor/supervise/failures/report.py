"""From evidence to a failure report: one function for each kind of failure. Pure."""

import os
import signal
from dataclasses import replace

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.report_pipe import InitFailed
from drum_supervisor.resources.oom import OutOfMemory
from drum_supervisor.supervise.failures.evidence import LONGEST_LAST_LINE, Evidence, death_sentence, last_line
from drum_supervisor.supervise.failures.tracebacks import earlier_traceback, last_error, last_traceback

TAIL_LINES = 50
OUT_OF_MEMORY = "out of memory: "
KILLED = "was killed by SIGKILL"
# Another attempt does not help; a change of the code, or of what is installed, does.
_PERMANENT = ("SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError")


def report_init_failed(evidence: Evidence, error: InitFailed) -> FailureReport:
    """Return the report for an error that the program reported itself; a master reports how its worker ended."""
    if evidence.out_of_memory and KILLED in error.message:
        message = f"{evidence.out_of_memory.sentence(evidence.seconds)} ({error.message})"
        error = replace(error, message=message, permanent=False)
    return _report(evidence, error)


def report_exit(evidence: Evidence) -> FailureReport:
    """Return the report for a program that ended without reporting an error.

    The last traceback that it printed explains an exit. It does not explain a death by a signal: what was printed
    before has another cause. An unexplained exit after an OOM kill is that of a master which gives up because of a
    worker (hypercorn exits with 0 then).
    """
    if evidence.spawn_error:
        no_such_command = "command" in evidence.spawn_error  # else the fork failed
        return _report(evidence, _error(evidence.spawn_error, permanent=no_such_command))
    if oom_kill := evidence.oom_kill:
        return _report(evidence, _error(oom_kill))
    sentence = death_sentence(evidence)
    if not evidence.exited:
        return _report(evidence, _error(sentence))
    return _report(evidence, _printed_error(evidence) or _unexplained(evidence, sentence + last_line(evidence)))


def report_error_answer(evidence: Evidence, message: str) -> FailureReport:
    """Return the report for a server that answers that its initialization failed.

    It carries the traceback that the server printed, and its type if both say the same.
    """
    printed = last_error(evidence.stderr, evidence.stdout)
    if printed is None:
        return _report(evidence, _error(message))
    error_type = printed.type if _is_same(message, printed.message) else ""
    return _report(evidence, replace(printed, type=error_type, message=message))


def report_worker_death(evidence: Evidence, pid: int, status: int | None) -> FailureReport:
    """Return the report for a server that goes on although one of its own workers died.

    Args:
        pid: of the worker.
        status: its wait status, None when that is unknown.
    """
    name = f"worker {pid} of the {evidence.program}"
    worker = replace(evidence, program=name, pid=pid, status=status, was_ready=False)
    if oom_kill := worker.oom_kill:
        return _report(worker, _error(oom_kill))
    if status is not None and os.WIFSIGNALED(status):
        return _report(worker, _error(death_sentence(worker)))
    return _report(worker, _printed_error(evidence) or _unexplained(worker, death_sentence(worker)))


def report_oom_kill(evidence: Evidence, pid: int | None) -> FailureReport:
    """Return the report for an OOM-killed process below a server; `pid` None: it is not known which."""
    killed = replace(evidence, pid=pid or evidence.pid, status=int(signal.SIGKILL))
    found = evidence.out_of_memory or OutOfMemory()
    return _report(killed, _error(found.sentence(evidence.seconds)))


def report_failed_liveness(evidence: Evidence, sentence: str) -> FailureReport:
    """Return the report for a server that was ready, runs, and no longer answers."""
    return _report(evidence, _error(sentence))


def report_startup_timeout(evidence: Evidence, timeout: float) -> FailureReport:
    """Return the report for a start-up deadline that passed, with the last error that was printed.

    Some servers go on after a failure, and start again what failed.
    """
    where = f", still in {evidence.stage}" if evidence.stage else ""
    message = f"the {evidence.program} was not ready within {timeout:g} s{where}"
    printed = last_error(evidence.stderr, evidence.stdout)
    error = _error(message)
    if printed is not None:
        message = f"{message}; the last error that it printed: {_in_short(printed)}"
        error = replace(error, message=message, traceback=printed.traceback)
    return _report(evidence, error, Cause.STARTUP_TIMEOUT)


def _error(message: str, permanent: bool = False) -> InitFailed:
    return InitFailed(stage="", type="", message=message, permanent=permanent)


def _unexplained(evidence: Evidence, sentence: str) -> InitFailed:
    """The program printed nothing that explains its end; an OOM kill may."""
    if evidence.out_of_memory is not None:
        sentence = f"{evidence.out_of_memory.sentence(evidence.seconds)}; {sentence}"
    return _error(sentence)


def _is_same(one: str, other: str) -> bool:
    """Whether two messages are the same, or one is the beginning of the other."""
    one, other = (" ".join(text.split()) for text in (one, other))
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _in_short(error: InitFailed) -> str:
    return f"{error.type}: {error.message}".strip(": ").splitlines()[0][:LONGEST_LAST_LINE]


def _printed_error(evidence: Evidence) -> InitFailed | None:
    """Return the last error that was printed, with an earlier one on stderr, or one on stdout.

    A server that gives up because of a worker (gunicorn, LitServe, MLflow) raises an exception that says no more than
    that, after the worker has printed the reason.
    """
    last = last_error(evidence.stderr, evidence.stdout)
    other = earlier_traceback(evidence.stderr) or last_traceback(evidence.stdout)
    if last is None or other is None or (other.type, other.message) == (last.type, last.message):
        return last
    message = f"{last.message}; also printed: {_in_short(other)}"
    return replace(last, message=message, traceback=f"{other.traceback}\n{last.traceback}")


def _report(evidence: Evidence, error: InitFailed, cause: Cause = Cause.INIT_FAILED) -> FailureReport:
    status, memory = evidence.status, evidence.out_of_memory
    is_out_of_memory = memory is not None and error.message.startswith(OUT_OF_MEMORY)
    also = f"; {memory.addition}" if memory is not None and not is_out_of_memory else ""
    is_permanent = error.permanent or error.type in _PERMANENT
    return FailureReport(
        cause=cause,
        stage="" if evidence.was_ready else error.stage or evidence.stage,
        type=error.type,
        message=error.message + also,
        traceback=error.traceback,
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
        permanent=cause is Cause.INIT_FAILED and not evidence.was_ready and is_permanent,
        stderr_tail="\n".join(evidence.stderr.splitlines()[-TAIL_LINES:]),
        curve=evidence.curve,
    ).masked()
