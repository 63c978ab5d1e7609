"""Telling the service manager above us how it stands: sd_notify(3), as systemd and others understand it.

READY=1 is sent once, when something answers on the address: the model server, or the error server with the reason.
STATUS follows each change, STOPPING=1 comes with the stop, and WATCHDOG=1 twice in each period that is asked for, from
the loop itself: when that hangs, nothing comes.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from drum_supervisor.supervise.policy.state import Phase
from drum_supervisor.supervise.service.context import Context, Service


class SdNotify:
    """Notifies the service manager that started the supervisor, at `$NOTIFY_SOCKET`.

    Args:
        address: of its socket: a path, or an abstract name after an @.
        watchdog: seconds within which it expects WATCHDOG=1; 0: it does not.
    """

    def __init__(self, context: Context, address: str, watchdog: float) -> None:
        self._context = context
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period = watchdog / 2
        self._sent: set[str] = set()
        self._status = ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if self._period:
            self._keep_alive()

    def follow(self) -> None:
        """Send what is new."""
        service, news = self._context.service, []
        if service.state.ready or service.is_error_server_ready:
            news += self._once("READY=1")
        if service.state.phase is Phase.STOPPING:
            news += self._once("STOPPING=1")
        if (status := summary(service)) != self._status:
            self._status = status
            news.append(f"STATUS={status}")
        if news:
            self._send(news)

    def close(self) -> None:
        """Say no more."""
        self._context.timers.cancel(self)
        self._socket.close()

    def _once(self, word: str) -> list[str]:
        if word in self._sent:
            return []
        self._sent.add(word)
        return [word]

    def _keep_alive(self) -> None:
        self._send(["WATCHDOG=1"])
        self._context.timers.set(self, self._period, self._keep_alive)

    def _send(self, words: list[str]) -> None:
        """A manager that has gone, or does not read, changes nothing here."""
        with suppress(OSError):
            self._socket.sendto("\n".join(words).encode("utf-8", "replace"), self._address)


def summary(service: Service) -> str:
    """Return one line for people: `serving: 2 of 2 workers ready`."""
    state, stage = service.state, service.stage
    if state.phase is Phase.SERVING:
        return f"serving: {len(state.ready)} of {service.limits.workers} workers ready"
    if state.phase in (Phase.FAILED, Phase.RETRYING) and state.report:
        return f"{state.phase.value}: {state.report.error}"
    return f"{state.phase.value}, stage {stage}" if stage else state.phase.value


def sd_notify(environ: Mapping[str, str], context: Context) -> SdNotify | None:
    """Return what notifies the service manager that the environment names; None if there is none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    return SdNotify(context, address, _watchdog(environ))


def _watchdog(environ: Mapping[str, str]) -> float:
    """Return the seconds of WATCHDOG_USEC, if it is meant for this process (sd_watchdog_enabled(3))."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
