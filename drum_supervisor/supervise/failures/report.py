"""From evidence to a failure report: one function for each kind of failure. Pure."""

import os
import signal
from dataclasses import replace

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.report_pipe import InitFailedMessage
from drum_supervisor.resources.oom import OomKill
from drum_supervisor.supervise.failures.evidence import MAX_LAST_LINE, Evidence, describe_death, describe_last_line
from drum_supervisor.supervise.failures.tracebacks import find_earlier_traceback, find_last_error, find_last_traceback

TAIL_LINES = 50
KILLED = "was killed by SIGKILL"
# Another attempt does not help: the code or the installed packages must change.
_PERMANENT = ("SyntaxError", "IndentationError", "TabError", "ModuleNotFoundError")


def report_init_failed(evidence: Evidence, error: InitFailedMessage) -> FailureReport:
    """Return the report for an error that the program itself reported, perhaps as a master whose worker was killed."""
    if evidence.oom_kill is None or KILLED not in error.message:
        return _build_report(evidence, error)
    message = f"{evidence.oom_kill.describe(evidence.seconds)} ({error.message})"
    return _build_report(evidence, replace(error, message=message, permanent=False), is_oom_killed=True)


def report_exit(evidence: Evidence) -> FailureReport:
    """Return the report for a program that ended without reporting an error."""
    if evidence.spawn_error:
        return _build_report(evidence, _plain_error(evidence.spawn_error, permanent=evidence.is_command_unusable))
    if evidence.oom_sentence:
        return _build_report(evidence, _plain_error(evidence.oom_sentence), is_oom_killed=True)
    death = describe_death(evidence)
    if not evidence.has_exited:  # a traceback explains an exit, but not a signal, which has another cause
        return _build_report(evidence, _plain_error(death))
    printed = _find_printed_error(evidence)
    if printed is not None:
        return _build_report(evidence, printed)
    return _report_unexplained(evidence, death + describe_last_line(evidence))


def report_error_answer(evidence: Evidence, message: str) -> FailureReport:
    """Return the report for a server that answers that its initialization failed, with the traceback it printed."""
    printed = find_last_error(evidence.stderr, evidence.stdout)
    if printed is None:
        return _build_report(evidence, _plain_error(message))
    error_type = printed.type if _is_same_message(message, printed.message) else ""
    return _build_report(evidence, replace(printed, type=error_type, message=message))


def report_worker_death(evidence: Evidence, pid: int, status: int | None) -> FailureReport:
    """Return the report for a server that runs on although its own worker `pid` died; `status` None: unknown."""
    name = f"worker {pid} of the {evidence.program}"
    worker = replace(evidence, program=name, pid=pid, status=status, was_ready=False)
    if worker.oom_sentence:
        return _build_report(worker, _plain_error(worker.oom_sentence), is_oom_killed=True)
    death = describe_death(worker)
    if status is not None and os.WIFSIGNALED(status):
        return _build_report(worker, _plain_error(death))
    printed = _find_printed_error(evidence)
    return _build_report(worker, printed) if printed else _report_unexplained(worker, death)


def report_oom_kill(evidence: Evidence, pid: int | None) -> FailureReport:
    """Return the report for an OOM-killed descendant of a server; `pid` None: it is not known which."""
    killed = replace(evidence, pid=pid or evidence.pid, status=int(signal.SIGKILL))
    oom_kill = evidence.oom_kill or OomKill()
    return _build_report(killed, _plain_error(oom_kill.describe(evidence.seconds)), is_oom_killed=True)


def report_failed_liveness(evidence: Evidence, sentence: str) -> FailureReport:
    """Return the report for a server that was ready, still runs, and no longer answers."""
    return _build_report(evidence, _plain_error(sentence))


def report_startup_timeout(evidence: Evidence, timeout: float) -> FailureReport:
    """Return the report for a start-up deadline that passed."""
    where = f", still in {evidence.stage}" if evidence.stage else ""
    message = f"the {evidence.program} was not ready within {timeout:g} s{where}"
    error = _plain_error(message)
    # Some servers run on after a failure, and keep restarting what failed.
    printed = find_last_error(evidence.stderr, evidence.stdout)
    if printed is not None:
        message = f"{message}; the last error that it printed: {_shorten(printed)}"
        error = replace(error, message=message, traceback=printed.traceback)
    return _build_report(evidence, error, Cause.STARTUP_TIMEOUT)


def _plain_error(message: str, permanent: bool = False) -> InitFailedMessage:
    return InitFailedMessage(stage="", type="", message=message, permanent=permanent)


def _report_unexplained(evidence: Evidence, sentence: str) -> FailureReport:
    # After an OOM kill a master may give up because of its worker (hypercorn exits with 0 then).
    if evidence.oom_kill is None:
        return _build_report(evidence, _plain_error(sentence))
    killed = f"{evidence.oom_kill.describe(evidence.seconds)}; {sentence}"
    return _build_report(evidence, _plain_error(killed), is_oom_killed=True)


def _is_same_message(one: str, other: str) -> bool:
    """Whether one message begins with the other, white space aside."""
    one, other = (" ".join(text.split()) for text in (one, other))
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def _shorten(error: InitFailedMessage) -> str:
    return f"{error.type}: {error.message}".strip(": ").splitlines()[0][:MAX_LAST_LINE]


def _find_printed_error(evidence: Evidence) -> InitFailedMessage | None:
    """Return the last error that was printed, with an earlier one on stderr, or one on stdout."""
    # A server that gives up because of a worker (gunicorn, LitServe, MLflow) raises an exception that says only that,
    # after the worker has printed the reason.
    last = find_last_error(evidence.stderr, evidence.stdout)
    other = find_earlier_traceback(evidence.stderr) or find_last_traceback(evidence.stdout)
    if last is None or other is None or (other.type, other.message) == (last.type, last.message):
        return last
    message = f"{last.message}; also printed: {_shorten(other)}"
    return replace(last, message=message, traceback=f"{other.traceback}\n{last.traceback}")


def _build_report(
    evidence: Evidence, error: InitFailedMessage, cause: Cause = Cause.INIT_FAILED, is_oom_killed: bool = False
) -> FailureReport:
    status, oom_kill = evidence.status, evidence.oom_kill
    also = f"; {oom_kill.clause}" if oom_kill is not None and not is_oom_killed else ""
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
        out_of_memory=is_oom_killed,
        memory_limit_bytes=oom_kill.limit_bytes if oom_kill else None,
        permanent=cause is Cause.INIT_FAILED and not evidence.was_ready and is_permanent,
        stderr_tail="\n".join(evidence.stderr.splitlines()[-TAIL_LINES:]),
        curve=evidence.curve,
    ).masked()
