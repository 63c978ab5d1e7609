"""The intended differences, each with its reason. An undeclared one, and one that no longer occurs, is a failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from parity.comparing import Difference


@dataclass(frozen=True)
class Declared:
    """Intended differences with one reason; in every text but the reason `*` matches anything.

    Attributes:
        kind: see `Difference`.
        drum: DRUM's response.
        ours: our server's response.
        requests: names of the requests.
        models: names of the model folders.
        servers: which of our servers differ.
    """

    kind: str
    drum: str
    ours: str
    why: str
    requests: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    servers: tuple[str, ...] = ("*",)

    def covers(self, server: str, model: str, request: str, difference: Difference) -> bool:
        return (
            _matches(self.kind, difference.kind)
            and _matches(self.drum, difference.drum)
            and _matches(self.ours, difference.ours)
            and any(_matches(pattern, model) for pattern in self.models)
            and any(_matches(pattern, request) for pattern in self.requests)
            and any(_matches(pattern, server) for pattern in self.servers)
        )


def _matches(pattern: str, text: str) -> bool:
    # texts contain brackets and question marks: only the asterisk is special
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def _answers(drum: str, ours: str, why: str, *requests: str, models: tuple[str, ...] = ("*",)) -> Declared:
    return Declared("answer", drum, ours, why, requests or ("*",), models)


_HTML, _JSON = "text/html;charset=utf-8", "application/json"
_JSON_200, _JSON_422, _JSON_500 = f"200 {_JSON}", f"422 {_JSON}", f"500 {_JSON}"

_BAD_DATA = "unreadable data is the client's mistake (422), not the server's"
_CHARSET = "the client's charset is respected; DRUM always reads CSV as UTF-8"
_CHECKED = "invalid predictions are an error"
_OTHER_TARGETS = "unsupported target types have no paths; --server-type drum runs DRUM"

TOPICS: Mapping[str, tuple[Declared, ...]] = {
    "The protocol": (
        Declared("header x-request-id", "-", "*", "X-Request-ID is the common name; DRUM's X_Request_ID is sent too"),
        Declared("wording", "ERROR: *", "ERROR: *", "error messages have our own wording and the same shape"),
        _answers(
            f"308 {_HTML}",
            "*",
            "each path is served with and without a trailing slash: redirects lose bodies and methods",
        ),
        _answers(f"404 {_HTML}", f"404 {_JSON}", "all errors are JSON of one shape, never HTML"),
        _answers(f"405 {_HTML}", f"405 {_JSON}", "all errors are JSON of one shape, never HTML"),
        _answers(f"404 {_HTML}", f"405 {_JSON}", "the path exists, but not with this method", "GET /predict"),
        _answers(
            f"404 {_HTML}",
            "200 *",
            "/invocations/ is SageMaker's path with a trailing slash",
            "text to invocations with a slash",
        ),
        _answers(f"404 {_HTML}", _JSON_200, "Kubernetes probes", "GET /livez", "GET /readyz", "GET /startupz"),
        _answers(_JSON_200, f"404 {_JSON}", "a path with empty segments is another path", "GET //ping", "GET /ping//"),
        _answers(f"200 {_HTML}", "204", "a response to OPTIONS has no body, hence no content type", "OPTIONS *"),
        _answers("* application/json", f"404 {_JSON}", _OTHER_TARGETS, "POST /transform/", "POST */chat/completions"),
    ),
    "What the server reports about itself": (
        Declared("body", ".drumServer: 'flask'", ".drumServer: *", "the server type in use", ("*/info/",)),
        Declared(
            "body",
            ".predictor: None",
            ".predictor: 'custom.py'",
            "names what predicts, the hook included",
            ("*/info/",),
        ),
        Declared("body", "-", "has ['failed_requests']", "number of failed predictions", ("*/stats/",)),
    ),
    "Reading data": (
        _answers(
            _JSON_500, _JSON_422, _BAD_DATA, "form, X empty", "white space", "open quote", "broken, longer row later"
        ),
        _answers(_JSON_500, _JSON_422, _BAD_DATA, "mtx, broken", "mtx, but csv", "*not utf-8", "unknown charset"),
        _answers(_JSON_500, _JSON_200, _CHARSET, "csv, charset *", "form, utf-16"),
        _answers(_JSON_200, _JSON_422, _CHARSET, "csv, unknown charset"),
        _answers(_JSON_500, _JSON_200, "dense MatrixMarket is supported too", "form, dense mtx", "mtx, dense"),
        Declared(
            "body",
            "*: 5 elements",
            "*: 3 elements",
            "a field with that content type or with .MTX is MatrixMarket too; DRUM reads it as CSV, line by line",
            ("form, mtx by its type", "form, MTX in capitals"),
        ),
        _answers(f"422 {_JSON}", _JSON_200, "content types are case-insensitive (RFC 9110, 8.3.1)", "csv, Text/CSV"),
        _answers(_JSON_422, _JSON_200, "a field needs no file name", "form, no file name"),
        _answers(_JSON_200, _JSON_422, "without rows there is nothing to predict", "header only*"),
        _answers(
            _JSON_200,
            _JSON_422,
            "rows longer than the header: pandas shifts the columns, and the predictions would be silently wrong",
            "broken, all rows longer",
        ),
        _answers(
            _JSON_200,
            _JSON_422,
            "empty data and forms without a boundary are refused for read_input_data too",
            "form, X empty",
            "form without a boundary",
            models=("read_input_data",),
        ),
        _answers(
            _JSON_422,
            _JSON_200,
            "read_input_data accepts any content type",
            "form urlencoded",
            models=("read_input_data",),
        ),
        Declared(
            "body",
            "*: 'True'",
            "*: 'False'",
            "score does not get sparse_colnames, which is undocumented",
            ("five rows",),
            ("target_type",),
        ),
    ),
    "What the model returns": (
        _answers(
            _JSON_500,
            _JSON_200,
            "binary: one column named like a label is enough; the other is its complement to 1",
            "*",
            models=("binary_one",),
        ),
        _answers(
            _JSON_500,
            _JSON_200,
            "binary: one column named like a label is enough; the other is its complement to 1",
            "one column, positive",
            "one column, negative",
            "wrong name",
            models=("probabilities",),
        ),
        _answers(
            _JSON_500,
            _JSON_200,
            "the probabilities of 16- and 32-bit models add up to 1 within 0.001",
            "sum is 0.9995",
        ),
        _answers(_JSON_500, _JSON_200, "post_process may add columns, like score", models=("post_process_extra",)),
        _answers(_JSON_200, _JSON_500, _CHECKED, "rows", "digits", "switch", models=("raising",)),
        _answers(
            "500 text/html",
            _JSON_500,
            "sys.exit in a hook ends the request, not the worker",
            "exit",
            "returns exit",
        ),
        Declared("header x*", "-", "there", "DRUM's worker has exited, and gunicorn answers", ("exit", "returns exit")),
    ),
    "Unstructured models": (
        _answers(
            _JSON_422,
            "200 *",
            "/invocations is SageMaker's path for every target type",
            "text to invocations",
            "invocations*",
            models=("unstructured",),
        ),
        Declared(
            "body",
            '*image/png", "headers*',
            '*image/png", "charset": "utf-8"*',
            "charset is always set, utf-8 by default",
            ("arguments, image",),
        ),
        Declared(
            "body",
            '*octet-stream", "headers*',
            '*octet-stream", "charset": "utf-8"*',
            "charset is always set, utf-8 by default",
            ("arguments, octet-stream",),
        ),
        Declared(
            "body",
            "b'bytes of 2'",
            "b'str of 2'",
            "+json is JSON (RFC 6839), which is text",
            ("problem+json",),
        ),
        Declared("body", "b'here None'", "b'here here'", "header names are case-insensitive", ("header",)),
    ),
}

DECLARED = tuple(declared for topic in TOPICS.values() for declared in topic)
