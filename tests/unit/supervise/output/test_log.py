"""The supervisor's log lines: one event per line, in the chosen format."""

import json

import pytest
from supervisor import loggers
from supervisor.options import ServerOptions

from drum_supervisor.supervise.output.log import LEVELS, Log

NOW = 1767323045.6789  # 2026-01-02T03:04:05.678Z


@pytest.fixture
def written():
    return []


def log_to(written: list[bytes], level: str = "debug", log_format: str = "text") -> Log:
    return Log(written.append, level, log_format, lambda: NOW)


def test_text_line_has_time_level_logger_and_message(written):
    log_to(written).information("serving on 0.0.0.0:8080")
    assert written == [b"2026-01-02T03:04:05.678Z INFO    drum-supervise: serving on 0.0.0.0:8080\n"]


def test_json_line_has_fields(written):
    log_to(written, log_format="json").warning("model-server (pid 7) exited", pid=7, program="model-server")
    assert json.loads(written[0]) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "logger": "drum-supervise",
        "message": "model-server (pid 7) exited",
        "pid": 7,
        "program": "model-server",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "message", ["a\nb", "a\r\nb\n", "2026 INFO\ndrum-supervise: forged", "\u2028", "é\N{FIRE}", "", "100%"]
)
def test_every_event_is_one_line(written, log_format, message):
    log_to(written, log_format=log_format).line("error", message)
    (line,) = written
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_lone_surrogate_can_be_written(written, log_format):
    log_to(written, log_format=log_format).line("error", "file \udcff")
    assert len(written) == 1


def test_milliseconds_have_three_digits(written):
    Log(written.append, now=lambda: 1767323045.0009).information("x")
    assert written[0].startswith(b"2026-01-02T03:04:05.000Z ")


@pytest.mark.parametrize("least", LEVELS)
def test_lines_below_the_level_are_dropped(written, least):
    log = log_to(written, least)
    for level in LEVELS:
        log.line(level, level)
    assert [line.split()[-1].decode() for line in written] == list(LEVELS)[list(LEVELS).index(least) :]


class TestLinesOfSupervisord:
    def test_are_debug_lines(self, written):
        log = log_to(written)
        log.debug("d")
        log.info("i")
        log.warn("w")  # noqa: G010  (its name for it)
        log.log(loggers.LevelsByName.INFO, "l")
        assert [b" DEBUG " in line for line in written] == [True] * 4

    def test_are_errors_when_supervisord_says_so(self, written):
        log = log_to(written, "error")
        log.error("could not write pidfile")
        log.critical("failed to poll")
        assert [b" ERROR " in line for line in written] == [True] * 2

    def test_of_each_loop_turn_are_dropped(self, written):
        log = log_to(written)
        log.blather("select")
        log.trace("select")
        assert written == []

    def test_about_missing_authentication_are_not_errors(self, written):
        """The control socket has mode 0600 in a directory of mode 0700."""
        log = log_to(written)
        log.critical("Server 'unix_http_server' running without any HTTP authentication checking")
        assert b" DEBUG " in written[0]

    def test_have_their_values_filled_in(self, written):
        log = log_to(written)
        log.info("spawned: '%(name)s' with pid %(pid)d", name="model-server", pid=7)
        log.info("100% of 'a'")
        assert written[0].endswith(b"spawned: 'model-server' with pid 7\n")
        assert written[1].endswith(b"100% of 'a'\n")

    def test_have_the_chosen_format(self, written):
        log_to(written, log_format="json").error("broken")
        assert json.loads(written[0])["by"] == "supervisord"

    def test_cover_all_methods_of_its_logger(self):
        names = {level.lower() for level in ("blat trac debu info warn erro crit".split())}
        wanted = {name for name in vars(loggers.Logger) if name[:4] in names}
        assert wanted
        assert all(callable(getattr(Log, name)) for name in wanted)

    def test_survive_its_handling_of_loggers(self, written):
        options = ServerOptions()
        options.logger = log_to(written)
        options.reopenlogs()
        options.logger.close()
        assert len(written) == 1


def test_exit_line_ignores_the_level():
    lines = []
    Log(lines.append, "error", "text").exit_line(0, "stopped on request")
    Log(lines.append, "error", "json", now=lambda: 0.0).exit_line(3, "initialization failed")
    assert lines[0] == b"drum-supervise: exit 0: stopped on request\n"
    assert json.loads(lines[1]) == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "error",
        "logger": "drum-supervise",
        "message": "initialization failed",
        "exit_code": 3,
    }
