"""Records as JSON: a dataclass is an object with its fields, in their order, and is read back from it; its JSON Schema.

The type of a field is a plain one, a str Enum, a record, a tuple of any length, a Mapping of names, or one of these or
None; Annotated adds its description. A field without `init` follows from the others and is not read.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

T = TypeVar("T")

_TYPES = {str: "string", Path: "string", bool: "boolean", int: "integer", float: "number"}
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def to_json(record: object, indent: int | None = None) -> str:
    """Return JSON text; ValueError or TypeError: a value that JSON does not have."""
    return json.dumps(record, default=_members, indent=indent, allow_nan=False)


def from_json(kind: type[T], value: object) -> T:
    """Read a record from parsed JSON. An unknown field is ignored; a missing one has its default.

    Raises:
        ValueError, TypeError: a field without default is missing, or a value is of another type.
    """
    anything: Any = kind
    record: T = _reader(anything)(value)
    return record


def optional(kind: Any) -> Any:
    """Return the type that may be None in its place; None if it may not."""
    return get_args(kind)[0] if get_origin(kind) is UnionType else None


def typed_fields(kind: Any) -> Iterator[tuple["Field[Any]", Any]]:
    """Yield the fields of a record with their types; a generic record has its arguments."""
    record: Any = get_origin(kind) or kind
    bound = dict(zip(getattr(record, "__parameters__", ()), get_args(kind), strict=True))
    for field in fields(record):
        declared: Any = field.type
        parameters = getattr(declared, "__parameters__", ())
        yield field, declared[tuple(map(bound.__getitem__, parameters))] if parameters else declared


def _members(value: Any) -> Any:
    kind: Any = type(value)
    return str(value) if isinstance(value, Path) else {name: getattr(value, name) for name in _names(kind)}


@cache  # `fields` looks at all of them each time
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache  # thousands of values are read in the same way
def _reader(kind: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _reader(arguments[0])
    if inner := optional(kind):
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    if origin is tuple:
        return partial(_read_items, _reader(arguments[0]))
    if origin is Mapping:
        return partial(_read_mapping, _reader(arguments[1]))
    if is_dataclass(origin or kind):
        readers = {field.name: _reader(each) for field, each in typed_fields(kind) if field.init}
        return partial(_read_record, origin or kind, readers)
    return partial(_read_plain, kind)


def _read_record(kind: Callable[..., Any], readers: Mapping[str, Callable[[Any], Any]], value: Any) -> Any:
    _check(dict, value)
    try:
        return kind(**{name: read(value[name]) for name, read in readers.items() if name in value})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error


def _read_items(read: Callable[[Any], Any], value: Any) -> Any:
    return tuple(map(read, _check(list, value)))


def _read_mapping(read: Callable[[Any], Any], value: Any) -> Any:
    return {name: read(each) for name, each in _check(dict, value).items()}


def _read_plain(kind: Any, value: Any) -> Any:
    if issubclass(kind, Path | Enum):
        return kind(_check(str, value))
    return _check((int, float) if kind is float else kind, value)


def _check(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is of another type")
    return value


def json_schema(record: Any, title: str, sometimes: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the schema of what `to_json` writes for a record (JSON Schema 2020-12); it allows further fields.

    Args:
        sometimes: types of fields that are there only sometimes, by name.
    """
    kinds = (record, *sometimes.values())
    nested = {_name(each): _record(each) for kind in kinds for each in records_in(kind) if each is not record}
    found = _record(record)
    found["properties"] |= {name: _described(kind) for name, kind in sometimes.items()}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return {**head, **found, "$defs": dict(sorted(nested.items()))}


def _name(record: Any) -> str:
    return str((get_origin(record) or record).__name__)


def description(kind: Any) -> str:
    """Return the description in the type of a field, in Markdown; "" without one."""
    return str(get_args(kind)[1]) if get_origin(kind) is Annotated else ""


def _record(record: Any) -> dict[str, Any]:
    properties = {field.name: _described(kind) for field, kind in typed_fields(record)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _described(kind: Any) -> dict[str, Any]:
    text = _LINK.sub(r"\1", description(kind))
    return {**_value(kind), "description": text} if text else _value(kind)


def _value(kind: Any) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(arguments[0])
    if inner := optional(kind):
        found = _value(inner)
        return {**found, "type": [found["type"], "null"]} if "type" in found else {"anyOf": [found, {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _value(arguments[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _value(arguments[1])}
    if is_dataclass(origin or kind):
        return {"$ref": f"#/$defs/{_name(kind)}"}
    if issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    return {"type": _TYPES[kind]}


def records_in(kind: Any) -> Iterator[Any]:
    """Yield all records in a type, itself included."""
    if is_dataclass(get_origin(kind) or kind):
        yield kind
        for _, each in typed_fields(kind):
            yield from records_in(each)
    for argument in get_args(kind):
        yield from records_in(argument)
