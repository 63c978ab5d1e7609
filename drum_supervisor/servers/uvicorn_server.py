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
from drum_supervisor.http.encoding import KEEP_ALIVE_SECONDS, encode_refusal
from drum_supervisor.http.h1 import MAX_HEAD
from drum_supervisor.servers.acceptor import Acceptor
from drum_supervisor.servers.logs import stderr_handler
from drum_supervisor.servers.process import ServerConfig, shorten_pauses

# How long a stop waits for the next request on a used connection, and for the first request on a new one.
IDLE_GRACE = 0.5
SILENT_GRACE = 1.0

_TICK = 1.0


def serve(app: Application, config: ServerConfig) -> None:
    """Serve `app` until a stop is requested, then answer everything accepted; raise the error of its start-up."""
    _log_to_stderr()
    application = _UvicornApplication(app)
    uvicorn_config = uvicorn.Config(
        application,
        interface="asgi3",
        # httptools is 0.1 ms faster, but accepts heads of any size, refuses unknown methods, and drops the response
        # to a request which is followed by garbage
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
    _UvicornServer(uvicorn_config, application, config).run(sockets=[])


class _UvicornApplication:
    """Wraps the application: keeps the error of its start-up, and closes connections once the server stops."""

    def __init__(self, app: Application) -> None:
        self.start_error: BaseException | None = None
        self.is_closing = False
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if self.is_closing and message["type"] == "http.response.start":
                others = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_closing)

    async def _run_lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.start_error = error
            raise


class _UvicornServer(uvicorn.Server):
    """uvicorn's server, with accepting and stopping of our own."""

    # uvicorn closes every connection whose request has not arrived; `Acceptor` says what asyncio's accepting loses

    def __init__(
        self, uvicorn_config: uvicorn.Config, application: _UvicornApplication, server_config: ServerConfig
    ) -> None:
        super().__init__(uvicorn_config)
        self._application = application
        self._server_config = server_config
        self._stop = server_config.stop
        self._connections = cast("set[Any]", self.server_state.connections)
        self._silent: dict[Any, tuple[Any, float]] = {}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to StopSignals; uvicorn would re-raise them after the stop."""
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
        self._acceptor = Acceptor(self._server_config.listener, self._new_protocol)
        self.servers = []
        self.started = True
        shorten_pauses()
        self._server_config.on_ready()

    async def main_loop(self) -> None:
        while not self._stopped.is_set() and not await self.on_tick(0):
            self._close_silent()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.is_closing = True
        await self._acceptor.close()
        await self._drain(self._loop.time())
        await self.lifespan.shutdown()

    def _on_stop(self) -> None:
        if self._stop.read_wakeup():
            self._loop.remove_reader(self._stop.fileno())
            self._stopped.set()

    def _new_protocol(self) -> Any:
        return self._protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _close_silent(self) -> None:
        """Close connections which take too long to send the head of a request: uvicorn waits forever."""
        now = time.monotonic()
        waiting = [connection for connection in self._connections if is_silent(connection)]
        before, self._silent = self._silent, {}
        for connection in waiting:
            cycle, since = before.get(connection, (None, now))
            since = since if cycle is connection.cycle else now
            self._silent[connection] = (connection.cycle, since)
            if now - since > self._server_config.head_seconds:
                connection.transport.close()

    async def _drain(self, began: float) -> None:
        connections, tasks = self._connections, self.server_state.tasks
        drain_seconds = self._server_config.drain_seconds
        for connection in connections:
            if connection.cycle is not None and not connection.cycle.response_complete:
                connection.cycle.keep_alive = False
        await self._until_closed(began + IDLE_GRACE)
        for connection in [each for each in connections if is_idle(each)]:
            connection.transport.close()
        await self._until_closed(began + SILENT_GRACE)
        for connection in [each for each in connections if is_silent(each) or is_idle(each)]:
            connection.transport.close()
        await self._until_closed(began + drain_seconds)
        for connection in list(connections):
            connection.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=max(began + drain_seconds - self._loop.time(), 0.1))
        for task in list(tasks):
            task.cancel()

    async def _until_closed(self, deadline: float) -> None:
        while self._connections and (left := deadline - self._loop.time()) > 0:
            self._connection_lost.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._connection_lost.wait(), left)


def _log_to_stderr() -> None:
    """Log uvicorn's warnings and errors; the root logger belongs to the user's code."""
    logger = logging.getLogger("uvicorn")
    if not logger.handlers:
        logger.addHandler(stderr_handler())
    logger.setLevel(logging.WARNING)
    logger.propagate = False


# How long a client may take to read why its request was refused.
CLOSING_SECONDS = 2.0


def connection_class(protocol: Any, on_lost: Callable[[], None]) -> Any:
    """Return uvicorn's class of connections, extended: calls `on_lost`, and answers bad requests as we do."""

    class UvicornConnection(protocol):
        is_refused = False

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            on_lost()

        def eof_received(self) -> bool:
            """Answer clients which close their sending side early; uvicorn considers them gone."""
            cycle = self.cycle
            if cycle is None or cycle.response_complete or cycle.more_body:
                return False
            cycle.keep_alive = False
            return True

        def data_received(self, data: bytes) -> None:
            if not self.is_refused:
                super().data_received(data)

        def send_400_response(self, msg: str) -> None:
            """Refuse a malformed request, and read on until the client has the response: closing could reset it."""
            self.is_refused = True
            cycle = self.cycle
            if cycle is None or cycle.response_complete or not cycle.response_started:
                status = getattr(sys.exc_info()[1], "error_status_hint", 400)  # h11 knows 431 and 501
                self.transport.write(encode_refusal(status, msg))
            self.transport.write_eof()
            self.loop.call_later(CLOSING_SECONDS, self.transport.close)

    return UvicornConnection


def is_idle(connection: Any) -> bool:
    """Return whether a response was sent, and nothing of the next request has arrived."""
    return bool(
        connection.cycle is not None
        and connection.cycle.response_complete
        and connection.timeout_keep_alive_task is not None
    )


def is_silent(connection: Any) -> bool:
    """Return whether the head of a request is still missing or incomplete."""
    if connection.cycle is None:
        return True
    return bool(connection.cycle.response_complete and connection.timeout_keep_alive_task is None)
