"""The log format of serving processes: time, pid, level and request id of each record."""

import logging
from typing import Any

from drum_supervisor.request_state import RequestIdFilter

FORMAT = "%(asctime)s %(process)d %(levelname)s [%(request_id)s] %(message)s"


def stderr_handler(level: int = logging.NOTSET) -> logging.Handler:
    """Return a handler which writes to stderr, with the id of the current request in each line."""
    handler = logging.StreamHandler()
    handler.setLevel(level)
    add_request_id(handler)
    handler.setFormatter(logging.Formatter(FORMAT))
    return handler


def add_request_id(handler: logging.Handler) -> None:
    handler.addFilter(RequestIdFilter())


def set_up() -> None:
    """Format warnings and errors which no other handler takes, and give every record a request id."""
    # not on the root logger, which is the user's: with a handler on it `logging.basicConfig` would do nothing
    logging.lastResort = stderr_handler(logging.WARNING)
    make, identify = logging.getLogRecordFactory(), RequestIdFilter().filter

    # on every record, so that the user's formats may contain %(request_id)s
    def make_identified(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make(*arguments, **options)
        identify(record)
        return record

    logging.setLogRecordFactory(make_identified)
