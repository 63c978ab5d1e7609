"""What clients are told of further attempts to initialize: in the body, in Retry-After, and on the page for people."""

import math
from typing import Any

from drum_supervisor.contract.client_status import Situation
from drum_supervisor.http.messages import Headers

REFUSED = "not retried: it would only fail again; repair it, then run drum-supervise restart"
SOON = 1  # seconds: nobody knows how long an attempt takes


def retry_of(situation: Situation, now: float) -> dict[str, Any]:
    """Return the entry `retry` of a body; empty where nothing is retried."""
    attempts = {"attempt": situation.attempt, "attempts_left": situation.attempts_left}
    if situation.since:
        told = {"stage": situation.stage, "seconds": round(max(now - situation.since, 0.0), 1)}
        return {"retry": {**attempts, **told}}
    if situation.next_at:
        return {"retry": {**attempts, "next_in_seconds": _seconds_left(situation, now)}}
    if situation.refused:
        return {"retry": {**attempts, "message": REFUSED}}
    return {}


def retry_after(situation: Situation, now: float) -> Headers:
    """Return the header that says when it is worth while to ask again, if anybody knows that."""
    if situation.since:
        return (("Retry-After", str(SOON)),)
    if situation.next_at:
        return (("Retry-After", str(max(_seconds_left(situation, now), SOON))),)
    return ()


def retry_fact(situation: Situation, now: float) -> str:
    """Return what people want to know about it, empty where nothing is retried."""
    left = f"{situation.attempts_left} left after that"
    if situation.since:
        where = f", now in {situation.stage}" if situation.stage else ""
        return f"attempt {situation.attempt} is under way for {max(now - situation.since, 0.0):.0f} s{where}; {left}"
    if situation.next_at:
        left = f"{situation.attempts_left - 1} left after that"
        return f"attempt {situation.attempt + 1} in {_seconds_left(situation, now)} s; {left}"
    return REFUSED if situation.refused else ""


def _seconds_left(situation: Situation, now: float) -> int:
    return max(math.ceil(situation.next_at - now), 0)
