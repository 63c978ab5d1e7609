"""Calling the user's hooks: order, arguments, results."""

from typing import Any

import pandas as pd
import pytest

from drum_supervisor.model.data.errors import PayloadError, ResultError
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.hooks import Hooks
from drum_supervisor.model.structured import Pipeline
from drum_supervisor.model.unstructured import Output
from drum_supervisor.model.unstructured import predict as predict_unstructured

REGRESSION = Target(TargetType.REGRESSION)
BINARY = Target(TargetType.BINARY, ("yes", "no"))
CSV = b"a\n1\n2\n"


def predictions(
    hooks: dict[str, Any], body: bytes = CSV, content_type: str = "text/csv", target: Target = REGRESSION
) -> Any:
    return Pipeline(Hooks(hooks), "the model", target).predict(body, content_type)


def doubled(data: pd.DataFrame, model: Any) -> pd.DataFrame:
    return pd.DataFrame({"Predictions": data["a"] * 2})


def test_hooks_are_called_in_order_with_data_and_model():
    called = []

    def read_input_data(binary_data):
        called.append(("read_input_data", binary_data))
        return pd.DataFrame({"a": [1]})

    def transform(data, model):
        called.append(("transform", model))
        return data + 1

    def score(data, model):
        called.append(("score", model))
        return doubled(data, model)

    def post_process(predictions, model):
        called.append(("post_process", model))
        return predictions + 0.5

    hooks = {each.__name__: each for each in (post_process, score, transform, read_input_data)}
    assert predictions(hooks, b"\x00raw", "image/png") == {"predictions": [4.5]}
    assert called == [
        ("read_input_data", b"\x00raw"),
        ("transform", "the model"),
        ("score", "the model"),
        ("post_process", "the model"),
    ]


def test_read_input_data_gets_the_field_of_a_form():
    body = b'--b\r\nContent-Disposition: form-data; name="X"; filename="cat.png"\r\n\r\nPNG\r\n--b--\r\n'
    seen = []

    def read_input_data(binary_data):
        seen.append(binary_data)
        return pd.DataFrame({"a": [1]})

    hooks = {"read_input_data": read_input_data, "score": doubled}
    predictions(hooks, body, "multipart/form-data; boundary=b")
    assert seen == [b"PNG"]


def test_read_input_data_is_not_called_without_data():
    with pytest.raises(PayloadError, match="no data"):
        predictions({"read_input_data": pytest.fail, "score": doubled}, b"", "image/png")


def test_read_input_data_must_return_rows():
    hooks = {"read_input_data": lambda binary_data: pd.DataFrame(), "score": doubled}
    with pytest.raises(PayloadError, match=r"^no data: read_input_data returned no rows$"):
        predictions(hooks)


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (REGRESSION, {}),
        (BINARY, {"positive_class_label": "yes", "negative_class_label": "no"}),
        (Target(TargetType.MULTICLASS, ("a", "b")), {"class_labels": ["a", "b"]}),
    ],
)
def test_score_gets_what_drum_documents(target, labels):
    seen: dict[str, Any] = {}

    def score(data, model, **kwargs):
        seen.update(kwargs)
        columns = target.labels or ("Predictions",)
        return pd.DataFrame({name: [1 / len(columns)] * len(data) for name in columns})

    predictions({"score": score}, CSV, "text/csv; charset=ascii", target)
    assert seen == {
        **labels,
        "target_type": target.type,
        "binary_data": CSV,
        "mimetype": "text/csv",
        "charset": "ascii",
    }


def test_hooks_keep_their_defaults_for_labels_that_do_not_apply():
    def score(data, model, class_labels=("a", "b")):
        assert class_labels == ("a", "b")
        return doubled(data, model)

    assert predictions({"score": score}) == {"predictions": [2.0, 4.0]}


def test_the_target_type_is_a_string_and_an_enum():
    def score(data, model, target_type):
        assert (target_type.value, target_type.name, target_type) == ("regression", "REGRESSION", "regression")
        return doubled(data, model)

    assert predictions({"score": score}) == {"predictions": [2.0, 4.0]}


def test_post_process_gets_columns_by_name_in_label_order():
    seen = []

    def post_process(predictions, model):
        seen.append(list(predictions.columns))
        return predictions

    frames = [pd.DataFrame({"any name": [1.0, 2.0]}), pd.DataFrame({"no": [0.25, 0], "why": [1, 2], "yes": [0.75, 1]})]
    for frame, target in zip(frames, (REGRESSION, BINARY), strict=True):
        predictions({"score": lambda data, model, frame=frame: frame, "post_process": post_process}, target=target)
    assert seen == [["Predictions"], ["yes", "no"]]


def test_extra_columns_are_kept_after_post_process():
    hooks = {
        "score": lambda data, model: pd.DataFrame({"yes": [0.25, 1.0], "why": ["a", "b"], "no": [0.75, 0.0]}),
        "post_process": lambda predictions, model: (1 - predictions).assign(limit=0.5).set_index([[7, 8]]),
    }
    assert predictions(hooks, target=BINARY) == {
        "predictions": [{"yes": 0.75, "no": 0.25}, {"yes": 0.0, "no": 1.0}],
        "extraModelOutput": {"index": [7, 8], "columns": ["limit", "why"], "data": [[0.5, "a"], [0.5, "b"]]},
    }


