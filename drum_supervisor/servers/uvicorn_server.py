"""Runs an ASGI application on uvicorn."""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import uvicorn

from drum_supervisor.fronts.asgi import Application, Message, Receive, Send
from drum_supervisor.http.encoding import HEAD_SECONDS, KEEP_ALIVE_SECONDS, encoded
from drum_supervisor.http.h1 import MAX_HEAD
from drum_supervisor.http.messages import message_response
from drum_supervisor.servers.logs import stderr_handler
from drum_supervisor.servers.process import StopSignals, shorten_pauses

# How long a stop waits for another request on a connection that had one, and for the first one on a new connection.
IDLE_GRACE = 0.5
SILENT_GRACE = 1.0

_TICK = 1.0
_ACCEPT_PAUSE = 0.5


def serve(
    app: Application,
    listener: socket.socket,
    stop: StopSignals,
    on_ready: Callable[[], None],
    drain_seconds: float,
    head_seconds: float = HEAD_SECONDS,
) -> None:
    """Serve `app` on `listener` until a stop is asked for, and then until all that was accepted is answered.

    Args:
        on_ready: called when the application has started and connections are accepted.
        drain_seconds: how long requests that have arrived may take after the stop.
        head_seconds: how long a client may take for the head of its request.

    Raises:
        BaseException: whatever the start of the application raises.
    """
    _log_to_stderr()
    application = _Application(app)
    config = uvicorn.Config(
        application,
        interface="asgi3",
        # httptools is 0.1 ms faster, but takes heads of any size, refuses methods that it does not know, and lets
        # garbage after a request undo the answer to it
        http="h11",
        ws="none",
        lifespan="on",
        workers=1,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=round(KEEP_ALIVE_SECONDS),
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    _Server(config, application, listener, stop, on_ready, drain_seconds, head_seconds).run(sockets=[])


class _Application:
    """The application as the server sees it: keeps what ended its start, closes connections once the server stops."""

    def __init__(self, app: Application) -> None:
        self.start_error: BaseException | None = None
        self.closing = False
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if self.closing and message["type"] == "http.response.start":
                others = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_closing)

    async def _live(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.start_error = error
            raise


class _Server(uvicorn.Server):
    """uvicorn's server with its own accepting and stopping.

    asyncio accepts as much as the backlog holds at once and makes connections of it later. Whoever closes its server
    meanwhile loses them, and uvicorn closes all connections whose request has not arrived. Both would be requests
    without an answer; and a worker that takes the whole backlog leaves nothing to its siblings.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        application: _Application,
        listener: socket.socket,
        stop: StopSignals,
        on_ready: Callable[[], None],
        drain_seconds: float,
        head_seconds: float,
    ) -> None:
        super().__init__(config)
        self._application = application
        self._listener = listener
        self._stop = stop
        self._on_ready = on_ready
        self._drain_seconds = drain_seconds
        self._head_seconds = head_seconds
        self._connections = cast("set[Any]", self.server_state.connections)
        self._connecting: set[asyncio.Task[Any]] = set()
        self._silent: dict[Any, tuple[Any, float]] = {}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to StopSignals; uvicorn would raise them again after the stop."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._connection_lost = asyncio.Event()
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise self._application.start_error or RuntimeError("the application's start-up failed")
        self._protocol = connection_class(self.config.http_protocol_class, self._connection_lost.set)
        self._loop.add_reader(self._stop.fileno(), self._on_stop)
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self.servers = []
        self.started = True
        shorten_pauses()
        self._on_ready()

    async def main_loop(self) -> None:
        while not self._stopped.is_set() and not await self.on_tick(0):
            self._close_silent()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.closing = True
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        if self._connecting:
            await asyncio.wait(self._connecting)
        await self._drain(self._loop.time())
        await self.lifespan.shutdown()

    def _on_stop(self) -> None:
        if self._stop.woken():
            self._loop.remove_reader(self._stop.fileno())
            self._stopped.set()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # a sibling was faster, or the client has gone
        except OSError as error:
            logging.getLogger("uvicorn.error").warning("Cannot accept a connection: %s", error)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_ACCEPT_PAUSE, self._accept_again)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _accept_again(self) -> None:
        if not self._application.closing:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._new_protocol, connection)
        except OSError:
            connection.close()  # the client has gone

    def _new_protocol(self) -> Any:
        return self._protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _close_silent(self) -> None:
        """Close connections that take too long for the head of a request: uvicorn waits for ever."""
        now = time.monotonic()
        waiting = [connection for connection in self._connections if is_silent(connection)]
        before, self._silent = self._silent, {}
        for connection in waiting:
            cycle, since = before.get(connection, (None, now))
            since = since if cycle is connection.cycle else now
            self._silent[connection] = (connection.cycle, since)
            if now - since > self._head_seconds:
                connection.transport.close()

    async def _drain(self, began: float) -> None:
        connections, tasks = self._connections, self.server_state.tasks
        for connection in connections:
            if connection.cycle is not None and not connection.cycle.response_complete:
                connection.cycle.keep_alive = False
        await self._until_closed(began + IDLE_GRACE)
        for connection in [each for each in connections if is_idle(each)]:
            connection.transport.close()
        await self._until_closed(began + SILENT_GRACE)
        for connection in [each for each in connections if is_silent(each) or is_idle(each)]:
            connection.transport.close()
        await self._until_closed(began + self._drain_seconds)
        for connection in list(connections):
            connection.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=max(began + self._drain_seconds - self._loop.time(), 0.1))
        for task in list(tasks):
            task.cancel()

    async def _until_closed(self, deadline: float) -> None:
        while self._connections and (left := deadline - self._loop.time()) > 0:
            self._connection_lost.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._connection_lost.wait(), left)


def _log_to_stderr() -> None:
    """Let uvicorn say what goes wrong, and nothing else; the root logger is the user's."""
    logger = logging.getLogger("uvicorn")
    if not logger.handlers:
        logger.addHandler(stderr_handler())
    logger.setLevel(logging.WARNING)
    logger.propagate = False


# How long a client whose request was refused may take to read why.
CLOSING_SECONDS = 2.0


def connection_class(protocol: Any, on_lost: Callable[[], None]) -> Any:
    """Return uvicorn's class of connections, calling `on_lost` when one is lost, with our answer to bad requests."""

    class Connection(protocol):  # type: ignore[misc]
        is_refused = False

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            on_lost()

        def eof_received(self) -> bool:
            """Answer clients that say early that they send no more; uvicorn takes them for gone."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete or cycle.more_body:
                return False
            cycle.keep_alive = False
            return True

        def data_received(self, data: bytes) -> None:
            if not self.is_refused:
                super().data_received(data)

        def send_400_response(self, msg: str) -> None:
            """Refuse what cannot be parsed, and read on until the client has read that: closing could reset it."""
            self.is_refused = True
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.response_started:
                status = getattr(sys.exc_info()[1], "error_status_hint", 400)  # h11 knows 431 and 501
                self.transport.write(encoded(message_response(status, f"ERROR: {msg}")))
            self.transport.write_eof()
            self.loop.call_later(CLOSING_SECONDS, self.transport.close)

    return Connection


def is_idle(connection: Any) -> bool:
    """Whether it has had an answer, and nothing of another request has arrived."""
    return bool(
        connection.cycle is not None
        and connection.cycle.response_complete
        and connection.timeout_keep_alive_task is not None
    )


def is_silent(connection: Any) -> bool:
    """Whether a request has not arrived, or its head not completely."""
    if connection.cycle is None:
        return True
    return bool(connection.cycle.response_complete and connection.timeout_keep_alive_task is None)
