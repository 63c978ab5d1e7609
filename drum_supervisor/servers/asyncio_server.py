"""A small HTTP/1.1 server on the standard library's asyncio, for services which answer at once.

It must start when nothing else does and stay small under abuse: one request per connection, and a deadline for
everything.
"""

import asyncio
import resource
from collections.abc import Awaitable
from contextlib import suppress

from drum_supervisor.http.body import BodySpool
from drum_supervisor.http.encoding import (
    CLIENT_GONE,
    READ_SIZE,
    describe_timeout,
    encode_refusal,
    encode_response,
    split_target,
)
from drum_supervisor.http.h1 import (
    BadBodyError,
    BadRequestError,
    ChunkedBody,
    Head,
    LengthBody,
    find_head_end,
    parse_head,
)
from drum_supervisor.http.messages import Pending, Service
from drum_supervisor.servers.acceptor import Acceptor
from drum_supervisor.servers.process import ServerConfig

MAX_CONNECTIONS = 1000
RESPONSE_SECONDS = 30.0  # for a client to receive the response

# After the response, how long a client which does not close the connection may be silent, and how long it may send.
CLOSING_SECONDS = 2.0
LONGEST_CLOSING_SECONDS = 30.0

SILENT_GRACE = 1.0  # after a stop, for a request to arrive

_RESERVED_DESCRIPTORS = 32  # for everything but connections
_READ_SIZE = 4 * 1024  # small: decoding many small chunks in one turn of the loop would delay other clients
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def serve(service: Service, config: ServerConfig, max_connections: int = MAX_CONNECTIONS) -> None:
    """Serve until a stop is requested, then answer everything accepted.

    With more than `max_connections` the oldest connection is closed.
    """
    asyncio.run(_Server(service, config, _cap_connections(max_connections)).run())


def _cap_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if the process may not open as many descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - _RESERVED_DESCRIPTORS)


class _Server:
    def __init__(self, service: Service, config: ServerConfig, max_connections: int) -> None:
        self._service = service
        self._config = config
        self._max_connections = max_connections
        self._tasks: dict[asyncio.Task[None], None] = {}  # of all connections, the oldest first
        self._without_head: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        stopped = asyncio.Event()

        def stop_if_requested() -> None:
            if self._config.stop.read_wakeup():
                stopped.set()

        asyncio.get_running_loop().add_reader(self._config.stop, stop_if_requested)
        acceptor = Acceptor(self._config.listener, self._new_protocol)
        self._config.on_ready()
        await stopped.wait()
        await acceptor.close()
        grace = min(SILENT_GRACE, self._config.drain_seconds)
        await self._wait_for_connections(grace)
        for task in self._without_head:
            task.cancel()
        await self._wait_for_connections(self._config.drain_seconds - grace)

    async def _wait_for_connections(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=seconds)

    def _new_protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._open)

    def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._handle(reader, writer))
        self._tasks[task] = None
        self._without_head.add(task)
        task.add_done_callback(self._forget)
        if len(self._tasks) > self._max_connections:
            oldest = next(iter(self._tasks))
            del self._tasks[oldest]
            oldest.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._without_head.discard(task)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, and wait until the client has read the response."""
        try:
            with suppress(OSError, asyncio.TimeoutError):  # the client has gone, or is too slow
                await _send(writer, await self._answer(reader, writer))
                # closing a socket with unread data resets the connection, and may lose a response in transit
                writer.write_eof()
                await asyncio.wait_for(_discard(reader), LONGEST_CLOSING_SECONDS)
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Read a request; return the encoded response."""
        try:
            head, rest = await asyncio.wait_for(_read_head(reader), self._config.head_seconds)
        except BadRequestError as error:
            return encode_refusal(error.status, str(error))
        self._without_head.discard(asyncio.current_task())
        method = head.method.upper()
        path, query = split_target(head.target)
        plan = self._service.plan(method, path)
        with BodySpool(plan.keep) as spool:
            broken = await _limited(_read_body(reader, writer, head, rest, spool), plan.drain_seconds)
            response = self._service.answer(spool.build_request(method, path, query, head.headers, broken))
        if isinstance(response, Pending):
            raise TypeError("this server cannot wait for a pending response")
        return encode_response(response, omit_body=method == "HEAD")


async def _read_head(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    """Return the head of a request, and what arrived with it."""
    received = bytearray()
    searched = 0
    while (end := find_head_end(received, searched)) is None:
        searched = len(received)
        data = await reader.read(_READ_SIZE)
        if not data:
            raise ConnectionError(CLIENT_GONE)
        received += data
    return parse_head(bytes(received[:end])), bytes(received[end:])


async def _limited(reading: Awaitable[None], seconds: float) -> str:
    """Read a body; return why that failed, or an empty text."""
    try:
        await asyncio.wait_for(reading, seconds)
    except BadBodyError as error:
        return str(error)
    except asyncio.TimeoutError:
        return describe_timeout(seconds)
    return ""


async def _read_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, data: bytes, spool: BodySpool
) -> None:
    """Store the body, which starts with `data`; raise BadBodyError if it is malformed or cut off."""
    body = ChunkedBody() if head.length is None else LengthBody(head.length)
    if head.expects_continue and not data and not body.done:
        writer.write(_CONTINUE)
    while True:
        for piece in body.feed(data):
            spool.add(piece)
        if body.done:
            return
        await asyncio.sleep(0)  # `read` does not wait while there is data
        data = await reader.read(_READ_SIZE)
        if not data:
            raise BadBodyError(CLIENT_GONE)


async def _send(writer: asyncio.StreamWriter, response: bytes) -> None:
    writer.transport.set_write_buffer_limits(0)  # `drain` waits until all is sent
    writer.write(response)
    await asyncio.wait_for(writer.drain(), RESPONSE_SECONDS)


async def _discard(reader: asyncio.StreamReader) -> None:
    while await asyncio.wait_for(reader.read(READ_SIZE), CLOSING_SECONDS):
        pass
