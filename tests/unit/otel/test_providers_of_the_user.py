import logging
import sys

import pytest

from drum_supervisor.telemetry import Telemetry
from tests.unit.otel.conftest import in_fresh_interpreter, raised, request


class ShutdownOnly:
    """The minimal provider."""

    def __init__(self) -> None:
        self.shutdowns = 0

    def shutdown(self) -> None:
        self.shutdowns += 1


class Empty(ShutdownOnly):
    """Returns None for everything."""

    def get_tracer(self, *_: object) -> None:
        return None

    get_meter = get_logger = get_tracer


class Broken(ShutdownOnly):
    """Returns objects which raise when used."""

    def get_tracer(self, *_: object) -> "Broken":
        return self

    get_meter = get_logger = get_tracer

    def fail(self, *_: object, **__: object) -> None:
        raise ValueError("bad")

    start_span = emit = add = record = fail

    def create_histogram(self, *_: object, **__: object) -> "Broken":
        return self

    create_counter = create_up_down_counter = create_histogram


class BrokenSpan(Broken):
    """Returns spans which raise."""

    def start_span(self, *_: object) -> "BrokenSpan":
        return self

    set_attribute = add_event = set_status = end = Broken.fail


def use(telemetry):
    """Call everything a server calls."""
    observed = telemetry.start_request(request(), {})
    with observed.current():
        pass
    observed.finish(500, raised(ValueError("of the user")))
    telemetry.record_load(1.5)
    telemetry.record_failure(raised(ValueError("of the user")), "load_model")


@pytest.mark.parametrize("given", [ShutdownOnly, Empty, Broken, BrokenSpan])
def test_unusable_provider_is_one_warning(packages, caplog, given):
    providers = [given() for _ in range(3)]
    telemetry = Telemetry(*providers)
    for _ in range(2):
        use(telemetry)
    assert sorted(record.getMessage().partition("\n")[0] for record in caplog.records) == [
        f"OpenTelemetry {signal} failed; further failures are not logged." for signal in ("logs", "metrics", "traces")
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    telemetry.shutdown()
    assert [provider.shutdowns for provider in providers] == [1, 1, 1]


@pytest.mark.parametrize("position", range(3))
def test_unusable_provider_does_not_silence_the_others(providers, collector, position):
    mixed = [ShutdownOnly() if number == position else provider for number, provider in enumerate(providers)]
    telemetry = Telemetry(*mixed)
    telemetry.record_failure(raised(ValueError("bad")), "load_model")
    telemetry.shutdown()
    paths = ["/v1/traces", "/v1/metrics", "/v1/logs"]
    assert [path for path, _, _ in collector.received] == [path for path in paths if path != paths[position]]


def test_broken_span_lets_the_users_error_through(packages):
    observed = Telemetry(trace_provider=BrokenSpan()).start_request(request(), {})
    with pytest.raises(KeyError, match="of the user"), observed.current():
        raise KeyError("of the user")


def test_unprintable_error_is_sent(telemetry, collector, caplog):
    class Unprintable:
        def __repr__(self):
            raise ValueError("no words")

    try:
        sys.exit(Unprintable())
    except SystemExit as error:
        telemetry.record_failure(error, "load_model")
    telemetry.shutdown()
    assert not caplog.records
    (record,) = collector.records()
    assert "its text cannot be shown: ValueError" in record.body.string_value
    assert len(collector.spans()) == 1


def test_users_provider_without_the_extra_is_one_warning():
    result = in_fresh_interpreter(
        "import sys, logging\n"
        "sys.modules['opentelemetry'] = None\n"
        "logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "from drum_supervisor.telemetry import Telemetry\n"
        "class Provider:\n"
        "    def shutdown(self): print('shut down')\n"
        "telemetry = Telemetry(trace_provider=Provider())\n"
        "telemetry.record_failure(ValueError('bad'), 'load_model')\n"
        "telemetry.shutdown()\n"
    )
    assert result.stdout == "shut down\n"
    assert result.stderr.count("WARNING") == 1


def test_object_without_shutdown_is_a_warning(packages, caplog):
    telemetry = Telemetry(object(), object(), object())
    use(telemetry)
    telemetry.shutdown()
    assert len(caplog.records) == 6  # each signal, each shutdown
