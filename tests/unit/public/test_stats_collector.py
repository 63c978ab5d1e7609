import asyncio
import contextvars
import json
import threading
import tracemalloc

import pytest

from drum_supervisor.stats_collector import StatsCollector, Taken
from tests.support import TIMEOUT

NOTHING = {"min": None, "max": None, "avg": None, "total": None}

moment: contextvars.ContextVar[float] = contextvars.ContextVar("moment", default=0.0)


@pytest.fixture
def stats():
    collector = StatsCollector(now=moment.get)
    collector.register_report("run_predictor_total", "start", "finish")
    return collector


def mark(stats, name, at):
    moment.set(at)
    stats.mark(name)


def measure(stats, seconds, at=0.0):
    mark(stats, "start", at)
    mark(stats, "finish", at + seconds)


def report(stats, name="run_predictor_total"):
    return stats.dict_report(name)


def test_report_covers_all_requests(stats):
    for seconds in (2.0, 1.0, 6.0):
        measure(stats, seconds)
    assert report(stats) == {"min": 1.0, "max": 6.0, "avg": 3.0, "total": 9.0}


def test_report_without_requests_is_null(stats):
    assert report(stats) == NOTHING
    assert json.loads(json.dumps(report(stats), allow_nan=False)) == NOTHING


def test_reset_keeps_the_reports_registered(stats):
    measure(stats, 1.0)
    stats.mark_failed()
    stats.stats_reset()
    assert report(stats) == NOTHING
    assert stats.failed == 0
    measure(stats, 2.0)
    assert report(stats)["total"] == 2.0


def test_reset_keeps_the_marks_of_the_current_request(stats):
    mark(stats, "start", 1.0)
    stats.stats_reset()
    mark(stats, "finish", 3.0)
    assert report(stats)["total"] == 2.0


def test_round_before_reading_changes_no_report(stats):
    measure(stats, 2.0)
    stats.round()
    assert report(stats)["total"] == 2.0


def test_round_forgets_the_marks_of_an_abandoned_request(stats):
    mark(stats, "start", 1.0)
    stats.round()
    mark(stats, "finish", 9.0)
    assert report(stats) == NOTHING


def test_take_resets(stats):
    measure(stats, 2.0)
    stats.mark_failed()
    taken = stats.take()
    assert taken.reports == {"run_predictor_total": {"min": 2.0, "max": 2.0, "avg": 2.0, "total": 2.0}}
    assert taken.failed == 1
    assert stats.take() == Taken({"run_predictor_total": NOTHING}, failed=0)


def test_take_loses_no_failure():
    stats = StatsCollector()

    def serve():
        for _ in range(500):
            stats.mark_failed()

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        taken += stats.take().failed
    assert taken + stats.take().failed == 4000


def test_several_reports_share_marks(stats):
    stats.register_report("read", "start", "read")
    stats.register_report("predict", "read", "finish")
    for name, at in (("start", 0.0), ("read", 1.0), ("finish", 5.0)):
        mark(stats, name, at)
    assert stats.get_report_names() == ["run_predictor_total", "read", "predict"]
    assert [report(stats, name)["total"] for name in stats.get_report_names()] == [5.0, 1.0, 4.0]


def test_unknown_report_is_a_key_error(stats):
    with pytest.raises(KeyError, match="unheard of"):
        stats.dict_report("unheard of")


def test_end_mark_alone_measures_nothing(stats):
    mark(stats, "finish", 5.0)
    assert report(stats) == NOTHING


def test_later_start_mark_counts(stats):
    mark(stats, "start", 1.0)
    measure(stats, 2.0, at=5.0)
    assert report(stats)["total"] == 2.0


def test_disabled_measures_nothing(stats):
    stats.disable()
    measure(stats, 2.0)
    stats.mark_failed()
    assert report(stats) == NOTHING
    assert stats.failed == 0
    stats.enable()
    measure(stats, 3.0)
    assert report(stats)["total"] == 3.0


def test_enabling_again_forgets_earlier_marks(stats):
    mark(stats, "start", 1.0)
    stats.disable()
    stats.enable()
    mark(stats, "finish", 9.0)
    assert report(stats) == NOTHING


def test_enabling_twice_changes_nothing(stats):
    mark(stats, "start", 1.0)
    stats.enable()
    mark(stats, "finish", 3.0)
    assert report(stats)["total"] == 2.0


def test_failed_requests_are_in_no_report(stats):
    measure(stats, 1.0)
    mark(stats, "start", 10.0)
    stats.mark_failed()
    mark(stats, "finish", 99.0)
    assert stats.failed == 1
    assert report(stats) == {"min": 1.0, "max": 1.0, "avg": 1.0, "total": 1.0}


def test_threads_have_separate_requests(stats):
    both_began, first_ended = threading.Barrier(2), threading.Event()

    def slow():
        mark(stats, "start", 0.0)
        both_began.wait(TIMEOUT)
        mark(stats, "finish", 3.0)
        first_ended.set()

    def quick():
        mark(stats, "start", 10.0)
        both_began.wait(TIMEOUT)
        assert first_ended.wait(TIMEOUT)
        mark(stats, "finish", 11.0)

    threads = [threading.Thread(target=target) for target in (slow, quick)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert report(stats) == {"min": 1.0, "max": 3.0, "avg": 2.0, "total": 4.0}


def test_tasks_have_separate_requests(stats):
    async def request(began, mine, other):
        mark(stats, "start", began)
        mine.set()
        await other.wait()
        mark(stats, "finish", began + 1.0)

    async def serve():
        one, two = asyncio.Event(), asyncio.Event()
        await asyncio.gather(request(0.0, one, two), request(50.0, two, one))

    mark(stats, "start", -1000.0)  # of the context that all tasks inherit
    asyncio.run(serve())
    assert report(stats) == {"min": 1.0, "max": 1.0, "avg": 1.0, "total": 2.0}


def test_thread_of_a_task_sees_its_marks(stats):
    async def serve():
        mark(stats, "start", 1.0)
        await asyncio.to_thread(mark, stats, "finish", 3.0)

    asyncio.run(serve())
    assert report(stats)["total"] == 2.0


def test_no_measurement_is_lost_under_threads():
    stats = StatsCollector()
    stats.register_report("r", "start", "finish")

    def serve():
        for _ in range(500):
            stats.mark("start")
            stats.mark("finish")
            stats.mark_failed()

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert stats.failed == 4000
    assert report(stats, "r")["total"] is not None


def test_memory_is_constant(stats):
    def serve(count):
        for number in range(count):
            measure(stats, 1.0)
            stats.mark(f"some other mark {number}")

    serve(100)
    tracemalloc.start()
    try:
        serve(100)
        before, _ = tracemalloc.get_traced_memory()
        serve(5000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
