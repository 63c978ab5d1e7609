"""The quick dataclass is held against the standard one: the same source, made by each."""

import dataclasses
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, field, fields, replace

import pytest

from drum_supervisor import quick_dataclass


def classes(dataclass):
    """Return one class of each kind that is used, made with `dataclass`."""

    @dataclass(frozen=True)
    class Event:
        """Something happened."""

        at: float

    @dataclass(frozen=True)
    class Ready(Event):
        """With a default, a factory, and a field that nobody sees."""

        worker: int = 1
        names: list = field(default_factory=list)
        hidden: str = field(default="x", compare=False, repr=False)

    @dataclass
    class Seen:
        """May change."""

        ready: bool = False

    @dataclass(eq=False)
    class Run:
        """Is itself only."""

        pid: int = 0

    @dataclass(frozen=True)
    class Named:
        """Has methods of its own."""

        name: str

        def __repr__(self):
            return self.name

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

    return {each.__name__: each for each in (Event, Ready, Seen, Run, Named)}


QUICK, STANDARD = classes(quick_dataclass.dataclass), classes(dataclasses.dataclass)


@pytest.mark.parametrize(
    ("name", "args", "given"),
    [
        ("Event", (1.5,), {}),
        ("Event", (), {"at": 1.5}),
        ("Ready", (1.5,), {}),
        ("Ready", (1.5, 2, ["a"], "y"), {}),
        ("Ready", (1.5,), {"hidden": "y", "worker": 3}),
        ("Seen", (), {}),
        ("Run", (7,), {}),
        ("Named", ("it",), {}),
    ],
)
def test_values_text_and_fields_are_the_same(name, args, given):
    quick, standard = QUICK[name](*args, **given), STANDARD[name](*args, **given)
    assert asdict(quick) == asdict(standard)
    assert repr(quick).replace("classes.<locals>.", "") == repr(standard).replace("classes.<locals>.", "")
    assert [each.name for each in fields(quick)] == [each.name for each in fields(standard)]
    assert QUICK[name].__match_args__ == STANDARD[name].__match_args__


@pytest.mark.parametrize(
    ("name", "args", "given"),
    [
        ("Event", (), {}),
        ("Event", (1.0, 2.0), {}),
        ("Event", (1.0,), {"at": 1.0}),
        ("Event", (1.0,), {"unknown": 1}),
        ("Ready", (), {"worker": 1}),
    ],
)
def test_wrong_arguments_are_refused_by_both(name, args, given):
    for each in (QUICK, STANDARD):
        with pytest.raises(TypeError, match=name):
            each[name](*args, **given)


@pytest.mark.parametrize("made", [QUICK, STANDARD], ids=["quick", "standard"])
class TestBoth:
    def test_equal_are_those_of_one_class_with_equal_values(self, made):
        ready = made["Ready"]
        assert ready(1.0) == ready(1.0)
        assert ready(1.0) != ready(2.0)
        assert ready(1.0, hidden="a") == ready(1.0, hidden="b")
        assert made["Event"](1.0) != ready(1.0)
        assert ready(1.0) != (1.0, 1, [], "x")
        assert made["Run"](1) != made["Run"](1)
        assert made["Named"]("a") == made["Named"]("b")

    def test_hash_is_of_the_values_where_these_cannot_change(self, made):
        assert hash(made["Event"](1.0)) == hash(made["Event"](1.0))
        assert len({made["Event"](1.0), made["Event"](1.0)}) == 1
        assert hash(made["Named"]("a")) == 1
        assert len({made["Run"](1), made["Run"](1)}) == 2
        with pytest.raises(TypeError, match="unhashable"):
            hash(made["Seen"]())

    def test_frozen_stays_as_it_is(self, made):
        event = made["Event"](1.0)
        with pytest.raises(FrozenInstanceError):
            event.at = 2.0
        with pytest.raises(FrozenInstanceError):
            del event.at
        assert replace(event, at=2.0) == made["Event"](2.0)

    def test_others_change(self, made):
        seen = made["Seen"]()
        seen.ready = True
        assert seen == made["Seen"](True)

    def test_default_is_made_anew(self, made):
        assert made["Ready"](1.0).names is not made["Ready"](1.0).names

    def test_patterns_match(self, made):
        ready = made["Ready"]
        match ready(1.0, 2):
            case ready(at, worker):
                assert (at, worker) == (1.0, 2)


def test_the_supervisor_uses_nothing_that_it_does_not_have():
    program = """
import dataclasses, sys
import drum_supervisor.cli.main, drum_supervisor.supervise.start
ours = [module for name, module in sys.modules.items() if name.startswith("drum_supervisor.")]
classes = {each for module in ours for each in vars(module).values() if isinstance(each, type)}
quick = [each for each in classes if dataclasses.is_dataclass(each) and not each.__dataclass_params__.init]
own = [each for each in quick if hasattr(each, "__post_init__") or hasattr(each, "__slots__")]
every = [(each, field) for each in quick for field in each.__dataclass_fields__.values()]
special = [(each, field.name) for each, field in every if not field.init or field.kw_only or field.hash is not None]
pseudo = [each for each, field in every if field._field_type is not dataclasses._FIELD]
print(len(quick), own, special, pseudo)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, _, what = done.stdout.strip().partition(" ")
    assert int(count) > 50
    assert what == "[] [] []", "__post_init__, __slots__, init=False, kw_only, hash=, ClassVar and InitVar are not made"
