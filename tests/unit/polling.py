"""A poll loop like the engine's, with a small HTTP server on it: one thread runs both sides."""

import select
import socket
import time
from collections.abc import Callable

from drum_supervisor.supervise.engine.run import Dispatcher
from drum_supervisor.supervise.engine.timers import Timers

RESET = b"reset"


class PollLoop:
    """What the engine does for dispatchers. With a stopped clock only sockets wake it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.timers = Timers(clock)
        self.watched: dict[int, Dispatcher] = {}

    def watch(self, dispatcher: Dispatcher) -> None:
        self.watched[dispatcher.fd] = dispatcher

    def unwatch(self, dispatcher: Dispatcher) -> None:
        self.watched.pop(dispatcher.fd, None)

    def turn(self, seconds: float) -> bool:
        """Wait at most so long and handle what happens; return whether a socket was ready."""
        poller = select.poll()
        for fd, dispatcher in self.watched.items():
            poller.register(fd, select.POLLIN * dispatcher.readable() | select.POLLOUT * dispatcher.writable())
        ready = poller.poll(min(seconds, self.timers.seconds_left()) * 1000)
        for fd, mask in ready:
            dispatcher = self.watched.get(fd)
            if dispatcher is not None:
                self._dispatch(dispatcher, mask)
        self.timers.ring()
        return bool(ready)

    @staticmethod
    def _dispatch(dispatcher: Dispatcher, mask: int) -> None:
        try:
            if mask & (select.POLLIN | select.POLLHUP | select.POLLERR) and dispatcher.readable():
                dispatcher.handle_read_event()
            elif dispatcher.writable():
                dispatcher.handle_write_event()
        except OSError:
            dispatcher.handle_error()

    def serve(self, listener: socket.socket, *answers: bytes) -> "Server":
        server = Server(self, listener, *answers)
        self.watch(server)
        return server

    def close(self) -> None:
        """Close everything still watched."""
        for dispatcher in list(self.watched.values()):
            dispatcher.handle_error()

    def until(self, met: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not met():
            assert time.monotonic() < deadline, "not met within 30 s"
            self.turn(1.0)


class Server:
    """Gives each connection the next answer; the last answer repeats."""

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
    """One request and its answer, sent in small pieces: the client reads each before the next follows."""

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
