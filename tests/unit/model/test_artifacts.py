"""Artifacts with and without a `custom.py`: finding, loading, predicting."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.loading import load
from drum_supervisor.model.model import Model
from tests.unit.onnx_files import linear_regression

DATA = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]})
CSV = b"a,b\n0,1\n5,0\n"
CONSTANT = "class Constant:\n    def predict(self, table): return [9] * len(table)"


@pytest.fixture(autouse=True)
def _undo_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setitem(sys.modules, "custom", sys)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def regression() -> LinearRegression:
    return LinearRegression().fit(DATA, DATA["a"] * 2)


def load_from(folder: Path, target_type: str = "regression", **flags: str) -> Model:
    given = {"code_dir": str(folder), "target_type": target_type, **flags}
    return load(resolve(choose(given, {})), lambda stage: None)


def usage_error(folder: Path, target_type: str = "regression", **flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_from(folder, target_type, **flags)
    return str(caught.value)


class TestFinding:
    @pytest.mark.parametrize("name", ["model.pkl", "MODEL.PKL", "model.joblib"])
    @pytest.mark.parametrize("dump", [joblib.dump, lambda model, path: path.write_bytes(pickle.dumps(model))])
    def test_an_artifact_alone_is_a_model(self, tmp_path, name, dump):
        dump(regression(), tmp_path / name)
        model = load_from(tmp_path)
        assert model.predict(CSV, "text/csv")["predictions"] == pytest.approx([0, 10])
        assert model.predictor_name == "scikit-learn"

    def test_stages_without_custom_py(self, tmp_path):
        joblib.dump(1, tmp_path / "model.pkl")
        stages: list[str] = []
        with pytest.raises(UsageError):
            load(resolve(choose({"code_dir": str(tmp_path), "target_type": "regression"}, {})), stages.append)
        assert stages == ["load_model"]

    def test_transform_and_post_process_run_around_the_artifact(self, tmp_path):
        joblib.dump(regression(), tmp_path / "model.pkl")
        (tmp_path / "custom.py").write_text(
            "def transform(data, model): return data + 1\n"
            "def post_process(predictions, model): return predictions * 100"
        )
        assert load_from(tmp_path).predict(CSV, "text/csv")["predictions"] == pytest.approx([200, 1200])

    def test_a_score_hook_gets_the_artifact(self, tmp_path):
        joblib.dump({"factor": 3}, tmp_path / "model.pkl")
        (tmp_path / "custom.py").write_text(
            "def score(data, model, **kwargs): return (data[['a']] * model['factor']).set_axis(['Predictions'], axis=1)"
        )
        model = load_from(tmp_path)
        assert model.predict(CSV, "text/csv") == {"predictions": [0.0, 15.0]}
        assert model.predictor_name == "custom.py"

    def test_an_unstructured_hook_gets_the_artifact(self, tmp_path):
        joblib.dump("loaded", tmp_path / "model.pkl")
        (tmp_path / "custom.py").write_text("def score_unstructured(model, data, **kwargs): return model")
        assert load_from(tmp_path, "unstructured").predict_unstructured(b"", "", {}, {}).body == b"loaded"

    def test_load_model_overrides_any_number_of_artifacts(self, tmp_path):
        for name in ("a.pkl", "b.onnx", "c.h5"):
            (tmp_path / name).touch()
        (tmp_path / "custom.py").write_text(
            "from sklearn.dummy import DummyRegressor\n"
            "def load_model(code_dir): return DummyRegressor(strategy='constant', constant=7).fit([[1]], [1])"
        )
        assert load_from(tmp_path).predict(CSV, "text/csv") == {"predictions": [7.0, 7.0]}

    def test_modules_next_to_the_artifact_are_found(self, tmp_path):
        (tmp_path / "next_to_artifact.py").write_text(CONSTANT)
        (tmp_path / "model.pkl").write_bytes(b"cnext_to_artifact\nConstant\n)R.")
        assert load_from(tmp_path).predict(CSV, "text/csv") == {"predictions": [9.0, 9.0]}

    @pytest.mark.parametrize("second", ["b.pkl", "b.joblib", "b.onnx"])
    def test_two_artifacts_are_both_named(self, tmp_path, second):
        (tmp_path / "a.pkl").touch()
        (tmp_path / second).touch()
        assert usage_error(tmp_path) == (
            f"More than one artifact: '{tmp_path}/a.pkl' and '{tmp_path}/{second}'; keep only one, or define "
            "load_model(code_dir) in custom.py."
        )

    def test_an_empty_model_folder_says_what_is_accepted(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        assert usage_error(tmp_path) == (
            f"No custom.py in or below '{tmp_path}'; write one with load_model(code_dir) and score(data, model), or "
            "put one artifact (.pkl, .joblib, .onnx) there."
        )

    def test_custom_py_without_load_model_needs_an_artifact(self, tmp_path):
        (tmp_path / "custom.py").write_text("def score(data, model): pass")
        assert usage_error(tmp_path) == (
            f"'{tmp_path}/custom.py' defines no load_model(code_dir), and '{tmp_path}' has no artifact: define it, "
            "or put one artifact (.pkl, .joblib, .onnx) there."
        )

    @pytest.mark.parametrize("where", [".hidden.pkl", "below/model.pkl", "folder.pkl/x"])
    def test_only_files_directly_in_the_code_dir_count(self, tmp_path, where):
        path = tmp_path / where
        path.parent.mkdir(exist_ok=True)
        path.touch()
        assert "put one artifact" in usage_error(tmp_path)

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("model.h5", "a Keras model"),
            ("model.keras", "a Keras model"),
            ("model.pth", "a PyTorch model"),
            ("model.rds", "an R model"),
            ("model.jar", "a Java model"),
        ],
    )
    def test_an_artifact_of_another_framework_says_what_to_do(self, tmp_path, name, what):
        (tmp_path / name).touch()
        assert usage_error(tmp_path) == (
            f"'{tmp_path}/{name}' is {what}, which the built-in model server does not load by itself: load it in "
            "load_model(code_dir) of custom.py, or run DRUM: --server-type drum."
        )

    def test_an_unstructured_model_needs_custom_py(self, tmp_path):
        joblib.dump(1, tmp_path / "model.pkl")
        assert usage_error(tmp_path, "unstructured") == (
            f"Without custom.py '{tmp_path}' has no score_unstructured(model, data, **kwargs), which target type "
            "unstructured needs."
        )


class TestLoading:
    def test_a_missing_package_is_named(self, tmp_path):
        (tmp_path / "model.pkl").write_bytes(b"cno_such_package.deep\nThing\n.")
        assert usage_error(tmp_path) == (
            f"'{tmp_path}/model.pkl' needs the package 'no_such_package', which is not installed: "
            "pip install no_such_package"
        )

    def test_a_missing_submodule_is_not_a_missing_package(self, tmp_path):
        (tmp_path / "model.pkl").write_bytes(b"csklearn.of_another_version\nThing\n.")
        with pytest.raises(ModuleNotFoundError, match=r"sklearn\.of_another_version"):
            load_from(tmp_path)

    def test_errors_of_pickle_are_passed_on(self, tmp_path):
        (tmp_path / "model.pkl").write_bytes(b"nonsense")
        with pytest.raises((pickle.UnpicklingError, KeyError)):
            load_from(tmp_path)

    @pytest.mark.parametrize(
        ("name", "hidden", "said"),
        [
            ("model.joblib", "joblib", "needs the package 'joblib', which is not installed: pip install joblib"),
            ("model.pkl", "sklearn", "needs the package 'sklearn', which is not installed: pip install scikit-learn"),
            ("model.onnx", "onnxruntime", "is not installed: pip install 'drum_supervisor[onnx]'"),
        ],
    )
    def test_a_missing_framework_is_named(self, tmp_path, name, hidden, said):
        if name == "model.onnx":
            (tmp_path / name).write_bytes(linear_regression([1.0]))
        else:
            joblib.dump(regression(), tmp_path / name)
        done = run_without(tmp_path, hidden)
        assert done.stderr == ""
        assert done.stdout.startswith(f"UsageError '{tmp_path}/{name}' ")
        assert done.stdout.strip().endswith(said)

    def test_a_pickle_needs_no_joblib(self, tmp_path):
        (tmp_path / "neighbour.py").write_text(CONSTANT)
        (tmp_path / "model.pkl").write_bytes(b"cneighbour\nConstant\n)R.")
        assert run_without(tmp_path, "joblib").stdout == "loaded\n"

    def test_only_the_framework_of_the_artifact_is_imported(self, tmp_path):
        (tmp_path / "neighbour.py").write_text(CONSTANT)
        (tmp_path / "model.pkl").write_bytes(b"cneighbour\nConstant\n)R.")
        done = run_without(
            tmp_path, "", then="import sys; print([n for n in ('sklearn', 'onnxruntime') if n in sys.modules])"
        )
        assert done.stdout == "loaded\n[]\n"


def run_without(folder: Path, hidden: str, then: str = "") -> "subprocess.CompletedProcess[str]":
    """Load the model in a new process where the module `hidden` is not installed."""
    program = f"""
import sys
class Without:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {hidden!r}:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)
sys.meta_path[:] = [Without([*sys.meta_path])]
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.loading import load
from drum_supervisor.config.settings import choose, resolve
try:
    load(resolve(choose({{"code_dir": {str(folder)!r}, "target_type": "regression"}}, {{}})), lambda stage: None)
    print("loaded")
except UsageError as error:
    print("UsageError", error)
{then}
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environ)
