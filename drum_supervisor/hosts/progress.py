"""What a model server tells the supervisor, and the log, about its initialization."""

from collections.abc import Callable

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.report import InitFailed, Message, Ready, Stage, init_failed, traceback_text
from drum_supervisor.hosts.process import tell


class Progress:
    """How far the initialization has come.

    Attributes:
        stage: the last one reached; empty at first.
        is_ready: the model server answers.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.stage = ""
        self.is_ready = False
        self._send = send

    def reach(self, stage: str) -> None:
        """A stage begins."""
        self.stage = stage
        self._send(Stage(stage))

    def become_ready(self) -> None:
        """Requests are answered."""
        self.is_ready = True
        self._send(Ready())

    def fail(self, error: BaseException) -> None:
        """The initialization has failed with `error`: a mistake of the user needs no traceback."""
        if isinstance(error, DrumSupervisorError):
            tell(str(error))
        else:
            tell(traceback_text(error).rstrip())
        self._send(init_failed(error, self.stage))

    def fail_silently(self, stage: str, sentence: str) -> None:
        """A process died during initialization without a word."""
        tell(sentence)
        self._send(InitFailed(stage, "", sentence))
