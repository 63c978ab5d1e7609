"""The differences that are meant, each with its reason. One that is not here, or no longer occurs, is a failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from parity.comparing import Difference


@dataclass(frozen=True)
class Declared:
    """Differences that are meant for one reason. In the texts `*` stands for anything.

    Attributes:
        kind: see `Difference`.
        drum: what DRUM answers.
        ours: what our server answers.
        why: the reason.
        requests: their names.
        models: the names of the folders.
        servers: those of ours where it is found.
    """

    kind: str
    drum: str
    ours: str
    why: str
    requests: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    servers: tuple[str, ...] = ("*",)

    def covers(self, server: str, model: str, request: str, difference: Difference) -> bool:
        """Return whether that difference, found there, is one of these."""
        return (
            _matches(self.kind, difference.kind)
            and _matches(self.drum, difference.drum)
            and _matches(self.ours, difference.ours)
            and any(_matches(pattern, model) for pattern in self.models)
            and any(_matches(pattern, request) for pattern in self.requests)
            and any(_matches(pattern, server) for pattern in self.servers)
        )


def _matches(pattern: str, text: str) -> bool:
    """Texts have brackets and question marks in them: only the asterisk is special."""
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def _answers(drum: str, ours: str, why: str, *requests: str, models: tuple[str, ...] = ("*",)) -> Declared:
    return Declared("answer", drum, ours, why, requests or ("*",), models)


_HTML, _JSON = "text/html;charset=utf-8", "application/json"
_JSON_200, _JSON_422, _JSON_500 = f"200 {_JSON}", f"422 {_JSON}", f"500 {_JSON}"

_BAD_DATA = "what the client has sent cannot be read: that is the client's mistake (422), not the server's"
_CHARSET = "the charset that the client names is heeded; DRUM reads CSV as UTF-8 whatever it says"
_CHECKED = "predictions that are wrong are an error, and not an answer"
_OTHER_TARGETS = "a target type that the built-in server does not have has no paths; --server-type drum runs DRUM"

TOPICS: Mapping[str, tuple[Declared, ...]] = {
    "The protocol": (
        Declared(
            "header x-request-id", "-", "*", "X-Request-ID is what everybody else has; DRUM's X_Request_ID is sent, too"
        ),
        Declared("wording", "ERROR: *", "ERROR: *", "the words of errors are our own; their shape is the same"),
        _answers(
            f"308 {_HTML}", "*", "each path is served with and without a slash: redirects lose bodies and methods"
        ),
        _answers(f"404 {_HTML}", f"404 {_JSON}", "errors are JSON of one shape, never a page"),
        _answers(f"405 {_HTML}", f"405 {_JSON}", "errors are JSON of one shape, never a page"),
        _answers(
            f"404 {_HTML}", f"405 {_JSON}", "a path that is there with another method is not missing", "GET /predict"
        ),
        _answers(
            f"404 {_HTML}",
            "200 *",
            "/invocations/ is SageMaker's path with a slash",
            "text to invocations with a slash",
        ),
        _answers(f"404 {_HTML}", _JSON_200, "probes of Kubernetes", "GET /livez", "GET /readyz", "GET /startupz"),
        _answers(_JSON_200, f"404 {_JSON}", "a path with empty parts is another path", "GET //ping", "GET /ping//"),
        _answers(f"200 {_HTML}", "204", "an answer to OPTIONS has no body, and so no type", "OPTIONS *"),
        _answers("* application/json", f"404 {_JSON}", _OTHER_TARGETS, "POST /transform/", "POST */chat/completions"),
    ),
    "What the server tells of itself": (
        Declared("body", ".drumServer: 'flask'", ".drumServer: *", "the server that it is", ("*/info/",)),
        Declared(
            "body", ".predictor: None", ".predictor: 'custom.py'", "who predicts, also if it is the hook", ("*/info/",)
        ),
        Declared("body", "-", "has ['failed_requests']", "how many predictions have failed", ("*/stats/",)),
    ),
    "Reading data": (
        _answers(
            _JSON_500, _JSON_422, _BAD_DATA, "form, X empty", "white space", "open quote", "broken, longer row later"
        ),
        _answers(_JSON_500, _JSON_422, _BAD_DATA, "mtx, broken", "mtx, but csv", "*not utf-8", "unknown charset"),
        _answers(_JSON_500, _JSON_200, _CHARSET, "csv, charset *", "form, utf-16"),
        _answers(_JSON_200, _JSON_422, _CHARSET, "csv, unknown charset"),
        _answers(_JSON_500, _JSON_200, "dense MatrixMarket is MatrixMarket", "form, dense mtx", "mtx, dense"),
        Declared(
            "body",
            "*: 5 elements",
            "*: 3 elements",
            "a field is MatrixMarket by its type and by .MTX, too; DRUM reads it as CSV, line by line",
            ("form, mtx by its type", "form, MTX in capitals"),
        ),
        _answers(f"422 {_JSON}", _JSON_200, "types are compared without case (RFC 9110, 8.3.1)", "csv, Text/CSV"),
        _answers(_JSON_422, _JSON_200, "a field without a file name is a field", "form, no file name"),
        _answers(_JSON_200, _JSON_422, "nothing to predict is no data", "header only*"),
        _answers(
            _JSON_200,
            _JSON_422,
            "rows longer than the header: pandas shifts the columns, and predictions are wrong without a word",
            "broken, all rows longer",
        ),
        _answers(
            _JSON_200,
            _JSON_422,
            "no data, and forms without a boundary, are no data for read_input_data either",
            "form, X empty",
            "form without a boundary",
            models=("read_input_data",),
        ),
        _answers(
            _JSON_422,
            _JSON_200,
            "read_input_data takes any content type",
            "form urlencoded",
            models=("read_input_data",),
        ),
        Declared(
            "body",
            "*: 'True'",
            "*: 'False'",
            "score does not get sparse_colnames, which is nowhere documented",
            ("five rows",),
            ("target_type",),
        ),
    ),
    "What the model returns": (
        _answers(
            _JSON_500,
            _JSON_200,
            "of a binary target one column with its label's name is enough; the other is what is left to 1",
            "*",
            models=("binary_one",),
        ),
        _answers(
            _JSON_500,
            _JSON_200,
            "of a binary target one column with its label's name is enough; the other is what is left to 1",
            "one column, positive",
            "one column, negative",
            "wrong name",
            models=("probabilities",),
        ),
        _answers(
            _JSON_500,
            _JSON_200,
            "probabilities of models that compute in 16 or 32 bits add up to 1 within 0.001",
            "sum is 0.9995",
        ),
        _answers(_JSON_500, _JSON_200, "post_process may add columns, as score may", models=("post_process_extra",)),
        _answers(_JSON_200, _JSON_500, _CHECKED, "rows", "digits", "switch", models=("raising",)),
        _answers(
            "500 text/html",
            _JSON_500,
            "a hook that calls sys.exit ends its request, not the worker",
            "exit",
            "returns exit",
        ),
        Declared(
            "header x*", "-", "there", "DRUM's worker has gone, what answers is gunicorn", ("exit", "returns exit")
        ),
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
            "charset is always given, utf-8 by default",
            ("arguments, image",),
        ),
        Declared(
            "body",
            '*octet-stream", "headers*',
            '*octet-stream", "charset": "utf-8"*',
            "charset is always given, utf-8 by default",
            ("arguments, octet-stream",),
        ),
        Declared(
            "body",
            "b'bytes of 2'",
            "b'str of 2'",
            "what ends in +json is JSON (RFC 6839), which is text",
            ("problem+json",),
        ),
        Declared(
            "body", "b'here None'", "b'here here'", "names of headers are found however they are written", ("header",)
        ),
    ),
}

DECLARED = tuple(declared for topic in TOPICS.values() for declared in topic)
