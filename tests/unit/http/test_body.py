import errno
import os
import resource
import signal

import pytest

from drum_supervisor.http.body import BodySpool
from drum_supervisor.http.messages import Request


def request_of(spool: BodySpool, broken: str = "") -> Request:
    return spool.build_request("POST", "/x", "a=b", {"accept": "*/*"}, broken)


def filled(limit: int, *pieces: bytes, in_memory: int = 1000) -> BodySpool:
    spool = BodySpool(limit, in_memory)
    for piece in pieces:
        spool.add(piece)
    return spool


def test_body_is_kept_up_to_its_limit():
    spool = filled(4, b"01", b"23")
    request = request_of(spool)
    assert (request.content(), request.body_too_large) == (b"0123", False)
    assert (request.method, request.path, request.query, request.headers) == ("POST", "/x", "a=b", {"accept": "*/*"})
    spool.add(b"4")
    spool.add(b"5")
    request = request_of(spool)
    assert (request.content(), request.body_too_large, spool.length) == (b"", True, 6)


def test_unstored_body_is_not_too_large():
    spool = filled(0, b"0123")
    assert (request_of(spool).content(), spool.too_large, spool.length) == (b"", False, 4)


def test_broken_body_is_empty():
    request = request_of(filled(10, b"0123"), "the client is gone")
    assert (request.content(), request.body_broken) == (b"", "the client is gone")


@pytest.mark.parametrize("sizes", [[9], [4, 5], [1] * 9, [0, 9, 0], [8, 1]])
def test_long_body_is_stored_in_an_unnamed_file(sizes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = bytes(range(9))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    with filled(100, *pieces, in_memory=7) as spool:
        request = request_of(spool)
        assert request.file is not None
        assert request.body == b""
        assert request.content() == request.content() == data
        assert list(tmp_path.iterdir()) == []
    assert request.file.closed


def test_too_large_body_closes_its_file():
    spool = filled(10, b"0123456789", in_memory=5)
    file = request_of(spool).file
    spool.add(b"x")
    assert file is not None
    assert file.closed
    assert spool.too_large


def test_needs_disk_only_beyond_the_memory_limit():
    spool = filled(10, b"0123", in_memory=5)
    assert [spool.needs_disk(bytes(size)) for size in (0, 1, 2, 6, 7)] == [False, False, True, True, False]
    assert not filled(0, b"0123", in_memory=5).needs_disk(b"0123456")


def test_full_disk_fails_only_this_body(in_child):
    def on_a_full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        spool = filled(10**6, bytes(3000), bytes(3000), bytes(3000))
        request = request_of(spool)
        return [request.body_not_stored, len(request.content()), request.file is None]

    assert in_child(on_a_full_disk) == [os.strerror(errno.EFBIG), 0, True]


def test_missing_temporary_directory_fails_only_this_body(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    request = request_of(filled(100, b"0123", in_memory=3))
    assert request.body_not_stored == os.strerror(errno.ENOENT)
