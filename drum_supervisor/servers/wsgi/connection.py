"""One connection: a WSGI application answers its requests, one after the other, until one side ends it."""

import io
import logging
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from drum_supervisor.fronts.wsgi import CONNECTION, Application, environ_of
from drum_supervisor.http.encoding import encoded, wait_for_close
from drum_supervisor.http.h1 import BadRequestError, parse_head
from drum_supervisor.http.messages import message_response
from drum_supervisor.servers.wsgi.idle import Waiting
from drum_supervisor.servers.wsgi.request import Incoming, RequestBody
from drum_supervisor.servers.wsgi.response import Answer

# How long a client may let us wait for the next bytes of a body, or for room for the next bytes of an answer.
PATIENCE_SECONDS = 60

# How long a client may take to close after the last answer.
CLOSING_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Conversation:
    """What is said on one connection, which is closed in the end.

    Args:
        connection: whose calls wait no longer than PATIENCE_SECONDS.
        common: what the environs of all requests have in common.
        waiting: decides how long the connection may wait for a request.
        may_keep: whether the connection may be kept after an answer; asked once for each request.
    """

    def __init__(
        self,
        connection: socket.socket,
        app: Application,
        common: Mapping[str, Any],
        waiting: Waiting,
        may_keep: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._app = app
        self._common = {**common, CONNECTION: connection}
        self._waiting = waiting
        self._may_keep = may_keep
        self._incoming = Incoming(connection)
        self._client_is_gone = False
        self._sent_at = 0.0

    def run(self) -> None:
        """Answer all requests."""
        try:
            with suppress(OSError):  # the client is gone, or was given up
                while self._answer():
                    if not self._incoming:
                        self._waiting.becomes_idle(self._connection, self._sent_at)
                wait_for_close(self._connection, CLOSING_SECONDS)
        finally:
            self._waiting.forget(self._connection)
            self._connection.close()

    def _answer(self) -> bool:
        """Read a request and answer it; return whether there may be another one."""
        try:
            head = parse_head(self._incoming.take_head(lambda: self._waiting.head_begins(self._connection)))
        except BadRequestError as error:
            self._send(encoded(message_response(error.status, f"ERROR: {error}")))
            return False
        finally:
            self._waiting.head_is_here(self._connection)
        body = RequestBody(self._incoming, head)
        # both are asked: the body must know that the answer begins
        answer = Answer(head, self._send, lambda: all((body.has_arrived(), self._may_keep())))
        self._ask(environ_of(head, self._common, io.BufferedReader(body)), answer)
        body.skip()
        return answer.keeps

    def _ask(self, environ: dict[str, Any], answer: Answer) -> None:
        """Let the application answer."""
        try:
            pieces = self._app(environ, answer.start)
            try:
                answer.write_all(pieces)
            finally:
                if hasattr(pieces, "close"):
                    pieces.close()
        except BaseException:  # noqa: BLE001 - sys.exit in a view must not end the thread without an answer
            answer.keeps = False
            if self._client_is_gone:
                return
            _log.exception("%s %r failed", environ["REQUEST_METHOD"], environ["RAW_URI"])
            if not answer.is_begun:
                self._send(encoded(message_response(500, "ERROR: Internal Server Error")))

    def _send(self, data: bytes) -> None:
        self._sent_at = time.monotonic()
        try:
            self._connection.sendall(data)
        except OSError:
            self._client_is_gone = True
            raise
