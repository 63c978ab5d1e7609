"""Models in the way of scikit-learn predict without a `score` hook; which of their classes is which label."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.errors import ResultError
from drum_supervisor.model.estimators import Estimator
from drum_supervisor.model.target import Target, TargetType

DATA = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]})
REGRESSION = Target(TargetType.REGRESSION)
YES_NO = Target(TargetType.BINARY, ("yes", "no"))


def classifier(classes: list[Any]) -> LogisticRegression:
    """Return a model that knows these classes, the later ones where `a` is greater."""
    return LogisticRegression(C=100).fit(DATA, np.repeat(np.array(classes), len(DATA) // len(classes)))


def last_is(label: str, classes: list[Any], target: Target) -> bool:
    """Whether the last of the classes, which is that of the last row and not of the first, has this label."""
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
def test_classes_are_the_labels_that_are_spelled_like_them_or_are_the_same_number(classes, labels, last):
    assert last_is(last, classes, Target(TargetType.BINARY, labels))


@pytest.mark.parametrize("classes", [[0, 1], [False, True], [-1, 1], [0.0, 1.0]])
def test_the_greater_of_two_numbers_is_the_positive_class(classes):
    assert last_is("yes", classes, YES_NO)


@pytest.mark.parametrize("labels", [("bad", "good"), ("no", "yes")])
def test_but_not_where_encoders_would_number_the_labels_the_other_way_round(labels):
    with pytest.raises(UsageError) as caught:
        Estimator(classifier([0, 1]), Target(TargetType.BINARY, labels))
    assert str(caught.value) == (
        f"The model's classes are ['0', '1'], but the class labels are {list(labels)}: give labels that are "
        "spelled like the classes, or define score(data, model) in custom.py."
    )


@pytest.mark.parametrize("classes", [["Y", "N"], ["yes", "none"], [0, 1, 2]])
def test_classes_that_are_not_the_labels_are_a_mistake(classes):
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


def test_without_names_of_its_classes_the_first_column_is_the_negative_one():
    class Nameless:
        def predict_proba(self, table):
            return [[0.25, 0.75]] * len(table)

    table = Estimator(Nameless(), YES_NO).predict(DATA)
    assert table.iloc[0].to_dict() == {"no": 0.25, "yes": 0.75}


def test_a_classifier_without_probabilities_is_a_mistake():
    model = RidgeClassifier().fit(DATA, ["no", "yes"] * 3)
    with pytest.raises(UsageError, match=r"the model \(RidgeClassifier\) has no predict_proba\(\) to do without"):
        Estimator(model, YES_NO)


def test_anomalies_are_what_predict_says():
    model = IsolationForest(n_estimators=5, random_state=0).fit(DATA)
    found = Estimator(model, Target(TargetType.ANOMALY)).predict(DATA)["Predictions"]
    assert found.tolist() == model.predict(DATA).tolist()


@pytest.mark.parametrize("result", [[1.0, 2.0], [[1.0], [2.0]], pd.Series([1.0, 2.0]), pd.DataFrame({"y": [1.0, 2.0]})])
def test_numbers_may_come_in_any_shape_of_one_column(result):
    class Model:
        def predict(self, table):
            return result

    assert Estimator(Model(), REGRESSION).predict(DATA.head(2))["Predictions"].tolist() == [1, 2]


def test_more_columns_than_one_are_an_error():
    model = LinearRegression().fit(DATA, DATA)
    with pytest.raises(ResultError, match=r"^Expected 1 columns from predict\(\) of the model, but there are 2\.$"):
        Estimator(model, REGRESSION).predict(DATA)
