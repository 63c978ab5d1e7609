import json
import os
import random
import string

import pytest

from drum_supervisor.contract.exits import AddressError, UsageError
from drum_supervisor.contract.report_pipe import (
    MAX_LINE,
    REPORT_FD_VARIABLE,
    InitFailedMessage,
    InvalidMessageError,
    ReadyMessage,
    Reporter,
    StageMessage,
    decode,
    encode,
    init_failed,
)

EMOJI = "\N{FIRE}"


@pytest.mark.parametrize(
    "message",
    [
        ReadyMessage(),
        StageMessage("load_model"),
        StageMessage(""),
        InitFailedMessage("load_model", "ValueError", "bad weights"),
        InitFailedMessage("", "", "", ""),
        InitFailedMessage("load_model", "", "no code directory", permanent=True),
        InitFailedMessage("init", "KeyError", 'quotes " \\ and\nlines\r\n\t\0', "Traceback ...\n"),
        InitFailedMessage("étape", "Ошибка", f"{EMOJI} 失败", EMOJI),
    ],
)
def test_message_round_trips(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == message


@pytest.mark.parametrize("character", ["a", "\n", "é", EMOJI], ids=["ascii", "newline", "accent", "emoji"])
@pytest.mark.parametrize("length", [4000, 40_000, 400_000])
def test_line_never_exceeds_the_limit(character, length):
    text = character * length
    line = encode(InitFailedMessage(text, text, text, text))
    assert len(line) <= MAX_LINE
    assert decode(line[:-1]).message


def test_long_traceback_keeps_its_last_frames():
    frames = "".join(f"  frame {number}\n" for number in range(10_000))
    decoded = decode(encode(InitFailedMessage("init", "ValueError", "bad", frames))[:-1])
    assert decoded.message == "bad"
    assert decoded.traceback.endswith("  frame 9999\n")
    assert len(decoded.traceback) > MAX_LINE // 2


def test_long_message_keeps_its_beginning():
    decoded = decode(encode(InitFailedMessage("init", "ValueError", "the reason, then noise " + EMOJI * 40_000))[:-1])
    assert decoded.message.startswith("the reason, then noise ")
    assert len(decoded.message) > 2000


@pytest.mark.parametrize("length", range(2900, 3250, 7))
def test_shortening_terminates(length):  # it once cut nothing from a traceback as long as the excess, for ever
    assert len(encode(InitFailedMessage("init", "ValueError", EMOJI * 4000, "t" * length))) <= MAX_LINE


def test_random_messages_fit():
    chance = random.Random(20)
    alphabet = string.printable + "éß失败\u2028\ufffd" + EMOJI
    for _ in range(200):
        message, frames = ("".join(chance.choices(alphabet, k=chance.randrange(20_000))) for _ in range(2))
        line = encode(InitFailedMessage("init", "ValueError", message, frames))
        decoded = decode(line[:-1])
        assert len(line) <= MAX_LINE
        assert message.startswith(decoded.message)
        assert frames.endswith(decoded.traceback)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b'{"kind": "ready"', "not JSON"),
        (b'{"kind": "ready"} {"kind": "ready"}', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"\0\0\0\0", "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"[" * 30_000, "not JSON"),
        (b'{"a":' * 6000, "not JSON"),
        (b"null", "not a JSON object"),
        (b'["ready"]', "not a JSON object"),
        (b'"ready"', "not a JSON object"),
        (b"1e9999", "not a JSON object"),
        (b"{}", "unknown kind None"),
        (b'{"kind": null}', "unknown kind None"),
        (b'{"kind": "READY"}', "unknown kind 'READY'"),
        (b'{"kind": ["ready"]}', "unknown kind"),
        (b'{"kind": {"kind": "ready"}}', "unknown kind"),
        (b'{"kind": "' + b"x" * 30_000 + b'"}', "unknown kind"),
        (b" " * (MAX_LINE + 1), "a line of 32769 bytes"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_invalid_line_is_refused_briefly(line, why):
    with pytest.raises(InvalidMessageError, match=why) as caught:
        decode(line)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_does_no_harm(opening):
    closing = {"[": "]"}.get(opening, "}")
    for depth in range(1, 6000, 59):
        line = f'{{"kind": "stage", "stage": {opening * depth}1{closing * depth}}}'.encode()[:MAX_LINE]
        try:
            assert decode(line).name
        except InvalidMessageError:
            assert depth > 100


@pytest.mark.parametrize(
    ("fields", "decoded"),
    [
        ({}, InitFailedMessage("", "", "")),
        ({"message": None, "stage": None}, InitFailedMessage("", "", "")),
        ({"message": 5, "type": 1.5, "stage": True}, InitFailedMessage("true", "1.5", "5")),
        ({"message": {"a": [1]}, "traceback": ["x"]}, InitFailedMessage("", "", '{"a": [1]}', '["x"]')),
        ({"message": "m", "permanent": True}, InitFailedMessage("", "", "m", permanent=True)),
        ({"message": "m", "permanent": "yes"}, InitFailedMessage("", "", "m")),
        ({"message": "m", "unknown": "ignored", "error": {}}, InitFailedMessage("", "", "m")),
    ],
)
def test_wrongly_typed_fields_become_text(fields, decoded):
    assert decode(json.dumps({"kind": "init_failed", **fields}).encode()) == decoded


def test_lone_surrogate_becomes_printable():
    decoded = decode(rb'{"kind": "init_failed", "message": "\ud83d and \udcff"}')
    assert decoded.message == "? and ?"


def test_undecodable_bytes_become_printable():
    path = os.fsdecode(b"/models/\xff.pkl")
    assert decode(encode(InitFailedMessage("init", "OSError", path))[:-1]).message == "/models/?.pkl"


class TestReporter:
    def test_writes_one_line_for_each_message(self):
        reading, writing = os.pipe()
        try:
            reporter = Reporter(writing)
            reporter.send(StageMessage("init"))
            reporter.send(ReadyMessage())
            assert os.read(reading, MAX_LINE) == encode(StageMessage("init")) + encode(ReadyMessage())
        finally:
            os.close(reading)
            os.close(writing)

    def test_finds_the_pipe_and_closes_it_on_exec(self):
        reading, writing = os.pipe()
        try:
            os.set_inheritable(writing, True)
            reporter = Reporter.from_environment({REPORT_FD_VARIABLE: str(writing)})
            assert reporter.is_connected
            assert not os.get_inheritable(writing)
        finally:
            os.close(reading)
            os.close(writing)

    @pytest.mark.parametrize("value", ["", "four", "-1", "4.0", "²", "٣", "99999999999999999999", "1048570"])
    def test_without_a_supervisor_does_nothing(self, value):
        reporter = Reporter.from_environment({REPORT_FD_VARIABLE: value})
        reporter.send(ReadyMessage())
        assert not reporter.is_connected

    def test_without_the_variable_does_nothing(self):
        assert not Reporter.from_environment({}).is_connected

    def test_survives_a_supervisor_that_is_gone(self):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            reporter = Reporter(writing)
            reporter.send(ReadyMessage())
            assert not reporter.is_connected
        finally:
            os.close(writing)


def raised(error: BaseException) -> BaseException:
    """Return `error` with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - SystemExit, too
        return caught


class TestInitFailed:
    def test_exception_has_its_traceback(self):
        decoded = init_failed(raised(ValueError("bad weights")), "load_model")
        assert (decoded.stage, decoded.type, decoded.message) == ("load_model", "ValueError", "bad weights")
        assert decoded.traceback.startswith("Traceback (most recent call last):")
        assert decoded.traceback.endswith("ValueError: bad weights\n")

    def test_traceback_includes_the_cause(self):
        error = RuntimeError("no model")
        error.__cause__ = raised(FileNotFoundError("model.pkl"))
        assert "FileNotFoundError: model.pkl" in init_failed(raised(error), "init").traceback

    @pytest.mark.parametrize(("code", "shown"), [(None, "None"), (3, "3"), ("no license", "'no license'")])
    def test_sys_exit_in_the_model(self, code, shown):
        assert init_failed(raised(SystemExit(code)), "init").message == f"the model called sys.exit({shown})"

    @pytest.mark.parametrize(
        ("error", "permanent"), [(UsageError("no custom.py"), True), (AddressError("in use"), False)]
    )
    def test_user_error_has_no_class_and_traceback(self, error, permanent):
        assert init_failed(raised(error), "import") == InitFailedMessage("import", "", str(error), permanent=permanent)

    def test_exception_without_a_printable_text(self):
        class BrokenError(Exception):
            def __str__(self) -> str:
                raise KeyError("no text")

        decoded = init_failed(raised(BrokenError()), "init")
        assert (decoded.type, decoded.message) == ("BrokenError", "(its text cannot be shown: KeyError)")

    def test_exit_without_a_printable_code(self):
        class Broken:
            def __repr__(self) -> str:
                raise KeyError("no text")

        decoded = init_failed(raised(SystemExit(Broken())), "init")
        assert decoded.message == "the model called sys.exit((its text cannot be shown: KeyError))"

    def test_exception_without_a_printable_traceback(self):
        error = SyntaxError("bad", ("custom.py", 1, "not a number", "x ="))
        decoded = init_failed(raised(error), "importing")
        assert (decoded.type, decoded.message[:3]) == ("SyntaxError", "bad")
        assert decoded.traceback

    def test_exception_with_an_empty_text(self):
        decoded = init_failed(raised(AssertionError()), "init")
        assert (decoded.type, decoded.message) == ("AssertionError", "")
