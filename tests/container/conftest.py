"""The image, built once per session, and containers that are removed after each test."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.container.containers import Container
from tests.container.engine import ROOT, Engine, NoEngineError, find

TAG = "localhost/drum-supervisor-test"
SECRET = "canary-cd1d2f0a7a"
SECRET_FILES = (
    ".env",
    ".netrc",
    ".git/config",
    "pip.conf",
    "conf/image/key.pem",
    "drum_supervisor/.env",
    "drum_supervisor/serve/token",
)

ECHO = """
import time
def load_model(code_dir):
    return "model"
def score_unstructured(model, data, **kwargs):
    return data
"""


@pytest.fixture(scope="session")
def engine() -> Engine:
    try:
        return find()
    except NoEngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the image from a source tree that contains secrets."""
    context = tmp_path_factory.mktemp("context")
    for name in ("Dockerfile", ".dockerignore", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    shutil.copytree(ROOT / "conf", context / "conf")
    shutil.copytree(ROOT / "drum_supervisor", context / "drum_supervisor", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SECRET_FILES:
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text(SECRET)
    engine.build(context, TAG)
    return TAG


class RunImage(Protocol):
    def __call__(
        self, *command: str, flags: tuple[str, ...] = (), port: int = 8080, image: str = "", **environ: str
    ) -> Container: ...


@pytest.fixture
def run(engine: Engine, image: str) -> Iterator[RunImage]:
    """Run the image, or another one."""
    started: list[Container] = []
    default = image

    def begin(
        *command: str, flags: tuple[str, ...] = (), port: int = 8080, image: str = "", **environ: str
    ) -> Container:
        variables = [f"--env={name}={value}" for name, value in environ.items()]
        started.append(Container(engine, engine.run(*flags, *variables, image or default, *command), port))
        return started[-1]

    yield begin
    for container in started:
        engine.remove(container.name)


@pytest.fixture
def derive(engine: Engine, image: str, tmp_path: Path) -> Iterator[Callable[[Path, str], str]]:
    """Build an image that only copies a model to a folder; return its name."""
    made: list[str] = []

    def build(model: Path, folder: str) -> str:
        (model / "Dockerfile").write_text(f"FROM {image}\nCOPY . {folder}\n")
        made.append(f"{image}-derived-{len(made)}")
        engine.build(model, made[-1])
        return made[-1]

    yield build
    for name in made:
        engine.call("rmi", "--force", name)


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    """Make a model folder with this custom.py, readable for every uid."""

    def make(custom: str = ECHO, target_type: str = "unstructured") -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "custom.py").write_text(custom)
        (folder / "model-metadata.yaml").write_text(f"name: test\ntype: inference\ntargetType: {target_type}\n")
        return folder

    return make


def mounted(folder: Path, at: str = "/opt/ml/model") -> tuple[str, ...]:
    """Return the flags that mount a folder into a container."""
    return (f"--volume={folder}:{at}:ro",)
