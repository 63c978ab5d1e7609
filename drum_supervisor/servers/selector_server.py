"""A small HTTP/1.1 server on the standard library, in one thread, for services which answer at once.

It must start when nothing else does and stay small under abuse: non-blocking sockets and one selector, no thread per
connection, a deadline for everything, one request per connection.
"""

import selectors
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

from drum_supervisor.http.body import BodySpool
from drum_supervisor.http.encoding import CLIENT_GONE, READ_SIZE, describe_timeout, encode_response, split_target
from drum_supervisor.http.h1 import (
    BadBodyError,
    BadRequestError,
    ChunkedBody,
    Head,
    LengthBody,
    find_head_end,
    parse_head,
    require_response,
)
from drum_supervisor.http.messages import CLOSE, Response, Service, message_response
from drum_supervisor.servers.acceptor import Acceptor, cap_connections
from drum_supervisor.servers.process import ServerConfig, StopSignals

MAX_CONNECTIONS = 1000
RESPONSE_SECONDS = 30.0
_MAX_WAIT = 30.0  # without a nearer deadline
CLOSING_SECONDS = 2.0

# How long a stop waits for a request which has not arrived, and for a client which has its response but does not close.
SILENT_GRACE = 1.0
CLOSING_GRACE = 0.5

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ConnectionPhase(Enum):
    """What a connection is doing."""

    HEAD = "head"
    BODY = "body"
    RESPONSE = "response"
    CLOSING = "closing"


class Wait(NamedTuple):
    """What a task waits for: an event of its connection; at `deadline` the server throws TimeoutError into the task."""

    event: int
    phase: ConnectionPhase
    deadline: float


ConnectionTask = Generator[Wait, None, None]


def serve(service: Service, config: ServerConfig, max_connections: int = MAX_CONNECTIONS) -> None:
    """Serve until a stop is requested, then answer everything accepted.

    With more than `max_connections` the oldest connection is closed.
    """

    def handle(connection: socket.socket) -> ConnectionTask:
        return _handle_connection(connection, service, config.head_seconds)

    with selectors.DefaultSelector() as selector:
        server = _SelectorServer(handle, config.listener, selector, cap_connections(max_connections))
        selector.register(
            config.stop, selectors.EVENT_READ, lambda: server.stop_if_requested(config.stop, config.drain_seconds)
        )
        config.on_ready()
        server.run()


class _SelectorServer:
    def __init__(
        self,
        handle: Callable[[socket.socket], ConnectionTask],
        listener: socket.socket,
        selector: selectors.BaseSelector,
        max_connections: int,
    ) -> None:
        self._handle = handle
        self._selector = selector
        self._max_connections = max_connections
        self._tasks: dict[socket.socket, ConnectionTask] = {}  # oldest first
        self._waits: dict[socket.socket, Wait] = {}
        self._limits: dict[ConnectionPhase, float] = {}  # after a stop: deadline of each phase
        self._next_deadline = 0.0  # no deadline is earlier
        self._acceptor = Acceptor(listener, selector, self._open)

    def run(self) -> None:
        """Serve until a stop is requested and no connection is left."""
        while self._tasks or not self._limits:
            timeout = max(min(self._next_deadline, self._acceptor.resumes_at) - time.monotonic(), 0)
            for key, _ in self._selector.select(timeout):
                key.data()
            now = time.monotonic()
            self._acceptor.resume_if_due(now)
            if now >= self._next_deadline:
                self._expire(now)

    def stop_if_requested(self, stop: StopSignals, drain_seconds: float) -> None:
        """On a stop request, stop accepting and limit the open connections."""
        if not stop.read_wakeup():
            return
        self._selector.unregister(stop)
        now = time.monotonic()
        graces = {ConnectionPhase.HEAD: SILENT_GRACE, ConnectionPhase.CLOSING: CLOSING_GRACE}
        self._limits = {phase: now + graces.get(phase, drain_seconds) for phase in ConnectionPhase}
        self._acceptor.close()
        self._waits = {connection: self._limited(wait) for connection, wait in self._waits.items()}
        self._next_deadline = now

    def _open(self, connection: socket.socket) -> None:
        self._tasks[connection] = self._handle(connection)
        self._resume(connection)
        if len(self._tasks) > self._max_connections:
            oldest = next(iter(self._tasks))
            self._resume(oldest, TimeoutError())

    def _expire(self, now: float) -> None:
        for connection in [connection for connection, wait in self._waits.items() if wait.deadline <= now]:
            self._resume(connection, TimeoutError())
        deadlines = [wait.deadline for wait in self._waits.values()]
        self._next_deadline = min([*deadlines, now + _MAX_WAIT])

    def _resume(self, connection: socket.socket, thrown: Exception | None = None) -> None:
        task = self._tasks.get(connection)
        if task is None:
            return  # ended by an event of the same select()
        try:
            wait = next(task) if thrown is None else task.throw(thrown)
        except (StopIteration, OSError):
            self._drop(connection)
        except Exception:  # noqa: BLE001 - one request must not end the server of last resort
            sys.excepthook(*sys.exc_info())
            self._drop(connection)
        else:
            self._wait(connection, self._limited(wait))

    def _wait(self, connection: socket.socket, wait: Wait) -> None:
        previous = self._waits.get(connection)
        if previous is None:
            self._selector.register(connection, wait.event, lambda: self._resume(connection))
        elif previous.event != wait.event:
            self._selector.modify(connection, wait.event, lambda: self._resume(connection))
        self._waits[connection] = wait
        self._next_deadline = min(self._next_deadline, wait.deadline)

    def _limited(self, wait: Wait) -> Wait:
        return wait._replace(deadline=min(wait.deadline, self._limits.get(wait.phase, wait.deadline)))

    def _drop(self, connection: socket.socket) -> None:
        del self._tasks[connection]
        if self._waits.pop(connection, None) is not None:
            self._selector.unregister(connection)
        connection.close()


