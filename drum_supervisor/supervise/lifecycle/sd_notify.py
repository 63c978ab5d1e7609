"""Telling the service manager above us how it stands: sd_notify(3), as systemd and others understand it.

READY=1 is sent once, when something answers on the address: the model server, or the error server with the reason.
STATUS follows each change, STOPPING=1 comes with the stop, and WATCHDOG=1 twice in each period that is asked for, from
the loop itself: when that hangs, nothing comes.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.policy.events import Phase


@dataclass(frozen=True)
class Standing:
    """What is worth telling.

    Attributes:
        answers: whether the model server, or the error server, is ready.
        words: one line for people.
    """

    phase: Phase
    answers: bool
    words: str


class ServiceManager:
    """Whoever listens at `$NOTIFY_SOCKET`.

    Args:
        address: of its socket: a path, or a name after an @.
        watchdog: seconds within which it wants a sign of life; 0: never.
    """

    def __init__(self, address: str, watchdog: float, timers: Timers) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period = watchdog / 2
        self._timers = timers
        self._told: set[str] = set()
        self._words = ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if self._period:
            self._live()

    def tell(self, standing: Standing) -> None:
        """Send what is new."""
        news = []
        if standing.answers:
            news += self._once("READY=1")
        if standing.phase is Phase.STOPPING:
            news += self._once("STOPPING=1")
        if standing.words != self._words:
            self._words = standing.words
            news.append(f"STATUS={standing.words}")
        if news:
            self._send(news)

    def close(self) -> None:
        """Say no more."""
        self._timers.cancel(self)
        self._socket.close()

    def _once(self, word: str) -> list[str]:
        if word in self._told:
            return []
        self._told.add(word)
        return [word]

    def _live(self) -> None:
        self._send(["WATCHDOG=1"])
        self._timers.set(self, self._period, self._live)

    def _send(self, words: list[str]) -> None:
        """A manager that has gone, or does not read, changes nothing here."""
        with suppress(OSError):
            self._socket.sendto("\n".join(words).encode("utf-8", "replace"), self._address)


def service_manager(environ: Mapping[str, str], timers: Timers) -> ServiceManager | None:
    """Return the service manager that the environment names, None if there is none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    return ServiceManager(address, _watchdog(environ), timers)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds of WATCHDOG_USEC, if it is meant for this process (sd_watchdog_enabled(3))."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
