"""Lines of the log in a process that serves: when, who, how bad, and for which request."""

import logging
from typing import Any

from drum_supervisor.request_state import RequestIdFilter

FORMAT = "%(asctime)s %(process)d %(levelname)s [%(request_id)s] %(message)s"


def stderr_handler(level: int = logging.NOTSET) -> logging.Handler:
    """Return a handler that writes to stderr, with the id of the current request in each line."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(logging.Formatter(FORMAT))
    return handler


def set_up() -> None:
    """Let warnings and errors that nobody else takes be such lines.

    The root logger stays as it is: it is the user's, whose `logging.basicConfig` does nothing when it has handlers.
    Their formats may have `%(request_id)s` in them: every record knows it.
    """
    logging.lastResort = stderr_handler(logging.WARNING)
    make, identify = logging.getLogRecordFactory(), RequestIdFilter().filter

    def make_identified(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        identify(record)
        return record

    logging.setLogRecordFactory(make_identified)
