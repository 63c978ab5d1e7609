"""What a model server tells the supervisor, and the log, about its initialization."""

import itertools
import random
from collections.abc import Callable, Mapping

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.report_pipe import (
    InitFailed,
    Message,
    Ready,
    Reporter,
    Spent,
    Stage,
    init_failed,
    traceback_text,
)
from drum_supervisor.servers.process import tell


class Quota:
    """Counts requests, and asks for a successor once, when there were enough of them.

    Args:
        most: how many there may be; up to a tenth more by chance, for workers that began together.
    """

    def __init__(self, most: int, send: Callable[[Message], None]) -> None:
        self._last = most + random.randint(0, most // 10)
        self._send = send
        self._counted = itertools.count(1)

    def count(self) -> None:
        """Another request is answered; may be called from any thread."""
        if next(self._counted) == self._last:
            self._send(Spent())


class Progress:
    """How far the initialization has come.

    Args:
        send: tells the supervisor.
        supervised: whether there is one.

    Attributes:
        stage: the last one reached; empty at first.
        is_ready: the model server answers.
    """

    def __init__(self, send: Callable[[Message], None], supervised: bool = True) -> None:
        self.stage = ""
        self.is_ready = False
        self.supervised = supervised
        self._send = send
        self._is_reported = False
        self._is_told = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Progress":
        """Return the progress of this process; without a report pipe only the log hears of it."""
        reporter = Reporter.from_environment(environ)
        return cls(reporter.send, reporter.is_connected)

    def reach(self, stage: str) -> None:
        """A stage begins."""
        self.stage = stage
        self._send(Stage(stage))

    def become_ready(self) -> None:
        """Requests are answered; said once."""
        if not self.is_ready:
            self.is_ready = True
            self._send(Ready())

    def quota(self, most: int) -> Quota:
        """Return what counts requests, and asks the supervisor for a successor after `most` of them."""
        return Quota(most, self._send)

    def report(self, error: BaseException) -> None:
        """Tell the supervisor that the initialization has failed; the first error counts."""
        if not self._is_reported:
            self._is_reported = True
            self._send(init_failed(error, self.stage))

    def fail(self, error: BaseException) -> None:
        """The initialization has failed, and nobody else will tell the log why. A user's mistake needs no traceback."""
        if not self._is_told:
            self._is_told = True
            tell(str(error) if isinstance(error, DrumSupervisorError) else traceback_text(error).rstrip())
        self.report(error)

    def fail_silently(self, stage: str, sentence: str) -> None:
        """A process died during initialization without a word."""
        tell(sentence)
        self._send(InitFailed(stage, "", sentence))