def _handle_connection(connection: socket.socket, service: Service, head_seconds: float) -> ConnectionTask:
    """Read one request, answer it, and wait until the client has read the response."""
    method = ""
    try:
        head, rest = yield from _read_head(connection, time.monotonic() + head_seconds)
        method = head.method.upper()
        response = yield from _respond(connection, service, head, rest)
    except BadRequestError as error:
        response = message_response(error.status, f"ERROR: {error}", CLOSE)
    yield from _send(connection, encode_response(response, omit_body=method == "HEAD"))
    # Closing a socket with unread data resets the connection, and may lose a response in transit.
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + CLOSING_SECONDS
    while (yield from _receive(connection, ConnectionPhase.CLOSING, deadline)):
        pass


def _read_head(connection: socket.socket, deadline: float) -> Generator[Wait, None, tuple[Head, bytes]]:
    received = bytearray()
    searched = 0
    while (end := find_head_end(received, searched)) is None:
        searched = len(received)
        data = yield from _receive(connection, ConnectionPhase.HEAD, deadline)
        if not data:
            raise ConnectionError(CLIENT_GONE)
        received += data
    return parse_head(bytes(received[:end])), bytes(received[end:])


def _respond(connection: socket.socket, service: Service, head: Head, rest: bytes) -> Generator[Wait, None, Response]:
    method = head.method.upper()
    path, query = split_target(head.target)
    plan = service.plan(method, path)
    with BodySpool(plan.keep) as spool:
        broken = yield from _read_body(connection, head, rest, spool, plan.drain_seconds)
        return require_response(service.answer(spool.build_request(method, path, query, head.headers, broken)))


def _read_body(
    connection: socket.socket, head: Head, data: bytes, spool: BodySpool, seconds: float
) -> Generator[Wait, None, str]:
    """Read the body, which starts with `data`; return why that failed, or an empty text."""
    body = ChunkedBody() if head.length is None else LengthBody(head.length)
    deadline = time.monotonic() + seconds
    try:
        if head.expects_continue and not data and not body.done:
            yield from _send(connection, _CONTINUE)
        while True:
            for piece in body.feed(data):
                spool.add(piece)
            if body.done:
                return ""
            data = yield from _receive(connection, ConnectionPhase.BODY, deadline)
            if not data:
                return CLIENT_GONE
    except BadBodyError as error:
        return str(error)
    except TimeoutError:
        return describe_timeout(seconds)


def _receive(connection: socket.socket, phase: ConnectionPhase, deadline: float) -> Generator[Wait, None, bytes]:
    while True:
        yield Wait(selectors.EVENT_READ, phase, deadline)
        with suppress(BlockingIOError):
            return connection.recv(READ_SIZE)


def _send(connection: socket.socket, data: bytes) -> Generator[Wait, None, None]:
    deadline = time.monotonic() + RESPONSE_SECONDS
    left = memoryview(data)
    while left:
        with suppress(BlockingIOError):
            left = left[connection.send(left) :]
            continue
        yield Wait(selectors.EVENT_WRITE, ConnectionPhase.RESPONSE, deadline)
