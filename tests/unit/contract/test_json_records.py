"""Records as JSON, read back, and their schema."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import pytest
from jsonschema import Draft202012Validator

from drum_supervisor.contract.json_records import from_json, json_schema, to_json

T = TypeVar("T")


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    number: Annotated[int, "how many [things](there.md)"]


@dataclass(frozen=True)
class Outer(Generic[T]):
    text: str = field(init=False)
    color: Color
    items: tuple[T, ...]
    counts: Mapping[str, int]
    place: Path
    share: float
    inner: Annotated[Inner | None, "perhaps"] = None
    shade: Color | None = None
    limit: int | None = None
    ready: bool = False

    def __post_init__(self):
        object.__setattr__(self, "text", f"{len(self.items)} items")


FULL = Outer(Color.RED, (Inner(1), Inner(2)), {"a": 1}, Path("/x"), 0.5, Inner(3), Color.BLUE, 7, True)
SHORT = Outer(Color.BLUE, (), {}, Path("y"), 1.0)
SCHEMA = json_schema(Outer[Inner], "a title", {"more": Inner})


@pytest.mark.parametrize("record", [FULL, SHORT])
def test_record_round_trips_and_matches_its_schema(record):
    value = json.loads(to_json(record))
    assert from_json(Outer[Inner], value) == record
    Draft202012Validator(SCHEMA).validate(value)


def test_fields_keep_their_order():
    names = ["text", "color", "items", "counts", "place", "share", "inner", "shade", "limit", "ready"]
    assert list(json.loads(to_json(FULL))) == names
    assert json.loads(to_json(FULL))["text"] == "2 items"


def test_indent_gives_lines():
    assert to_json(Inner(1), indent=2) == '{\n  "number": 1\n}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_json_does_not_have_is_refused(value):
    with pytest.raises((TypeError, ValueError)):
        to_json({"value": value})


def test_fields_of_a_newer_record_are_ignored():
    value = {**json.loads(to_json(SHORT)), "since_version_9": {}}
    assert from_json(Outer[Inner], value) == SHORT


def test_missing_field_has_its_default():
    value = json.loads(to_json(SHORT))
    del value["ready"], value["inner"], value["text"]
    assert from_json(Outer[Inner], value) == SHORT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("color", "green"),
        ("color", None),
        ("color", ["red"]),
        ("items", {}),
        ("items", [1]),
        ("items", [{}]),
        ("items", [{"number": "1"}]),
        ("counts", [1]),
        ("counts", {"a": None}),
        ("place", 5),
        ("share", "0.5"),
        ("inner", []),
        ("limit", 1.5),
        ("ready", "yes"),
    ],
)
def test_wrong_value_is_refused_by_reader_and_schema(name, value):
    record = {**json.loads(to_json(FULL)), name: value}
    with pytest.raises(ValueError, match="Outer"):
        from_json(Outer[Inner], record)
    assert not Draft202012Validator(SCHEMA).is_valid(record)


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_only_an_object_is_a_record(value):
    with pytest.raises(TypeError):
        from_json(Inner, value)
    assert not Draft202012Validator(json_schema(Inner, "")).is_valid(value)


def test_missing_field_without_default_is_refused():
    with pytest.raises(ValueError, match="number"):
        from_json(Inner, {})
    assert not Draft202012Validator(json_schema(Inner, "")).is_valid({})


def test_schema_is_valid_and_complete():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["title"] == "a title"
    assert SCHEMA["properties"]["color"] == {"enum": ["red", "blue"]}
    assert SCHEMA["properties"]["limit"] == {"type": ["integer", "null"]}
    assert SCHEMA["properties"]["shade"] == {"anyOf": [{"enum": ["red", "blue"]}, {"type": "null"}]}
    assert SCHEMA["properties"]["items"] == {"type": "array", "items": {"$ref": "#/$defs/Inner"}}
    assert SCHEMA["properties"]["counts"] == {"type": "object", "additionalProperties": {"type": "integer"}}
    assert SCHEMA["properties"]["inner"]["description"] == "perhaps"
    assert SCHEMA["$defs"]["Inner"]["properties"]["number"]["description"] == "how many things"


def test_field_that_is_there_sometimes_is_not_required():
    assert "more" in SCHEMA["properties"]
    assert "more" not in SCHEMA["required"]
