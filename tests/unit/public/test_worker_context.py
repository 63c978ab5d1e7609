import asyncio
import threading

import pytest

from drum_supervisor.worker_context import FastAPIWorkerCtx, WorkerCtx
from tests.support import TIMEOUT


def stop(context):
    result = context.stop()
    if result is not None:
        asyncio.run(result)


def clean_up(context):
    result = context.cleanup()
    if result is not None:
        asyncio.run(result)


@pytest.fixture(params=[WorkerCtx, FastAPIWorkerCtx])
def context(request):
    return request.param("the application")


@pytest.fixture
def called():
    return []


def fails(called, name, error):
    called.append(name)
    raise error


# --- both kinds


def test_keeps_its_app(context):
    assert context.app == "the application"


def test_is_running_between_start_and_stop(context):
    assert not context.running()
    context.start()
    assert context.running()
    stop(context)
    assert not context.running()


def test_running_is_false_during_the_stop(context, called):
    context.defer_stop(lambda: called.append(context.running()))
    context.start()
    stop(context)
    assert called == [False]


def test_stop_calls_ascending_then_first_registered(context, called):
    for name, order in (("c", 5), ("a", -1), ("b1", 0), ("b2", 0)):
        context.defer_stop(lambda name=name: called.append(name), order=order, desc=name)
    stop(context)
    assert called == ["a", "b1", "b2", "c"]


def test_cleanup_calls_descending_then_last_registered(context, called):
    for name, order in (("a", -1), ("b1", 0), ("c", 5), ("b2", 0)):
        context.defer_cleanup(lambda name=name: called.append(name), order=order, desc=name)
    clean_up(context)
    assert called == ["c", "b2", "b1", "a"]


def test_stop_and_cleanup_have_separate_callbacks(context, called):
    context.defer_stop(lambda: called.append("stop"))
    context.defer_cleanup(lambda: called.append("cleanup"))
    stop(context)
    assert called == ["stop"]
    clean_up(context)
    assert called == ["stop", "cleanup"]


def test_each_callback_is_called_once(context, called):
    context.defer_stop(lambda: called.append("stop"))
    context.defer_cleanup(lambda: called.append("cleanup"))
    for _ in range(2):
        stop(context)
        clean_up(context)
    assert called == ["stop", "cleanup"]


def test_stop_and_cleanup_work_without_a_start(context):
    stop(context)
    clean_up(context)


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_failing_callback_is_logged_and_stops_nothing(context, called, error, caplog):
    context.defer_stop(lambda: fails(called, "stop 1", error), desc="the first")
    context.defer_stop(lambda: called.append("stop 2"))
    context.defer_cleanup(lambda: called.append("cleanup 2"))
    context.defer_cleanup(lambda: fails(called, "cleanup 1", error), desc="the last")
    stop(context)
    clean_up(context)
    assert called == ["stop 1", "stop 2", "cleanup 1", "cleanup 2"]
    assert caplog.messages == [
        "the first failed in the stop of the worker, which continues.",
        "the last failed in the cleanup of the worker, which continues.",
    ]
    assert all(record.exc_info and record.exc_info[1] is error for record in caplog.records)
    assert "in fails" in caplog.text


def test_failing_callback_is_named_without_desc(context, caplog):
    def unsubscribe():
        raise ValueError

    context.defer_stop(unsubscribe)
    stop(context)
    assert caplog.messages == [f"{unsubscribe.__qualname__} failed in the stop of the worker, which continues."]


def test_callback_may_register_another(context, called):
    context.defer_stop(lambda: context.defer_stop(lambda: called.append("late")))
    stop(context)
    assert called == ["late"]


def test_cleanup_closes_a_closeable(context, called):
    class Thing:
        def close(self):
            called.append("close")

        def terminate(self):
            called.append("terminate")

    context.add_closeable(Thing())
    context.add_closeable(Thing(), "terminate", order=1)
    stop(context)
    assert called == []
    clean_up(context)
    assert called == ["terminate", "close"]


def test_closeable_is_named_by_its_type(context, caplog):
    class Thing:
        def close(self):
            raise ValueError

    context.add_closeable(Thing())
    context.add_closeable(Thing(), order=1, desc="that thing")
    clean_up(context)
    assert [record.getMessage().split(" failed")[0] for record in caplog.records] == ["that thing", "Thing.close"]


