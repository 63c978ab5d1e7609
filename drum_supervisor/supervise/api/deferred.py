"""Deferred answers of the control socket: supervisord calls the function again until it has one."""

from typing import Any

RETRY_DELAY = 0.005  # seconds; supervisord retries on turns of its loop only, which come with changes


def retry_soon(answer: Any) -> Any:
    """Return `answer`; if it is a deferred one, have it retried after RETRY_DELAY."""
    # With a delay of 0, which some methods of supervisord have, it would retry without a pause.
    if callable(answer):
        answer.delay = RETRY_DELAY
    return answer
