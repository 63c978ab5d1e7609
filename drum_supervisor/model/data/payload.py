"""Unpacking a request body: which bytes are the data, in which format and charset."""

import re
from dataclasses import dataclass
from enum import Enum

from drum_supervisor.model.data.errors import PayloadError
from drum_supervisor.model.data.multipart import find_field

FIELD = "X"
MATRIX_MARKET = "text/mtx"

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)


class Format(Enum):
    CSV = "CSV"
    MATRIX_MARKET = "MatrixMarket"
    UNKNOWN = "unknown"


_FORMATS = {
    "": Format.CSV,
    "text/csv": Format.CSV,
    "text/plain": Format.CSV,
    MATRIX_MARKET: Format.MATRIX_MARKET,
}


@dataclass(frozen=True)
class Payload:
    """The data of one request.

    Attributes:
        data: never empty.
        format: for the built-in reader; only `read_input_data` can read UNKNOWN.
        mimetype: lower case; empty if neither the client nor the file name gives it.
        charset: as the client sent it; empty if it did not.
    """

    data: bytes
    format: Format
    mimetype: str
    charset: str


def unpack(body: bytes, content_type: str) -> Payload:
    """Return the data in `body`: the field X of a multipart form, else all of it; no data is a `PayloadError`."""
    if not body:
        raise PayloadError(f"no data: send a CSV as the body, or as the field {FIELD} of a multipart form")
    mimetype = parse_mimetype(content_type)
    if mimetype != "multipart/form-data":
        return Payload(body, _FORMATS.get(mimetype, Format.UNKNOWN), mimetype, parse_charset(content_type))
    part = find_field(body, content_type, FIELD)
    if not part.data:
        raise PayloadError(f"no data: the field {FIELD} is empty")
    mimetype = parse_mimetype(part.content_type)
    if mimetype == MATRIX_MARKET or part.file_name.lower().endswith(".mtx"):
        return Payload(part.data, Format.MATRIX_MARKET, MATRIX_MARKET, parse_charset(part.content_type))
    return Payload(part.data, Format.CSV, mimetype, parse_charset(part.content_type))


def decode(data: bytes, charset: str) -> str:
    """Return `data` as text without a byte order mark; an empty `charset` is UTF-8."""
    try:
        return data.decode(charset or "utf-8").removeprefix("\ufeff")
    except LookupError:
        raise PayloadError(f"the charset {charset!r} is unknown") from None
    except ValueError as error:  # UnicodeError is one
        raise PayloadError(f"the data is not text in {charset or 'utf-8'}: {error}") from None


def parse_mimetype(content_type: str) -> str:
    """Return `text/csv` for `Text/CSV; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def parse_charset(content_type: str) -> str:
    """Return `utf-8` for `text/csv; charset=utf-8`; empty without a charset."""
    match = _CHARSET.search(content_type)
    return match[1] if match else ""
