"""Addresses as people write them, and the socket that is bound once and handed on."""

import os
import socket
import stat
from pathlib import Path

import pytest

from drum_supervisor.contract.exits import AddressError, UsageError
from drum_supervisor.contract.listener import LISTENER_FD, Address, address_of, bind, inherited, parse_address

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
    def test_good_address_is_read_and_written_the_same(self, text, address):
        assert parse_address(text) == address
        assert str(address) == text

    def test_leading_zero_of_a_port_is_no_mistake(self):
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
    def test_anything_else_is_refused_with_examples(self, text):
        with pytest.raises(UsageError, match="is not HOST:PORT: write for example") as caught:
            parse_address(text)
        assert repr(text) in str(caught.value)

    @pytest.mark.parametrize(
        "text", ["unix:", "unix:model.sock", "unix:./model.sock", "unix:/" + "x" * 107, "unix:/" + "é" * 54]
    )
    def test_path_that_no_socket_can_have_is_refused(self, text):
        with pytest.raises(UsageError, match="an absolute path of at most 107 bytes"):
            parse_address(text)


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
    def test_knows_its_family(self, address, family):
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
    def test_url_is_one_that_a_client_on_this_machine_can_ask(self, text, url):
        assert parse_address(text).url() == url


def connects(address: Address) -> bool:
    """Whether somebody listens on `address`."""
    with socket.socket(address.family, socket.SOCK_STREAM) as client:
        return client.connect_ex(address.path or (address.client_host, address.port)) == 0


class TestBind:
    @pytest.mark.parametrize(
        "text", ["127.0.0.1:0", "0.0.0.0:0", "localhost:0", pytest.param("[::1]:0", marks=needs_ipv6)]
    )
    def test_listens_on_a_port_that_the_kernel_chooses(self, text):
        with bind(parse_address(text)) as listener:
            address = address_of(listener)
            assert address.port > 0
            assert connects(address)

    def test_listens_on_a_unix_socket(self, short_path):
        address = Address(path=str(short_path / "model.sock"))
        with bind(address) as listener:
            assert address_of(listener) == address
            assert connects(address)

    def test_socket_does_not_block_and_is_not_inherited_by_chance(self):
        with bind(LOOPBACK) as listener:
            assert not listener.getblocking()
            assert not listener.get_inheritable()

    def test_connections_send_at_once_whatever_a_server_takes_the_socket_for(self):
        with bind(LOOPBACK) as listener, socket.fromfd(listener.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as taken:
            taken.setblocking(True)
            with socket.create_connection(listener.getsockname()), taken.accept()[0] as accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    def test_port_can_be_bound_again_at_once_after_it_was_used(self):
        with bind(LOOPBACK) as listener:
            address = address_of(listener)
            with socket.create_connection((address.host, address.port)):
                served, _ = listener.accept()
                served.close()  # the server closes first: its side stays in TIME_WAIT
        with bind(address) as again:
            assert address_of(again) == address

    def test_port_in_use_is_an_error_that_names_it(self):
        with bind(LOOPBACK) as listener:
            address = address_of(listener)
            with pytest.raises(AddressError, match=f"Address {address} is in use by another process"):
                bind(address)

    @needs_ipv6
    def test_ipv6_wildcard_leaves_the_port_of_ipv4_alone(self):
        with bind(Address("::", 0)) as six, bind(Address("0.0.0.0", address_of(six).port)) as four:
            assert address_of(six).port == address_of(four).port

    def test_address_of_another_machine_is_an_error(self):
        with pytest.raises(AddressError, match=r"192\.0\.2\.1:0 is not an address of this machine"):
            bind(Address("192.0.2.1", 0))

    @pytest.mark.parametrize("host", ["a..b", ".b", "x" * 64])
    def test_name_that_means_nothing_is_an_error(self, host):
        with pytest.raises(AddressError, match="is not an address of this machine"):
            bind(Address(host, 0))

    def test_directory_that_does_not_exist_is_an_error(self, short_path):
        with pytest.raises(AddressError, match="could not be bound: No such file or directory"):
            bind(Address(path=str(short_path / "gone" / "model.sock")))

    def test_failure_leaves_no_descriptor_open(self):
        with bind(LOOPBACK) as listener:
            before = sorted(os.listdir("/proc/self/fd"))
            for _ in range(3):
                with pytest.raises(AddressError):
                    bind(address_of(listener))
            assert sorted(os.listdir("/proc/self/fd")) == before

    def test_privileged_port_without_the_right_is_an_error_that_names_the_first_free_one(self, as_nobody):
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        if first < 2:
            pytest.skip("every port is free for everybody here")
        with pytest.raises(RuntimeError, match=f"No permission to bind 127.0.0.1:1: ports below {first} need root"):
            as_nobody(lambda: bind(Address("127.0.0.1", 1)).close())

    def test_unix_socket_in_a_directory_of_somebody_else_is_an_error(self, short_path, as_nobody):
        short_path.chmod(0o500)
        with pytest.raises(
            RuntimeError, match=r"No permission to bind unix:.* a unix socket needs a writable directory"
        ):
            as_nobody(lambda: bind(Address(path=str(short_path / "model.sock"))).close())


class TestUnixSocketFile:
    @pytest.fixture
    def path(self, short_path):
        return short_path / "model.sock"

    def test_left_behind_by_a_killed_server_is_replaced(self, path):
        bind(Address(path=str(path))).close()
        assert stat.S_ISSOCK(path.stat().st_mode)
        with bind(Address(path=str(path))):
            assert connects(Address(path=str(path)))

    def test_of_a_living_server_is_left_alone(self, path):
        address = Address(path=str(path))
        with bind(address):
            with pytest.raises(AddressError, match="is in use by another process"):
                bind(address)
            assert connects(address)

    def test_of_a_server_that_is_too_busy_to_accept_is_left_alone(self, path):
        address = Address(path=str(path))
        with bind(address, backlog=0), socket.socket(socket.AF_UNIX) as waiting, socket.socket(socket.AF_UNIX) as more:
            waiting.connect(address.path)
            more.setblocking(False)
            with pytest.raises(BlockingIOError):
                more.connect(address.path)
            with pytest.raises(AddressError, match="is in use by another process"):
                bind(address)

    @pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
    def test_is_never_a_file_of_somebody_else(self, path, make):
        make(path)
        with pytest.raises(AddressError):
            bind(Address(path=str(path)))
        assert path.exists()


class TestInherited:
    """Each in a child of its own: fd 3 of the test runner belongs to others."""

    @staticmethod
    def listener_of(fd: int | None, announced: dict[str, str]) -> str | None:
        """Return the address of the inherited listener; PID stands for our own pid."""
        if fd is None:
            os.close(LISTENER_FD) if os.path.exists(f"/proc/self/fd/{LISTENER_FD}") else None
        elif fd == LISTENER_FD:
            os.set_inheritable(fd, True)
        else:
            os.dup2(fd, LISTENER_FD)
        for name in ("LISTEN_PID", "LISTEN_FDS"):
            os.environ.pop(name, None)
        os.environ.update({name: value.replace("PID", str(os.getpid())) for name, value in announced.items()})
        listener = inherited()
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
    def test_is_none_when_it_is_announced_to_nobody_or_to_another(self, in_child, announced):
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
