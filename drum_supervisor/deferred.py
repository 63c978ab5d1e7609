"""Callbacks that are called in the end: in order, once each, and whatever one of them raises."""

import heapq
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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
