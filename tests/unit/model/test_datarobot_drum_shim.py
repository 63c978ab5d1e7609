"""What users' code imports from `datarobot_drum` works without DRUM, and is DRUM's where DRUM is installed."""

import importlib
import sys

import pytest

from drum_supervisor.model import datarobot_drum_shim
from drum_supervisor.model.datarobot_drum_shim import CustomHTTPError, RuntimeParameters, user_http_answer


@pytest.fixture
def offered(monkeypatch):
    """Offer the names, to this test only."""
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "datarobot_drum"]:
        monkeypatch.delitem(sys.modules, name)
    datarobot_drum_shim.offer()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "datarobot_drum"]:
        del sys.modules[name]


@pytest.fixture
def parameter(monkeypatch):
    """Set a runtime parameter."""
    return lambda text, name="P": monkeypatch.setenv(f"MLOPS_RUNTIME_PARAM_{name}", text)


@pytest.mark.usefixtures("offered")
class TestWithoutDrum:
    def test_both_names_can_be_imported(self):
        module = importlib.import_module("datarobot_drum")
        assert module.RuntimeParameters is RuntimeParameters
        assert module.CustomHTTPError is CustomHTTPError

    def test_other_names_are_not_there(self):
        with pytest.raises(ImportError, match="cannot import name 'Other' from 'datarobot_drum'"):
            exec("from datarobot_drum import Other")

    @pytest.mark.parametrize("name", ["datarobot_drum.drum", "datarobot_drum.drum.enum"])
    def test_other_parts_of_it_say_what_is_missing(self, name):
        with pytest.raises(
            ModuleNotFoundError, match=r"datarobot_drum\.drum is a part of DRUM, which is not installed"
        ):
            importlib.import_module(name)

    def test_other_modules_that_are_missing_are_not_ours_to_explain(self):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
            importlib.import_module("no_such_module")

    def test_offering_again_does_nothing(self):
        before = [*sys.meta_path]
        datarobot_drum_shim.offer()
        assert sys.meta_path == before


@pytest.mark.usefixtures("offered")
class TestWithDrum:
    @pytest.fixture(autouse=True)
    def _installed(self, tmp_path, monkeypatch):
        package = tmp_path / "datarobot_drum"
        package.mkdir()
        (package / "__init__.py").write_text("class RuntimeParameters: installed = True")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def test_the_installed_one_is_imported(self):
        assert importlib.import_module("datarobot_drum").RuntimeParameters.installed

    def test_what_it_lacks_is_not_ours_to_explain(self):
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
    def test_have_the_type_that_they_say_and_else_are_text(self, parameter, text, value):
        parameter(text)
        assert RuntimeParameters.has("P")
        found = RuntimeParameters.get("P")
        assert (found, type(found)) == (value, type(value))

    def test_are_unknown_when_they_are_not_set(self):
        assert not RuntimeParameters.has("P")
        with pytest.raises(ValueError, match=r"^Runtime parameter 'P' is not set: give it in MLOPS_RUNTIME_PARAM_P\.$"):
            RuntimeParameters.get("P")

    def test_differ_in_case(self, parameter):
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
                "has the unknown type 'other': give one of string, boolean, numeric, credential, deployment.",
            ),
        ],
    )
    def test_of_another_type_than_they_say_are_an_error_that_keeps_them_secret(self, parameter, text, said):
        parameter(text)
        with pytest.raises(ValueError, match="Runtime") as caught:
            RuntimeParameters.get("P")
        assert str(caught.value) == f"Runtime parameter 'P' {said}"


class DrumsCustomHTTPError(Exception):
    """As DRUM's own class looks from outside."""

    def __init__(self, message, status_code):
        super().__init__(message)
        self.status_code = status_code


DrumsCustomHTTPError.__name__ = "CustomHTTPError"


class OfTheUserError(CustomHTTPError):
    pass


class UnspeakableError(CustomHTTPError):
    def __str__(self):
        raise RuntimeError


class OfSomeClientError(Exception):
    status_code = 429


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CustomHTTPError("no"), 400),
        (CustomHTTPError("no", 418), 418),
        (CustomHTTPError("no", status_code=599), 599),
        (OfTheUserError("no", 404), 404),
        (DrumsCustomHTTPError("no", 418), 418),
        (CustomHTTPError("no", 200), None),
        (CustomHTTPError("no", 600), None),
        (CustomHTTPError("no", "418"), None),
        (CustomHTTPError("no", True), None),
        (UnspeakableError("no"), None),
        (OfSomeClientError("no"), None),
        (ValueError("no"), None),
    ],
)
def test_only_such_an_error_with_the_status_of_an_error_is_an_answer(error, status):
    assert user_http_answer(error) == (None if status is None else (status, "no"))