def test_thread_starts_with_the_worker_and_is_joined(context):
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, args=(TIMEOUT,))
    context.add_thread(thread)
    assert not thread.is_alive()
    context.start()
    context.start()
    assert thread.is_alive()
    context.defer_stop(ended.set)
    stop(context)
    assert not thread.is_alive()


def test_thread_added_later_starts_at_once(context):
    context.start()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, args=(TIMEOUT,))
    context.add_thread(thread)
    assert thread.is_alive()
    context.defer_stop(ended.set)
    stop(context)
    assert not thread.is_alive()


def test_started_thread_is_joined(context):
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, args=(TIMEOUT,))
    thread.start()
    context.add_thread(thread)
    context.start()
    context.defer_stop(ended.set)
    stop(context)
    assert not thread.is_alive()


def test_unstarted_thread_is_not_joined(context):
    context.add_thread(threading.Thread(target=lambda: None))
    stop(context)


@pytest.mark.parametrize("kind", [WorkerCtx, FastAPIWorkerCtx])
def test_stop_gives_up_on_a_hanging_thread(kind, caplog):
    context, ended = kind(None, join_seconds=0.01), threading.Event()
    threads = [threading.Thread(target=ended.wait, args=(TIMEOUT,), name=name) for name in ("one", "two")]
    for thread in threads:
        context.add_thread(thread)
    context.start()
    stop(context)
    assert caplog.messages == [f"{thread!r} has not ended within 0.01 seconds of the stop." for thread in threads]
    assert all(thread.is_alive() for thread in threads)
    ended.set()
    for thread in threads:
        thread.join(TIMEOUT)


def test_registration_is_thread_safe(context, called):
    def register():
        for _ in range(200):
            context.defer_stop(lambda: called.append(1))

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    stop(context)
    assert len(called) == 800


def test_can_be_started_and_stopped_again(context, called):
    for _ in range(2):
        context.defer_stop(lambda: called.append("stop"))
        context.start()
        assert context.running()
        stop(context)
    assert called == ["stop", "stop"]


# --- gunicorn


def test_second_stopping_thread_waits_for_the_first(called):
    context, inside, may_go = WorkerCtx(None), threading.Event(), threading.Event()

    def first():
        inside.set()
        assert may_go.wait(TIMEOUT)
        called.append("first")

    context.defer_stop(first)
    context.defer_stop(lambda: called.append("second"))
    one = threading.Thread(target=context.stop)
    two = threading.Thread(target=lambda: (context.stop(), called.append("returned")))
    one.start()
    assert inside.wait(TIMEOUT)
    two.start()
    may_go.set()
    for thread in (one, two):
        thread.join(TIMEOUT)
    assert called == ["first", "second", "returned"]


def test_stop_within_stop_is_harmless(called):
    context = WorkerCtx(None)
    context.defer_stop(context.stop)
    context.defer_stop(lambda: called.append("last"))
    context.stop()
    assert called == ["last"]


def test_registered_thread_may_call_stop(caplog):
    context = WorkerCtx(None)
    thread = threading.Thread(target=context.stop)
    context.add_thread(thread)
    context.start()
    thread.join(TIMEOUT)
    assert not context.running()
    assert not caplog.records


class FakeGreenlet:
    def __init__(self, error: BaseException | None = None) -> None:
        self.killed: list[float] = []
        self.error = error

    def kill(self, *, block: bool, timeout: float) -> None:
        self.killed.append(timeout)
        if self.error:
            raise self.error


def test_greenlets_are_killed_once_despite_a_failing_one(caplog):
    context = WorkerCtx(None)
    greenlets = [FakeGreenlet(BaseException("no")), FakeGreenlet()]
    for greenlet in greenlets:
        context.add_greenlet(greenlet)
    context.start()
    context.stop()
    context.stop()
    assert [len(greenlet.killed) for greenlet in greenlets] == [1, 1]
    assert all(0 < greenlet.killed[0] <= 5 for greenlet in greenlets)
    assert len(caplog.records) == 1


def test_greenlets_of_gevent_are_killed():
    gevent = pytest.importorskip("gevent")
    greenlet = gevent.spawn(gevent.sleep, TIMEOUT)
    context = WorkerCtx(None)
    context.add_greenlet(greenlet)
    context.start()
    context.stop()
    assert greenlet.dead
