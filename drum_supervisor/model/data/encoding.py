"""Writing predictions as JSON: the one place for orjson, twenty times as fast as what Python has."""

import json
from typing import Any

import orjson


def as_json(content: dict[str, Any]) -> bytes:
    """Return `content` as JSON; NaN and infinities must not be in it.

    What orjson refuses, integers of more than 64 bits and halves of characters, Python's own module writes.
    """
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        return json.dumps(content, allow_nan=False).encode()
