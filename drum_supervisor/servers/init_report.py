"""Reporting the initialization of a model server to the supervisor and to the log."""

import itertools
import random
from collections.abc import Callable, Mapping

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.report_pipe import (
    InitFailedMessage,
    Message,
    ReadyMessage,
    RecycleMessage,
    Reporter,
    StageMessage,
    init_failed,
    traceback_text,
)
from drum_supervisor.servers.process import log_line


class RequestLimit:
    """Counts requests, and at the limit asks the supervisor to recycle this worker."""

    def __init__(self, max_requests: int, send: Callable[[Message], None]) -> None:
        # the random extra keeps workers of the same age from recycling together
        self._limit = max_requests + random.randint(0, max_requests // 10)
        self._send = send
        self._counter = itertools.count(1)

    def count(self) -> None:
        """Count one answered request; thread-safe."""
        if next(self._counter) == self._limit:
            self._send(RecycleMessage())


class InitReport:
    """Reports the initialization through `send`, to the supervisor if there is one."""

    def __init__(self, send: Callable[[Message], None], is_supervised: bool = True) -> None:
        self.stage = ""  # the latest one
        self.is_ready = False
        self.is_supervised = is_supervised
        self.send = send
        self._is_sent = False
        self._is_logged = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "InitReport":
        """Return the report of this process; without a report pipe it only writes to the log."""
        reporter = Reporter.from_environment(environ)
        return cls(reporter.send, reporter.is_connected)

    def begin_stage(self, stage: str) -> None:
        self.stage = stage
        self.send(StageMessage(stage))

    def report_ready(self) -> None:
        """Report that the model server answers requests; later calls do nothing."""
        if not self.is_ready:
            self.is_ready = True
            self.send(ReadyMessage())

    def limit_requests(self, max_requests: int) -> RequestLimit:
        """Return a counter which asks the supervisor to recycle this worker after `max_requests`."""
        return RequestLimit(max_requests, self.send)

    def report_failure(self, error: BaseException) -> None:
        """Send the failed initialization to the supervisor; only the first error counts."""
        if not self._is_sent:
            self._is_sent = True
            self.send(init_failed(error, self.stage))

    def fail(self, error: BaseException) -> None:
        """Log and report that the initialization failed; a user's mistake is logged without a traceback."""
        if not self._is_logged:
            self._is_logged = True
            log_line(str(error) if isinstance(error, DrumSupervisorError) else traceback_text(error).rstrip())
        self.report_failure(error)

    def fail_for_worker(self, stage: str, sentence: str) -> None:
        """Log and report the death of a worker which reported nothing itself."""
        log_line(sentence)
        self.send(InitFailedMessage(stage, "", sentence))
