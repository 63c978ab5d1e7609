"""Where output goes: the supervisor's own stdout and stderr, and the transcript of both."""

from collections.abc import Callable
from dataclasses import field
from functools import partial

from drum_supervisor.contract.log_records import ERR, OUT, SUPERVISOR, Source
from drum_supervisor.quick_dataclass import dataclass
from drum_supervisor.supervise.lines import Form, Wrapper
from drum_supervisor.supervise.output import Forwarder, Sink
from drum_supervisor.supervise.transcript import Transcript


@dataclass(frozen=True)
class Outlets:
    """All of it, for whoever writes.

    Attributes:
        out, err: the supervisor's own.
        transcript: keeps the end of what everybody has written.
        keepers: each is given our own lines as well.
        form: how each line of a program is written; None: its output is passed on untouched.
    """

    out: Sink
    err: Sink
    transcript: Transcript = field(default_factory=Transcript)
    form: Form | None = None
    keepers: list[Callable[[bytes], object]] = field(default_factory=list)

    def write(self, line: bytes) -> None:
        """Write a line of the supervisor's own."""
        self.err.write(line)
        self.transcript.add(Source(SUPERVISOR, ERR), line)
        for keep in self.keepers:
            keep(line)

    def forwarder(self, fd: int, source: Source, *keepers: Callable[[bytes], object]) -> Forwarder:
        """Return what passes on a stream of a program, and gives it to `keepers` as well."""
        sink = self.out if source.stream == OUT else self.err
        wrapper = Wrapper(source, self.form) if self.form else None
        return Forwarder(fd, sink, *keepers, partial(self.transcript.add, source), wrapper=wrapper)
