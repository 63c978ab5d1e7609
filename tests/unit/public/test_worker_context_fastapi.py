import asyncio
import re
import threading
from contextlib import suppress

import pytest

from drum_supervisor.worker_context import FastAPIWorkerCtx
from tests.support import TIMEOUT, until


@pytest.fixture
def called():
    return []


def run(main):
    """Run the coroutine function `main` with a context; return its result."""

    async def bounded():
        return await asyncio.wait_for(main(FastAPIWorkerCtx("the application")), TIMEOUT)

    return asyncio.run(bounded())


def test_lifespan_starts_stops_and_cleans_up(called):
    async def main(context):
        context.defer_stop(lambda: called.append("stop"))
        context.defer_cleanup(lambda: called.append("cleanup"))
        async with context.lifespan(context.app):
            assert context.running()
            assert called == []

    run(main)
    assert called == ["stop", "cleanup"]


def test_lifespan_stops_after_a_failure(called):
    async def main(context):
        context.defer_cleanup(lambda: called.append("cleanup"))
        async with context.lifespan():
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        run(main)
    assert called == ["cleanup"]


def test_fastapi_accepts_the_lifespan():
    fastapi = pytest.importorskip("fastapi")

    async def main(context):
        app = fastapi.FastAPI(lifespan=context.lifespan)
        async with app.router.lifespan_context(app):
            assert context.running()
        assert not context.running()

    run(main)


def test_callbacks_may_be_coroutines(called, caplog):
    async def note(name, error=None):
        await asyncio.sleep(0)
        called.append(name)
        if error:
            raise error

    class Thing:
        async def aclose(self):
            await note("aclose")

    async def main(context):
        context.defer_stop(lambda: note("stop 1", ValueError("bad")))
        context.defer_stop(lambda: note("stop 2", asyncio.CancelledError()))
        context.defer_stop(lambda: note("stop 3"))
        context.add_closeable(Thing(), "aclose")
        async with context.lifespan():
            pass

    run(main)
    assert called == ["stop 1", "stop 2", "stop 3", "aclose"]
    assert len(caplog.records) == 2


def test_tasks_start_with_the_worker_and_are_cancelled(called):
    async def work(name):
        called.append(f"{name} started")
        try:
            await asyncio.Event().wait()
        finally:
            called.append(f"{name} ended")

    async def main(context):
        context.add_task(work("early"))
        assert called == []
        async with context.lifespan():
            context.add_task(work("late"))
            task = asyncio.create_task(work("task"))
            context.add_task(task)
            await asyncio.sleep(0)
            assert called == ["early started", "late started", "task started"]
        assert task.cancelled()

    run(main)
    assert sorted(called[3:]) == ["early ended", "late ended", "task ended"]


def test_unstarted_task_is_forgotten(called):
    async def work():
        called.append("started")

    async def main(context):
        context.add_task(work())
        await context.stop()

    run(main)
    assert called == []


def test_tasks_are_cancelled_after_the_stop_callbacks(called):
    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            called.append("cancelled")

    async def main(context):
        context.add_task(work())
        context.defer_stop(lambda: called.append("stop"))
        async with context.lifespan():
            await asyncio.sleep(0)

    run(main)
    assert called == ["stop", "cancelled"]


def test_failing_task_is_logged(caplog):
    async def work():
        raise ValueError("bad")

    async def main(context):
        context.add_task(work())
        async with context.lifespan():
            await asyncio.sleep(0)

    run(main)
    assert "ValueError: bad" in caplog.text


def test_stop_gives_up_on_a_task_that_ignores_cancellation(caplog):
    async def main():
        context, end = FastAPIWorkerCtx(None, join_seconds=0.01), asyncio.Event()

        async def work():
            while not end.is_set():
                with suppress(asyncio.CancelledError):
                    await end.wait()

        task = asyncio.create_task(work(), name="stuck")
        context.add_task(task)
        async with context.lifespan():
            await asyncio.sleep(0)
        end.set()
        await task

    asyncio.run(main())
    assert re.fullmatch(
        r"<Task .* name='stuck' .*> has not ended within 0\.01 seconds of its cancellation\.", "".join(caplog.messages)
    )


