"""Lines of the programs, wrapped: whole ones, however they are cut."""

import json

import pytest

from drum_supervisor.contract.log_records import MAX_LINE, STDOUT, LineFormatter, LogSource, as_json, prefixed

SOURCE = LogSource("model-server", STDOUT)


@pytest.mark.parametrize(
    "pieces",
    [[b"one\ntwo\n"], [b"o", b"ne\nt", b"wo\n"], [b"one", b"\n", b"two", b"\n"], [b"one\r\ntwo\r\n"]],
)
def test_each_line_gets_the_name_in_front(pieces):
    wrapper = LineFormatter(SOURCE, prefixed)
    wrapped = b"".join(map(wrapper.wrap, pieces))
    assert wrapped == b"model-server | one\nmodel-server | two\n"
    assert wrapper.rest() == b""


def test_a_line_without_an_end_is_not_lost():
    wrapper = LineFormatter(SOURCE, prefixed)
    assert wrapper.wrap(b"last words") == b""
    assert wrapper.rest() == b"model-server | last words\n"
    assert wrapper.rest() == b""


def test_a_line_without_an_end_does_not_grow_for_ever():
    wrapper = LineFormatter(SOURCE, lambda source, line: line + b"\n")
    assert wrapper.wrap(b"x" * (2 * MAX_LINE + 1)) == (b"x" * MAX_LINE + b"\n") * 2
    assert wrapper.rest() == b"x\n"


def test_a_record_says_when_who_and_what():
    record = json.loads(as_json(SOURCE, b'"\xff\t"', now=lambda: 0.0))
    assert record == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "logger": "model-server",
        "stream": "stdout",
        "message": '"\ufffd\t"',
    }
