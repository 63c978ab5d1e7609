"""One connection, whose requests a WSGI application answers one after the other."""

import io
import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from drum_supervisor.fronts.wsgi import CONNECTION, Application, environ_of
from drum_supervisor.http.encoding import encode_response, wait_for_close
from drum_supervisor.http.h1 import BadRequestError, parse_head
from drum_supervisor.http.messages import message_response
from drum_supervisor.servers.wsgi.idle import IdleConnections
from drum_supervisor.servers.wsgi.request import ReceiveBuffer, RequestBody
from drum_supervisor.servers.wsgi.response import ResponseWriter

# How long a single receive or send may block.
IO_TIMEOUT_SECONDS = 60

# How long a client may take to close after the last response.
CLOSING_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Connection:
    """Answers the requests of one connection, and closes it.

    Args:
        connection: its calls block for at most IO_TIMEOUT_SECONDS.
        common: the part of the environ shared by all requests.
        idle: closes connections which wait for too long.
        may_keep: returns whether the connection may stay open after a response; called once per request.
    """

    def __init__(
        self,
        connection: socket.socket,
        app: Application,
        common: Mapping[str, Any],
        idle: IdleConnections,
        may_keep: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._app = app
        self._common = {**common, CONNECTION: connection}
        self._idle = idle
        self._may_keep = may_keep
        self._received = ReceiveBuffer(connection)
        self._is_client_gone = False
        self._sent_at = 0.0

    def run(self) -> None:
        try:
            with suppress(OSError):  # the client has gone, or was evicted
                while self._respond():
                    if not self._received:
                        self._idle.start_idle(self._connection, self._sent_at)
                wait_for_close(self._connection, CLOSING_SECONDS)
        finally:
            self._idle.forget(self._connection)
            self._connection.close()

    def _respond(self) -> bool:
        """Answer the next request; return whether another one may follow."""
        try:
            head = parse_head(self._received.take_head(lambda: self._idle.start_head(self._connection)))
        except BadRequestError as error:
            self._send(encode_response(message_response(error.status, f"ERROR: {error}")))
            return False
        finally:
            self._idle.finish_head(self._connection)
        body = RequestBody(self._received, head)
        # call both: the body must know that the response begins
        response = ResponseWriter(head, self._send, lambda: all((body.has_arrived(), self._may_keep())))
        self._call_app(environ_of(head, self._common, io.BufferedReader(body)), response)
        body.skip()
        return response.keeps

    def _call_app(self, environ: dict[str, Any], response: ResponseWriter) -> None:
        try:
            pieces = self._app(environ, response.start)
            try:
                response.write_all(pieces)
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except BaseException:  # noqa: BLE001 - sys.exit in a view must not end the thread without a response
            response.keeps = False
            if self._is_client_gone:
                return
            _log.exception("%s %r failed", environ["REQUEST_METHOD"], environ["RAW_URI"])
            if not response.is_begun:
                self._send(encode_response(message_response(500, "ERROR: Internal Server Error")))

    def _send(self, data: bytes) -> None:
        self._sent_at = time.monotonic()
        try:
            self._connection.sendall(data)
        except OSError:
            self._is_client_gone = True
            raise
