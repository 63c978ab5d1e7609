import pytest

from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.contract.phase import Phase
from drum_supervisor.metrics.source import CACHE_SECONDS, MetricsSource
from tests.unit.metric_snapshots import report


class FakeSupervisor:
    def __init__(self):
        self.now, self.requests, self.fails = 100.0, 0, False
        self.source = MetricsSource(self.fetch, lambda pids: [], lambda: self.now)

    def fetch(self, kind, max_age):
        self.requests += 1
        if self.fails:
            raise ControlError("It is busy.")
        return report()


@pytest.fixture
def supervisor():
    return FakeSupervisor()


def test_simultaneous_scrapes_cost_one_request(supervisor):
    assert supervisor.source.snapshot() is supervisor.source.snapshot()
    assert supervisor.requests == 1


def test_snapshot_expires(supervisor):
    first = supervisor.source.snapshot()
    supervisor.now += CACHE_SECONDS
    assert supervisor.source.snapshot() is not first
    assert supervisor.requests == 2


def test_failure_is_cached_as_long(supervisor):
    supervisor.fails = True
    for _ in range(3):
        with pytest.raises(ControlError, match=r"^It is busy\.$"):
            supervisor.source.snapshot()
    assert supervisor.requests == 1
    supervisor.now += CACHE_SECONDS
    supervisor.fails = False
    assert supervisor.source.snapshot().report.service.phase is Phase.SERVING


def test_failure_hides_the_expired_snapshot(supervisor):
    supervisor.source.snapshot()
    supervisor.now += CACHE_SECONDS
    supervisor.fails = True
    with pytest.raises(ControlError):
        supervisor.source.snapshot()
