"""Counts of failures and swaps, for `status` and the metrics. Pure; no count ever falls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy.actions import Action, SaveReport, StartErrorServer


@dataclass(frozen=True)
class Counters:
    failures: Mapping[Cause, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Cause, 0)))
    to_error_server: int = 0  # swaps on the address
    to_model_server: int = 0
    # of the last successful start, by slot
    startup_seconds: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))


def count_decision(counters: Counters, before: Phase, after: Phase, actions: Sequence[Action]) -> Counters:
    """Count a decision of the policy: the change of phase and the actions."""
    failed = Counter(action.report.cause for action in actions if isinstance(action, SaveReport))
    takes_over = not before.has_failed and any(isinstance(action, StartErrorServer) for action in actions)
    return replace(
        counters,
        failures=MappingProxyType({cause: count + failed[cause] for cause, count in counters.failures.items()}),
        to_error_server=counters.to_error_server + (takes_over and after.has_failed),
        to_model_server=counters.to_model_server + (before.has_failed and after is Phase.SERVING),
    )


def record_startup(counters: Counters, slot: int, seconds: float) -> Counters:
    """Record how long a worker took to become ready."""
    return replace(counters, startup_seconds=MappingProxyType({**counters.startup_seconds, slot: seconds}))
