"""The requests, as data, in groups: a model names the groups that it gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CSV = b"a,b\n1,2\n3,4.5\n"
BOUNDARY = "----parity"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
MTX = b"%%MatrixMarket matrix coordinate real general\n3 2 4\n1 1 1\n2 1 3\n2 2 4.5\n3 1 6\n"
MTX_DENSE = b"%%MatrixMarket matrix array real general\n2 2\n1\n3\n2\n4.5\n"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        name: unique in its group.
        method: sent unchanged.
        target: path and query.
        headers: Host, Content-Length and Connection are added.
        body: None sends none, and no Content-Length.
        chunked: send the body in chunks.
        compare: `value`: JSON must be equal; `shape`: the same names and types.
        volatile: names in a JSON object for which only types are compared.
    """

    name: str
    method: str = "POST"
    target: str = "/predict/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    chunked: bool = False
    compare: str = "value"
    volatile: tuple[str, ...] = ()


def part(data: bytes, name: str = "X", file_name: str | None = "data.csv", content_type: str = "") -> bytes:
    """Return a form field."""
    file = f'; filename="{file_name}"' if file_name is not None else ""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'
    return head.encode() + data + b"\r\n"


def form(name: str, *parts: bytes, ends: bool = True, target: str = "/predict/") -> Request:
    """Return a request with these form fields."""
    last = f"--{BOUNDARY}--\r\n".encode() if ends else b""
    return Request(name, target=target, headers={"Content-Type": FORM}, body=b"".join(parts) + last)


def raw(name: str, body: bytes | None, content_type: str | None = "text/csv", **more: object) -> Request:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return Request(name, headers=headers, body=body, **more)  # type: ignore[arg-type]


def get(target: str, method: str = "GET", **more: object) -> Request:
    return Request(f"{method} {target}", method, target, **more)  # type: ignore[arg-type]


_INFO = ("codeDir", "drumVersion")

