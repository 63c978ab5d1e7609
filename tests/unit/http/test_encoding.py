import socket
import threading

import pytest

from drum_supervisor.http.deadlines import Deadlines
from drum_supervisor.http.encoding import has_body, merge_headers, response_headers, split_target, wait_for_close
from drum_supervisor.http.messages import CLOSE, Response


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("", "/", ""),
        ("*", "*", ""),
        ("//x//", "//x//", ""),
        ("/a%2Fb%25", "/a/b%", ""),
        ("/%c3%bc?%c3%bc", "/ü", "%c3%bc"),
        ("/%C3", "/\N{REPLACEMENT CHARACTER}", ""),
        ("/%1", "/%1", ""),
        ("/x?a?b", "/x", "a?b"),
        ("?a", "/", "a"),
        ("/x#y?z", "/x", ""),
        ("http://host/x?y", "/x", "y"),
        ("http://host", "/", ""),
        ("http://host?x", "/", "x"),
        ("/http://host/x", "/http://host/x", ""),
        ("/x?http://host/", "/x", "http://host/"),
    ],
)
def test_target_is_split(target, path, query):
    assert split_target(target) == (path, query)


def test_headers_are_merged():
    pairs = [("Accept", "a"), ("ACCEPT", "b"), ("content-Type", "a"), ("Content-type", "b"), ("X_A", "c"), ("E", "")]
    assert merge_headers(pairs) == {"accept": "a,b", "content-type": "b", "e": ""}


@pytest.mark.parametrize(
    ("headers", "announced"),
    [
        ({}, False),
        ({"content-length": "0"}, False),
        ({"content-length": "1"}, True),
        ({"transfer-encoding": "chunked"}, True),
    ],
)
def test_body_is_announced(headers, announced):
    assert has_body(headers) is announced


def test_headers_of_a_response_describe_its_body():
    headers = response_headers(Response(200, b"abc", "text/plain", CLOSE))
    assert headers == [("Content-Type", "text/plain"), ("Content-Length", "3"), ("Connection", "close")]


@pytest.mark.parametrize("status", [204, 304])
def test_response_without_content_has_only_its_own_headers(status):
    assert response_headers(Response(status, b"", "text/plain", CLOSE)) == list(CLOSE)


def test_wait_for_close():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"unread" * 1000)
        waiting = threading.Thread(target=wait_for_close, args=(ours, 10.0))
        waiting.start()
        assert theirs.recv(10) == b""
        theirs.close()
        waiting.join(5)
        assert not waiting.is_alive()


def test_wait_for_close_has_a_time_limit():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wait_for_close(ours, 0.01)


def test_missed_deadline_calls():
    deadlines, called = Deadlines(), threading.Event()
    with deadlines.after(1000, lambda: None), deadlines.after(0.01, called.set):
        assert called.wait(5)


def test_block_in_time_does_not_call():
    deadlines, called, later = Deadlines(), threading.Event(), threading.Event()
    with deadlines.after(0.05, called.set):
        pass
    with deadlines.after(0.1, later.set):
        assert later.wait(5)
    assert not called.is_set()
