"""What clients are told of further attempts."""

import pytest

from drum_supervisor.contract.client_status import Situation
from drum_supervisor.services.failure import NOT_RETRIED, describe_retry, retry_after, retry_entry

NOW = 1000.0
PLANNED = Situation(failed=True, attempt=1, attempts_left=2, next_at=NOW + 11.2)
UNDER_WAY = Situation(failed=True, attempt=2, attempts_left=1, since=NOW - 3.21, stage="load_model")
NONE = Situation(failed=True, attempt=3)
FOR_GOOD = Situation(failed=True, refused=True)


@pytest.mark.parametrize(
    ("situation", "retry"),
    [
        (PLANNED, {"attempt": 1, "attempts_left": 2, "next_in_seconds": 12}),
        (UNDER_WAY, {"attempt": 2, "attempts_left": 1, "stage": "load_model", "seconds": 3.2}),
        (FOR_GOOD, {"attempt": 1, "attempts_left": 0, "message": NOT_RETRIED}),
    ],
)
def test_body(situation, retry):
    assert retry_entry(situation, NOW) == {"retry": retry}


def test_no_retry_entry_without_retries():
    assert retry_entry(NONE, NOW) == {}


@pytest.mark.parametrize(
    ("situation", "headers"),
    [(PLANNED, (("Retry-After", "12"),)), (UNDER_WAY, (("Retry-After", "1"),)), (NONE, ()), (FOR_GOOD, ())],
)
def test_retry_after(situation, headers):
    assert retry_after(situation, NOW) == headers


@pytest.mark.parametrize(
    ("situation", "fact"),
    [
        (PLANNED, "attempt 2 in 12 s; 1 left after that"),
        (UNDER_WAY, "attempt 2 is under way for 3 s, now in load_model; 1 left after that"),
        (Situation(since=NOW, attempt=2), "attempt 2 is under way for 0 s; 0 left after that"),
        (NONE, ""),
        (FOR_GOOD, NOT_RETRIED),
    ],
)
def test_describe_retry(situation, fact):
    assert describe_retry(situation, NOW) == fact


def test_retry_times_are_never_negative():
    due = Situation(failed=True, attempts_left=1, next_at=NOW - 5)
    assert retry_entry(due, NOW)["retry"]["next_in_seconds"] == 0
    assert retry_after(due, NOW) == (("Retry-After", "1"),)
    assert retry_entry(Situation(since=NOW + 5), NOW)["retry"]["seconds"] == 0
