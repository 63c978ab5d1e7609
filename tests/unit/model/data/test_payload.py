"""From request body to table."""

import random
import sys

import pandas as pd
import pytest

from drum_supervisor.model.data.errors import PayloadError
from drum_supervisor.model.data.payload import Format, unpack
from drum_supervisor.model.data.tables import read_table

FORM = "multipart/form-data; boundary=b0"
MATRIX = b"%%MatrixMarket matrix coordinate real general\n2 3 2\n1 1 1.5\n2 3 2.5\n"
DENSE_MATRIX = b"%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n"


def form(data: bytes, headers: str = 'Content-Disposition: form-data; name="X"; filename="data.csv"') -> bytes:
    return b"--b0\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n--b0--\r\n"


def table_of(body: bytes, content_type: str = "") -> pd.DataFrame:
    return read_table(unpack(body, content_type))


def refusal(body: bytes, content_type: str = "") -> str:
    with pytest.raises(PayloadError) as caught:
        table_of(body, content_type)
    return str(caught.value)


@pytest.mark.parametrize("content_type", ["", "text/csv", "text/plain", "Text/CSV; Charset=UTF-8", " text/csv ;x=y"])
def test_a_raw_body_is_csv(content_type):
    assert table_of(b"a,b\n1,x\n2,y\n", content_type).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_a_form_field_x_is_csv():
    assert table_of(form(b"a,b\n1,2\n"), FORM).to_dict("list") == {"a": [1], "b": [2]}


def test_a_form_field_needs_no_file_name():
    assert len(table_of(form(b"a\n1\n", "Content-Disposition: form-data; name=X"), FORM)) == 1


def test_the_first_field_x_is_read_and_others_are_ignored():
    first = form(b"a\n1\n").removesuffix(b"--b0--\r\n")
    other = form(b"b\n2\n", 'Content-Disposition: form-data; name="Y"').removesuffix(b"--b0--\r\n")
    assert table_of(other + first + form(b"c\n3\n"), FORM).to_dict("list") == {"a": [1]}


def test_form_data_may_resemble_a_boundary():
    assert table_of(form(b'a\n"--b0x\r\n--b1"\n'), FORM)["a"][0] == "--b0x\r\n--b1"


@pytest.mark.parametrize("boundary", ['"b0"', "b0; charset=utf-8"])
def test_a_boundary_may_be_quoted_or_followed_by_parameters(boundary):
    assert len(table_of(form(b"a\n1\n"), f"multipart/form-data; boundary={boundary}")) == 1


def test_a_raw_matrix_is_read():
    table = table_of(MATRIX, "text/mtx")
    assert table.shape == (2, 3)
    assert table.to_numpy().tolist() == [[1.5, 0, 0], [0, 0, 2.5]]


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Disposition: form-data; name="X"; filename="data.MTX"',
        'Content-Disposition: form-data; name="X"\r\nContent-Type: text/mtx',
    ],
)
def test_a_matrix_in_a_form_is_detected_by_file_name_or_type(headers):
    assert table_of(form(DENSE_MATRIX, headers), FORM).to_numpy().tolist() == [[1, 3], [2, 4]]


def test_the_charset_is_respected():
    assert table_of("a\nä\n".encode("latin-1"), "text/csv; charset=latin-1")["a"][0] == "ä"
    assert table_of("a\nä\n".encode("utf-16"), 'text/csv; charset="utf-16"')["a"][0] == "ä"
    headers = 'Content-Disposition: form-data; name="X"\r\nContent-Type: text/csv; charset=latin-1'
    assert table_of(form("a\nä\n".encode("latin-1"), headers), FORM)["a"][0] == "ä"


