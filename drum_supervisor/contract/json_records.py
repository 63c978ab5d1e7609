"""Records as JSON: a dataclass is an object with its fields, in their order, and is read back from it.

The type of a field is a plain one, a str Enum, a record, a tuple of any length, a Mapping of names, or one of these or
None; Annotated adds its description. A field without `init` follows from the others and is not read.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin

T = TypeVar("T")


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
