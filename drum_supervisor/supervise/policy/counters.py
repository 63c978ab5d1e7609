"""What has happened so far, counted: for `status` and for metrics. Pure; no count ever falls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy.actions import Action, SaveReport, StartErrorServer
from drum_supervisor.supervise.policy.state import Phase


@dataclass(frozen=True)
class Counters:
    """The counts of one supervisor.

    Attributes:
        failures: how often the service has failed, by cause.
        to_error_server, to_model_server: how often one has taken the other's place.
        startup_seconds: how long the last start took that made a worker ready, by its place.
    """

    failures: Mapping[Cause, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Cause, 0)))
    to_error_server: int = 0
    to_model_server: int = 0
    startup_seconds: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))


def decided(tally: Counters, before: Phase, after: Phase, actions: Sequence[Action]) -> Counters:
    """Count what the policy has decided: the phase before and after, and what is to be done."""
    failed = Counter(action.report.cause for action in actions if isinstance(action, SaveReport))
    covers = before not in _COVERED and any(isinstance(action, StartErrorServer) for action in actions)
    return replace(
        tally,
        failures=MappingProxyType({cause: count + failed[cause] for cause, count in tally.failures.items()}),
        to_error_server=tally.to_error_server + (covers and after in _COVERED),
        to_model_server=tally.to_model_server + (before in _COVERED and after is Phase.SERVING),
    )


def started(tally: Counters, place: int, seconds: float) -> Counters:
    """Note how long it took until a worker was ready."""
    return replace(tally, startup_seconds=MappingProxyType({**tally.startup_seconds, place: seconds}))


_COVERED = (Phase.FAILED, Phase.RETRYING)  # the error server answers
