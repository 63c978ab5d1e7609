"""The models in `examples/` do what the README says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.model.loading import load
from drum_supervisor.model.model import Model

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def _undo_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "custom", sys)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def load_example(folder: Path) -> Model:
    return load(resolve(choose({"code_dir": str(folder)}, {})), lambda stage: None)


def test_diabetes_predicts_what_scikit_learn_predicts():
    example = EXAMPLES / "diabetes"
    data = load_diabetes(as_frame=True, scaled=False)
    rows = pd.read_csv(example / "diabetes.csv")
    expected = LinearRegression().fit(data.data, data.target).predict(rows)
    content = load_example(example).predict((example / "diabetes.csv").read_bytes(), "text/csv")
    assert len(rows) == 40
    assert content["predictions"] == pytest.approx(expected.tolist(), rel=1e-9)


def test_diabetes_csv_has_rows_of_the_real_data_set():
    rows = pd.read_csv(EXAMPLES / "diabetes" / "diabetes.csv")
    real = load_diabetes(as_frame=True, scaled=False).data.head(len(rows))
    pd.testing.assert_frame_equal(rows, real, check_dtype=False)


def test_broken_says_how_to_repair_it_and_loads_afterwards(tmp_path):
    folder = shutil.copytree(EXAMPLES / "broken", tmp_path / "broken", ignore=shutil.ignore_patterns("weights.txt"))
    with pytest.raises(FileNotFoundError, match=rf"Repair it with: echo 42 > {folder}/weights.txt$"):
        load_example(folder)
    (folder / "weights.txt").write_text("42\n")
    assert load_example(folder).predict(b"a\n1\n2\n", "text/csv") == {"predictions": [42.0, 42.0]}


def test_iris_is_trained_and_predicts_its_training_rows(tmp_path):
    folder = shutil.copytree(EXAMPLES / "iris", tmp_path / "iris", ignore=shutil.ignore_patterns("model.joblib"))
    subprocess.run([sys.executable, str(folder / "make_model.py")], check=True, timeout=60)
    labels = "virginica setosa versicolor"
    model = load(resolve(choose({"code_dir": str(folder), "class_labels": labels}, {})), lambda stage: None)
    rows = model.predict((folder / "iris.csv").read_bytes(), "text/csv")["predictions"]
    assert [max(row, key=row.get) for row in rows] == ["setosa"] * 2 + ["versicolor"] * 2 + ["virginica"] * 2
    assert (folder / "iris.csv").read_bytes() == (EXAMPLES / "iris" / "iris.csv").read_bytes()
