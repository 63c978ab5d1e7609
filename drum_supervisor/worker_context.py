"""Starts, stops and cleans up the resources of a worker: threads, greenlets, tasks, anything to close."""

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

# Time limit for all threads to end; the same again for greenlets and for tasks.
JOIN_SECONDS = 5.0

# Time limit for the requests in flight when a FastAPI worker stops.
DRAIN_SECONDS = 20.0

_log = logging.getLogger(__name__)


class Thread(Protocol):
    """The part of `threading.Thread` used here."""

    @property
    def ident(self) -> int | None: ...
    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


class Greenlet(Protocol):
    """The part of `gevent.Greenlet` used here."""

    def kill(self, *, block: bool, timeout: float) -> None: ...


class _WorkerContext:
    """The common part of both contexts.

    Args:
        app: the application served by the worker, kept as `app`.
        join_seconds: time limit for threads to end; the same again for greenlets and for tasks.
    """

    def __init__(self, app: Any, *, join_seconds: float = JOIN_SECONDS) -> None:
        self.app = app
        self._join_seconds = join_seconds
        self._lock = threading.Lock()
        self._running = False
        self._threads: list[Thread] = []
        self._on_stop = _Callbacks("stop")
        self._on_cleanup = _Callbacks("cleanup", descending=True)

    def running(self) -> bool:
        """Return whether the worker is started and not stopping; loops in threads check this."""
        return self._running

    def add_thread(self, thread: Thread) -> None:
        """Start `thread` with the worker, unless it is started already; the stop waits for its end.

        It must end once `running()` is false, or by a callback of `defer_stop`.
        """
        with self._lock:
            self._threads.append(thread)
            is_running = self._running
        if is_running:
            _start(thread)

    def add_closeable(self, obj: object, method: str = "close", order: int = 0, desc: str | None = None) -> None:
        """Call `method` of `obj` in the cleanup."""
        self.defer_cleanup(getattr(obj, method), order, desc or f"{type(obj).__name__}.{method}")

    def defer_stop(self, fn: Callable[[], Any], order: int = 0, desc: str | None = None) -> None:
        """Call `fn` when the worker stops: lower order first, then first registered first."""
        self._on_stop.add(fn, order, desc)

    def defer_cleanup(self, fn: Callable[[], Any], order: int = 0, desc: str | None = None) -> None:
        """Call `fn` after the stop: higher order first, then last registered first."""
        self._on_cleanup.add(fn, order, desc)

    def start(self) -> None:
        """Start the threads, unless the worker is running."""
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
                continue  # this thread calls the stop
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0.0))
            if thread.is_alive():
                _log.warning("%r has not ended within %g seconds of the stop.", thread, self._join_seconds)


class WorkerCtx(_WorkerContext):
    """The context of a gunicorn worker: `start` in `post_worker_init`; `stop` and `cleanup` in `worker_exit`."""

    def __init__(self, app: Any, *, join_seconds: float = JOIN_SECONDS) -> None:
        super().__init__(app, join_seconds=join_seconds)
        self._call_lock = threading.RLock()  # reentrant: a signal handler may call stop within stop
        self._greenlets: list[Greenlet] = []

    def add_greenlet(self, greenlet: Greenlet) -> None:
        """Kill `greenlet` when the worker stops."""
        with self._lock:
            self._greenlets.append(greenlet)

    def stop(self) -> None:
        """Call the callbacks of `defer_stop`, then end threads and greenlets.

        Each callback is called once, however often and from however many threads this is called. A failing one is
        logged, and the others are still called.
        """
        self._running = False
        with self._call_lock:
            self._on_stop.call_each()
        self._join_threads()
        self._kill_greenlets()

    def cleanup(self) -> None:
        """Call the callbacks of `defer_cleanup` and `add_closeable`, in the same way; call `stop` first."""
        with self._call_lock:
            self._on_cleanup.call_each()

    def _kill_greenlets(self) -> None:
        with self._lock:
            greenlets, self._greenlets = self._greenlets, []
        deadline = time.monotonic() + self._join_seconds
        for greenlet in greenlets:
            with _log_failure(repr(greenlet), "stop"):
                greenlet.kill(block=True, timeout=max(deadline - time.monotonic(), 0.0))


