import os
import re
import socket
import stat
from pathlib import Path

import pytest

from drum_supervisor.contract.exits import AddressError, UsageError
from drum_supervisor.contract.listener import LISTENER_FD, Address, address_of, bind, inherit_listener, parse_address

LOOPBACK = Address("127.0.0.1", 0)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


class TestParseAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
            ("127.0.0.1:0", Address("127.0.0.1", 0)),
            ("localhost:65535", Address("localhost", 65535)),
            ("model.example.com:80", Address("model.example.com", 80)),
            ("[::]:8080", Address("::", 8080)),
            ("[::1]:8080", Address("::1", 8080)),
            ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
            ("unix:/run/model.sock", Address(path="/run/model.sock")),
            ("unix:/run/a b:c", Address(path="/run/a b:c")),
            ("unix:/" + "x" * 106, Address(path="/" + "x" * 106)),
        ],
    )
    def test_valid_address_round_trips(self, text, address):
        assert parse_address(text) == address
        assert str(address) == text

    def test_port_may_have_leading_zeros(self):
        assert parse_address("h:08080") == Address("h", 8080)

    @pytest.mark.parametrize(
        "text",
        [
            "", ":", "8080", ":8080", "localhost", "localhost:", "host:port", "host:-1", "host:+80", "host:65536",
            "host:80 ", "host:8 0", " host:80", "ho st:80", "host:\uff18\uff10", "host:²", "::1:80", "[::1]", "[::1]:",
            "[::1:80", "::1]:80", "[localhost]:80", "[]:80", "http://host:80", "host:80/path", "host/x:80", "a:b:80",
            "host:0x50", "host:80\n",
        ],
    )  # fmt: skip
    def test_invalid_address_is_refused_with_examples(self, text):
        with pytest.raises(UsageError) as caught:
            parse_address(text)
        assert str(caught.value) == (
            f"Address {text!r} is not HOST:PORT: write for example 0.0.0.0:8080, [::1]:8080, 127.0.0.1:0 (any free "
            "port) or unix:/path/to/socket."
        )

    @pytest.mark.parametrize(
        "text", ["unix:", "unix:model.sock", "unix:./model.sock", "unix:/" + "x" * 107, "unix:/" + "é" * 54]
    )
    def test_invalid_socket_path_is_refused(self, text):
        with pytest.raises(UsageError) as caught:
            parse_address(text)
        assert str(caught.value) == (
            f"Address {text!r}: give an absolute path of at most 107 bytes, like unix:/run/model.sock."
        )


class TestAddress:
    @pytest.mark.parametrize(
        ("address", "family"),
        [
            (Address("0.0.0.0", 1), socket.AF_INET),
            (Address("localhost", 1), socket.AF_INET),
            (Address("::1", 1), socket.AF_INET6),
            (Address(path="/run/x"), socket.AF_UNIX),
        ],
    )
    def test_family(self, address, family):
        assert address.family == family

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
            ("[fe80::1]:80", "http://[fe80::1]:80"),
            ("unix:/run/x", "unix:/run/x"),
        ],
    )
    def test_url_works_for_a_local_client(self, text, url):
        assert parse_address(text).url() == url


def can_connect(address: Address) -> bool:
    with socket.socket(address.family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address.path or (address.client_host, address.port)) == 0


