"""The JSON Schema of a record, derived from its fields. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

from drum_supervisor.contract.json_records import optional, typed_fields

_TYPES = {str: "string", Path: "string", bool: "boolean", int: "integer", float: "number"}
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


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
