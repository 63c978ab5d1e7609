"""Predicting with an unstructured model: one hook, text or bytes in and out. Works without pandas."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drum_supervisor.model.data.payload import charset_of, decode, mimetype_of
from drum_supervisor.model.errors import ResultError
from drum_supervisor.model.hooks import Hooks

TEXT, BYTES = "text/plain", "application/octet-stream"
DEFAULT_CHARSET = "utf-8"

# It becomes a header of the answer: no control characters.
_HEADER_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(frozen=True)
class Output:
    """What is sent back."""

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
    """Call `score_unstructured`; the data is text for text types, JSON and no type at all, else bytes."""
    mimetype = mimetype_of(content_type) or TEXT
    charset = charset_of(content_type) or DEFAULT_CHARSET
    data = decode(body, charset) if _is_text(mimetype) else body
    result = hooks.call(
        "score_unstructured", artifact, data, mimetype=mimetype, charset=charset, query=query, headers=headers
    )
    return _output(result)


def _is_text(mimetype: str) -> bool:
    return mimetype.startswith("text/") or mimetype == "application/json" or mimetype.endswith("+json")


def _output(result: Any) -> Output:
    value, given = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not isinstance(value, str | bytes | bytearray | memoryview | None):
        raise ResultError(
            "score_unstructured must return str, bytes, None, or one of these with a dict of mimetype and charset, "
            f"but it returned {_described(result)}."
        )
    mimetype, charset = _text_of(given, "mimetype"), _text_of(given, "charset")
    if value is None or isinstance(value, str):
        charset = charset or DEFAULT_CHARSET
        return Output(_encode(value or "", charset), _content_type(mimetype or TEXT, charset))
    return Output(bytes(value), _content_type(mimetype or BYTES, charset))


def _text_of(given: Mapping[str, Any], name: str) -> str:
    text = given.get(name) or ""
    if not isinstance(text, str) or (text and not _HEADER_TEXT.fullmatch(text)):
        raise ResultError(f"score_unstructured returned the {name} {text!r}, which no header can carry.")
    return text


def _encode(text: str, charset: str) -> bytes:
    try:
        return text.encode(charset)
    except (LookupError, UnicodeError) as error:
        raise ResultError(f"score_unstructured returned text that cannot be sent in {charset!r}: {error}.") from None


def _content_type(mimetype: str, charset: str) -> str:
    if not charset or charset_of(mimetype):
        return mimetype
    return f"{mimetype}; charset={charset}"


def _described(result: Any) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {', '.join(type(each).__name__ for each in result) or 'nothing'}"
    return type(result).__name__