def test_registered_task_may_call_stop(called):
    async def main(context):
        context.defer_stop(lambda: called.append("stop"))
        context.start()
        task = asyncio.create_task(context.stop())
        context.add_task(task)
        await task

    run(main)
    assert called == ["stop"]


def test_stop_waits_for_requests_in_flight(called):
    async def main(context):
        answered = asyncio.Event()

        async def request():
            with context.request():
                await answered.wait()
                called.append("answered")

        context.start()
        context.defer_stop(lambda: called.append("stop"))
        requests = [asyncio.create_task(request()) for _ in range(3)]
        await asyncio.sleep(0)
        assert context.requests_in_flight == 3
        stopping = asyncio.create_task(context.stop())
        await asyncio.sleep(0)
        assert not context.running()
        assert called == []
        answered.set()
        await stopping
        await asyncio.gather(*requests)

    run(main)
    assert called == ["answered", "answered", "answered", "stop"]


def test_request_may_end_in_another_thread():
    async def main(context):
        context.start()
        may_end = threading.Event()

        def request():
            with context.request():
                assert may_end.wait(TIMEOUT)

        thread = threading.Thread(target=request)
        thread.start()
        until(lambda: context.requests_in_flight)
        stopping = asyncio.create_task(context.stop())
        await asyncio.sleep(0)
        may_end.set()
        await stopping
        thread.join(TIMEOUT)
        assert context.requests_in_flight == 0

    run(main)


def test_stop_gives_up_on_hanging_requests(called, caplog):
    async def main():
        context = FastAPIWorkerCtx(None, drain_seconds=0.01)
        context.defer_stop(lambda: called.append("stop"))
        with context.request():
            await context.stop()

    asyncio.run(main())
    assert called == ["stop"]
    assert caplog.messages == ["1 requests were not answered within 0.01 seconds of the stop."]


def test_cancelled_stop_skips_only_the_waiting(called):
    async def main(context):
        context.defer_stop(lambda: called.append("stop"))
        with context.request():
            stopping = asyncio.create_task(context.stop())
            await asyncio.sleep(0)
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping

    run(main)
    assert called == ["stop"]


def test_second_stopping_task_waits_for_the_first(called):
    async def main(context):
        inside, may_go = asyncio.Event(), asyncio.Event()

        async def first():
            inside.set()
            await may_go.wait()
            called.append("first")

        async def stop_and_clean_up():
            await context.stop()
            await context.cleanup()

        context.defer_stop(first)
        context.defer_stop(lambda: called.append("second"))
        context.defer_cleanup(lambda: called.append("cleanup"))
        tasks = [asyncio.create_task(context.stop())]
        await inside.wait()
        tasks.append(asyncio.create_task(stop_and_clean_up()))
        await asyncio.sleep(0)
        may_go.set()
        await asyncio.gather(*tasks)

    run(main)
    assert called == ["first", "second", "cleanup"]


def test_stop_within_stop_is_harmless(called):
    async def main(context):
        context.defer_stop(context.stop)
        context.defer_stop(lambda: called.append("last"))
        await context.stop()

    run(main)
    assert called == ["last"]


def test_thread_that_needs_the_event_loop_is_joined(called):
    async def main(context):
        loop = asyncio.get_running_loop()
        stopping = threading.Event()

        async def termination_reason():
            called.append("last words")

        def work():
            assert stopping.wait(TIMEOUT)
            asyncio.run_coroutine_threadsafe(termination_reason(), loop).result(TIMEOUT)

        context.add_thread(threading.Thread(target=work))
        context.defer_stop(stopping.set)
        async with context.lifespan():
            pass

    run(main)
    assert called == ["last words"]
