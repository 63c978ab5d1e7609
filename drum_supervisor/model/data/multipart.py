"""Multipart forms. The only module that imports python-multipart, and only when a form arrives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drum_supervisor.model.data.errors import PayloadError

_PLAIN_ENCODINGS = (b"", b"binary", b"8bit", b"7bit")


@dataclass(frozen=True)
class Part:
    """One field of a form; `content_type` and `file_name` are empty if the client sent none."""

    file_name: str
    content_type: str
    data: bytes


def find_field(body: bytes, content_type: str, name: str) -> Part:
    """Return the first field `name` of the form in `body`; a form without it is a `PayloadError`."""
    try:
        from python_multipart.multipart import MultipartParser, parse_options_header  # noqa: PLC0415
    except ImportError:
        raise PayloadError(
            "multipart forms need python-multipart, which is not installed: send the data as the body"
        ) from None
    form = _Form(name.encode(), parse_options_header)
    try:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise ValueError("its Content-Type has no boundary")
        MultipartParser(boundary, form.callbacks()).write(body)
    except ValueError as error:  # python-multipart's own errors are ValueErrors
        raise PayloadError(f"the multipart form is broken: {error}") from None
    if not form.is_complete:
        raise PayloadError("the multipart form is cut off: its last boundary is missing")
    if form.found is None:
        raise PayloadError(f"the multipart form has no field {name}")
    return form.found


class _Form:
    """Receives the parser's callbacks; keeps the data of the wanted field only."""

    def __init__(self, wanted: bytes, parse_header: Callable[[bytes], tuple[bytes, dict[bytes, bytes]]]) -> None:
        self.found: Part | None = None
        self.is_complete = False
        self._wanted = wanted
        self._parse_header = parse_header
        self._start_part()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._start_part,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _start_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._options: dict[bytes, bytes] = {}
        self._name, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._is_wanted = False

    def _end_header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value).strip()
        self._name, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        self._options = self._parse_header(self._headers.get(b"content-disposition", b""))[1]
        self._is_wanted = self.found is None and self._options.get(b"name") == self._wanted
        encoding = self._headers.get(b"content-transfer-encoding", b"").lower()
        if self._is_wanted and encoding not in _PLAIN_ENCODINGS:
            raise ValueError(f"Content-Transfer-Encoding {encoding.decode('latin-1')!r} is not supported")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_wanted:
            self._data += data[start:end]

    def _end_part(self) -> None:
        if self._is_wanted:
            file_name = self._options.get(b"filename", b"").decode("utf-8", "replace")
            content_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self.found = Part(file_name, content_type, bytes(self._data))

    def _end(self) -> None:
        self.is_complete = True