class FastAPIWorkerCtx(_WorkerContext):
    """The context of an asyncio worker, used in the application's lifespan.

    `stop` and `cleanup` are coroutines, and callbacks may be.

    Args:
        app: the application.
        drain_seconds: time limit for requests in flight.
        join_seconds: time limit for threads to end, and the same again for tasks.
    """

    def __init__(self, app: Any, *, drain_seconds: float = DRAIN_SECONDS, join_seconds: float = JOIN_SECONDS) -> None:
        super().__init__(app, join_seconds=join_seconds)
        self._drain_seconds = drain_seconds
        self._stop_lock = asyncio.Lock()
        self._stopping_task: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._in_flight = 0
        self._drained: Callable[[], object] | None = None

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """Start before the block, stop and clean up after it in any case; for `FastAPI(lifespan=...)`."""
        try:
            self.start()
            yield
        finally:
            try:
                await self.stop()
            finally:
                await self.cleanup()

    def start(self) -> None:
        """Start threads and tasks, unless the worker is running; call it in the event loop."""
        super().start()
        with self._lock:
            coroutines, self._coroutines = self._coroutines, []
        for coroutine in coroutines:
            self._track(asyncio.get_running_loop().create_task(coroutine))

    def add_task(self, task: "asyncio.Task[Any] | Coroutine[Any, Any, Any]") -> None:
        """Cancel `task` when the worker stops; log its exception.

        A coroutine becomes a task: at once (in the event loop) in a running worker, otherwise at the start.
        """
        if isinstance(task, asyncio.Task):
            self._track(task)
        elif self._running:
            self._track(asyncio.get_running_loop().create_task(task))
        else:
            with self._lock:
                self._coroutines.append(task)

    @property
    def requests_in_flight(self) -> int:
        """The number of requests being served."""
        return self._in_flight

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count the block as a request in flight, up to the last byte of the response."""
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
        """Wait for the requests in flight, call the callbacks of `defer_stop`, then end tasks and threads.

        Each callback is called once, however often this is called. A failing one is logged, and the others are still
        called. Cancelling this only cuts the wait for requests short.
        """
        self._running = False
        async with self._exclusive() as is_outermost:
            if is_outermost:
                await self._stop()

    async def cleanup(self) -> None:
        """Call the callbacks of `defer_cleanup` and `add_closeable`, in the same way; await `stop` first."""
        async with self._exclusive() as is_outermost:
            if is_outermost:
                await self._on_cleanup.await_each()

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[bool]:
        """Serialize stops and cleanups of several tasks; yield False to a callback which calls one itself."""
        if self._stopping_task is asyncio.current_task():
            yield False
            return
        async with self._stop_lock:
            self._stopping_task = asyncio.current_task()
            try:
                yield True
            finally:
                self._stopping_task = None

    async def _stop(self) -> None:
        try:
            await self._drain()
        finally:
            await self._on_stop.await_each()
            try:
                await self._cancel_tasks()
            finally:
                if self._threads:  # in another thread: a thread to join may need the event loop
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

    def _track(self, task: "asyncio.Task[Any]") -> None:
        with self._lock:
            self._tasks.add(task)
        task.add_done_callback(self._untrack)

    def _untrack(self, task: "asyncio.Task[Any]") -> None:
        with self._lock:
            self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%r failed.", task, exc_info=error)

    async def _cancel_tasks(self) -> None:
        with self._lock:
            tasks = self._tasks - {asyncio.current_task()}
            coroutines, self._coroutines = self._coroutines, []
        for coroutine in coroutines:
            coroutine.close()  # never started
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


@dataclass(frozen=True, order=True)
class _Callback:
    order: tuple[int, int]  # the caller's, then that of registration
    desc: str = field(compare=False)
    call: Callable[[], Any] = field(compare=False)


class _Callbacks:
    """The callbacks of one phase, ordered; thread-safe, also while they are called."""

    def __init__(self, phase: str, *, descending: bool = False) -> None:
        self._phase = phase
        self._direction = -1 if descending else 1
        self._lock = threading.Lock()
        self._pending: list[_Callback] = []
        self._registered = 0

    def add(self, call: Callable[[], Any], order: int, desc: str | None = None) -> None:
        with self._lock:
            self._registered += 1
            key = (self._direction * order, self._direction * self._registered)
            heapq.heappush(self._pending, _Callback(key, desc or _name(call), call))

    def call_each(self) -> None:
        for callback in self._take():
            with _log_failure(callback.desc, self._phase):
                callback.call()

    async def await_each(self) -> None:
        for callback in self._take():
            with _log_failure(callback.desc, self._phase):
                result = callback.call()
                if inspect.isawaitable(result):
                    await result

    def _take(self) -> Iterator[_Callback]:
        """Yield and remove the callbacks in order: each goes to one thread, once."""
        while True:
            with self._lock:
                if not self._pending:
                    return
                callback = heapq.heappop(self._pending)
            yield callback


@contextmanager
def _log_failure(desc: str, phase: str) -> Iterator[None]:
    """Log any exception of the block: even an exit, a cancellation or gevent's Timeout must not stop the rest."""
    try:
        yield
    except BaseException:  # noqa: BLE001 - callbacks are user code
        _log.exception("%s failed in the %s of the worker, which continues.", desc, phase)


def _name(fn: Callable[[], Any]) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)
