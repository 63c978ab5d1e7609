"""What each process loads at run time, which import-linter cannot see."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import drum_supervisor

PACKAGE = Path(drum_supervisor.__file__).parent
ONLY_CHILDREN_LOAD = {
    "fastapi",
    "flask",
    "gunicorn",
    "numpy",
    "opentelemetry",
    "pandas",
    "prometheus_client",
    "pydantic",
    "scipy",
    "sklearn",
    "starlette",
    "uvicorn",
    "werkzeug",
}


def loaded_by(module: str) -> set[str]:
    """Return the top-level names of all modules that importing `module` loads in a fresh interpreter."""
    program = f"import {module}, json, sys; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def imported_by(source: str) -> set[str]:
    """Return the modules that `source` imports at any level."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_supervisor_loads_no_framework():
    assert not loaded_by("drum_supervisor.cli.main") & ONLY_CHILDREN_LOAD


def test_supervisor_samples_without_third_parties():
    assert not loaded_by("drum_supervisor.supervise.start") & {"psutil", "rich", "pynvml"}


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["--help"], {"supervisor", "xmlrpc", "http.client", "ssl", "psutil"}),
        (["status", "--run-dir", "/nowhere"], {"supervisor", "psutil", "drum_supervisor.cli.check"}),
        (["start", "--help"], {"supervisor", "drum_supervisor.cli.check", "drum_supervisor.cli.operate"}),
    ],
)
def test_command_imports_only_what_it_runs(arguments, never):
    program = "import sys; from drum_supervisor.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", program, *arguments]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()
    assert "drum_supervisor.cli.main" in loaded
    assert not never & set(loaded)


def test_control_client_does_not_load_supervisord():
    assert "supervisor" not in loaded_by("drum_supervisor.contract.control_client")


def test_rich_and_pynvml_are_loaded_on_demand():
    assert not loaded_by("drum_supervisor.cli.main") & {"rich", "pynvml"}


def test_package_itself_loads_nothing():
    before = loaded_by("sys")
    assert loaded_by("drum_supervisor") - before == {"drum_supervisor"}


def test_cgroups_are_read_with_the_standard_library_only():
    loaded = loaded_by("drum_supervisor.resources.cgroup") - loaded_by("sys")
    assert loaded - sys.stdlib_module_names == {"drum_supervisor"}


@pytest.mark.parametrize("module", sorted((PACKAGE / "contract").glob("*.py")), ids=lambda module: module.stem)
def test_contract_is_standard_library_only(module):
    for name in imported_by(module.read_text(encoding="utf-8")):
        assert name.partition(".")[0] in sys.stdlib_module_names or name.startswith("drum_supervisor.contract"), name
