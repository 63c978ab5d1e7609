"""gunicorn's threaded worker, which gives a request to a thread once its head has arrived."""

import itertools
import logging
import math
import os
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from gunicorn.http import errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import ThreadWorker

from drum_supervisor.http.encoding import (
    EVICTION_GRACE,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    encode_refusal,
    wait_for_close,
)
from drum_supervisor.servers.wsgi.connection import Connection
from drum_supervisor.servers.wsgi.response import StrictLengthReader, WsgiResponse
from drum_supervisor.services.executor import BoundedExecutor

MAX_CONNECTIONS = 256

# How long a stop waits for a request which has not arrived.
SILENT_GRACE = 1.0

# How long a client may take to close after the last response.
CLOSING_SECONDS = 2.0

# After the system had no descriptors or threads for another connection.
_ACCEPT_PAUSE = 0.5

# What gunicorn's parser refuses with another status than 400.
_STATUSES: dict[type[Exception], int] = {
    errors.LimitRequestLine: 414,
    errors.ExpectationFailed: 417,
    errors.LimitRequestHeaders: 431,
    errors.UnsupportedTransferCoding: 501,
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits for connections."""

    drain_seconds: float  # how long requests already received may take after the stop
    head_seconds: float = HEAD_SECONDS  # how long a client may take to send the head of a request
    # How long a connection waits for its next request; 0: close after each response.
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    # At this number, connections are closed after each response, and a new connection evicts the one which has been
    # idle longest, or else the slowest to send its head; without either, accepting pauses.
    max_connections: int = MAX_CONNECTIONS


def worker_settings(limits: ConnectionLimits) -> dict[str, Any]:
    """Return the settings which gunicorn's threaded worker needs for `limits`, by name."""
    return {
        "worker_connections": limits.max_connections + 1,  # the last one evicts another
        "limit_request_line": 8190,  # gunicorn's maximum
        "limit_request_field_size": 0,  # `Connection` limits the whole head
        "permit_unconventional_http_method": True,  # any token, as on the other servers
        # no header of a client may change the scheme or the path
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # root may be read-only
    }


class _Threads(BoundedExecutor):
    """Threads which cannot delay the exit, in the place of gunicorn's."""

    def shutdown(self, wait: bool) -> None:
        self.close()


class ThreadedWorker(ThreadWorker):
    """Answers each request in a thread; after a stop it answers everything accepted.

    gunicorn's own worker waits for heads in its threads, where slow clients would keep all others waiting. Here its
    loop waits for them, closes connections beyond their time limit, and makes room for new ones.
    """

    connection_type = Connection
    limits: ConnectionLimits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request_counter = itertools.count(1)  # thread-safe
        self._pause_ends = 0.0
        self._stopped_at: float | None = None
        self._is_over = False

    def run(self) -> None:
        self.cfg.settings["graceful_timeout"].value = self.limits.drain_seconds  # the setter accepts whole seconds only
        super().run()

    def get_thread_pool(self) -> Any:
        return _Threads(self.limits.max_connections + 1, name="connection")

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting; after a stop close the listener, so that only other processes accept."""
        super().set_accept_enabled(enabled and time.monotonic() >= self._pause_ends)
        if not self.alive and self._stopped_at is None:
            self._stopped_at = time.monotonic()
            for listener in self.sockets:
                listener.close()

    def accept(self, listener: Any) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            self._pause(error)
            return
        self.nr_conns += 1
        self._await_head(self.connection_type(self.cfg, client, address, listener.getsockname()))
        self._make_room()

    def enqueue_req(self, conn: Any) -> None:
        try:
            future = self.tpool.submit(partial(self.handle, conn))
        except RuntimeError as error:  # the system has no more threads
            self._close(conn)
            self._pause(error)
            return
        future.add_done_callback(partial(self._defer_finish, conn))

    def finish_request(self, conn: Any, fs: "Future[bool]") -> None:
        """Let the connection wait for the next request, or close it."""
        if error := fs.exception():
            _log.error("A request failed", exc_info=error)
        if error or not fs.result():
            self._close(conn)
            return
        self._await_head(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close idle connections beyond their time limit, or all of them at the end."""
        self._is_over = force
        self._close_expired(self.keepalived_conns, math.inf if force else 0.0)

    def murder_pending(self) -> None:
        """Close connections which take too long to send a head, or to make room."""
        self._close_expired(self.pending_conns)
        self._make_room()

    def handle(self, conn: Any) -> bool:
        """Answer one request, in a thread; return whether the connection may stay open."""
        try:
            if conn.refusal is not None:
                self._refuse(conn.sock, conn.refusal.status, str(conn.refusal))
            elif self.handle_request(conn.next_request(), conn):
                conn.take_surplus()
                return True
        except errors.ParseException as error:
            self._refuse(conn.sock, _STATUSES.get(type(error), 400), str(error))
        except (OSError, StopIteration):
            return False  # the client has gone
        wait_for_close(conn.sock, CLOSING_SECONDS)
        return False

    def handle_request(self, req: Any, conn: Any) -> bool:
        if isinstance(req.body.reader, LengthReader):
            req.body.reader = StrictLengthReader(req.unreader, req.body.reader.length)
        response, environ = wsgi.create(
            req, conn.sock, conn.client, conn.server, self.cfg, WsgiResponse, response_args=(self._may_keep,)
        )
        environ["wsgi.multithread"] = True
        if next(self._request_counter) >= self.max_requests:
            self.alive = False
            self.method_queue.defer(lambda: None)  # wakes the loop
        try:
            self._send_response(response, environ)
        except BaseException:  # noqa: BLE001 - sys.exit in a view must not end the thread without a response
            if not response.is_client_gone:
                _log.exception("%s %r failed", environ["REQUEST_METHOD"], environ["RAW_URI"])
                if not response.is_begun():
                    self._refuse(conn.sock, 500, "Internal Server Error")
            return False
        return not response.should_close()

    def _send_response(self, response: WsgiResponse, environ: dict[str, Any]) -> None:
        pieces = self.wsgi(environ, response.start_response)
        try:
            for piece in pieces:
                response.write(piece)
            response.close()
        finally:
            if hasattr(pieces, "close"):
                pieces.close()

    def _refuse(self, client: socket.socket, status: int, message: str) -> None:
        try:
            client.sendall(encode_refusal(status, message))
        except OSError:
            return  # the client has gone

    def _defer_finish(self, conn: Connection, done: "Future[bool]") -> None:
        if not self._is_over:  # by now the descriptor of the queue may be another's
            self.method_queue.defer(self.finish_request, conn, done)

    def _may_keep(self) -> bool:
        return self.alive and self.limits.keep_alive_seconds > 0 and self.nr_conns < self.limits.max_connections

    def _await_head(self, conn: Connection) -> None:
        """Let `conn` wait for the head of its next request, or a thread answer it if the head is there."""
        if conn.may_be_handled():
            self.enqueue_req(conn)
            return
        is_idle, limits = conn.is_idle(), self.limits
        conn.timeout = conn.waits_since + (limits.keep_alive_seconds if is_idle else limits.head_seconds)
        conn.waits_in = self.keepalived_conns if is_idle else self.pending_conns
        conn.waits_in.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))

    def _receive(self, conn: Connection, _: socket.socket) -> None:
        was_idle = conn.is_idle()
        try:
            conn.receive()
        except OSError:
            self._forget(conn)
            self._close(conn)
            return
        if was_idle:
            conn.waits_since = time.monotonic()
        if was_idle or conn.may_be_handled():
            self._forget(conn)
            self._await_head(conn)

    def _close_expired(self, waiting: "deque[Connection]", ahead: float = 0.0) -> None:
        now = time.monotonic()
        latest = math.inf if self._stopped_at is None else self._stopped_at + SILENT_GRACE
        while waiting and min(waiting[0].timeout, latest) <= now + ahead:
            self._give_up(waiting[0])

    def _make_room(self) -> None:
        """Close waiting connections beyond the limit, idle ones first."""
        while self.nr_conns > self.limits.max_connections and self._evict_one():
            pass

    def _evict_one(self) -> bool:
        # a request which the client sent on receipt of the last response must be able to arrive
        latest = time.monotonic() - EVICTION_GRACE
        for waiting in (self.keepalived_conns, self.pending_conns):
            if waiting and waiting[0].waits_since <= latest:
                self._give_up(waiting[0])
                return True
        return False

    def _give_up(self, conn: Connection) -> None:
        """Close a waiting connection, unless a head has arrived at the last moment."""
        self._forget(conn)
        try:
            conn.receive()
        except OSError:
            self._close(conn)
            return
        if conn.may_be_handled():
            self.enqueue_req(conn)
        else:
            self._close(conn)

    def _forget(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        conn.waits_in.remove(conn)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _pause(self, error: Exception) -> None:
        # the system has no resources for another connection
        _log.warning("Cannot accept a connection: %s", error)
        self._evict_one()
        self._pause_ends = time.monotonic() + _ACCEPT_PAUSE
        self.set_accept_enabled(False)
