"""Profiles: the variables of the platforms, and where they put the model."""

from pathlib import Path

import pytest

from drum_supervisor.config.profiles import PROFILES, read_profile
from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError


@pytest.fixture
def model_in(tmp_path: Path):
    def put(folder: str) -> Path:
        (tmp_path / folder.lstrip("/")).mkdir(parents=True)
        (tmp_path / folder.lstrip("/") / "custom.py").touch()
        return tmp_path

    return put


class TestModelFolder:
    def test_sagemaker_folder(self, model_in):
        found = read_profile("sagemaker", {}, model_in("/opt/ml/model"))
        assert found["code_dir"] == ("/opt/ml/model", "profile sagemaker")

    def test_drum_folder_if_only_that_has_files(self, model_in):
        root = model_in("/opt/code")
        assert read_profile("sagemaker", {}, root)["code_dir"] == ("/opt/code", "profile sagemaker")
        (root / "opt/ml/model").mkdir(parents=True)
        assert read_profile("sagemaker", {}, root)["code_dir"][0] == "/opt/code"

    def test_sagemaker_folder_wins_over_drum_folder(self, model_in):
        model_in("/opt/code")
        assert read_profile("sagemaker", {}, model_in("/opt/ml/model"))["code_dir"][0] == "/opt/ml/model"

    def test_sagemaker_folder_if_there_is_no_model(self, tmp_path):
        assert read_profile("sagemaker", {}, tmp_path)["code_dir"][0] == "/opt/ml/model"


class TestSagemakerVariables:
    @pytest.mark.parametrize(
        ("variable", "text", "name", "value"),
        [
            ("SAGEMAKER_MODEL_SERVER_WORKERS", "4", "workers", 4),
            ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "20", "request_timeout", 20.0),
            ("SAGEMAKER_BIND_TO_PORT", "9000", "address", "0.0.0.0:9000"),
        ],
    )
    def test_count_only_in_the_profile(self, variable, text, name, value):
        environ = {variable: text}
        chosen = choose({"profile": "sagemaker"}, environ)
        assert chosen[name].source == f"${variable}"
        found = getattr(resolve(chosen), name)
        assert (str(found) if name == "address" else found) == value
        assert choose({}, environ)[name].source == "default"

    def test_our_own_variable_wins(self):
        environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": "4", "DRUM_SUPERVISOR_WORKERS": "2"}
        assert choose({"profile": "sagemaker"}, environ)["workers"].text == "2"

    @pytest.mark.parametrize("empty", ["", " "])
    def test_empty_is_unset(self, empty):
        environ = {"SAGEMAKER_MODEL_SERVER_WORKERS": empty}
        assert choose({"profile": "sagemaker"}, environ)["workers"].source == "default"

    def test_bad_value_names_the_variable(self):
        with pytest.raises(UsageError, match=r"--workers: 'many' \(from \$SAGEMAKER_MODEL_SERVER_WORKERS\)"):
            resolve(choose({"profile": "sagemaker"}, {"SAGEMAKER_MODEL_SERVER_WORKERS": "many"}))


def test_platforms_with_probes_get_answers_while_a_model_loads():
    # A probe that waits for the model times out: after a crash the platform would kill the loading container.
    assert {PROFILES[name]["while_starting"] for name in ("sagemaker", "kubernetes")} == {"respond"}
