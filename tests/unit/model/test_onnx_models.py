"""ONNX models without a `score` hook: matching columns to labels, predicting."""

from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("onnxruntime", reason="has no wheel for this platform: pip install 'drum_supervisor[onnx]'")

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.errors import PayloadError, ResultError
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.loading import load
from drum_supervisor.model.model import Model
from drum_supervisor.model.onnx_models import OnnxModel
from drum_supervisor.model.onnx_models import load as load_onnx
from tests.unit.onnx_files import (
    DOUBLE,
    FLOAT,
    INT64,
    STRING,
    classifier,
    linear_regression,
    model,
    node,
    sum_of,
    tensor,
)

REGRESSION = Target(TargetType.REGRESSION)
ROWS = pd.DataFrame({"a": [0, 1]})


@pytest.fixture
def made(tmp_path):
    def make(content: bytes, target: Target = REGRESSION) -> OnnxModel:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        return OnnxModel(load_onnx(path), target)

    return make


def binary(positive: str, negative: str) -> Target:
    return Target(TargetType.BINARY, (positive, negative))


def multiclass(*labels: str) -> Target:
    return Target(TargetType.MULTICLASS, labels)


def best_labels(predictor: OnnxModel) -> list[str]:
    """Return the most probable label for the inputs 0 and 1, which belong to the first and second class."""
    return predictor.predict(ROWS).idxmax(axis=1).tolist()


def load_from(folder: Path) -> Model:
    return load(resolve(choose({"code_dir": str(folder), "target_type": "regression"}, {})), lambda stage: None)


def test_an_artifact_alone_is_a_model(tmp_path):
    (tmp_path / "model.onnx").write_bytes(linear_regression([2.0, 1.0]))
    found = load_from(tmp_path)
    assert found.predict(b"a,b\n1,2\n3,4\n", "text/csv") == {"predictions": [4.0, 10.0]}
    assert found.predictor_name == "onnx"


def test_load_model_may_return_a_session(tmp_path):
    (tmp_path / "model.bin").write_bytes(linear_regression([2.0]))
    (tmp_path / "custom.py").write_text(
        "import onnxruntime, os\n"
        "def load_model(code_dir): return onnxruntime.InferenceSession(os.path.join(code_dir, 'model.bin'))"
    )
    assert load_from(tmp_path).predict(b"a\n1\n", "text/csv") == {"predictions": [2.0]}


def test_errors_of_onnxruntime_are_passed_on(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(Exception, match=r"model\.onnx"):
        load_from(tmp_path)


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE, INT64, STRING])
@pytest.mark.parametrize("data", [{"a": [1], "b": [2]}, {"b": [1.0], "a": [2.0]}, {"a": [True], "b": [2]}])
def test_columns_are_converted_to_the_input_type_in_order(made, kind, data):
    if kind == STRING and True in next(iter(data.values())):
        data = {"a": [1], "b": [2]}
    assert made(linear_regression([2.0, 1.0], kind)).predict(pd.DataFrame(data))["Predictions"].tolist() == [4]


def test_one_input_per_column_is_matched_by_name(made):
    table = pd.DataFrame({"x": ["ignored"], "b": [2], "a": [1]})
    assert made(sum_of("a", "b")).predict(table)["Predictions"].tolist() == [3]


@pytest.mark.parametrize(
    ("content", "table", "said"),
    [
        (sum_of("a", "b"), {"a": [1], "c": [1]}, "the model needs the column 'b'; the columns are ['a', 'c']"),
        (linear_regression([1.0, 1.0]), {"a": [1]}, "the model takes 2 columns, but there are 1"),
        (linear_regression([1.0]), {"a": ["x"]}, "the model takes values of type float: could not convert string"),
        (linear_regression([1.0], INT64), {"a": [1.5]}, "the model takes values of type int64: some are not integers"),
        (
            linear_regression([1.0], INT64),
            {"a": [None, 1]},
            "the model takes values of type int64: some are not integers",
        ),
    ],
)
def test_data_that_does_not_fit_the_model_is_a_payload_error(made, content, table, said):
    with pytest.raises(PayloadError) as caught:
        made(content).predict(pd.DataFrame(table))
    assert str(caught.value).startswith(said)


def test_regression_needs_one_output_column(made):
    content = model(
        [node("Identity", ["X"], ["y"], ml=False)], [tensor("X", FLOAT, None, 2)], [tensor("y", FLOAT, None, 2)]
    )
    with pytest.raises(ResultError, match=r"^Expected 1 columns from output 'y' of the model, but got 2\.$"):
        made(content).predict(pd.DataFrame({"a": [1], "b": [2]}))


@pytest.mark.parametrize(
    ("classes", "target"),
    [
        ([0, 1], binary("1", "0")),
        ([0, 1], binary("0", "1")),
        (["no", "yes"], binary("yes", "no")),
        (["bad", "good"], binary("bad", "good")),
        ([0, 1, 2], multiclass("2", "0", "1")),
        ([2, 10], multiclass("10", "2")),
        (["a", "b", "c"], multiclass("c", "a", "b")),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_classes_are_matched_by_name(made, classes, target, named):
    assert best_labels(made(classifier(classes, named), target)) == [str(each) for each in classes[:2]]


def test_class_names_that_differ_from_the_labels_are_an_error(made):
    with pytest.raises(ResultError, match="The model's classes are "):
        made(classifier(["a", "b"], named=True), binary("yes", "no")).predict(ROWS)


@pytest.mark.parametrize(
    ("classes", "labels"), [(["b", "a"], ("a", "b")), ([1, 0], ("1", "0")), (["x", "y"], ("a", "b"))]
)
def test_columns_that_contradict_the_predicted_class_are_errors(made, classes, labels):
    with pytest.raises(ResultError, match="the order of its columns is unknown"):
        made(classifier(classes), multiclass(*labels)).predict(ROWS)


@pytest.mark.parametrize(
    ("target", "expected"), [(binary("yes", "no"), ["no", "yes"]), (multiclass("b", "a", "c"), ["b", "a"])]
)
def test_numbered_classes_follow_the_label_order(made, target, expected):
    assert best_labels(made(classifier(list(range(len(target.labels)))), target)) == expected


def probability_alone(*shape: int | None) -> bytes:
    return model([node("Identity", ["X"], ["p"], ml=False)], [tensor("X", FLOAT, *shape)], [tensor("p", FLOAT, *shape)])


@pytest.mark.parametrize("shape", [(None,), (None, 1)])
def test_a_single_probability_is_for_the_positive_class(made, shape):
    found = made(probability_alone(*shape), binary("yes", "no")).predict(pd.DataFrame({"a": [0.25, 0.75]}))
    assert found.to_dict("list") == {"yes": [0.25, 0.75]}


def test_a_model_without_probabilities_lists_its_outputs(made):
    content = model(
        [node("Identity", ["X"], ["y"], ml=False)], [tensor("X", INT64, None, 1)], [tensor("y", INT64, None, 1)]
    )
    with pytest.raises(UsageError) as caught:
        made(content, binary("yes", "no"))
    assert str(caught.value) == (
        "The ONNX model has no output with probabilities, its outputs are: y tensor(int64); define score(data, model) "
        "in custom.py."
    )
