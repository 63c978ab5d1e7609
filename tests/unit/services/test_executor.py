import threading
from concurrent.futures import CancelledError
from contextvars import ContextVar

import pytest

from drum_supervisor.services.executor import BoundedExecutor, QueueFullError

SECONDS = 30


class Gate:
    """A call which reports its start, and returns when released."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self) -> str:
        self.entered.release()
        assert self.leave.acquire(timeout=SECONDS)
        return threading.current_thread().name


@pytest.fixture
def gate():
    return Gate()


def test_future_has_the_result_or_error():
    turns = BoundedExecutor(1)
    assert turns.submit(lambda: 42).result(SECONDS) == 42
    with pytest.raises(SystemExit, match="7"):
        turns.submit(lambda: exec("raise SystemExit(7)")).result(SECONDS)
    assert turns.submit(lambda: 43).result(SECONDS) == 43


def test_calls_run_in_order():
    turns, made = BoundedExecutor(1), []
    for future in [turns.submit(lambda number=number: made.append(number)) for number in range(50)]:
        future.result(SECONDS)
    assert made == list(range(50))


def test_no_more_threads_than_needed(gate):
    turns = BoundedExecutor(3, name="test")
    gate.leave.release(5)
    names = {turns.submit(gate).result(SECONDS) for _ in range(5)}
    assert len(names) <= 2  # one may still be on its way back when the next call comes
    assert all(name.startswith("test-") for name in names)


def test_runs_max_workers_calls_at_once(gate):
    turns = BoundedExecutor(3)
    futures = [turns.submit(gate) for _ in range(5)]
    for _ in range(3):
        assert gate.entered.acquire(timeout=SECONDS)
    assert not gate.entered.acquire(blocking=False)
    gate.leave.release(5)
    assert len({future.result(SECONDS) for future in futures}) == 3


@pytest.mark.parametrize("longest", [0, 1, 3])
def test_full_queue_refuses_calls(gate, longest):
    turns = BoundedExecutor(2, longest)
    futures = [turns.submit(gate) for _ in range(2 + longest)]
    with pytest.raises(QueueFullError, match=f"^the queue of {longest} is full$"):
        turns.submit(gate)
    gate.leave.release(len(futures))
    for future in futures:
        future.result(SECONDS)


def test_cancelled_call_leaves_the_queue(gate):
    turns = BoundedExecutor(1, 1)
    running, waiting = turns.submit(gate), turns.submit(gate)
    assert gate.entered.acquire(timeout=SECONDS)
    assert waiting.cancel()
    another = turns.submit(gate)
    gate.leave.release(2)
    assert running.result(SECONDS) == another.result(SECONDS)
    with pytest.raises(CancelledError):
        waiting.result()
    assert not gate.entered.acquire(blocking=False) or another.done()


def test_running_call_cannot_be_cancelled(gate):
    turns = BoundedExecutor(1, 0)
    running = turns.submit(gate)
    assert gate.entered.acquire(timeout=SECONDS)
    assert not running.cancel()
    with pytest.raises(QueueFullError):
        turns.submit(gate)
    gate.leave.release()
    running.result(SECONDS)


def test_calls_run_in_the_callers_context():
    variable: ContextVar[str] = ContextVar("variable", default="none")
    turns = BoundedExecutor(1)
    assert turns.submit(variable.get).result(SECONDS) == "none"
    variable.set("mine")
    assert turns.submit(variable.get).result(SECONDS) == "mine"


def test_threads_end_after_close(gate):
    turns = BoundedExecutor(2, name="ending")
    futures = [turns.submit(gate) for _ in range(4)]
    assert gate.entered.acquire(timeout=SECONDS)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("ending-")]
    turns.close()
    gate.leave.release(4)
    for future in futures:
        future.result(SECONDS)
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
