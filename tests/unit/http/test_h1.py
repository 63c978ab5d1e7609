import pytest

from drum_supervisor.http import h1
from drum_supervisor.http.h1 import BadBodyError, BadRequestError, ChunkedBody, LengthBody, find_head_end, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("received", "end"),
    [
        (b"", None),
        (b"GET / HTTP/1.1\r\n", None),
        (b"GET / HTTP/1.1\r\n\r\n", 18),
        (b"GET / HTTP/1.1\r\n\r\nbody", 18),
        (b"GET / HTTP/1.1\n\nbody", 16),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", 20),
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_end_of_head_is_found_in_any_pieces(received, end, piece):
    buffer, searched = bytearray(), 0
    for start in range(0, len(received) or 1, piece):
        buffer += received[start : start + piece]
        found = find_head_end(buffer, searched)
        if found is not None:
            break
        searched = len(buffer)
    assert found == end


def test_head_without_end_is_too_large():
    with pytest.raises(BadRequestError) as raised:
        find_head_end(bytearray(h1.MAX_HEAD + 1), 0)
    assert raised.value.status == 431


def test_head_is_read():
    read = parse_head(head("POST /x?y HTTP/1.1", "Host: a", "CONTENT-length:  10 ", "Expect: 100-Continue"))
    assert (read.method, read.target, read.version, read.length) == ("POST", "/x?y", "HTTP/1.1", 10)
    assert read.headers == {"host": "a", "content-length": "10", "expect": "100-Continue"}
    assert read.expects_continue


def test_http_1_0_expects_no_continue():
    assert not parse_head(head("POST / HTTP/1.0", "Expect: 100-continue")).expects_continue


def test_empty_line_before_a_request_is_skipped():
    assert parse_head(b"\r\n" + head("GET / HTTP/1.1")).method == "GET"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /"], 400),
        (["GET  / HTTP/1.1"], 400),
        (["G(T / HTTP/1.1"], 400),
        (["GET /a b HTTP/1.1"], 400),
        (["GET /\xfc HTTP/1.1"], 400),
        (["GET / HTTP/11"], 400),
        (["GET / HTTP/2.0"], 505),
        ([f"GET /{'x' * h1.MAX_TARGET} HTTP/1.1"], 414),
        (["GET / HTTP/1.1", "no colon"], 400),
        (["GET / HTTP/1.1", "space : x"], 400),
        (["GET / HTTP/1.1", "a: b", " folded"], 400),
        (["GET / HTTP/1.1", "a: nul\0"], 400),
        (["GET / HTTP/1.1", "a: return\rx"], 400),
        (["GET / HTTP/1.1", *(f"x-{n}: y" for n in range(h1.MAX_HEADERS + 1))], 431),
        (["GET / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"], 400),
        (["GET / HTTP/1.1", "Content-Length: 1,1"], 400),
        (["GET / HTTP/1.1", "Content-Length: -1"], 400),
        (["GET / HTTP/1.1", "Content-Length: +1"], 400),
        (["GET / HTTP/1.1", "Content-Length:"], 400),
        (["GET / HTTP/1.1", f"Content-Length: {'9' * 30}"], 400),
        (["GET / HTTP/1.1", "Transfer-Encoding: gzip, chunked"], 501),
        (["GET / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 501),
    ],
)
def test_bad_head_is_refused(lines, status):
    with pytest.raises(BadRequestError) as raised:
        parse_head(head(*lines))
    assert raised.value.status == status


def test_chunks_win_over_a_length():
    assert parse_head(head("POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: Chunked")).length is None


def test_body_of_known_length_ends_there():
    body = LengthBody(5)
    assert b"".join(body.feed(b"012")) == b"012"
    assert not body.done
    assert b"".join(body.feed(b"34 and more")) == b"34"
    assert body.done


CHUNKS = b"4\r\n0123\r\n00A;name=value\r\n456789abcd\r\n0\r\nTrailer: x\r\n\r\nmore"


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (["GET / HTTP/1.1"], True),
        (["GET / HTTP/1.1", "Connection: keep-alive"], True),
        (["POST / HTTP/1.1", "Content-Length: 5"], True),
        (["POST / HTTP/1.1", "Transfer-Encoding: chunked"], True),
        (["GET / HTTP/1.0"], False),
        (["GET / HTTP/1.1", "Connection: close"], False),
        (["GET / HTTP/1.1", "Connection: Upgrade , CLOSE"], False),
        (["POST / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"], False),
        (["POST / HTTP/1.1", "a: b\nTransfer-Encoding: chunked"], False),
    ],
)
def test_another_request_may_follow(lines, keeps):
    assert parse_head(head(*lines)).keeps_alive is keeps


@pytest.mark.parametrize("piece", [1, 2, 5, 1000])
def test_chunks_are_joined_however_they_arrive(piece):
    body, joined = ChunkedBody(), b""
    for start in range(0, len(CHUNKS), piece):
        assert not body.done or start >= len(CHUNKS) - len(b"more")
        joined += b"".join(body.feed(CHUNKS[start : start + piece]))
    assert joined == b"0123456789abcd"
    assert body.done


def test_bytes_after_the_chunks_are_surplus():
    body = ChunkedBody()
    list(body.feed(CHUNKS))
    assert body.surplus == b"more"


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b"4 4\r\n",
        b"1\r\nab\r\n",
        b"f" * 16 + b"\r\n",
        b"1;" + b"x" * h1.MAX_CHUNK_LINE,
        b"0\r\n" + b"a: b\r\n" * h1.MAX_TRAILERS,
        b"4\n",
        b"4;a\n",
        b"4\r\n0123\n",
        b"0\r\n\n",
    ],
)
def test_malformed_chunks_raise(data):
    with pytest.raises(BadBodyError):
        list(ChunkedBody().feed(data))
