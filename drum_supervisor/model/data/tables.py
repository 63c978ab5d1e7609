"""Reading CSV and MatrixMarket into a DataFrame. Needs pandas; scipy only for MatrixMarket."""

import csv
import inspect
import io
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

import pandas as pd

from drum_supervisor.model.data.errors import PayloadError
from drum_supervisor.model.data.payload import Format, Payload, decode

# A header of thirty bytes can declare any shape, and each column costs memory even when it is empty.
_MAX_SIDE = 2_000_000

_UTF_8 = ("", "utf-8", "utf8")


def read_table(payload: Payload) -> pd.DataFrame:
    """Return the table in `payload`; an unsupported type, unreadable data and no rows are a `PayloadError`."""
    readers = {Format.CSV: _read_csv, Format.MATRIX_MARKET: _read_matrix_market}
    if payload.format not in readers:
        raise PayloadError(
            f"the content type {payload.mimetype!r} is not supported: send text/csv or text/mtx, or a multipart form "
            "with the data in the field X"
        )
    table = readers[payload.format](payload)
    if not len(table):
        raise PayloadError("no data: there are no rows below the header")
    return table


def _read_csv(payload: Payload) -> pd.DataFrame:
    try:
        table = pd.read_csv(_csv_file(payload), low_memory=False)
    except pd.errors.EmptyDataError:
        raise PayloadError("no data: the CSV is empty") from None
    except UnicodeDecodeError as error:
        raise PayloadError(f"the data is not text in utf-8: {error}") from None
    except (ValueError, OverflowError) as error:
        raise PayloadError(f"the CSV cannot be read: {str(error).strip()}") from None
    if not table.index.equals(pd.RangeIndex(len(table))) or _is_first_row_longer(payload):
        # pandas silently takes the surplus fields for row labels and shifts all columns.
        raise PayloadError("the CSV cannot be read: its rows have more fields than its header")
    return table


def _csv_file(payload: Payload) -> "io.BytesIO | io.StringIO":
    if payload.charset.lower() in _UTF_8:  # pandas decodes UTF-8 itself, cell by cell
        return io.BytesIO(payload.data)
    return io.StringIO(decode(payload.data, payload.charset))


def _is_first_row_longer(payload: Payload) -> bool:
    # The index alone does not show it if the surplus fields happen to be 0, 1, 2 ...
    # False if a cell is longer than Python's csv module reads.
    charset = "utf-8-sig" if payload.charset.lower() in _UTF_8 else payload.charset
    lines = io.TextIOWrapper(io.BytesIO(payload.data), charset, newline="")
    with suppress(csv.Error):
        records = list(islice(filter(None, csv.reader(lines)), 2))
        return len(records) == 2 and len(records[1]) > len(records[0])
    return False


def _read_matrix_market(payload: Payload) -> pd.DataFrame:
    try:
        from scipy.io import mminfo, mmread  # noqa: PLC0415
    except ImportError:
        raise PayloadError("MatrixMarket needs scipy, which is not installed: send CSV") from None
    try:
        rows, columns, _, layout, field, _ = mminfo(io.BytesIO(payload.data))
        _check_header(rows, columns, layout == "array", field, len(payload.data))
        matrix = mmread(io.BytesIO(payload.data), **_sparse_array_option(mmread))
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        raise PayloadError(f"the MatrixMarket data cannot be read: {error}") from None
    return pd.DataFrame(matrix) if layout == "array" else pd.DataFrame.sparse.from_spmatrix(matrix)


def _check_header(rows: int, columns: int, is_dense: bool, field: str, size: int) -> None:
    if field == "complex":
        raise ValueError("it is complex; send real numbers")
    if max(rows, columns) > _MAX_SIDE or (is_dense and rows * columns > size):
        raise ValueError(f"it declares {rows} rows and {columns} columns, too many for its size")


def _sparse_array_option(mmread: Callable[..., Any]) -> dict[str, bool]:
    # Choose what scipy 1.20 will return by default: 1.18 warns without the option, older versions do not have it.
    return {"spmatrix": False} if "spmatrix" in inspect.signature(mmread).parameters else {}
