"""scikit-learn models without a `score` hook: matching classes to labels, predicting."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.errors import ResultError
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.estimators import Estimator

DATA = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]})
REGRESSION = Target(TargetType.REGRESSION)
YES_NO = Target(TargetType.BINARY, ("yes", "no"))


def classifier(classes: list[Any]) -> LogisticRegression:
    """Return a model of these classes, the later ones where `a` is greater."""
    return LogisticRegression(C=100).fit(DATA, np.repeat(np.array(classes), len(DATA) // len(classes)))


def last_is(label: str, classes: list[Any], target: Target) -> bool:
    """Whether `label` is that of the last class, which the last row has and the first row has not."""
    first, last = Estimator(classifier(classes), target).predict(DATA.iloc[[0, -1]])[label]
    return bool(first < 0.5 < last)


@pytest.mark.parametrize(
    ("classes", "labels", "last"),
    [
        (["no", "yes"], ("yes", "no"), "yes"),
        (["bad", "good"], ("bad", "good"), "good"),
        ([0, 1], ("1", "0"), "1"),
        ([0, 1], ("0", "1"), "1"),
        ([0, 1], ("1.0", "0.0"), "1.0"),
        ([0.0, 1.0], ("1", "0"), "1"),
        ([0.0, 1.0], ("0.0", "1.0"), "1.0"),
        ([1, 2], ("1", "2"), "2"),
        ([False, True], ("True", "False"), "True"),
        ([False, True], ("false", "true"), "true"),
        ([False, True], ("1", "0"), "1"),
        (["0", "1"], ("0", "1"), "1"),
    ],
)
def test_classes_match_labels_by_spelling_or_number(classes, labels, last):
    assert last_is(last, classes, Target(TargetType.BINARY, labels))


@pytest.mark.parametrize("classes", [[0, 1], [False, True], [-1, 1], [0.0, 1.0]])
def test_the_greater_of_two_numbers_is_the_positive_class(classes):
    assert last_is("yes", classes, YES_NO)


@pytest.mark.parametrize("labels", [("bad", "good"), ("no", "yes")])
def test_numbered_classes_need_labels_in_sorted_order(labels):
    with pytest.raises(UsageError) as caught:
        Estimator(classifier([0, 1]), Target(TargetType.BINARY, labels))
    assert str(caught.value) == (
        f"The model's classes are ['0', '1'], but the class labels are {list(labels)}: spell the labels "
        "like the classes, or define score(data, model) in custom.py."
    )


@pytest.mark.parametrize("classes", [["Y", "N"], ["yes", "none"], [0, 1, 2]])
def test_classes_that_differ_from_the_labels_are_an_error(classes):
    with pytest.raises(UsageError, match="The model's classes are "):
        Estimator(classifier(classes), YES_NO)


@pytest.mark.parametrize(
    ("classes", "labels"), [([0, 1, 2], ("2", "0", "1")), (["a", "b", "c"], ("b", "c", "a")), ([0, 1], ("1", "0"))]
)
def test_multiclass_labels_may_be_in_any_order(classes, labels):
    assert last_is(str(classes[-1]), classes, Target(TargetType.MULTICLASS, labels))


@pytest.mark.parametrize("labels", [("x", "y", "z"), ("0", "1"), ("0", "1", "2", "3"), ("0", "1", "1.0")])
def test_multiclass_labels_must_be_the_classes(labels):
    with pytest.raises(UsageError, match="The model's classes are "):
        Estimator(classifier([0, 1, 2]), Target(TargetType.MULTICLASS, labels))


def test_without_classes_the_first_column_is_the_negative_one():
    class Nameless:
        def predict_proba(self, table):
            return [[0.25, 0.75]] * len(table)

    table = Estimator(Nameless(), YES_NO).predict(DATA)
    assert table.iloc[0].to_dict() == {"no": 0.25, "yes": 0.75}


def test_a_classifier_needs_predict_proba():
    model = RidgeClassifier().fit(DATA, ["no", "yes"] * 3)
    with pytest.raises(UsageError) as caught:
        Estimator(model, YES_NO)
    assert str(caught.value) == (
        "custom.py defines no score(data, model), and the model (RidgeClassifier) has no predict_proba(): define score."
    )


def test_anomalies_are_the_values_of_predict():
    model = IsolationForest(n_estimators=5, random_state=0).fit(DATA)
    found = Estimator(model, Target(TargetType.ANOMALY)).predict(DATA)["Predictions"]
    assert found.tolist() == model.predict(DATA).tolist()


@pytest.mark.parametrize("result", [[1.0, 2.0], [[1.0], [2.0]], pd.Series([1.0, 2.0]), pd.DataFrame({"y": [1.0, 2.0]})])
def test_one_column_of_numbers_may_have_any_shape(result):
    class Model:
        def predict(self, table):
            return result

    assert Estimator(Model(), REGRESSION).predict(DATA.head(2))["Predictions"].tolist() == [1, 2]


def test_more_columns_than_one_are_an_error():
    model = LinearRegression().fit(DATA, DATA)
    with pytest.raises(ResultError, match=r"^Expected 1 columns from predict\(\) of the model, but got 2\.$"):
        Estimator(model, REGRESSION).predict(DATA)
