"""Telemetry sent to a real collector on the loopback, in OpenTelemetry's own types."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from drum_supervisor.request_state import RequestState
from drum_supervisor.telemetry import Telemetry, setup_otel
from tests.collector import Collector, collecting
from tests.support import TIMEOUT

NOTHING = (None, None, None)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove OpenTelemetry's and proxy settings of the machine."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def no_threads_left():
    """Wait for all threads started by the test."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), thread


@pytest.fixture
def packages():
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@pytest.fixture
def collector(packages: None) -> Iterator[Collector]:
    with collecting() as server:
        yield server


@pytest.fixture
def providers(collector):
    providers = setup_otel(collector.environ)
    assert all(providers)
    yield providers
    for provider in providers:
        provider.shutdown()


@pytest.fixture
def telemetry(providers, clock):
    return Telemetry(*providers, now=clock)


def request(route="/predict", method="POST", **changes):
    return RequestState("id-1", route, method, **{"started": 100.0, **changes})


def values(attributes):
    """Return protobuf attributes as a dictionary."""
    return {entry.key: _value(entry.value) for entry in attributes}


def _value(value):
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found


def raised(error: BaseException) -> BaseException:
    """Return `error` with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def in_fresh_interpreter(program):
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result
