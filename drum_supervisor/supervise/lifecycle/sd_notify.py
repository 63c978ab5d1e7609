"""Notifies the service manager that started the supervisor: sd_notify(3), as systemd and others understand it.

READY=1 is sent once, when the model server or the error server answers on the address. STATUS= follows each change,
STOPPING=1 the stop, and WATCHDOG=1 is sent twice per period by the loop itself, so that a hung loop sends nothing.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from drum_supervisor.supervise.service.context import Context, ServiceStatus


class SdNotify:
    """Sends messages to `address`: a path, or an abstract name after @; `watchdog` is the period in seconds, or 0."""

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
        service, messages = self._context.service, []
        if service.state.ready or service.is_error_server_ready:
            messages += self._once("READY=1")
        if service.is_stopping:
            messages += self._once("STOPPING=1")
        if (status := summarize(service)) != self._status:
            self._status = status
            messages.append(f"STATUS={status}")
        if messages:
            self._send(messages)

    def close(self) -> None:
        self._context.timers.cancel(self)
        self._socket.close()

    def _once(self, message: str) -> list[str]:
        if message in self._sent:
            return []
        self._sent.add(message)
        return [message]

    def _keep_alive(self) -> None:
        self._send(["WATCHDOG=1"])
        self._context.timers.set(self, self._period, self._keep_alive)

    def _send(self, messages: list[str]) -> None:
        with suppress(OSError):  # the manager is gone, or does not read
            self._socket.sendto("\n".join(messages).encode("utf-8", "replace"), self._address)


def summarize(service: ServiceStatus) -> str:
    """Return one line for humans: `serving: 2 of 2 workers ready`."""
    state, stage = service.state, service.stage
    if service.is_serving:
        return f"serving: {len(state.ready)} of {service.limits.workers} workers ready"
    if state.phase.has_failed and state.report:
        return f"{state.phase.value}: {state.report.error}"
    return f"{state.phase.value}, stage {stage}" if stage else state.phase.value


def make_sd_notify(environ: Mapping[str, str], context: Context) -> SdNotify | None:
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return None
    return SdNotify(context, address, _watchdog(environ))


def _watchdog(environ: Mapping[str, str]) -> float:
    # WATCHDOG_USEC counts only if it is meant for this process: sd_watchdog_enabled(3).
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
