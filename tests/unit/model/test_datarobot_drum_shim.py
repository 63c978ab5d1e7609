"""Imports from `datarobot_drum`: the shim without DRUM, the real package with it."""

import importlib
import sys

import pytest

from drum_supervisor.model import datarobot_drum_shim
from drum_supervisor.model.datarobot_drum_shim import CustomHTTPError, RuntimeParameters, read_http_error


@pytest.fixture
def installed_shim(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "datarobot_drum"]:
        monkeypatch.delitem(sys.modules, name)
    datarobot_drum_shim.install()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "datarobot_drum"]:
        del sys.modules[name]


@pytest.fixture
def parameter(monkeypatch):
    return lambda text, name="P": monkeypatch.setenv(f"MLOPS_RUNTIME_PARAM_{name}", text)


@pytest.mark.usefixtures("installed_shim")
class TestWithoutDrum:
    def test_both_names_can_be_imported(self):
        module = importlib.import_module("datarobot_drum")
        assert module.RuntimeParameters is RuntimeParameters
        assert module.CustomHTTPError is CustomHTTPError

    def test_other_names_cannot_be_imported(self):
        with pytest.raises(ImportError, match="cannot import name 'Other' from 'datarobot_drum'"):
            exec("from datarobot_drum import Other")

    @pytest.mark.parametrize("name", ["datarobot_drum.drum", "datarobot_drum.drum.enum"])
    def test_submodules_say_that_drum_is_missing(self, name):
        with pytest.raises(ModuleNotFoundError) as caught:
            importlib.import_module(name)
        assert str(caught.value) == (
            "datarobot_drum.drum is part of DRUM, which is not installed: pip install datarobot-drum. Without DRUM, "
            "datarobot_drum has only RuntimeParameters and CustomHTTPError."
        )

    def test_other_missing_modules_are_reported_as_usual(self):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
            importlib.import_module("no_such_module")

    def test_installing_twice_does_nothing(self):
        before = [*sys.meta_path]
        datarobot_drum_shim.install()
        assert sys.meta_path == before


@pytest.mark.usefixtures("installed_shim")
class TestWithDrum:
    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path, monkeypatch):
        package = tmp_path / "datarobot_drum"
        package.mkdir()
        (package / "__init__.py").write_text("class RuntimeParameters: installed = True")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def test_the_real_package_is_imported(self):
        assert importlib.import_module("datarobot_drum").RuntimeParameters.installed

    def test_its_missing_submodules_are_reported_as_usual(self):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'datarobot_drum\.drum'$"):
            importlib.import_module("datarobot_drum.drum")


class TestRuntimeParameters:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"type": "string", "payload": "a"}', "a"),
            ('{"type": "string", "payload": null}', None),
            ('{"type": "boolean", "payload": true}', True),
            ('{"type": "boolean", "payload": false}', False),
            ('{"type": "numeric", "payload": 3}', 3),
            ('{"type": "numeric", "payload": 3.5}', 3.5),
            ('{"type": "numeric", "payload": "3"}', "3"),
            (
                '{"type": "credential", "payload": {"credentialType": "api_token", "apiToken": "t"}}',
                {"credentialType": "api_token", "apiToken": "t"},
            ),
            ('{"type": "deployment", "payload": "64a"}', "64a"),
            ('{"payload": "a"}', "a"),
            ("plain text", "plain text"),
            ("3", "3"),
            ('["a"]', '["a"]'),
            ('{"a": 1}', '{"a": 1}'),
            ("", ""),
        ],
    )
    def test_values_have_their_declared_type_or_are_text(self, parameter, text, value):
        parameter(text)
        assert RuntimeParameters.has("P")
        found = RuntimeParameters.get("P")
        assert (found, type(found)) == (value, type(value))

    def test_unset_parameters_are_an_error(self):
        assert not RuntimeParameters.has("P")
        with pytest.raises(ValueError, match=r"^Runtime parameter 'P' is not set: set MLOPS_RUNTIME_PARAM_P\.$"):
            RuntimeParameters.get("P")

    def test_names_are_case_sensitive(self, parameter):
        parameter("x", "lower")
        assert RuntimeParameters.has("lower")
        assert not RuntimeParameters.has("LOWER")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{"type": "string", "payload": 3141}', "is of type string, but its payload is of type int."),
            ('{"type": "boolean", "payload": "true"}', "is of type boolean, but its payload is of type str."),
            ('{"type": "numeric", "payload": true}', "is of type numeric, but its payload is of type bool."),
            ('{"type": "credential", "payload": "hunter22"}', "is of type credential, but its payload is of type str."),
            (
                '{"type": "other", "payload": "hunter22"}',
                "has the unknown type 'other': use one of string, boolean, numeric, credential, deployment.",
            ),
        ],
    )
    def test_a_wrong_type_is_an_error_without_the_payload(self, parameter, text, said):
        parameter(text)
        with pytest.raises(ValueError, match="Runtime") as caught:
            RuntimeParameters.get("P")
        assert str(caught.value) == f"Runtime parameter 'P' {said}"


class RealCustomHTTPError(Exception):
    """Has the attributes of DRUM's own class."""

    def __init__(self, message, status_code):
        super().__init__(message)
        self.status_code = status_code


RealCustomHTTPError.__name__ = "CustomHTTPError"


class SubclassError(CustomHTTPError):
    pass


class BrokenStrError(CustomHTTPError):
    def __str__(self):
        raise RuntimeError


class HttpClientError(Exception):
    status_code = 429


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CustomHTTPError("no"), 400),
        (CustomHTTPError("no", 418), 418),
        (CustomHTTPError("no", status_code=599), 599),
        (SubclassError("no", 404), 404),
        (RealCustomHTTPError("no", 418), 418),
        (CustomHTTPError("no", 200), None),
        (CustomHTTPError("no", 600), None),
        (CustomHTTPError("no", "418"), None),
        (CustomHTTPError("no", True), None),
        (BrokenStrError("no"), None),
        (HttpClientError("no"), None),
        (ValueError("no"), None),
    ],
)
def test_only_custom_http_errors_with_4xx_or_5xx_are_sent(error, status):
    assert read_http_error(error) == (None if status is None else (status, "no"))
