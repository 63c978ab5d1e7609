"""Values as people, JSON and Kubernetes write them; errors say what is accepted."""

import pytest

from drum_supervisor.config import parsers


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "True", "t", "yes", "Y", "on", " true "])
def test_switch_is_on(value):
    assert parsers.boolean(value) is True


@pytest.mark.parametrize("value", ["0", "false", "False", "F", "no", "n", "OFF", " 0\n"])
def test_switch_is_off(value):
    assert parsers.boolean(value) is False


@pytest.mark.parametrize("value", ["", "2", "enabled", "truee", "none", "-1"])
def test_switch_refuses_other_text(value):
    with pytest.raises(ValueError, match="write one of 1, true, t, yes, y, on or one of 0, false"):
        parsers.boolean(value)


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("199", 199), (" 7 ", 7), ("2.0", 2), ("007", 7), ("1.0 ", 1)])
def test_integer_is_parsed(value, number):
    assert parsers.integer(1, 199)(value) == number


@pytest.mark.parametrize(
    "value",
    ["", "0", "200", "-1", "1.5", "1e2", "2.00", "1_0", "+1", "two", "0x10", "²", "٣", "9" * 5000, "--1", "1.0.0"],
)
def test_integer_refuses_other_text(value):
    with pytest.raises(ValueError, match="give a whole number from 1 to 199"):
        parsers.integer(1, 199)(value)


@pytest.mark.parametrize(("value", "lowest"), [("-5", -5), ("-5.0", -5), ("-0", -5)])
def test_integer_may_be_negative(value, lowest):
    assert parsers.integer(lowest, 0)(value) == int(float(value))


@pytest.mark.parametrize("value", ["200", "503", "599", "503.0"])
def test_status_is_parsed(value):
    assert parsers.status_with_body(value) == int(float(value))


@pytest.mark.parametrize("value", ["204", "205", "304"])
def test_status_without_body_is_refused(value):
    with pytest.raises(ValueError, match="give a status that has a body"):
        parsers.status_with_body(value)


@pytest.mark.parametrize("value", ["199", "600", "0", "ok"])
def test_status_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="from 200 to 599"):
        parsers.status_with_body(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", 0.0), ("30", 30.0), ("0.5", 0.5), (" 5 ", 5.0), ("1e3", 1000.0), ("1e9", 1e9), (".25", 0.25)],
)
def test_seconds_are_parsed(value, number):
    assert parsers.seconds(value) == number


@pytest.mark.parametrize("value", ["", "-1", "-0.001", "nan", "inf", "-inf", "1e10", "5s", "1:30", "ten"])
def test_seconds_refuse_other_text(value):
    with pytest.raises(ValueError, match=r"give seconds, like 30 or 0\.5"):
        parsers.seconds(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1048576", 1048576),
        ("512K", 512 * 1024),
        ("512k", 512 * 1024),
        ("100M", 100 * 1024**2),
        ("100 MB", 100 * 1024**2),
        ("2GiB", 2 * 1024**3),
        ("1.5G", 3 * 1024**3 // 2),
        ("5000G", 5000 * 1024**3),
        ("10b", 10),
        (" 1M ", 1024**2),
    ],
)
def test_size_is_parsed(value, number):
    assert parsers.byte_size(value) == number


@pytest.mark.parametrize("value", ["1G", "5000G", "1.000001G", "0.000001G", "999999999999G"])
def test_size_survives_as_a_number_of_bytes(value):
    # a child process gets it as a plain number
    number = parsers.byte_size(value)
    assert parsers.byte_size(str(number)) == number


@pytest.mark.parametrize("value", ["", "M", "-1M", "1T", "1e6", "1,5M", "1.M", ".5M", "1 M B", "nan", "²", "1\u212a"])
def test_size_refuses_other_text(value):
    with pytest.raises(ValueError, match="give a size like 100M, 512K or 2G"):
        parsers.byte_size(value)


@pytest.mark.parametrize(("value", "chosen"), [("flask", "flask"), (" Flask ", "flask"), ("UVICORN", "fastapi")])
def test_choice_takes_any_case_and_aliases(value, chosen):
    assert parsers.choice("flask", "fastapi", uvicorn="fastapi")(value) == chosen


@pytest.mark.parametrize("value", ["", "flas", "flask,fastapi", "django"])
def test_unknown_choice_lists_the_choices(value):
    with pytest.raises(ValueError, match="choose from flask, fastapi, uvicorn"):
        parsers.choice("flask", "fastapi", uvicorn="fastapi")(value)


@pytest.mark.parametrize(
    ("value", "labels"), [("a b", ("a", "b")), ("", ()), (" \t\n", ()), (" --x  é\n5 ", ("--x", "é", "5"))]
)
def test_words_split_on_white_space(value, labels):
    assert parsers.words(value) == labels


@pytest.mark.parametrize("value", ["/", "/ping", "/health?full=1", "/a%20b", "/v1/models/a:predict"])
def test_path_is_unchanged(value):
    assert parsers.url_path(value) == value


@pytest.mark.parametrize(
    "value", ["", "ping", "http://host/ping", "/a b", "/a\r\nX: y", "/päng", "/a\0", " /ping", "/ping\t"]
)
def test_path_unfit_for_a_request_line_is_refused(value):
    with pytest.raises(ValueError, match="give a path like /ping"):
        parsers.url_path(value)


@pytest.mark.parametrize(
    ("value", "prefix"),
    [("", ""), ("/", ""), ("//", ""), ("v1", "/v1"), ("/v1", "/v1"), ("/v1/", "/v1"), ("a/b", "/a/b")],
)
def test_prefix_starts_with_a_slash_and_ends_without(value, prefix):
    assert parsers.url_prefix(value) == prefix


@pytest.mark.parametrize("value", ["a b", "/a?b", "/a#b", "/a%20b", "/{model}", "<a>", "/a\n"])
def test_prefix_with_special_characters_is_refused(value):
    with pytest.raises(ValueError, match="give a plain path like /v1/models/a"):
        parsers.url_prefix(value)


def test_text_is_unchanged():
    assert parsers.text(" a\n") == " a\n"
