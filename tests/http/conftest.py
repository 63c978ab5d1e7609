"""Child processes for the tests of this folder, killed after each test."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http.children import ROOT, Child, listening

FRONTS = ("stdlib", "fastapi", "flask", "gunicorn")
KEEPING_FRONTS = FRONTS[1:]  # the standard-library front closes each connection after its answer
ECHO = str(Path(__file__).with_name("echo.py"))


@pytest.fixture(scope="module", params=FRONTS)
def front(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def echo(front: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The echo service on `front`, one process per module."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening())
        child = Child(tmp_path_factory.mktemp(front), [ECHO, front], listener)
        stack.callback(child.close)
        yield child.until_ready()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start a child on a listener of its own, or on the given one."""
    with ExitStack() as stack:

        def start_child(*argv: str, listener=None, address="127.0.0.1:0", environ=None, supervised=True) -> Child:
            listener = listener or stack.enter_context(listening(address))
            folder = tmp_path / f"child{len(list(tmp_path.iterdir()))}"
            child = Child(folder, argv, listener, environ, supervised)
            stack.callback(child.close)
            return child

        yield start_child


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A gate: opening it to read blocks until the other side opens it to write."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def without_gevent(tmp_path: Path) -> dict[str, str]:
    """Return an environment without gevent."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "gevent.py").write_text("raise ImportError('hidden by a test')")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "DRUM_GUNICORN_WORKER_CLASS": "gevent"}
