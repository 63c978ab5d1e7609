"""docs/policy.md matches the policy."""

import pytest

from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.events import Event
from tests.docs import render, render_policy

TABLES = {
    "policy": render_policy.policy,
    "policy-of-workers": render_policy.policy_of_workers,
    "replacing": render_policy.rolling_restart,
}


@pytest.mark.parametrize("name", TABLES)
def test_table_matches_the_code(name):
    rendered = TABLES[name]()
    if render.UPDATING:
        render.write("policy.md", name, rendered)
    assert render.in_page("policy.md", name) == rendered, "UPDATE_DOCS=1 pytest tests/docs updates it"


def test_table_has_every_phase_and_every_event():
    classes = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event)}
    kinds = {value for value in classes if not value.__subclasses__()}
    assert {type(event) for _, event in render_policy.EVENTS} == kinds
    assert list(render_policy.ALONE) == list(Phase)


def test_situations_stand_under_their_own_phase():
    for phase, situations in render_policy.ALONE.items():
        assert {situation.state.phase for situation in situations} == {phase}
