"""The metadata of the installed distribution, and the image's lock files."""

import re
from importlib.metadata import entry_points, metadata, requires, version
from pathlib import Path

import pytest

import drum_supervisor

NAME = "drum_supervisor"


def requirements(extra: str = "") -> set[str]:
    """Return the names of the requirements of `extra`, or of the unconditional ones."""
    found = set()
    for requirement in requires(NAME) or []:
        wanted_by = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        if (wanted_by[1] if wanted_by else "") == extra:
            found.add(re.split(r"[\s<>=!~;(]", requirement)[0].lower())
    return found


def test_version_matches_the_source():
    assert version(NAME) == drum_supervisor.__version__


def test_command_is_installed_and_resolves():
    (command,) = entry_points(group="console_scripts", name="drum-supervise")
    assert callable(command.load())


def test_no_command_is_called_serve():
    # Ray installs a command of that name
    assert {command.name for command in entry_points(group="console_scripts") if command.value.startswith(NAME)} == {
        "drum-supervise"
    }


@pytest.mark.parametrize("extra", ["model", "onnx", "metrics", "all", "test", "dev"])
def test_extra_is_offered(extra):
    assert extra in (metadata(NAME).get_all("Provides-Extra") or [])
    assert requirements(extra)


def test_all_includes_every_extra_for_users():
    assert "drum_supervisor[metrics,model,otel,watch]" in requirements("all")


def test_developer_tools_are_not_required_by_users():
    for_users = requirements() | requirements("model") | requirements("all")
    assert not for_users & (requirements("test") | requirements("dev"))


def test_type_information_is_shipped():
    assert (Path(drum_supervisor.__file__).parent / "py.typed").is_file()


class TestImageLock:
    """The files that `make lock` writes for the image."""

    ROOT = Path(__file__).parents[3]
    PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)

    def pins(self, name: str) -> set[tuple[str, str]]:
        return set(self.PIN.findall((self.ROOT / name).read_text(encoding="utf-8")))

    @pytest.mark.parametrize("lock", ["core", "all"])
    def test_pins_the_tested_versions(self, lock):
        tested = {(name.replace(".", "-"), version) for name, version in self.pins("constraints.txt")}
        assert self.pins(f"conf/image/{lock}.txt") <= tested

    @pytest.mark.parametrize("lock", ["core", "all", "build"])
    def test_has_a_hash_for_every_pin(self, lock):
        entries = re.split(r"\n(?=\S)", (self.ROOT / f"conf/image/{lock}.txt").read_text(encoding="utf-8"))
        assert len(entries) > 10
        assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []

    def test_has_all_requirements(self):
        locked = {name.replace("-", "_") for name, _ in self.pins("conf/image/all.txt")}
        wanted = requirements() | requirements("model") | requirements("otel") | requirements("metrics")
        assert {name.replace("-", "_") for name in wanted} <= locked
