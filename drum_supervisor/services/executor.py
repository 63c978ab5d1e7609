"""Whose turn it is: a few threads that do what takes long, and a queue of limited length before them."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class QueueFullError(Exception):
    """As many calls wait already as may."""


@dataclass(frozen=True)
class _Job:
    future: "Future[Any]"
    context: Context
    call: Callable[[], Any]


class Turns:
    """Makes calls in threads of its own, so many at once and all others in the order in which they came.

    The threads are daemons: a call that never ends keeps nobody from leaving. They start when they are needed, after
    a fork for example.

    Args:
        at_once: how many threads there are at most.
        longest_queue: how many calls may wait; None: any number.
        name: of the threads.
    """

    def __init__(self, at_once: int, longest_queue: int | None = None, name: str = "turn") -> None:
        self._at_once = at_once
        self._longest_queue = longest_queue
        self._name = name
        self._lock = threading.Lock()
        self._unfinished = 0  # calls that wait or are being made
        self._threads = 0
        # named in full: gevent may have patched the module since it was imported, and the class of before would
        # block its one thread
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Make `call`, in a copy of the caller's context, when it is its turn; cancelling gives the turn up.

        Raises:
            QueueFullError: it would have to wait behind too many others.
            RuntimeError: the system has no more threads.
        """
        with self._lock:
            if self._longest_queue is not None and self._unfinished >= self._at_once + self._longest_queue:
                raise QueueFullError(f"{self._longest_queue} wait already")
            if self._threads <= self._unfinished and self._threads < self._at_once:
                threading.Thread(target=self._work, name=f"{self._name}-{self._threads + 1}", daemon=True).start()
                self._threads += 1
            self._unfinished += 1
        future: Future[T] = Future()
        future.add_done_callback(self._finish)  # cancelled ones, too
        self._jobs.put(_Job(future, copy_context(), call))
        return future

    def close(self) -> None:
        """End the threads when they have nothing left to do."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)

    def _finish(self, _: "Future[Any]") -> None:
        with self._lock:
            self._unfinished -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                _run(job)
            del job  # it has the request's body


def _run(job: _Job) -> None:
    try:
        result = job.context.run(job.call)
    except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
