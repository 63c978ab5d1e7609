"""A poll loop as the engine has one, and a little HTTP server on it: one thread turns both sides."""

import select
import socket
import time
from collections.abc import Callable

from drum_supervisor.supervise.engine.run import Dispatcher
from drum_supervisor.supervise.engine.timers import Timers

RESET = b"reset"


class PollLoop:
    """What the engine does for dispatchers, and no more; with a clock that stands still, only sockets make it turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.timers = Timers(clock)
        self.watched: dict[int, Dispatcher] = {}

    def watch(self, dispatcher: Dispatcher) -> None:
        self.watched[dispatcher.fd] = dispatcher

    def unwatch(self, dispatcher: Dispatcher) -> None:
        self.watched.pop(dispatcher.fd, None)

    def turn(self, seconds: float) -> bool:
        """Wait for something to happen, at most so long, and let it; return whether a socket had something to say."""
        poller = select.poll()
        for fd, dispatcher in self.watched.items():
            poller.register(fd, select.POLLIN * dispatcher.readable() | select.POLLOUT * dispatcher.writable())
        said = poller.poll(min(seconds, self.timers.seconds_left()) * 1000)
        for fd, mask in said:
            dispatcher = self.watched.get(fd)
            if dispatcher is not None:
                self._tell(dispatcher, mask)
        self.timers.ring()
        return bool(said)

    @staticmethod
    def _tell(dispatcher: Dispatcher, mask: int) -> None:
        try:
            if mask & (select.POLLIN | select.POLLHUP | select.POLLERR) and dispatcher.readable():
                dispatcher.handle_read_event()
            elif dispatcher.writable():
                dispatcher.handle_write_event()
        except OSError:
            dispatcher.handle_error()

    def serve(self, listener: socket.socket, *answers: bytes) -> "Server":
        """Serve on `listener` from now on."""
        server = Server(self, listener, *answers)
        self.watch(server)
        return server

    def close(self) -> None:
        """Give up whoever is still watched."""
        for dispatcher in list(self.watched.values()):
            dispatcher.handle_error()

    def until(self, met: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, "nothing came of it"
            self.turn(1.0)


class Server:
    """Answers one connection after another with the next of its answers; the last one is for all that follow."""

    closed = False

    def __init__(self, loop: PollLoop, listener: socket.socket, *answers: bytes) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._loop = loop
        self._listener = listener
        self._answers = list(answers)
        self.fd = listener.fileno()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        connection, _ = self._listener.accept()
        self.connections += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self._loop.watch(Connection(self, connection, answer))

    def handle_write_event(self) -> None: ...

    def handle_error(self) -> None: ...


class Connection:
    """One request and its answer, of which each piece is sent when the other side had time to read the one before."""

    closed = False

    def __init__(self, server: Server, connection: socket.socket, answer: bytes) -> None:
        self.fd = connection.fileno()
        self._server = server
        self._connection = connection
        self._answer = answer
        self._request = b""

    def readable(self) -> bool:
        return not self._request.endswith(b"\r\n\r\n")

    def writable(self) -> bool:
        return not self.readable()

    def handle_read_event(self) -> None:
        data = self._connection.recv(4096)
        self._request += data
        if not data or self._answer == RESET:
            self.handle_error()
        elif self._request.endswith(b"\r\n\r\n"):
            self._server.requests.append(self._request)

    def handle_write_event(self) -> None:
        piece, self._answer = self._answer[:10], self._answer[10:]
        self._connection.sendall(piece)
        if not self._answer:
            self.handle_error()

    def handle_error(self) -> None:
        self._server._loop.unwatch(self)
        if self._answer == RESET:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._connection.close()
