"""Extending the application with `custom_flask.py` and `custom_fastapi.py`."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.extension import extend


@pytest.fixture(autouse=True)
def _undo_imports(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "custom_flask", sys)
    monkeypatch.setitem(sys.modules, "custom_fastapi", sys)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def extended(code_dir: Path, framework: str = "flask") -> SimpleNamespace:
    app = SimpleNamespace(stages=[])
    app.was_extended = extend(app, framework, code_dir, app.stages.append)
    return app


@pytest.mark.parametrize("framework", ["flask", "fastapi"])
@pytest.mark.parametrize("where", ["", "deep/er"])
def test_the_file_for_the_framework_gets_the_application(tmp_path, framework, where):
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    for each in ("flask", "fastapi"):
        (folder / f"custom_{each}.py").write_text(f"def init_app(app): app.by = {each!r}, list(app.stages)")
    app = extended(tmp_path, framework)
    assert app.by == (framework, ["init_app"])
    assert app.was_extended


def test_without_a_file_there_is_no_stage(tmp_path):
    (tmp_path / "custom_fastapi.py").write_text("raise AssertionError")
    app = extended(tmp_path, "flask")
    assert (app.was_extended, app.stages) == (False, [])


def test_its_folder_comes_after_that_of_custom_py(tmp_path):
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "next_to_extension.py").write_text("BY = 'neighbour'")
    (tmp_path / "extension" / "custom_flask.py").write_text(
        "from next_to_extension import BY\ndef init_app(app): app.by = BY"
    )
    sys.path.insert(0, str(tmp_path))
    assert extended(tmp_path).by == "neighbour"
    assert sys.path[:2] == [str(tmp_path), str(tmp_path / "extension")]


def test_a_module_imported_by_custom_py_is_reused(tmp_path, monkeypatch):
    path = tmp_path / "custom_flask.py"
    path.write_text("raise AssertionError")
    imported = SimpleNamespace(__file__=str(path), init_app=lambda app: setattr(app, "by", "imported"))
    monkeypatch.setitem(sys.modules, "custom_flask", imported)
    assert extended(tmp_path).by == "imported"


@pytest.mark.parametrize("code", ["", "init_app = 5"])
def test_a_file_without_init_app_is_a_usage_error(tmp_path, code):
    path = tmp_path / "custom_flask.py"
    path.write_text(code)
    with pytest.raises(UsageError) as caught:
        extended(tmp_path)
    assert str(caught.value) == (
        f"'{path}' must define a function init_app(app), which is called with the application before it serves."
    )


def test_two_files_are_both_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "custom_flask.py").touch()
    with pytest.raises(UsageError, match=r"^More than one custom_flask\.py: .*a/custom_flask\.py' and '.*b/custom"):
        extended(tmp_path)


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("raise KeyError", KeyError),
        ("import no_such_module", ModuleNotFoundError),
        ("def init_app(app): 1 / 0", ZeroDivisionError),
        ("import sys\ndef init_app(app): sys.exit(7)", SystemExit),
    ],
)
def test_exceptions_of_user_code_are_passed_on(tmp_path, code, raised):
    (tmp_path / "custom_flask.py").write_text(code)
    stages: list[str] = []
    with pytest.raises(raised):
        extend(None, "flask", tmp_path, stages.append)
    assert stages == ["init_app"]
