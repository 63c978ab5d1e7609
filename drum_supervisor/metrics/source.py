"""Where the figures come from: the supervisor's control socket, asked seldom and by one at a time."""

import http.client
import json
import socket
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from drum_supervisor.metrics.figures import Figures, descriptor_limit, figures
from drum_supervisor.resources.gpu import Gpu

LONGEST_ANSWER = 3.0  # seconds; the supervisor takes milliseconds
SHORTEST_LIFE = 0.5  # of figures, and of a failure: whoever asks within it costs the supervisor nothing


class NoFiguresError(Exception):
    """The supervisor does not answer; the text is a sentence."""


class Source:
    """Gives the figures of now, or of a moment ago, to any thread.

    Args:
        ask: asks the supervisor for what metrics are made of, no older than so many seconds.
        read_gpus: returns the GPUs, with these processes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[float], dict[str, Any]],
        read_gpus: Callable[[frozenset[int]], list[Gpu]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._read_gpus = read_gpus
        self._clock = clock
        self._lock = threading.Lock()
        self._kept_until = 0.0
        self._kept: Figures | NoFiguresError = NoFiguresError("nobody has asked yet")

    def figures(self) -> Figures:
        """Return the figures.

        Raises:
            NoFiguresError: there are none.
        """
        with self._lock:
            if self._clock() >= self._kept_until:
                self._kept = self._look()
                self._kept_until = self._clock() + SHORTEST_LIFE
            kept = self._kept
        if isinstance(kept, NoFiguresError):
            raise NoFiguresError(str(kept))
        return kept

    def _look(self) -> Figures | NoFiguresError:
        try:
            return figures(self._ask(SHORTEST_LIFE), descriptor_limit, self._read_gpus)
        except NoFiguresError as error:
            return error


class ControlSocket:
    """The supervisor, over its control socket. Standard library only: supervisor's own client would load much more.

    Args:
        path: of the socket.
        timeout: seconds to wait for it, each time.
    """

    def __init__(self, path: Path, timeout: float = LONGEST_ANSWER) -> None:
        self._path = path
        self._timeout = timeout

    def metrics(self, max_age: float) -> dict[str, Any]:
        """Return what metrics are made of.

        Raises:
            NoFiguresError: there is no good answer in time.
        """
        request = xmlrpc.client.dumps((max_age,), "drum.metrics")
        try:
            (value,), _ = xmlrpc.client.loads(self._post(request))
            return dict(json.loads(str(value)))
        except TimeoutError as error:
            raise NoFiguresError(f"The supervisor did not answer within {self._timeout:g} s.") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, ValueError) as error:
            raise NoFiguresError(f"The supervisor does not answer: {error or type(error).__name__}.") from error

    def _post(self, request: str) -> bytes:
        with closing(_Connection(self._path, self._timeout)) as connection:
            connection.request("POST", "/RPC2", request, {"Content-Type": "text/xml"})
            return connection.getresponse().read()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
