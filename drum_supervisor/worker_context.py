"""What a worker starts, and what it stops and closes in the end: threads, greenlets, tasks, whatever was opened."""

import asyncio
import heapq
import inspect
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

# How long a stop waits for all threads to end, and as long for greenlets and for tasks.
JOIN_SECONDS = 5.0

# How long the FastAPI worker's stop waits for requests that are still being answered.
DRAIN_SECONDS = 20.0

_log = logging.getLogger(__name__)


class Thread(Protocol):
    """What a context needs of a thread: `threading.Thread` has it."""

    @property
    def ident(self) -> int | None: ...
    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


class Greenlet(Protocol):
    """What a context needs of a greenlet: `gevent.Greenlet` has it."""

    def kill(self, *, block: bool, timeout: float) -> None: ...


class _WorkerContext:
    """What both kinds of workers have in common.

    Args:
        app: the application that the worker serves; kept as `app`.
        join_seconds: how long a stop waits for threads to end, and as long for greenlets and for tasks.
    """

    def __init__(self, app: Any, *, join_seconds: float = JOIN_SECONDS) -> None:
        self.app = app
        self._join_seconds = join_seconds
        self._lock = threading.Lock()
        self._running = False
        self._threads: list[Thread] = []
        self._on_stop = Callbacks("stop")
        self._on_cleanup = Callbacks("cleanup", descending=True)

    def running(self) -> bool:
        """Return whether it is started and no stop has begun; loops in threads ask this."""
        return self._running

    def add_thread(self, thread: Thread) -> None:
        """Start `thread` with the worker, unless somebody has started it; the stop waits for its end.

        It ends when it sees that `running()` is false, or by a callback of `defer_stop`.
        """
        with self._lock:
            self._threads.append(thread)
            starts = self._running
        if starts:
            _start(thread)

    def add_closeable(self, obj: object, method: str = "close", order: int = 0, desc: str | None = None) -> None:
        """Call the method of `obj` that is named `method` in the cleanup."""
        self.defer_cleanup(getattr(obj, method), order, desc or f"{type(obj).__name__}.{method}")

    def defer_stop(self, fn: Callable[[], Any], order: int = 0, desc: str | None = None) -> None:
        """Call `fn` when the worker stops: of lower order first, of the same order as registered."""
        self._on_stop.add(fn, order, desc)

    def defer_cleanup(self, fn: Callable[[], Any], order: int = 0, desc: str | None = None) -> None:
        """Call `fn` after the stop: of higher order first, of the same order the last registered first."""
        self._on_cleanup.add(fn, order, desc)

    def start(self) -> None:
        """Start the threads; does nothing while it is running."""
        with self._lock:
            if self._running:
                return
            self._running = True
            threads = list(self._threads)
        for thread in threads:
            _start(thread)

    def _join_threads(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, []
        deadline = time.monotonic() + self._join_seconds
        for thread in threads:
            if thread.ident == threading.get_ident():
                continue  # it is the one that stops us
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                _log.warning("%r has not ended within %g seconds of the stop.", thread, self._join_seconds)


class WorkerCtx(_WorkerContext):
    """The context of a gunicorn worker: `start` in `post_worker_init`; `stop` and `cleanup` in `worker_exit`."""

    def __init__(self, app: Any, *, join_seconds: float = JOIN_SECONDS) -> None:
        super().__init__(app, join_seconds=join_seconds)
        self._calling = threading.RLock()  # a signal handler may call stop within stop
        self._greenlets: list[Greenlet] = []

    def add_greenlet(self, greenlet: Greenlet) -> None:
        """Kill `greenlet` when the worker stops."""
        with self._lock:
            self._greenlets.append(greenlet)

    def stop(self) -> None:
        """Call what `defer_stop` registered, then end threads and greenlets.

        Each callback is called once, however often and from however many threads this is called. One that fails is
        logged and stops none of the others.
        """
        self._running = False
        with self._calling:
            self._on_stop.call_each()
        self._join_threads()
        self._kill_greenlets()

    def cleanup(self) -> None:
        """Call what `defer_cleanup` and `add_closeable` registered, as `stop` does it; call that first."""
        with self._calling:
            self._on_cleanup.call_each()

    def _kill_greenlets(self) -> None:
        with self._lock:
            greenlets, self._greenlets = self._greenlets, []
        deadline = time.monotonic() + self._join_seconds
        for greenlet in greenlets:
            with logged(repr(greenlet), "stop"):
                greenlet.kill(block=True, timeout=max(deadline - time.monotonic(), 0.0))


class FastAPIWorkerCtx(_WorkerContext):
    """The context of a worker that runs an asyncio application; it lives in the application's lifespan.

    `stop` and `cleanup` are coroutines, and so may be what they call.

    Args:
        app: the application.
        drain_seconds: how long a stop waits for requests that are being answered.
    """

    def __init__(self, app: Any, *, drain_seconds: float = DRAIN_SECONDS, join_seconds: float = JOIN_SECONDS) -> None:
        super().__init__(app, join_seconds=join_seconds)
        self._drain_seconds = drain_seconds
        self._ending = asyncio.Lock()
        self._ending_task: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._in_flight = 0
        self._drained: Callable[[], object] | None = None

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Start before and stop after the block, for `FastAPI(lifespan=...)`; whatever happens in it."""
        try:
            self.start()
            yield
        finally:
            try:
                await self.stop()
            finally:
                await self.cleanup()

    def start(self) -> None:
        """Start threads and tasks, in the event loop; does nothing while it is running."""
        super().start()
        with self._lock:
            coroutines, self._coroutines = self._coroutines, []
        for coroutine in coroutines:
            self._adopt(asyncio.get_running_loop().create_task(coroutine))

    def add_task(self, task: "asyncio.Task[Any] | Coroutine[Any, Any, Any]") -> None:
        """Cancel `task` when the worker stops, and log what it fails with.

        A coroutine becomes a task: while the worker is running at once, in the event loop; else at its start.
        """
        if isinstance(task, asyncio.Task):
            self._adopt(task)
        elif self._running:
            self._adopt(asyncio.get_running_loop().create_task(task))
        else:
            with self._lock:
                self._coroutines.append(task)

    @property
    def requests_in_flight(self) -> int:
        """How many requests are being answered."""
        return self._in_flight

    @contextmanager
    def request(self) -> Iterator[None]:
        """Within the block a request is being answered; it ends when the last byte of the answer is sent."""
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                drained = self._drained if not self._in_flight else None
            if drained is not None:
                drained()

    async def stop(self) -> None:
        """Wait for the requests in flight, call what `defer_stop` registered, then end tasks and threads.

        Each callback is called once, however often this is called. One that fails is logged and stops none of the
        others. Cancelling this cuts the waiting short, and nothing else.
        """
        self._running = False
        async with self._turn() as is_ours:
            if is_ours:
                await self._stop()

    async def cleanup(self) -> None:
        """Call what `defer_cleanup` and `add_closeable` registered, as `stop` does it; await that first."""
        async with self._turn() as is_ours:
            if is_ours:
                await self._on_cleanup.await_each()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        """Let one task after the other stop and clean up; a callback that wants to, within that, has nothing to do."""
        if self._ending_task is asyncio.current_task():
            yield False
            return
        async with self._ending:
            self._ending_task = asyncio.current_task()
            try:
                yield True
            finally:
                self._ending_task = None

    async def _stop(self) -> None:
        try:
            await self._drain()
        finally:
            await self._on_stop.await_each()
            try:
                await self._cancel_tasks()
            finally:
                if self._threads:  # not here: a thread may need the event loop to come to its end
                    await asyncio.to_thread(self._join_threads)

    async def _drain(self) -> None:
        loop, drained = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if not self._in_flight:
                return
            self._drained = lambda: loop.call_soon_threadsafe(drained.set)
        try:
            await asyncio.wait_for(drained.wait(), self._drain_seconds)
        except asyncio.TimeoutError:
            _log.warning(
                "%d requests were not answered within %g seconds of the stop.", self._in_flight, self._drain_seconds
            )
        finally:
            self._drained = None

    def _adopt(self, task: "asyncio.Task[Any]") -> None:
        with self._lock:
            self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        with self._lock:
            self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%r failed.", task, exc_info=error)

    async def _cancel_tasks(self) -> None:
        with self._lock:
            tasks = self._tasks - {asyncio.current_task()}
            coroutines, self._coroutines = self._coroutines, []
        for coroutine in coroutines:
            coroutine.close()  # it was never started
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=self._join_seconds)
        for task in pending:
            _log.warning("%r has not ended within %g seconds of its cancellation.", task, self._join_seconds)


def _start(thread: Thread) -> None:
    if thread.ident is None:
        thread.start()


_log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class _Callback:
    order: tuple[int, int]  # what the caller gave; then the order of registration
    desc: str = field(compare=False)
    call: Callable[[], Any] = field(compare=False)


class Callbacks:
    """Callbacks of one phase of a worker's end; they may be registered from any thread, also while others are called.

    Args:
        phase: what the log calls it.
        descending: call those of higher order first, and of the same order the last registered; else the reverse.
    """

    def __init__(self, phase: str, *, descending: bool = False) -> None:
        self._phase = phase
        self._direction = -1 if descending else 1
        self._lock = threading.Lock()
        self._waiting: list[_Callback] = []
        self._registered = 0

    def add(self, call: Callable[[], Any], order: int, desc: str | None = None) -> None:
        """Register `call`; without `desc` the log calls it by its name."""
        with self._lock:
            self._registered += 1
            key = (self._direction * order, self._direction * self._registered)
            heapq.heappush(self._waiting, _Callback(key, desc or _name(call), call))

    def call_each(self) -> None:
        """Call those that were not called yet; one that fails is logged and stops none of the others."""
        for callback in self._take():
            with logged(callback.desc, self._phase):
                callback.call()

    async def await_each(self) -> None:
        """Do the same with callbacks that may be coroutine functions."""
        for callback in self._take():
            with logged(callback.desc, self._phase):
                result = callback.call()
                if inspect.isawaitable(result):
                    await result

    def _take(self) -> Iterator[_Callback]:
        """Yield them in order; what was yielded, here or to another thread, is gone."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                callback = heapq.heappop(self._waiting)
            yield callback


@contextmanager
def logged(desc: str, phase: str) -> Iterator[None]:
    """Log what the block raises; an exit, a cancellation or gevent's Timeout must not stop the rest either."""
    try:
        yield
    except BaseException:  # noqa: BLE001 - whatever users register
        _log.exception("%s failed in the %s of the worker; the rest of it goes on.", desc, phase)


def _name(fn: Callable[[], Any]) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)
