"""Accepting connections on an event loop."""

import asyncio
import logging
import socket
from collections.abc import Callable

_PAUSE_SECONDS = 0.5  # after the system had no descriptors or memory for another connection

_log = logging.getLogger(__name__)


class Acceptor:
    """Accepts connections until it is closed; pauses when the system has no resources for another one.

    Args:
        listener: non-blocking; closed with the acceptor.
        new_protocol: returns the protocol of a new connection.
    """

    # asyncio's own servers accept the whole backlog at once and create the connections later. Closing such a server in
    # between loses connections, and one which accepts the whole backlog leaves nothing to other processes.

    def __init__(self, listener: socket.socket, new_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._new_protocol = new_protocol
        self._connecting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._resume()

    async def close(self) -> None:
        """Stop accepting; return when every accepted connection has its protocol."""
        self._is_closed = True
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _resume(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            _log.warning("Cannot accept a connection: %s", error)
            self._loop.remove_reader(self._listener.fileno())
            self._loop.call_later(_PAUSE_SECONDS, self._resume)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._new_protocol, connection)
        except OSError:
            connection.close()  # the client has gone
