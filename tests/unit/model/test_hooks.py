"""Calling the user's hooks: order, arguments, and what they must return."""

from typing import Any

import pandas as pd
import pytest

from drum_supervisor.model.errors import PayloadError, ResultError
from drum_supervisor.model.hooks import Hooks
from drum_supervisor.model.structured import predict
from drum_supervisor.model.target import Target, TargetType
from drum_supervisor.model.unstructured import Output
from drum_supervisor.model.unstructured import predict as predict_unstructured

REGRESSION = Target(TargetType.REGRESSION)
BINARY = Target(TargetType.BINARY, ("yes", "no"))
CSV = b"a\n1\n2\n"


def predictions(
    hooks: dict[str, Any], body: bytes = CSV, content_type: str = "text/csv", target: Target = REGRESSION
) -> Any:
    return predict(Hooks(hooks), "the model", target, body, content_type)


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


def test_read_input_data_is_not_asked_to_read_nothing():
    with pytest.raises(PayloadError, match="no data"):
        predictions({"read_input_data": pytest.fail, "score": doubled}, b"", "image/png")


def test_a_table_without_rows_from_read_input_data_is_no_data():
    hooks = {"read_input_data": lambda binary_data: pd.DataFrame(), "score": doubled}
    with pytest.raises(PayloadError, match="no data"):
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


def test_labels_that_do_not_apply_leave_the_hooks_defaults():
    def score(data, model, class_labels=("a", "b")):
        assert class_labels == ("a", "b")
        return doubled(data, model)

    assert predictions({"score": score}) == {"predictions": [2.0, 4.0]}


def test_the_target_type_is_its_text_and_has_a_value_and_a_name():
    def score(data, model, target_type):
        assert (target_type.value, target_type.name, target_type) == ("regression", "REGRESSION", "regression")
        return doubled(data, model)

    assert predictions({"score": score}) == {"predictions": [2.0, 4.0]}


def test_post_process_gets_the_predictions_by_their_names_and_in_the_order_of_the_labels():
    seen = []

    def post_process(predictions, model):
        seen.append(list(predictions.columns))
        return predictions

    frames = [pd.DataFrame({"any name": [1.0, 2.0]}), pd.DataFrame({"no": [0.25, 0], "why": [1, 2], "yes": [0.75, 1]})]
    for frame, target in zip(frames, (REGRESSION, BINARY), strict=True):
        predictions({"score": lambda data, model, frame=frame: frame, "post_process": post_process}, target=target)
    assert seen == [["Predictions"], ["yes", "no"]]


def test_further_columns_stay_beside_what_post_process_returns():
    hooks = {
        "score": lambda data, model: pd.DataFrame({"yes": [0.25, 1.0], "why": ["a", "b"], "no": [0.75, 0.0]}),
        "post_process": lambda predictions, model: (1 - predictions).assign(limit=0.5).set_index([[7, 8]]),
    }
    assert predictions(hooks, target=BINARY) == {
        "predictions": [{"yes": 0.75, "no": 0.25}, {"yes": 0.0, "no": 1.0}],
        "extraModelOutput": {"index": [7, 8], "columns": ["limit", "why"], "data": [[0.5, "a"], [0.5, "b"]]},
    }


def test_a_column_of_post_process_takes_the_place_of_one_of_the_same_name():
    hooks = {
        "score": lambda data, model: pd.DataFrame({"Predictions": [1.0, 2.0], "why": ["a", "b"]}),
        "post_process": lambda predictions, model: predictions.assign(why="because"),
    }
    assert predictions(hooks)["extraModelOutput"]["data"] == [["because"], ["because"]]


def test_rows_that_post_process_lost_are_missed():
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


def test_a_callable_object_without_a_signature_gets_all():
    assert Hooks({"init": dict}).call("init", code_dir="/x") == {"code_dir": "/x"}


@pytest.mark.parametrize("name", ["read_input_data", "transform", "score", "post_process"])
def test_a_hook_that_returns_no_table_is_named(name):
    hooks = {"score": doubled, name: lambda *arguments: [1, 2]}
    with pytest.raises(ResultError, match=f"^{name} must return a DataFrame, but it returned list.$"):
        predictions(hooks)


def test_rows_are_counted_before_transform():
    hooks = {"transform": lambda data, model: data.head(1), "score": doubled}
    with pytest.raises(ResultError, match="each of 2 rows, but the model returned 1"):
        predictions(hooks)


def test_what_a_hook_raises_comes_out_as_it_is():
    def score(data, model):
        raise KeyError("bmi")

    with pytest.raises(KeyError, match="bmi"):
        predictions({"score": score})


def answer_of(result: Any) -> Output:
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
    assert answer_of(result) == Output(body, content_type)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"a": 1}, "but it returned dict"),
        (5, "but it returned int"),
        (("a", "b", "c"), "but it returned a tuple of str, str, str"),
        (("a", "b"), "but it returned a tuple of str, str"),
        ((), "but it returned a tuple of nothing"),
        (("a", {"mimetype": "text/plain\r\nSet-Cookie: x"}), "which no header can carry"),
        (("a", {"charset": 8}), "the charset 8, which no header can carry"),
        (("ä", {"charset": "ascii"}), "text that cannot be sent in 'ascii'"),
        (("a", {"charset": "utf-99"}), "text that cannot be sent in 'utf-99'"),
        ("\ud800", "text that cannot be sent in 'utf-8'"),
    ],
)
def test_other_results_of_score_unstructured_are_refused(result, said):
    with pytest.raises(ResultError) as caught:
        answer_of(result)
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
def test_score_unstructured_gets_text_for_text_types_and_bytes_for_others(content_type, data, mimetype, charset):
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


def test_text_that_cannot_be_decoded_is_the_clients_mistake():
    with pytest.raises(PayloadError, match="not text in utf-8"):
        predict_unstructured(Hooks({}), "the model", b"\xff", "text/plain", {}, {})