ROUTES = (
    *(get(path) for path in ("/", "/ping", "/ping/", "/health/", "/health")),
    *(get(path, "HEAD") for path in ("/", "/ping", "/ping/", "/health/")),
    *(get(path, "POST") for path in ("/", "/ping/", "/health/", "/info/", "/stats/", "/capabilities/")),
    get("/ping/?verbose=1"),
    get("/info/", volatile=_INFO),
    get("/info", volatile=_INFO),
    get("/info/", "HEAD"),
    get("/capabilities/"),
    get("/capabilities"),
    get("/capabilities/", "HEAD"),
    get("/stats/", compare="shape"),
    get("/stats", compare="shape"),
    get("/stats/", "HEAD"),
    get("/no/such/path"),
    get("/no/such/path", "POST"),
    get("/livez"),
    get("/readyz"),
    get("/startupz"),
    get("/PING"),
    get("//ping"),
    get("/ping//"),
    get("/%70ing"),
    *(get(path) for path in ("/predict/", "/predict", "/predictions/", "/invocations", "/predictUnstructured/")),
    *(get("/predict/", method) for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")),
    get("/ping/", "OPTIONS"),
    *(Request(f"POST {path}", target=path, body=CSV) for path in ("/transform/", "/transform")),
    *(Request(f"POST {path}", target=path, body=b"{}") for path in ("/chat/completions", "/v1/chat/completions")),
    get("/models"),
    get("/v1/models"),
    Request("X-Request-ID on a probe", "GET", "/ping/", {"X-Request-ID": "abc-123"}),
    Request("X_Request_ID on a probe", "GET", "/ping/", {"X_Request_ID": "abc-123"}),
    Request("empty X-Request-ID", "GET", "/ping/", {"X-Request-ID": ""}),
    Request("body with GET", "GET", "/ping/", {"Content-Type": "text/csv"}, CSV),
    Request("text, wrong or right path for the type", target="/predict/", body=CSV),
    Request("text to predictUnstructured", target="/predictUnstructured/", body=CSV),
    Request("text to predictionsUnstructured", target="/predictionsUnstructured/", body=CSV),
    Request("text to predictUnstructured without a slash", target="/predictUnstructured", body=CSV),
    Request("text to invocations", target="/invocations", body=CSV),
    Request("text to invocations with a slash", target="/invocations/", body=CSV),
)

TABLES = (
    form("form, csv", part(CSV, content_type="text/csv")),
    form("form, no type", part(CSV)),
    form("form, no file name", part(CSV, file_name=None)),
    form("form, octet-stream", part(CSV, content_type="application/octet-stream")),
    form("form, mtx by its name", part(MTX, file_name="data.mtx")),
    form("form, mtx by its type", part(MTX, content_type="text/mtx")),
    form("form, MTX in capitals", part(MTX, file_name="DATA.MTX")),
    form("form, dense mtx", part(MTX_DENSE, file_name="data.mtx")),
    form("form, json file name", part(CSV, file_name="data.json")),
    form("form, utf-16", part("a,b\n1,2\n".encode("utf-16"), content_type="text/csv; charset=utf-16")),
    form("form, further fields", part(b"1", name="other", file_name=None), part(CSV), part(b"2", name="Z")),
    form("form, X twice", part(CSV), part(b"a,b\n7,8\n")),
    form("form, no X", part(CSV, name="Y")),
    form("form, small x", part(CSV, name="x")),
    form("form, X empty", part(b"")),
    form("form, no field"),
    form("form, cut off", part(CSV), ends=False),
    raw("form without a boundary", CSV, "multipart/form-data"),
    raw("form urlencoded", b"X=1", "application/x-www-form-urlencoded"),
    raw("csv", CSV),
    raw("csv, text/plain", CSV, "text/plain"),
    raw("csv, no content type", CSV, None),
    raw("csv, empty content type", CSV, ""),
    raw("csv, Text/CSV", CSV, "Text/CSV"),
    raw("csv, charset utf-8", CSV, "text/csv; charset=utf-8"),
    raw("csv, charset latin-1", "a,grün\n1,grüße\n".encode("latin-1"), "text/csv; charset=latin-1"),
    raw("csv, charset in quotes", "a,grün\n1,grüße\n".encode("latin-1"), 'text/csv; charset="latin-1"'),
    raw("csv, charset utf-16", "a,b\n1,grün\n".encode("utf-16"), "text/csv; charset=utf-16"),
    raw("csv, unknown charset", CSV, "text/csv; charset=nonsense"),
    raw("csv, other parameter", CSV, "text/csv; header=present"),
    raw("csv, utf-8", "a,grün\n1,grüße\n".encode()),
    raw("csv, not utf-8", "a,grün\n1,grüße\n".encode("latin-1")),
    raw("csv, byte order mark", b"\xef\xbb\xbf" + CSV),
    raw("mtx", MTX, "text/mtx"),
    raw("mtx, dense", MTX_DENSE, "text/mtx"),
    raw("mtx, broken", b"%%MatrixMarket matrix coordinate real general\n3 2\n", "text/mtx"),
    raw("mtx, but csv", CSV, "text/mtx"),
    raw("csv, but mtx", MTX),
    raw("json", b'[{"a": 1}]', "application/json"),
    raw("octet-stream", CSV, "application/octet-stream"),
    raw("unknown type", CSV, "application/nonsense"),
    raw("no body", None, None),
    raw("no body, text/csv", None),
    raw("empty body", b""),
    raw("empty body, json", b"", "application/json"),
    raw("white space", b" \n\n"),
    raw("header only", b"a,b\n"),
    raw("header only, no line end", b"a,b"),
    raw("one column", b"a\n1\n2\n"),
    raw("no line end", b"a,b\n1,2"),
    raw("CRLF", b"a,b\r\n1,2\r\n"),
    raw("missing cells", b"a,b\n1,\n,2\n"),
    raw("words for missing", b"a,b\nNA,null\nNaN,None\n"),
    raw("blank lines", b"a,b\n\n1,2\n\n"),
    raw("quotes", b'a,b\n"1","x, ""y"""\n'),
    raw("cell over two lines", b'a,b\n1,"x\ny"\n'),
    raw("open quote", b'a,b\n1,"x\n'),
    raw("broken, longer row later", b"a,b\n1,2\n1,2,3\n"),
    raw("broken, all rows longer", b"a,b\n1,2,3\n4,5,6\n"),
    raw("shorter row", b"a,b\n1\n"),
    raw("same name twice", b"a,a\n1,2\n"),
    raw("types", b"i,f,s,b,d,m\n1,1.5,x,True,2020-01-01,1\n2,2.5,y,False,2020-01-02,x\n"),
    raw("large numbers", b"a,b\n9007199254740993,1e400\n18446744073709551616,0.1\n"),
    raw("leading zeros and spaces", b"a,b\n007, 1\n"),
    raw("NUL", b"a,b\n1,\x002\n"),
    raw("query", CSV, target="/predict/?a=1&b=2"),
    raw("without a slash", CSV, target="/predict"),
    raw("predictions", CSV, target="/predictions/"),
    raw("predictions without a slash", CSV, target="/predictions"),
    raw("invocations", CSV, target="/invocations"),
    raw("chunked", CSV, chunked=True),
    raw("chunked, no content type", CSV, None, chunked=True),
    Request("accepts xml", headers={"Accept": "text/xml"}, body=CSV),
    Request("X-Request-ID", headers={"X-Request-ID": "abc-123"}, body=CSV),
    Request("X_Request_ID", headers={"X_Request_ID": "abc-123"}, body=CSV),
)

_WIDE = b",".join(b"c%d" % number for number in range(2000))
_LONG = b"a,b\n" + b"1,2.5\n" * 200_000

BODIES = (
    raw("1.2 MB", _LONG),
    form("1.2 MB in a form", part(_LONG)),
    raw("1.2 MB, chunked", _LONG, chunked=True),
    raw("2000 columns", _WIDE + b"\n" + b",".join([b"1"] * 2000) + b"\n"),
    raw("4 MB in one cell", b"a\n" + b"x" * 4_000_000 + b"\n"),
)

SMALL = (
    form("form", part(CSV)),
    raw("csv", CSV),
    raw("five rows", b"a,b\n1,2\n2,3\n3,4\n4,5\n5,60\n"),
    raw("one row", b"a,b\n1,2\n"),
    raw("no body", None, None),
)

INFO = (get("/info/", volatile=_INFO),)

RAISING = (
    *(
        raw(what, f"what\n{what}\n1\n".encode())
        for what in "value key silent list none series rows empty text digits switch columns index exit".split()
    ),
    raw("value again", b"what\nvalue\n"),
)

PROBABILITIES = (
    raw("good", b"yes,no\n0.75,0.25\n"),
    raw("columns the other way round", b"no,yes\n0.25,0.75\n"),
    raw("0 and 1", b"yes,no\n1,0\n"),
    raw("sum is 1.5", b"yes,no\n0.75,0.75\n"),
    raw("sum is 0.9995", b"yes,no\n0.75,0.2495\n"),
    raw("sum is 0.9999999", b"yes,no\n0.75,0.2499999\n"),
    raw("second row is wrong", b"yes,no\n0.75,0.25\n0.1,0.1\n"),
    raw("negative", b"yes,no\n1.25,-0.25\n"),
    raw("missing", b"yes,no\n0.75,\n"),
    raw("wrong name", b"yes,other\n0.75,0.25\n"),
    raw("wrong names", b"a,b\n0.75,0.25\n"),
    raw("one column, positive", b"yes\n0.75\n"),
    raw("one column, negative", b"no\n0.75\n"),
    raw("one column, Predictions", b"Predictions\n0.75\n"),
    raw("one column, too large", b"yes\n1.75\n"),
    raw("three columns", b"yes,no,text\n0.75,0.25,x\n"),
    raw("texts", b"yes,no\nx,y\n"),
)

HTTP_ERROR = tuple(
    raw(f"status {status or 'by default'}", f"status\n{status}\n".encode())
    for status in (200, 0, 400, 401, 404, 418, 429, 499, 500, 503, 599)
)

PREFIXED = (
    *(get(f"/some/prefix{path}") for path in ("", "/", "/ping", "/ping/", "/health/")),
    get("/some/prefix/info/", volatile=_INFO),
    get("/some/prefix/stats/", compare="shape"),
    *(get(path) for path in ("/", "/ping/", "/info/", "/some/", "/some/prefixed/ping/")),
    raw("predict", CSV, target="/some/prefix/predict/"),
    raw("predict without a slash", CSV, target="/some/prefix/predict"),
    raw("invocations", CSV, target="/some/prefix/invocations"),
    raw("predict without the prefix", CSV),
)


def text(name: str, what: str, body: bytes | None = b"some text", content_type: str | None = "text/plain") -> Request:
    """Return a request for the unstructured model, which returns `what`."""
    return raw(name, body, content_type, target=f"/predictUnstructured/?return={what}")


_LATIN = "grüße".encode("latin-1")

TEXTS = (
    *(
        text(f"returns {what}", what)
        for what in "same text umlaut bytes none empty json latin charset png nothing pair alone dict number raise "
        "404 418 503 exit".split()
    ),
    *(text(f"arguments, {kind}", "arguments", content_type=kind) for kind in ("text/plain", "application/json", None)),
    text("arguments, charset", "arguments", content_type="text/plain; charset=latin-1"),
    text("arguments, octet-stream", "arguments", content_type="application/octet-stream"),
    text("arguments, image", "arguments", content_type="image/png"),
    text("text as text", "text"),
    text("csv as text", "text", content_type="text/csv"),
    text("html as text", "text", content_type="text/html"),
    text("json as text", "text", b"{}", "application/json"),
    text("broken json as text", "text", b"{", "application/json"),
    text("problem+json", "text", b"{}", "application/problem+json"),
    text("xml", "text", b"<a/>", "application/xml"),
    text("bytes as bytes", "text", b"\x00\xff", "application/octet-stream"),
    text("no type", "text", content_type=None),
    text("no type, not utf-8", "text", _LATIN, None),
    text("not utf-8", "text", _LATIN),
    text("in latin-1", "same", _LATIN, "text/plain; charset=latin-1"),
    text("in utf-8", "same", "grüße".encode(), "text/plain; charset=utf-8"),
    text("unknown charset", "text", b"abc", "text/plain; charset=nonsense"),
    text("image as bytes", "text", b"\x89PNG", "image/png"),
    text("form", "text", part(CSV) + f"--{BOUNDARY}--\r\n".encode(), FORM),
    text("form urlencoded", "text", b"a=1&b=2", "application/x-www-form-urlencoded"),
    text("no body", "text", None, None),
    text("empty body", "text", b""),
    text("empty body, bytes", "text", b"", "application/octet-stream"),
    raw("query", b"x", target="/predictUnstructured/?return=query&a=1&b=x%20y&c=x+y&empty=&a=2&u=%C3%BC"),
    raw("query without values", b"x", target="/predictUnstructured/?return=query&flag"),
    Request("header", target="/predictUnstructured/?return=header", headers={"X-Custom": "here"}, body=b"x"),
    raw("without a slash", b"x", target="/predictUnstructured?return=text"),
    raw("predictionsUnstructured", b"x", target="/predictionsUnstructured/?return=text"),
    raw("invocations", b"x", target="/invocations?return=text"),
    raw("invocations, json", b"{}", "application/json", target="/invocations?return=json"),
    raw("chunked", b"some text", "text/plain", target="/predictUnstructured/?return=text", chunked=True),
    raw("4 MB", b"x" * 4_000_000, "text/plain", target="/predictUnstructured/?return=text"),
    raw("4 MB back", b"x" * 4_000_000, "text/plain", target="/predictUnstructured/?return=same"),
)

GROUPS: Mapping[str, tuple[Request, ...]] = {
    "routes": ROUTES,
    "tables": TABLES,
    "bodies": BODIES,
    "small": SMALL,
    "info": INFO,
    "raising": RAISING,
    "probabilities": PROBABILITIES,
    "http_error": HTTP_ERROR,
    "prefixed": PREFIXED,
    "texts": TEXTS,
}
