"""Profiles: what the platforms say in words of their own, and where they put the model."""

from pathlib import Path

import pytest

from drum_supervisor.config.profiles import PROFILES, values
from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError


@pytest.fixture
def model_in(tmp_path: Path):
    """Put a model into a folder of a root of our own."""

    def put(folder: str) -> Path:
        (tmp_path / folder.lstrip("/")).mkdir(parents=True)
        (tmp_path / folder.lstrip("/") / "custom.py").touch()
        return tmp_path

    return put


class TestModelFolder:
    def test_is_the_one_of_sagemaker(self, model_in):
        assert values("sagemaker", {}, model_in("/opt/ml/model"))["code_dir"] == ("/opt/ml/model", "profile sagemaker")

    def test_is_the_one_of_drum_if_only_that_has_files(self, model_in):
        root = model_in("/opt/code")
        assert values("sagemaker", {}, root)["code_dir"] == ("/opt/code", "profile sagemaker")
        (root / "opt/ml/model").mkdir(parents=True)
        assert values("sagemaker", {}, root)["code_dir"][0] == "/opt/code"

    def test_of_sagemaker_goes_before_the_one_of_drum(self, model_in):
        model_in("/opt/code")
        assert values("sagemaker", {}, model_in("/opt/ml/model"))["code_dir"][0] == "/opt/ml/model"

    def test_that_is_nowhere_is_asked_for_where_sagemaker_puts_it(self, tmp_path):
        assert values("sagemaker", {}, tmp_path)["code_dir"][0] == "/opt/ml/model"


class TestVariablesOfSagemaker:
    @pytest.mark.parametrize(
        ("variable", "text", "name", "value"),
        [
            ("SAGEMAKER_MODEL_SERVER_WORKERS", "4", "workers", 4),
            ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "20", "request_timeout", 20.0),
            ("SAGEMAKER_BIND_TO_PORT", "9000", "address", "0.0.0.0:9000"),
        ],
    )
    def test_are_honoured_in_its_profile_alone(self, variable, text, name, value):
        environ = {variable: text}
        chosen = choose({"profile": "sagemaker"}, environ)
        assert chosen[name].source == f"${variable}"
        found = getattr(resolve(chosen), name)
        assert (str(found) if name == "address" else found) == value
        assert choose({}, environ)[name].source == "default"

    def test_give_way_to_ours(self):
        environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": "4", "DRUM_SUPERVISOR_WORKERS": "2"}
        assert choose({"profile": "sagemaker"}, environ)["workers"].text == "2"

    @pytest.mark.parametrize("empty", ["", " "])
    def test_that_are_empty_are_not_set(self, empty):
        environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": empty}
        assert choose({"profile": "sagemaker"}, environ)["workers"].source == "default"

    def test_that_cannot_be_read_are_named(self):
        with pytest.raises(UsageError, match=r"--workers: 'many' \(from \$SAGEMAKER_MODEL_SERVER_WORKERS\)"):
            resolve(choose({"profile": "sagemaker"}, {"SAGEMAKER_MODEL_SERVER_WORKERS": "many"}))


def test_a_platform_that_ends_a_container_for_a_probe_gets_answers_while_a_model_loads():
    """A probe that waits for the model is one that fails: after a crash a pod would be killed while it loads again."""
    assert {PROFILES[name]["while_starting"] for name in ("sagemaker", "kubernetes")} == {"respond"}
