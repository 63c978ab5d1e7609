"""Predicting with an unstructured model: one hook, text or bytes in and out. Must work without pandas."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drum_supervisor.model.data.errors import ResultError
from drum_supervisor.model.data.payload import decode, parse_charset, parse_mimetype
from drum_supervisor.model.hooks import Hooks

TEXT, BYTES = "text/plain", "application/octet-stream"
DEFAULT_CHARSET = "utf-8"

# The text becomes a response header: no control characters.
_HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True)
class Output:
    body: bytes
    content_type: str


def predict(
    hooks: Hooks,
    artifact: Any,
    body: bytes,
    content_type: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
) -> Output:
    """Call `score_unstructured` with text for text types, JSON and a missing type, else with bytes."""
    mimetype = parse_mimetype(content_type) or TEXT
    charset = parse_charset(content_type) or DEFAULT_CHARSET
    data = decode(body, charset) if _is_text(mimetype) else body
    result = hooks.call(
        "score_unstructured", artifact, data, mimetype=mimetype, charset=charset, query=query, headers=headers
    )
    return _to_output(result)


def _is_text(mimetype: str) -> bool:
    return mimetype.startswith("text/") or mimetype == "application/json" or mimetype.endswith("+json")


def _to_output(result: Any) -> Output:
    value, options = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    options = {} if options is None else options
    if not isinstance(options, Mapping) or not isinstance(value, str | bytes | bytearray | memoryview | None):
        raise ResultError(
            "score_unstructured must return str, bytes, None, or one of these with a dict of mimetype and charset, "
            f"but it returned {_describe(result)}."
        )
    mimetype, charset = _header_text(options, "mimetype"), _header_text(options, "charset")
    if value is None or isinstance(value, str):
        charset = charset or DEFAULT_CHARSET
        return Output(_encode(value or "", charset), _content_type(mimetype or TEXT, charset))
    return Output(bytes(value), _content_type(mimetype or BYTES, charset))


def _header_text(options: Mapping[str, Any], name: str) -> str:
    text = options.get(name) or ""
    if not isinstance(text, str) or (text and not _HEADER_TEXT.fullmatch(text)):
        raise ResultError(f"score_unstructured returned the {name} {text!r}, which is not valid in a header.")
    return text


def _encode(text: str, charset: str) -> bytes:
    try:
        return text.encode(charset)
    except (LookupError, UnicodeError) as error:
        raise ResultError(f"score_unstructured returned text that cannot be sent in {charset!r}: {error}.") from None


def _content_type(mimetype: str, charset: str) -> str:
    if not charset or parse_charset(mimetype):
        return mimetype
    return f"{mimetype}; charset={charset}"


def _describe(result: Any) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {', '.join(type(each).__name__ for each in result) or 'nothing'}"
    return type(result).__name__
