"""The standard-library front: a small HTTP/1.1 server in one thread, for services that answer at once.

It must come up when nothing else does and stay small while it is abused, so it is its own host: non-blocking
sockets and one selector, no thread for a connection, a deadline for everything. One request a connection.
"""

import selectors
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from enum import Enum
from typing import NamedTuple, Protocol

from drum_supervisor.http.body import BodyKeeper
from drum_supervisor.http.encoding import CLIENT_GONE, HEAD_SECONDS, PIECE, encoded, split_target, too_slow
from drum_supervisor.http.h1 import (
    BadBodyError,
    BadRequestError,
    ChunkedBody,
    Head,
    LengthBody,
    end_of_head,
    parse_head,
)
from drum_supervisor.http.messages import CLOSE, Pending, Request, Response, Service, message_response
from drum_supervisor.servers.acceptor import Door, room

MAX_CONNECTIONS = 1000
ANSWER_SECONDS = 30.0
CLOSING_SECONDS = 2.0

# How long a stop waits for a request that has not arrived, and for a client that has its answer but does not close.
SILENT_GRACE = 1.0
CLOSING_GRACE = 0.5

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Stop(Protocol):
    """Something whose descriptor becomes readable when it has to be asked whether the server must stop."""

    def fileno(self) -> int: ...
    def woken(self) -> bool: ...