def test_post_process_may_replace_an_extra_column():
    hooks = {
        "score": lambda data, model: pd.DataFrame({"Predictions": [1.0, 2.0], "why": ["a", "b"]}),
        "post_process": lambda predictions, model: predictions.assign(why="because"),
    }
    assert predictions(hooks)["extraModelOutput"]["data"] == [["because"], ["because"]]


def test_post_process_must_keep_the_number_of_rows():
    hooks = {
        "score": lambda data, model: pd.DataFrame({"Predictions": [1.0, 2.0], "why": ["a", "b"]}),
        "post_process": lambda predictions, model: predictions.head(1),
    }
    with pytest.raises(ResultError, match="each of 2 rows, but the model returned 1"):
        predictions(hooks)


def test_a_hook_without_kwargs_gets_the_names_it_accepts():
    def score(data, model, target_type, *, charset=None):
        assert (target_type, charset) == ("regression", "ascii")
        return doubled(data, model)

    assert predictions({"score": score}, CSV, "text/csv; charset=ascii") == {"predictions": [2.0, 4.0]}


def test_a_callable_without_signature_gets_all_options():
    assert Hooks({"init": dict}).call("init", code_dir="/x") == {"code_dir": "/x"}


@pytest.mark.parametrize("name", ["read_input_data", "transform", "score", "post_process"])
def test_a_hook_that_returns_no_dataframe_is_named(name):
    hooks = {"score": doubled, name: lambda *arguments: [1, 2]}
    with pytest.raises(ResultError, match=f"^{name} must return a DataFrame, but it returned list.$"):
        predictions(hooks)


def test_rows_are_counted_before_transform():
    hooks = {"transform": lambda data, model: data.head(1), "score": doubled}
    with pytest.raises(ResultError, match="each of 2 rows, but the model returned 1"):
        predictions(hooks)


def test_exceptions_of_hooks_are_passed_on():
    def score(data, model):
        raise KeyError("bmi")

    with pytest.raises(KeyError, match="bmi"):
        predictions({"score": score})


def output_of(result: Any) -> Output:
    hooks = Hooks({"score_unstructured": lambda model, data: result})
    return predict_unstructured(hooks, "the model", b"", "", {}, {})


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ("ä", "ä".encode(), "text/plain; charset=utf-8"),
        (b"\xff", b"\xff", "application/octet-stream"),
        (bytearray(b"\xff"), b"\xff", "application/octet-stream"),
        (None, b"", "text/plain; charset=utf-8"),
        (("{}", {"mimetype": "application/json"}), b"{}", "application/json; charset=utf-8"),
        (("ä", {"charset": "latin-1"}), b"\xe4", "text/plain; charset=latin-1"),
        (("ä", {"mimetype": "text/x; charset=utf-8"}), "ä".encode(), "text/x; charset=utf-8"),
        ((b"\x89PNG", {"mimetype": "image/png"}), b"\x89PNG", "image/png"),
        ((b"\xe4", {"mimetype": "text/plain", "charset": "latin-1"}), b"\xe4", "text/plain; charset=latin-1"),
        ((None, {"mimetype": "text/csv"}), b"", "text/csv; charset=utf-8"),
        (("x", {"mimetype": None, "charset": None}), b"x", "text/plain; charset=utf-8"),
        (("x", None), b"x", "text/plain; charset=utf-8"),
    ],
)
def test_results_of_score_unstructured(result, body, content_type):
    assert output_of(result) == Output(body, content_type)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"a": 1}, "but it returned dict"),
        (5, "but it returned int"),
        (("a", "b", "c"), "but it returned a tuple of str, str, str"),
        (("a", "b"), "but it returned a tuple of str, str"),
        ((), "but it returned a tuple of nothing"),
        (("a", {"mimetype": "text/plain\r\nSet-Cookie: x"}), "which is not valid in a header"),
        (("a", {"charset": 8}), "the charset 8, which is not valid in a header"),
        (("ä", {"charset": "ascii"}), "text that cannot be sent in 'ascii'"),
        (("a", {"charset": "utf-99"}), "text that cannot be sent in 'utf-99'"),
        ("\ud800", "text that cannot be sent in 'utf-8'"),
    ],
)
def test_invalid_results_of_score_unstructured_are_refused(result, said):
    with pytest.raises(ResultError) as caught:
        output_of(result)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content_type", "data", "mimetype", "charset"),
    [
        ("", "ä", "text/plain", "utf-8"),
        ("text/plain", "ä", "text/plain", "utf-8"),
        ("application/json; charset=latin-1", "Ã¤", "application/json", "latin-1"),
        ("application/ld+json", "ä", "application/ld+json", "utf-8"),
        ("application/octet-stream", "ä".encode(), "application/octet-stream", "utf-8"),
        ("image/png", "ä".encode(), "image/png", "utf-8"),
    ],
)
def test_score_unstructured_gets_text_or_bytes_by_mimetype(content_type, data, mimetype, charset):
    seen: dict[str, Any] = {}

    def score_unstructured(model, data, **kwargs):
        seen.update(kwargs, data=data, model=model)

    query, headers = {"q": "1"}, {"h": "2"}
    hooks = Hooks({"score_unstructured": score_unstructured})
    predict_unstructured(hooks, "the model", "ä".encode(), content_type, query, headers)
    assert seen == {
        "model": "the model",
        "data": data,
        "mimetype": mimetype,
        "charset": charset,
        "query": query,
        "headers": headers,
    }


def test_undecodable_text_is_a_payload_error():
    with pytest.raises(PayloadError, match="not text in utf-8"):
        predict_unstructured(Hooks({}), "the model", b"\xff", "text/plain", {}, {})