class TestBind:
    @pytest.mark.parametrize(
        "text", ["127.0.0.1:0", "0.0.0.0:0", "localhost:0", pytest.param("[::1]:0", marks=needs_ipv6)]
    )
    def test_listens_on_a_port_chosen_by_the_kernel(self, text):
        with bind(parse_address(text)) as listener:
            address = address_of(listener)
            assert address.port > 0
            assert can_connect(address)

    def test_listens_on_a_unix_socket(self, short_path):
        address = Address(path=str(short_path / "model.sock"))
        with bind(address) as listener:
            assert address_of(listener) == address
            assert can_connect(address)

    def test_socket_is_non_blocking_and_closed_on_exec(self):
        with bind(LOOPBACK) as listener:
            assert not listener.getblocking()
            assert not listener.get_inheritable()

    def test_connections_inherit_tcp_nodelay(self):
        with bind(LOOPBACK) as listener, socket.fromfd(listener.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as taken:
            taken.setblocking(True)
            with socket.create_connection(listener.getsockname()), taken.accept()[0] as accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    def test_port_can_be_rebound_at_once(self):
        with bind(LOOPBACK) as listener:
            address = address_of(listener)
            with socket.create_connection((address.host, address.port)):
                served, _ = listener.accept()
                served.close()  # the server closes first: its side stays in TIME_WAIT
        with bind(address) as again:
            assert address_of(again) == address

    def test_port_in_use_is_an_error(self):
        with bind(LOOPBACK) as listener:
            address = address_of(listener)
            assert error_of(address) == (
                f"Address {address} is in use by another process: stop it, or choose another --address."
            )

    @needs_ipv6
    def test_ipv6_wildcard_does_not_bind_ipv4(self):
        with bind(Address("::", 0)) as six, bind(Address("0.0.0.0", address_of(six).port)) as four:
            assert address_of(six).port == address_of(four).port

    def test_address_of_another_machine_is_an_error(self):
        assert error_of(Address("192.0.2.1", 0)) == (
            "Address 192.0.2.1:0 is not an address of this machine (Cannot assign requested address). Check --address."
        )

    @pytest.mark.parametrize("host", ["a..b", ".b", "x" * 64])
    def test_invalid_host_name_is_an_error(self, host):
        wrong = rf"Address {host}:0 is not an address of this machine \(.+\)\. Check --address\."  # (libc's reason)
        assert re.fullmatch(wrong, error_of(Address(host, 0)))

    def test_host_name_with_an_empty_label_is_an_error(self):
        assert error_of(Address("é..b", 0)) == (
            "Address é..b:0 is not an address of this machine (not a host name). Check --address."
        )

    def test_missing_directory_is_an_error(self, short_path):
        address = Address(path=str(short_path / "gone" / "model.sock"))
        assert error_of(address) == f"Address {address} could not be bound: No such file or directory."

    def test_failure_leaves_no_descriptor_open(self):
        with bind(LOOPBACK) as listener:
            before = sorted(os.listdir("/proc/self/fd"))
            for _ in range(3):
                with pytest.raises(AddressError):
                    bind(address_of(listener))
            assert sorted(os.listdir("/proc/self/fd")) == before

    def test_privileged_port_is_an_error_without_permission(self, as_nobody):
        if first_unprivileged_port() < 2:
            pytest.skip("every port is unprivileged here")
        address = Address("127.0.0.1", 1)
        assert as_nobody(lambda: error_of(address, option="--metrics-address")) == no_permission(
            address, "--metrics-address"
        )

    def test_socket_in_a_read_only_directory_is_an_error(self, short_path, as_nobody):
        short_path.chmod(0o500)
        address = Address(path=str(short_path / "model.sock"))
        assert as_nobody(lambda: error_of(address)) == no_permission(address, "--address")


def error_of(address: Address, **options: str) -> str:
    with pytest.raises(AddressError) as caught:
        bind(address, **options)
    return str(caught.value)


def first_unprivileged_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def no_permission(address: Address, option: str) -> str:
    return (
        f"No permission to bind {address}: ports below {first_unprivileged_port()} need root or CAP_NET_BIND_SERVICE, "
        f"and a unix socket needs a writable directory. Choose another {option}."
    )


class TestUnixSocketFile:
    @pytest.fixture
    def path(self, short_path):
        return short_path / "model.sock"

    def test_stale_socket_is_replaced(self, path):
        bind(Address(path=str(path))).close()
        assert stat.S_ISSOCK(path.stat().st_mode)
        with bind(Address(path=str(path))):
            assert can_connect(Address(path=str(path)))

    def test_socket_in_use_is_kept(self, path):
        address = Address(path=str(path))
        with bind(address):
            assert error_of(address) == (
                f"Address {address} is in use by another process: stop it, or choose another --address."
            )
            assert can_connect(address)

    def test_socket_of_a_busy_server_is_kept(self, path):
        address = Address(path=str(path))
        with bind(address, backlog=0), socket.socket(socket.AF_UNIX) as waiting, socket.socket(socket.AF_UNIX) as more:
            waiting.connect(address.path)
            more.setblocking(False)
            with pytest.raises(BlockingIOError):
                more.connect(address.path)
            assert error_of(address) == (
                f"Address {address} is in use by another process: stop it, or choose another --address."
            )

    @pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
    def test_other_files_are_kept(self, path, make):
        make(path)
        with pytest.raises(AddressError):
            bind(Address(path=str(path)))
        assert path.exists()


class TestInheritListener:
    """Runs in child processes, because fd 3 of the test runner is in use."""

    @staticmethod
    def listener_of(fd: int | None, announced: dict[str, str]) -> str | None:
        """Return the address of the inherited listener; PID in `announced` becomes the child's pid."""
        if fd is None:
            os.close(LISTENER_FD) if os.path.exists(f"/proc/self/fd/{LISTENER_FD}") else None
        elif fd == LISTENER_FD:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, LISTENER_FD)
        for name in ("LISTEN_PID", "LISTEN_FDS"):
            os.environ.pop(name, None)
        os.environ.update({name: value.replace("PID", str(os.getpid())) for name, value in announced.items()})
        listener = inherit_listener()
        if listener is None:
            return None
        facts = (listener.fileno() == LISTENER_FD, listener.getblocking(), os.get_inheritable(LISTENER_FD))
        assert facts == (True, False, False)
        return str(address_of(listener))

    def test_is_the_announced_socket(self, in_child):
        with bind(LOOPBACK) as listener:
            announced = {"LISTEN_PID": "PID", "LISTEN_FDS": "1"}
            assert in_child(lambda: self.listener_of(listener.fileno(), announced)) == str(address_of(listener))

    def test_is_the_first_of_several(self, in_child):
        with bind(LOOPBACK) as listener:
            announced = {"LISTEN_PID": "PID", "LISTEN_FDS": "2"}
            assert in_child(lambda: self.listener_of(listener.fileno(), announced)) == str(address_of(listener))

    @pytest.mark.parametrize(
        "announced",
        [
            {},
            {"LISTEN_FDS": "1"},
            {"LISTEN_PID": "PID"},
            {"LISTEN_PID": "PID", "LISTEN_FDS": "0"},
            {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
            {"LISTEN_PID": "", "LISTEN_FDS": "1"},
            {"LISTEN_PID": "PIDx", "LISTEN_FDS": "1"},
        ],
    )
    def test_is_none_unless_announced_to_this_process(self, in_child, announced):
        with bind(LOOPBACK) as listener:
            assert in_child(lambda: self.listener_of(listener.fileno(), announced)) is None

    def test_is_none_when_the_descriptor_is_closed(self, in_child):
        assert in_child(lambda: self.listener_of(None, {"LISTEN_PID": "PID", "LISTEN_FDS": "1"})) is None

    def test_is_none_when_the_descriptor_is_no_socket(self, in_child):
        reading, writing = os.pipe()
        try:
            assert in_child(lambda: self.listener_of(reading, {"LISTEN_PID": "PID", "LISTEN_FDS": "1"})) is None
        finally:
            os.close(reading)
            os.close(writing)