class Phase(Enum):
    """What a connection is busy with."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    CLOSING = "closing"


class Wait(NamedTuple):
    """What a conversation waits for: an event of its connection, or `deadline`, when TimeoutError is thrown into it."""

    event: int
    phase: Phase
    deadline: float


Conversation = Generator[Wait, None, None]


def serve(
    service: Service,
    listener: socket.socket,
    stop: Stop,
    on_ready: Callable[[], None],
    drain_seconds: float,
    max_connections: int = MAX_CONNECTIONS,
    head_seconds: float = HEAD_SECONDS,
) -> None:
    """Serve on `listener` until `stop` says so; then close it and answer all that has been accepted.

    Args:
        on_ready: called when connections are accepted.
        drain_seconds: how long requests that have arrived may take after the stop.
        max_connections: one more, and the oldest is given up.
        head_seconds: how long a client may take for the head of its request.
    """
    with selectors.DefaultSelector() as selector:
        server = _Server(lambda each: _converse(each, service, head_seconds), listener, selector, room(max_connections))
        selector.register(stop, selectors.EVENT_READ, lambda: server.stop_if_asked(stop, drain_seconds))
        on_ready()
        server.run()


class _Server:
    def __init__(
        self,
        converse: Callable[[socket.socket], Conversation],
        listener: socket.socket,
        selector: selectors.BaseSelector,
        max_connections: int,
    ) -> None:
        self._converse = converse
        self._selector = selector
        self._max_connections = max_connections
        self._conversations: dict[socket.socket, Conversation] = {}  # the oldest first
        self._waits: dict[socket.socket, Wait] = {}
        self._limits: dict[Phase, float] = {}  # once stopped: until when each phase may last
        self._next_deadline = 0.0  # no deadline is earlier
        self._door = Door(listener, selector, self._begin)

    def run(self) -> None:
        """Serve until a stop was asked for and nobody is left."""
        while self._conversations or not self._limits:
            timeout = max(min(self._next_deadline, self._door.opens_at) - time.monotonic(), 0)
            for key, _ in self._selector.select(timeout):
                key.data()
            now = time.monotonic()
            self._door.open_if_rested(now)
            if now >= self._next_deadline:
                self._end_waits(now)

    def stop_if_asked(self, asked_by: Stop, drain_seconds: float) -> None:
        """If a stop is asked for, accept no more and limit what is going on."""
        if not asked_by.woken():
            return
        self._selector.unregister(asked_by)
        now = time.monotonic()
        graces = {Phase.HEAD: SILENT_GRACE, Phase.CLOSING: CLOSING_GRACE}
        self._limits = {phase: now + graces.get(phase, drain_seconds) for phase in Phase}
        self._door.close()
        self._waits = {connection: self._limited(wait) for connection, wait in self._waits.items()}
        self._next_deadline = now

    def _begin(self, connection: socket.socket) -> None:
        self._conversations[connection] = self._converse(connection)
        self._resume(connection)
        if len(self._conversations) > self._max_connections:
            oldest = next(iter(self._conversations))
            self._resume(oldest, TimeoutError())

    def _end_waits(self, now: float) -> None:
        """Tell every conversation whose deadline has passed, and find the next one."""
        for connection in [connection for connection, wait in self._waits.items() if wait.deadline <= now]:
            self._resume(connection, TimeoutError())
        deadlines = [wait.deadline for wait in self._waits.values()]
        self._next_deadline = min([*deadlines, now + HEAD_SECONDS])

    def _resume(self, connection: socket.socket, thrown: Exception | None = None) -> None:
        conversation = self._conversations.get(connection)
        if conversation is None:
            return  # ended by an event of the same turn
        try:
            wait = next(conversation) if thrown is None else conversation.throw(thrown)
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
        del self._conversations[connection]
        if self._waits.pop(connection, None) is not None:
            self._selector.unregister(connection)
        connection.close()


def _converse(connection: socket.socket, service: Service, head_seconds: float) -> Conversation:
    """Read one request, answer it, and wait until the client has read the answer."""
    method = ""
    try:
        head, rest = yield from _read_head(connection, time.monotonic() + head_seconds)
        method = head.method.upper()
        response = yield from _answer(connection, service, head, rest)
    except BadRequestError as error:
        response = message_response(error.status, f"ERROR: {error}", CLOSE)
    yield from _send(connection, encoded(response, omit_body=method == "HEAD"))
    # Closing with unread data in the socket would reset the connection, and with it an answer still on its way.
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + CLOSING_SECONDS
    while (yield from _receive(connection, Phase.CLOSING, deadline)):
        pass


def answered(service: Service, received: bytes) -> bytes:
    """Return the whole answer to a request of which nobody wants the body, given what has come of it."""
    method = ""
    try:
        head = parse_head(received[: end_of_head(bytearray(received), 0)])
        method = head.method.upper()
        response = service.answer(Request(method, *split_target(head.target), head.headers))
    except BadRequestError as error:
        response = message_response(error.status, f"ERROR: {error}", CLOSE)
    return encoded(_at_once(response), omit_body=method == "HEAD")


def _read_head(connection: socket.socket, deadline: float) -> Generator[Wait, None, tuple[Head, bytes]]:
    received = bytearray()
    searched = 0
    while (end := end_of_head(received, searched)) is None:
        searched = len(received)
        data = yield from _receive(connection, Phase.HEAD, deadline)
        if not data:
            raise ConnectionError(CLIENT_GONE)
        received += data
    return parse_head(bytes(received[:end])), bytes(received[end:])


def _answer(connection: socket.socket, service: Service, head: Head, rest: bytes) -> Generator[Wait, None, Response]:
    method = head.method.upper()
    path, query = split_target(head.target)
    plan = service.plan(method, path)
    with BodyKeeper(plan.keep) as keeper:
        broken = yield from _read_body(connection, head, rest, keeper, plan.drain_seconds)
        return _at_once(service.answer(keeper.request(method, path, query, head.headers, broken)))


def _at_once(response: Response | Pending) -> Response:
    if isinstance(response, Pending):
        raise TypeError("this server is for services that answer at once")
    return response


def _read_body(
    connection: socket.socket, head: Head, data: bytes, keeper: BodyKeeper, seconds: float
) -> Generator[Wait, None, str]:
    """Read the body, of which `data` has been received, to its end; return why that failed, or an empty text."""
    body = ChunkedBody() if head.length is None else LengthBody(head.length)
    deadline = time.monotonic() + seconds
    try:
        if head.expects_continue and not data and not body.done:
            yield from _send(connection, _CONTINUE)
        while True:
            for piece in body.feed(data):
                keeper.add(piece)
            if body.done:
                return ""
            data = yield from _receive(connection, Phase.BODY, deadline)
            if not data:
                return CLIENT_GONE
    except BadBodyError as error:
        return str(error)
    except TimeoutError:
        return too_slow(seconds)


def _receive(connection: socket.socket, phase: Phase, deadline: float) -> Generator[Wait, None, bytes]:
    """Return what comes next, empty at the end."""
    while True:
        yield Wait(selectors.EVENT_READ, phase, deadline)
        with suppress(BlockingIOError):
            return connection.recv(PIECE)


def _send(connection: socket.socket, data: bytes) -> Generator[Wait, None, None]:
    deadline = time.monotonic() + ANSWER_SECONDS
    left = memoryview(data)
    while left:
        with suppress(BlockingIOError):
            left = left[connection.send(left) :]
            continue
        yield Wait(selectors.EVENT_WRITE, Phase.ANSWER, deadline)
