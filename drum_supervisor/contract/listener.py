"""The serving address, and the listening socket which the supervisor binds once and passes to its children."""

import errno
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass, replace

from drum_supervisor.contract.exits import AddressError, UsageError
from drum_supervisor.contract.fds import LISTENER_FD

DEFAULT_BACKLOG = 2048


@dataclass(frozen=True)
class Address:
    """A host (without brackets) and a port (0: chosen by the kernel), or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def family(self) -> socket.AddressFamily:
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def client_host(self) -> str:
        """The host for a local client: loopback in place of a wildcard address."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self) -> str:
        """Return a URL for curl; for a unix socket, which has none, `unix:/path`."""
        if self.path:
            return f"unix:{self.path}"
        return f"http://{replace(self, host=self.client_host)}"


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[IPv6]:PORT` or `unix:/path`; UsageError: anything else."""
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path.startswith("/") or len(os.fsencode(path)) > 107:
            raise UsageError(
                f"Address {text!r}: give an absolute path of at most 107 bytes, like unix:/run/model.sock."
            )
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    wrong = not colon or not host or (":" in host) != bracketed or "/" in host or any(c.isspace() for c in host)
    if wrong or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise UsageError(
            f"Address {text!r} is not HOST:PORT: write for example 0.0.0.0:8080, [::1]:8080, "
            "127.0.0.1:0 (any free port) or unix:/path/to/socket."
        )
    return Address(host=host, port=int(port))


def bind(address: Address, backlog: int = DEFAULT_BACKLOG, option: str = "--address") -> socket.socket:
    """Bind and listen; the socket is non-blocking and closed on exec. AddressError names `option`.

    The kernel queues up to `backlog` connections while no child accepts, at most `net.core.somaxconn`.
    """
    if address.path:
        _remove_stale_socket(address)
    listener: socket.socket | None = None
    try:
        family, target = _resolve(address)
        listener = socket.socket(family, socket.SOCK_STREAM)
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # On Linux connections inherit it. Not every server sets it: asyncio does if the protocol is named, but
            # uvicorn takes any --fd for a Unix socket. Without it a response sent in two parts is delayed by 40 ms.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(target)
        listener.listen(backlog)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise AddressError(_why_not_bound(address, error, option)) from error
    # O_NONBLOCK belongs to the open file description, which all children share.
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> Address:
    """Return the address of `listener`, with the port chosen by the kernel."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return Address(path=os.fsdecode(name))
    return Address(host=name[0], port=name[1])


def inherit_listener() -> socket.socket | None:
    """Return the listener passed by a supervisor, or None."""
    # The protocol is systemd's: LISTEN_PID is this process, LISTEN_FDS at least 1, the socket is fd 3
    # (https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html).
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(LISTENER_FD).st_mode):
            return None
    except OSError:  # closed meanwhile
        return None
    listener = socket.socket(fileno=LISTENER_FD)
    listener.setblocking(False)
    os.set_inheritable(LISTENER_FD, False)
    return listener


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[object, ...] | str]:
    if address.path:
        return socket.AF_UNIX, address.path
    host = address.host.encode() if address.host.isascii() else address.host  # str makes Python import its IDNA codec
    try:
        found = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:  # an empty or overlong label, rejected before any lookup
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    family, _, _, _, target = found[0]
    return family, target


def _remove_stale_socket(address: Address) -> None:
    """Remove the socket file of a killed server, unless a process listens on it."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.stat(address.path).st_mode):
            return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # with a full backlog connect(2) would wait
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            with suppress(OSError):
                os.unlink(address.path)
        except OSError:
            return  # missing or not accessible: bind() reports what is wrong


def _why_not_bound(address: Address, error: OSError, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Address {address} is in use by another process: stop it, or choose another {option}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"No permission to bind {address}: ports below {_first_unprivileged_port()} need root or "
            f"CAP_NET_BIND_SERVICE, and a unix socket needs a writable directory. Choose another {option}."
        )
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"Address {address} is not an address of this machine ({error.strerror}). Check {option}."
    return f"Address {address} could not be bound: {error.strerror or error}."


def _first_unprivileged_port() -> int:
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024


def close(listener: socket.socket, address: Address) -> None:
    """Close a listener that was bound to `address`; a unix socket's path goes with it."""
    listener.close()
    if address.path:
        with suppress(OSError):
            os.unlink(address.path)
