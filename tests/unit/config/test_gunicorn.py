"""DRUM's runtime parameters for gunicorn: sources and errors."""

import json
from dataclasses import fields

import pytest

from drum_supervisor.config.gunicorn import DECLARATIONS, SHARED_SETTINGS, GunicornParameters, read_parameters
from drum_supervisor.config.parsers import RUNTIME_PARAMETER_PREFIX
from drum_supervisor.contract.exits import ExitCode, UsageError

RANGES = {
    "CUSTOM_MODEL_WORKERS": (1, 199),
    "DRUM_WEBSERVER_BACKLOG": (1, 10000),
    "DRUM_CLIENT_REQUEST_TIMEOUT": (0, 3600),
    "DRUM_GUNICORN_MAX_REQUESTS": (0, 10000),
    "DRUM_GUNICORN_MAX_REQUESTS_JITTER": (0, 10000),
    "DRUM_GUNICORN_GRACEFUL_TIMEOUT": (1, 3600),
    "DRUM_GUNICORN_KEEP_ALIVE": (0, 3600),
}
CHOICES = {
    "DRUM_GUNICORN_WORKER_CLASS": ("sync", "gevent"),
    "DRUM_GUNICORN_LOG_LEVEL": ("debug", "info", "warning", "error", "critical"),
}
BY_NAME = {declared.name: declared for declared in DECLARATIONS.values()}
EDGES = [(name, number) for name, edges in RANGES.items() for number in edges]
CHOSEN = [(name, choice) for name, choices in CHOICES.items() for choice in choices]
OUTSIDE = [(name, number) for name, (lowest, highest) in RANGES.items() for number in (lowest - 1, highest + 1)]


def value(name: str, environ: dict[str, str]) -> object:
    return getattr(read_parameters(environ), BY_NAME[name].field)


def parameter(name: str, payload: object, kind: str = "numeric") -> dict[str, str]:
    return {RUNTIME_PARAMETER_PREFIX + name: json.dumps({"type": kind, "payload": payload})}


class TestDeclarations:
    def test_match_those_of_drum(self):
        assert set(BY_NAME) == set(RANGES) | set(CHOICES)

    def test_each_field_has_one(self):
        assert list(DECLARATIONS) == [each.name for each in fields(GunicornParameters)]

    @pytest.mark.parametrize("declared", DECLARATIONS.values(), ids=lambda declared: declared.name)
    def test_have_help_and_a_range(self, declared):
        assert declared.help.endswith(".")
        assert declared.accepted

    def test_defaults(self):
        nothing = read_parameters({})
        assert nothing == GunicornParameters()
        assert (nothing.workers, nothing.backlog, nothing.timeout) == (1, 2048, 0)
        assert (nothing.max_requests, nothing.max_requests_jitter, nothing.worker_class) == (0, 0, "sync")
        assert (nothing.graceful_timeout, nothing.keep_alive, nothing.log_level) == (None, None, None)


class TestSources:
    @pytest.mark.parametrize(("name", "number"), EDGES)
    def test_range_is_inclusive(self, name, number):
        assert value(name, {name: str(number)}) == number
        assert value(name, {RUNTIME_PARAMETER_PREFIX + name: str(number)}) == number
        assert value(name, parameter(name, number)) == number
        assert value(name, parameter(name, float(number))) == number
        assert value(name, parameter(name, str(number), "string")) == number

    @pytest.mark.parametrize(("name", "choice"), CHOSEN)
    def test_choices_are_accepted(self, name, choice):
        assert value(name, {name: choice.upper()}) == choice
        assert value(name, {RUNTIME_PARAMETER_PREFIX + name: choice}) == choice
        assert value(name, parameter(name, choice, "string")) == choice

    @pytest.mark.parametrize("empty", ["", "  ", '{"type": "numeric", "payload": null}'])
    @pytest.mark.parametrize("name", BY_NAME)
    def test_empty_is_unset(self, name, empty):
        assert read_parameters({RUNTIME_PARAMETER_PREFIX + name: empty, name: ""}) == GunicornParameters()

    def test_runtime_parameter_wins(self):
        environ = {**parameter("CUSTOM_MODEL_WORKERS", 2), "CUSTOM_MODEL_WORKERS": "3", "MAX_WORKERS": "4"}
        assert read_parameters(environ).workers == 2
        assert read_parameters({"CUSTOM_MODEL_WORKERS": "3", "MAX_WORKERS": "4"}).workers == 3
        assert read_parameters({**parameter("CUSTOM_MODEL_WORKERS", None), "MAX_WORKERS": "4"}).workers == 4

    def test_other_variables_are_ignored(self):
        assert read_parameters({"WEB_CONCURRENCY": "7", "DRUM_GUNICORN_THREADS": "x"}) == GunicornParameters()


class TestBadValues:
    @pytest.mark.parametrize(("name", "number"), OUTSIDE)
    def test_out_of_range_is_refused(self, name, number):
        lowest, highest = RANGES[name]
        for environ in ({name: str(number)}, parameter(name, number)):
            with pytest.raises(UsageError) as refused:
                read_parameters(environ)
            accepted = f"give a whole number from {lowest} to {highest}."
            assert str(refused.value) == f"${next(iter(environ))}: '{number}' is not accepted: {accepted}"
            assert refused.value.exit_code == ExitCode.USAGE

    @pytest.mark.parametrize("name", RANGES)
    @pytest.mark.parametrize("payload", [2.5, "many", True, [2], {"a": 2}, "1e1000", "9" * 30])
    def test_non_number_is_refused(self, name, payload):
        with pytest.raises(UsageError, match=rf"\${RUNTIME_PARAMETER_PREFIX}{name}: .*whole number"):
            read_parameters(parameter(name, payload))

    @pytest.mark.parametrize("name", CHOICES)
    @pytest.mark.parametrize("payload", ["gthread", "loud", 1, False])
    def test_unknown_choice_is_refused(self, name, payload):
        choices = ", ".join(CHOICES[name])
        with pytest.raises(UsageError, match=rf"\${RUNTIME_PARAMETER_PREFIX}{name}: .*choose from {choices}"):
            read_parameters(parameter(name, payload, "string"))

    @pytest.mark.parametrize("text", ['{"type": "numeric"}', '{"payload": 2', "[2]", "null", "{}", '"2"', "\x00"])
    def test_error_quotes_the_raw_text(self, text):
        with pytest.raises(UsageError) as refused:
            read_parameters({RUNTIME_PARAMETER_PREFIX + "CUSTOM_MODEL_WORKERS": text})
        assert repr(text) in str(refused.value)


def test_ignored_fields_are_not_read():
    environ = {"MAX_WORKERS": "no", "DRUM_WEBSERVER_BACKLOG": "0", "DRUM_GUNICORN_MAX_REQUESTS": "5"}
    assert read_parameters(environ, ignored=SHARED_SETTINGS) == GunicornParameters(max_requests=5)
