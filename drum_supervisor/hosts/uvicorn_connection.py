"""uvicorn's connections, whichever class of them is used, with what they lack."""

import sys
from collections.abc import Callable
from typing import Any

from drum_supervisor.http.encoding import encoded
from drum_supervisor.http.messages import message_response

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
