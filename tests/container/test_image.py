"""The image: its configuration, its contents, and how it runs."""

import json
import re
import subprocess
from importlib.metadata import version

import pytest

from tests.container.conftest import SECRET, mounted
from tests.container.containers import RESTRICTED
from tests.container.engine import ROOT

pytestmark = pytest.mark.container

LARGEST_MIB = 330  # on top of the base image; docs/container.md breaks it down


@pytest.fixture(scope="module")
def config(engine, image):
    return engine.inspect(image)["Config"]


@pytest.fixture(scope="module")
def ask(engine, image):
    """Run a shell command in the image; return what it prints."""

    def shell(command: str) -> str:
        return engine.call("run", "--rm", *engine.limits, "--entrypoint=sh", image, "-c", command).stdout.strip()

    return shell


@pytest.fixture(scope="module")
def packages(ask):
    """Name and version of each installed Python package."""
    found = ask("ls -d /opt/drum-supervisor/lib/python3*/site-packages/*.dist-info").splitlines()
    pairs = (path.rpartition("/")[2].removesuffix(".dist-info").split("-") for path in found)
    return {(canonical(name), version) for name, version in pairs}


class TestConfiguration:
    def test_default_command_is_serve(self, config):
        assert config["Entrypoint"] == ["drum-supervise"]
        assert config["Cmd"] == ["serve"]

    def test_user_is_numeric_and_not_root(self, config):
        # `runAsNonRoot` can check only numbers
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", config["User"])

    def test_labels_describe_the_image(self, config):
        labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
        assert labels["version"] == version("drum_supervisor")
        assert labels["licenses"] == "Apache-2.0"
        assert labels["title"] == "drum_supervisor"
        assert labels["description"]
        assert labels["revision"]

    def test_label_lets_sagemaker_choose_the_port(self, config):
        assert config["Labels"]["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"


class TestContents:
    def test_has_no_build_tools(self, ask):
        assert ask("command -v cc gcc g++ make cmake ld cargo || true") == ""
        assert ask("ls /build 2>/dev/null || true") == ""

    def test_is_small(self, ask):
        assert int(ask("du -sm /opt/drum-supervisor").split()[0]) <= LARGEST_MIB

    def test_packages_match_the_lock(self, packages):
        lock = (ROOT / "conf/image/all.txt").read_text()
        locked = {(canonical(name), version) for name, version in re.findall(r"^([^\s=]+)==(\S+)", lock, re.MULTILINE)}
        assert packages - locked == {("drum-supervisor", version("drum_supervisor"))}
        assert {name for name, _ in packages} > {"supervisor", "fastapi", "pandas", "scikit-learn"}

    def test_sbom_lists_every_package(self, ask, packages):
        components = json.loads(ask("cat /opt/drum-supervisor/sbom.cdx.json"))["components"]
        assert {(canonical(each["name"]), each["version"]) for each in components} == packages

    def test_secrets_in_the_source_tree_are_in_no_layer(self, engine, image):
        with subprocess.Popen([engine.program, "save", image], stdout=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            kept = b""
            while block := saving.stdout.read(1 << 20):
                assert SECRET.encode() not in kept + block
                kept = block[-len(SECRET) :]
        assert saving.returncode == 0

    def test_any_uid_has_a_home_and_a_user_name(self, engine, image):
        code = "import getpass, os.path; print(getpass.getuser(), os.path.expanduser('~'))"
        flags = ("--rm", *engine.limits, *RESTRICTED, "--entrypoint=python")
        assert engine.call("run", *flags, image, "-c", code).stdout.split() == ["drum-supervisor", "/tmp"]


class TestRuns:
    @pytest.mark.parametrize("command", [("serve",), ()], ids=["serve", "nothing"])
    def test_mounted_model_in_a_restricted_container(self, run, model, command):
        container = run(*command, flags=(*RESTRICTED, *mounted(model())))
        container.until_phase("serving")
        answer = container.post("/invocations", b"hello")
        assert (answer.status, answer.body) == (200, b"hello")
        container.signal("TERM")
        assert container.wait() == 0
        assert "WARNING" not in container.output()

    @pytest.mark.parametrize("folder", ["/opt/ml/model", "/opt/code"])
    def test_derived_image_that_only_copies_a_model(self, run, model, derive, folder):
        container = run(image=derive(model(), folder))
        container.until_phase("serving")
        assert container.post("/invocations", b"hello").body == b"hello"

    def test_missing_model_is_reported(self, run):
        container = run()
        assert "/opt/ml/model" in container.until_phase("failed")["failure"]["error"]
        assert container.post("/invocations", b"hello").status == 513

    def test_start_instead_of_serve(self, run, model):
        container = run("start", "--code-dir", "/model", "--no-error-server", flags=mounted(model("boom"), "/model"))
        assert container.wait() == 3
        assert container.output().splitlines()[-1].startswith("drum-supervise: exit 3: initialization failed")

    def test_health_check_follows_the_model(self, engine, image, run, model, config):
        declared = config.get("Healthcheck") or engine.inspect(image)["Healthcheck"]  # docker's place, podman's place
        kind, *check = declared["Test"]
        assert kind == "CMD"
        container = run(flags=mounted(model()))
        container.until_phase("serving")
        assert container.execute(*check)[0] == 0
        broken = run()
        broken.until_phase("failed")
        code, printed = broken.execute(*check)
        assert code != 0
        assert "/opt/ml/model' does not exist" in printed


def canonical(name: str) -> str:
    """Return the normalized name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
