"""Initialization of the user's model, with real folders and real imports."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from drum_supervisor.config.settings import Settings, choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.loading import load
from drum_supervisor.model.model import Model

REGRESSION = """
import pandas as pd

def load_model(code_dir):
    return {"loaded from": code_dir}

def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": data["a"] * 2})
"""
UNSTRUCTURED = """
def load_model(code_dir):
    return "model"

def score_unstructured(model, data, **kwargs):
    return data.upper()
"""


@pytest.fixture(autouse=True)
def _undo_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "custom", sys)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def settings_of(code_dir: Path | str, target_type: str = "regression", **flags: str) -> Settings:
    given = {"code_dir": str(code_dir), "target_type": target_type, **flags}
    return resolve(choose({name: text for name, text in given.items() if text}, {}))


def write(folder: Path, code: str, name: str = "custom.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


def load_from(code_dir: Path | str, target_type: str = "regression", **flags: str) -> Model:
    return load(settings_of(code_dir, target_type, **flags), lambda stage: None)


def usage_error(code_dir: Path | str, target_type: str = "regression", **flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_from(code_dir, target_type, **flags)
    return str(caught.value)


def test_stages_are_reported_before_they_begin(tmp_path):
    stages: list[str] = []
    write(
        tmp_path,
        """
        import builtins
        builtins.report_stage("import")
        def init(code_dir): builtins.report_stage("init hook")
        def load_model(code_dir): builtins.report_stage("load hook"); return 1
        def score(data, model): pass
        """,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.report_stage", stages.append, raising=False)
        load(settings_of(tmp_path), stages.append)
    assert stages == ["importing", "import", "init", "init hook", "load_model", "load hook"]


def test_without_an_init_hook_there_is_no_init_stage(tmp_path):
    stages: list[str] = []
    write(tmp_path, REGRESSION)
    load(settings_of(tmp_path), stages.append)
    assert stages == ["importing", "load_model"]


def test_hooks_get_an_absolute_code_dir(tmp_path, monkeypatch):
    write(tmp_path / "model", REGRESSION)
    monkeypatch.chdir(tmp_path)
    model = load_from("model")
    assert model.artifact == {"loaded from": str(tmp_path / "model")}
    assert model.code_dir == tmp_path / "model"


def test_a_loaded_model_predicts(tmp_path):
    write(tmp_path, REGRESSION)
    assert load_from(tmp_path).predict(b"a\n1\n2\n", "text/csv") == {"predictions": [2.0, 4.0]}


def test_modules_next_to_custom_py_are_found_first(tmp_path):
    write(tmp_path / "deep" / "er", "VALUE = 5", "json_of_ours.py")
    write(tmp_path / "deep" / "er", "from json_of_ours import VALUE\n" + REGRESSION)
    load_from(tmp_path)
    assert sys.path[0] == str(tmp_path / "deep" / "er")


def test_custom_py_is_the_module_custom_as_pickles_expect(tmp_path):
    write(
        tmp_path,
        """
        import pickle
        class Network: pass
        def load_model(code_dir): return pickle.loads(pickle.dumps(Network()))
        def score(data, model): pass
        """,
    )
    assert type(load_from(tmp_path).artifact).__module__ == "custom"


@pytest.mark.parametrize("hidden", [".git", "__pycache__", ".venv", "env", "conda"])
def test_hidden_folders_caches_and_environments_are_skipped(tmp_path, hidden):
    write(tmp_path, REGRESSION)
    write(tmp_path / hidden, "raise AssertionError")
    (tmp_path / "env").mkdir(exist_ok=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "conda" / "conda-meta").mkdir(parents=True)
    assert load_from(tmp_path).artifact


def test_a_symlink_loop_is_followed_once(tmp_path):
    write(tmp_path / "code", REGRESSION)
    (tmp_path / "code" / "loop").symlink_to(tmp_path / "code", target_is_directory=True)
    assert load_from(tmp_path).artifact


def test_a_symlinked_folder_is_searched(tmp_path):
    write(tmp_path / "elsewhere", REGRESSION)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert load_from(tmp_path / "code").artifact


def test_a_kubernetes_volume_of_symlinks_is_one_model(tmp_path):
    write(tmp_path / "..2024_11_22", REGRESSION)
    (tmp_path / "..data").symlink_to("..2024_11_22", target_is_directory=True)
    (tmp_path / "custom.py").symlink_to("..data/custom.py")
    assert load_from(tmp_path).artifact


def test_no_code_directory_names_the_option():
    assert usage_error("") == "No code directory: give --code-dir or set CODE_DIR to the folder with custom.py."


def test_a_missing_code_directory_is_named(tmp_path):
    said = usage_error(tmp_path / "nowhere")
    assert said == f"Code directory '{tmp_path}/nowhere' does not exist; give the folder with custom.py."


def test_a_file_as_code_directory_is_named(tmp_path):
    path = write(tmp_path, REGRESSION)
    assert usage_error(path) == f"Code directory '{path}' is not a directory; give the folder with custom.py."


def test_an_unreadable_code_directory_is_named(short_path, as_nobody):
    folder = short_path / "model"
    folder.mkdir(mode=0)
    short_path.chmod(0o755)
    assert as_nobody(lambda: usage_error(folder)) == f"Code directory '{folder}' cannot be read: Permission denied."
    folder.chmod(0o700)


def test_an_impossible_code_directory_is_a_usage_error(tmp_path):
    assert "embedded null" in usage_error("a\0b")
    assert "cannot be read: File name too long" in usage_error("x" * 5000)


def test_an_empty_code_directory_says_so(tmp_path):
    assert (
        usage_error(tmp_path) == f"Code directory '{tmp_path}' is empty; put custom.py and the model's files into it."
    )


def test_a_folder_without_custom_py_says_what_to_write(tmp_path):
    (tmp_path / "weights.bin").touch()
    assert usage_error(tmp_path) == (
        f"No custom.py in or below '{tmp_path}'; write one with load_model(code_dir) and score(data, model), or put "
        "one artifact (.pkl, .joblib, .onnx) there."
    )


def test_two_custom_py_are_both_named(tmp_path):
    first, second = write(tmp_path / "a", REGRESSION), write(tmp_path / "b", REGRESSION)
    said = usage_error(tmp_path)
    assert said == f"More than one custom.py: '{first}' and '{second}'; keep only one."


def test_load_model_must_not_return_none(tmp_path):
    path = write(tmp_path, "def load_model(code_dir): pass\ndef score(data, model): pass\n")
    assert usage_error(tmp_path) == f"load_model in '{path}' returned None; return the model that the hooks work with."


@pytest.mark.parametrize("falsy", ["0", "[]", "False"])
def test_load_model_may_return_a_falsy_object(tmp_path, falsy):
    write(tmp_path, f"def load_model(code_dir): return {falsy}\ndef score(data, model): pass\n")
    assert load_from(tmp_path).artifact in (0, [], False)


@pytest.mark.parametrize(
    ("target_type", "code", "missing"),
    [
        ("unstructured", "def load_model(code_dir): return 1", "defines no score_unstructured(model, data, **kwargs)"),
        ("regression", "def score(data, model): pass", "defines no load_model(code_dir)"),
        ("unstructured", "def score_unstructured(model, data): pass", "defines no load_model(code_dir)"),
        ("regression", "def load_model(code_dir): return 1\nscore = 5", "make it a function"),
    ],
)
def test_missing_hooks_are_named_with_the_file(tmp_path, target_type, code, missing):
    path = write(tmp_path, code)
    said = usage_error(tmp_path, target_type)
    assert missing in said
    assert str(path) in said


@pytest.mark.parametrize("code", ["def load_model(code_dir): return 1", "def load_model(code_dir): return {}"])
def test_a_model_that_cannot_predict_needs_the_score_hook(tmp_path, code):
    write(tmp_path, code)
    assert re.fullmatch(
        r"custom\.py defines no score\(data, model\), and the model \((int|dict)\) has no predict\(\): define score\.",
        usage_error(tmp_path),
    )


@pytest.mark.parametrize(
    ("code", "raised", "stage"),
    [
        ("def load_model(", SyntaxError, "importing"),
        ("import no_such_package", ImportError, "importing"),
        ("raise SystemExit(7)", SystemExit, "importing"),
        ("def init(code_dir): 1 / 0\n" + REGRESSION, ZeroDivisionError, "init"),
        ("def load_model(code_dir): raise KeyError('w')\ndef score(data, model): pass", KeyError, "load_model"),
        (
            "import sys\ndef load_model(code_dir): sys.exit(7)\ndef score(data, model): pass",
            SystemExit,
            "load_model",
        ),
    ],
)
def test_exceptions_of_user_code_are_passed_on(tmp_path, code, raised, stage):
    write(tmp_path, code)
    stages: list[str] = []
    with pytest.raises(raised) as caught:
        load(settings_of(tmp_path), stages.append)
    assert type(caught.value) is not UsageError
    assert stages[-1] == stage


def test_a_failed_import_is_tried_again(tmp_path):
    write(tmp_path, "raise ValueError")
    with pytest.raises(ValueError, match=r"^$"):
        load_from(tmp_path)
    write(tmp_path, REGRESSION)
    assert load_from(tmp_path).artifact


def test_metadata_gives_the_target_type_and_stays_available(tmp_path):
    write(tmp_path, REGRESSION)
    write(tmp_path, "name: x\ntargetType: regression\n", "model-metadata.yaml")
    model = load_from(tmp_path, target_type="")
    assert model.target_type == "regression"
    assert model.metadata["name"] == "x"


def test_an_unstructured_model_works_without_pandas(tmp_path):
    write(tmp_path, UNSTRUCTURED)
    program = f"""
import sys
sys.modules["pandas"] = sys.modules["numpy"] = None
from drum_supervisor.model.loading import load
from drum_supervisor.config.settings import choose, resolve
flags = {{"code_dir": {str(tmp_path)!r}, "target_type": "unstructured"}}
model = load(resolve(choose(flags, {{}})), lambda stage: None)
print(model.predict_unstructured(b"text", "", {{}}, {{}}).body)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environ)
    assert (done.stdout, done.stderr) == ("b'TEXT'\n", "")


def test_a_structured_model_without_pandas_is_a_usage_error(tmp_path, monkeypatch):
    write(tmp_path, "def load_model(code_dir): return 1\ndef score(data, model): pass\n")
    for name in ("structured", "data.tables", "data.predictions"):
        monkeypatch.delitem(sys.modules, f"drum_supervisor.model.{name}", raising=False)
        monkeypatch.delattr(f"drum_supervisor.model.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert usage_error(tmp_path).startswith("Structured models need pandas and orjson, which cannot be imported: ")
