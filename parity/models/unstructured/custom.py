"""Returns the data as the query says."""

import json
import sys

from datarobot_drum import CustomHTTPError


def load_model(code_dir):
    return "model"


def score_unstructured(model, data, query, **kwargs):
    what = query.get("return", "same")
    if what.isdigit():
        raise CustomHTTPError("not today", status_code=int(what))
    return RESULTS[what](data, query, kwargs)


def _raise(data, query, kwargs):
    raise ValueError("no such value")


RESULTS = {
    "same": lambda data, query, kwargs: data,
    "text": lambda data, query, kwargs: f"{type(data).__name__} of {len(data)}",
    "umlaut": lambda data, query, kwargs: "gr\u00fc\u00dfe",
    "bytes": lambda data, query, kwargs: b"\x00\x01\xff",
    "none": lambda data, query, kwargs: None,
    "empty": lambda data, query, kwargs: "",
    "json": lambda data, query, kwargs: (json.dumps({"length": len(data)}), {"mimetype": "application/json"}),
    "latin": lambda data, query, kwargs: ("gr\u00fc\u00dfe", {"mimetype": "text/plain", "charset": "latin-1"}),
    "charset": lambda data, query, kwargs: ("gr\u00fc\u00dfe", {"charset": "utf-16"}),
    "png": lambda data, query, kwargs: (b"\x89PNG", {"mimetype": "image/png"}),
    "nothing": lambda data, query, kwargs: (None, {"mimetype": "text/html"}),
    "pair": lambda data, query, kwargs: (data, None),
    "alone": lambda data, query, kwargs: (data,),
    "dict": lambda data, query, kwargs: {"a": 1},
    "number": lambda data, query, kwargs: 42,
    "query": lambda data, query, kwargs: json.dumps(dict(query), sort_keys=True),
    "arguments": lambda data, query, kwargs: json.dumps({name: _told(name, value) for name, value in kwargs.items()}),
    "header": lambda data, query, kwargs: f"{kwargs['headers'].get('X-Custom')} {kwargs['headers'].get('x-custom')}",
    "raise": _raise,
    "exit": lambda data, query, kwargs: sys.exit(3),
}


def _told(name, value):
    return "given" if name == "headers" else value
