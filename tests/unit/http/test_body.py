"""Bodies of requests: kept as far as they are needed, in memory or in a file."""

import errno
import os
import resource
import signal

import pytest

from drum_supervisor.http.body import BodyKeeper
from drum_supervisor.http.messages import Request


def request_of(keeper: BodyKeeper, broken: str = "") -> Request:
    return keeper.request("POST", "/x", "a=b", {"accept": "*/*"}, broken)


def filled(limit: int, *pieces: bytes, in_memory: int = 1000) -> BodyKeeper:
    keeper = BodyKeeper(limit, in_memory)
    for piece in pieces:
        keeper.add(piece)
    return keeper


def test_body_is_kept_up_to_its_limit():
    keeper = filled(4, b"01", b"23")
    request = request_of(keeper)
    assert (request.content(), request.body_too_large) == (b"0123", False)
    assert (request.method, request.path, request.query, request.headers) == ("POST", "/x", "a=b", {"accept": "*/*"})
    keeper.add(b"4")
    keeper.add(b"5")
    request = request_of(keeper)
    assert (request.content(), request.body_too_large, keeper.length) == (b"", True, 6)


def test_body_that_nobody_wants_is_not_too_large():
    keeper = filled(0, b"0123")
    assert (request_of(keeper).content(), keeper.too_large, keeper.length) == (b"", False, 4)


def test_broken_body_is_not_given():
    request = request_of(filled(10, b"0123"), "the client is gone")
    assert (request.content(), request.body_broken) == (b"", "the client is gone")


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1] * 9, [0, 9, 0], [8, 1]])
def test_long_body_is_kept_in_a_file_without_a_name(sizes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = bytes(range(9))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    with filled(100, *pieces, in_memory=7) as keeper:
        request = request_of(keeper)
        assert request.file is not None
        assert request.body == b""
        assert request.content() == request.content() == data
        assert list(tmp_path.iterdir()) == []
    assert request.file.closed


def test_body_that_becomes_too_large_in_its_file_gives_it_back():
    keeper = filled(10, b"0123456789", in_memory=5)
    file = request_of(keeper).file
    keeper.add(b"x")
    assert file is not None
    assert file.closed
    assert keeper.too_large


def test_only_what_goes_to_the_disk_needs_it():
    keeper = filled(10, b"0123", in_memory=5)
    assert [keeper.needs_disk(bytes(size)) for size in (0, 1, 2, 6, 7)] == [False, False, True, True, False]
    assert not filled(0, b"0123", in_memory=5).needs_disk(b"0123456")


def test_full_disk_is_a_problem_of_this_body_alone(in_child):
    def on_a_full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        keeper = filled(10**6, bytes(3000), bytes(3000), bytes(3000))
        request = request_of(keeper)
        return [request.body_unkept, len(request.content()), request.file is None]

    assert in_child(on_a_full_disk) == [f"there is no room for it ({os.strerror(errno.EFBIG)})", 0, True]


def test_no_temporary_directory_is_a_problem_of_this_body_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    request = request_of(filled(100, b"0123", in_memory=3))
    assert request.body_unkept == f"there is no room for it ({os.strerror(errno.ENOENT)})"