def test_a_byte_order_mark_is_removed():
    assert list(table_of(b"\xef\xbb\xbfa,b\n1,2\n").columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", "text/csv", "no data"),
        (b"", FORM, "no data"),
        (b"\n\n", "text/csv", "no data"),
        (b"a,b\n", "text/csv", "no data: there are no rows below the header"),
        (form(b""), FORM, "no data: the field X is empty"),
        (b"a\n\xff\n", "text/csv", "the data is not text in utf-8"),
        (b"a\n1\n", "text/csv; charset=utf-99", "the charset 'utf-99' is unknown"),
        (b"a\n1\n", "text/csv; charset=hex", "the charset 'hex' is unknown"),
        (b"a\n1\n", "text/csv; charset=a\0b", "the data is not text in a\0b"),
        (b"a,b\n1,2\n1,2,3\n", "text/csv", "the CSV cannot be read: "),
        (b'a,b\n"1,2\n', "text/csv", "the CSV cannot be read: "),
        (b"a,b\n1,2,3\n", "text/csv", "its rows have more fields than its header"),
        (b"a,b\n1,2,3\n4,5,6\n", "text/csv", "its rows have more fields than its header"),
        (b"a,b\n\n0,2,3\n1,5,6\n", "text/csv", "its rows have more fields than its header"),
        (b"{}", "application/json", "the content type 'application/json' is not supported"),
        (b"a\n1\n", "application/octet-stream", "the content type 'application/octet-stream' is not supported"),
        (b"a=1", "application/x-www-form-urlencoded", "is not supported: send text/csv or text/mtx, or a multipart"),
        (b"junk", "text/mtx", "the MatrixMarket data cannot be read"),
        (MATRIX[:-8], "text/mtx", "the MatrixMarket data cannot be read"),
        (MATRIX.replace(b"real", b"complex"), "text/mtx", "it is complex; send real numbers"),
        (MATRIX.replace(b"2 3 2", b"2 999999999 2"), "text/mtx", "declares 2 rows and 999999999 columns"),
        (MATRIX.replace(b"2 3 2", b"2 9" + b"9" * 30 + b" 2"), "text/mtx", "the MatrixMarket data cannot be read"),
        (DENSE_MATRIX.replace(b"2 2", b"90000 90000"), "text/mtx", "too many for its size"),
        (MATRIX.replace(b"2 3 2", b"0 3 0").split(b"1 1")[0], "text/mtx", "no data"),
        (form(b"a\n1\n", 'Content-Disposition: form-data; name="Y"'), FORM, "the multipart form has no field X"),
        (form(b"a\n1\n", "Content-Type: text/csv"), FORM, "the multipart form has no field X"),
        (form(b"a\n1\n")[:-10], FORM, "the multipart form is cut off"),
        (b"a\n1\n", FORM, "the multipart form is broken"),
        (form(b"a\n1\n"), "multipart/form-data", "the multipart form is broken: its Content-Type has no boundary"),
        (form(b"a\n1\n"), "multipart/form-data; boundary=" + "x" * 1000, "the multipart form is"),
        (form(b"a\n1\n"), "multipart/form-data; boundary=\u20ac", "the multipart form is"),
        (
            form(b"YQ==", 'Content-Disposition: form-data; name="X"\r\nContent-Transfer-Encoding: base64'),
            FORM,
            "Content-Transfer-Encoding 'base64' is not supported",
        ),
    ],
)
def test_unreadable_data_is_refused_with_the_reason(body, content_type, said):
    assert said in refusal(body, content_type)


def test_every_broken_form_is_a_payload_error():
    dice = random.Random(20241122)
    whole = form(b"a,b\n1,2\n")
    pieces = [b"\r\n", b"--b0", b"--b0--", b'"', b";", b"\0", b"\xff", b":", b"\\", b"="]
    outcomes: set[Format | str] = set()
    for _ in range(3000):
        start, end = sorted(dice.sample(range(len(whole)), 2))
        body = whole[:start] + dice.choice(pieces) + whole[dice.choice([start, start + 1, end]) :]
        try:
            outcomes.add(unpack(body, FORM).format)
        except PayloadError as error:
            outcomes.add(str(error).split(":")[0])
    assert outcomes >= {Format.CSV, "the multipart form is broken", "the multipart form is cut off"}


def test_a_form_needs_python_multipart(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_multipart.multipart", None)
    assert refusal(form(b"a\n1\n"), FORM) == (
        "multipart forms need python-multipart, which is not installed: send the data as the body"
    )


def test_a_matrix_needs_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert refusal(MATRIX, "text/mtx") == "MatrixMarket needs scipy, which is not installed: send CSV"
