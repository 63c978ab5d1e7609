"""gunicorn's own log lines, with the id of the request that they are about."""

from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from drum_supervisor.hosts.logs import FORMAT
from drum_supervisor.request_state import RequestIdFilter


class Logger(GunicornLogger):
    """gunicorn's logger, whose lines look like those of the other hosts."""

    error_fmt = FORMAT
    datefmt = None  # type: ignore[assignment]  # then milliseconds are shown

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.addFilter(RequestIdFilter())
