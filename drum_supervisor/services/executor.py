"""A bounded executor: a few threads for slow calls, and a queue of limited length."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class QueueFullError(Exception):
    """The queue is full."""


@dataclass(frozen=True)
class _Job:
    future: "Future[Any]"
    context: Context
    call: Callable[[], Any]


class BoundedExecutor:
    """Runs calls in its own threads, in the order of submission.

    The threads are daemons: a call which never returns cannot block the exit. They start when needed, so that the
    executor may be created before a fork.
    """

    def __init__(self, max_workers: int, max_queue: int | None = None, name: str = "executor") -> None:
        self._max_workers = max_workers
        self._max_queue = max_queue
        self._name = name
        self._lock = threading.Lock()
        self._pending = 0  # calls which wait or run
        self._threads = 0
        # looked up on use: gevent may patch the module after this import, and the unpatched class would block its only
        # thread
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Run `call` in a copy of the caller's context; cancelling the future removes it from the queue.

        Raises QueueFullError, or RuntimeError if the system has no more threads.
        """
        with self._lock:
            if self._max_queue is not None and self._pending >= self._max_workers + self._max_queue:
                raise QueueFullError(f"the queue of {self._max_queue} is full")
            if self._threads <= self._pending and self._threads < self._max_workers:
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads + 1}", daemon=True).start()
                self._threads += 1
            self._pending += 1
        future: Future[T] = Future()
        future.add_done_callback(self._finish)  # also when cancelled
        self._jobs.put(_Job(future, copy_context(), call))
        return future

    def close(self) -> None:
        """End the threads once they have finished all calls."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _finish(self, _: "Future[Any]") -> None:
        with self._lock:
            self._pending -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                _run(job)
            del job  # frees the body of the request


def _run(job: _Job) -> None:
    try:
        result = job.context.run(job.call)
    except BaseException as error:  # noqa: BLE001 - the future carries it
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
