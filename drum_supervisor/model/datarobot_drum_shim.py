"""A substitute for the package `datarobot_drum` where DRUM is not installed: what user code imports from it."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from drum_supervisor.config.parsers import RUNTIME_PARAMETER_PREFIX

PACKAGE = "datarobot_drum"

_TYPE_CHECKS: dict[str, Callable[[Any], bool]] = {
    "string": lambda payload: isinstance(payload, str),
    "boolean": lambda payload: isinstance(payload, bool),
    # DRUM accepts quoted numbers too, and returns them as text
    "numeric": lambda payload: isinstance(payload, int | float | str) and not isinstance(payload, bool),
    "credential": lambda payload: isinstance(payload, dict),
    "deployment": lambda payload: isinstance(payload, str),
}


class RuntimeParameters:
    """The model's runtime parameters, read from `MLOPS_RUNTIME_PARAM_<NAME>`."""

    @classmethod
    def has(cls, name: str) -> bool:
        """Whether the parameter is set; the name is case-sensitive."""
        return RUNTIME_PARAMETER_PREFIX + name in os.environ

    @classmethod
    def get(cls, name: str) -> Any:
        """Return the payload: text, bool, number, or a dict for a credential; plain text is returned unchanged.

        Raises:
            ValueError: the parameter is not set, or its payload is not of its type.
        """
        text = os.environ.get(RUNTIME_PARAMETER_PREFIX + name)
        if text is None:
            raise ValueError(f"Runtime parameter {name!r} is not set: set {RUNTIME_PARAMETER_PREFIX}{name}.")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if not isinstance(record, dict) or "payload" not in record:
            return text
        return _check_payload(name, record.get("type", "string"), record["payload"])


class CustomHTTPError(Exception):
    """Raise it in a hook to choose the response: its status and its message."""

    def __init__(self, message: str = "The model raised CustomHTTPError.", status_code: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code


def read_http_error(error: BaseException) -> tuple[int, str] | None:
    """Return status and message if `error` is a `CustomHTTPError`, ours or DRUM's, with a 4xx or 5xx status."""
    # The name must match too: other exceptions, of HTTP clients for example, also have a status_code.
    if not any(each.__name__ == CustomHTTPError.__name__ for each in type(error).__mro__):
        return None
    status = getattr(error, "status_code", None)
    is_status = isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599
    if status is None or not is_status:
        return None
    try:
        return status, str(error)
    except (Exception, SystemExit):  # noqa: BLE001 - the user's class may have a broken __str__
        return None


def install() -> None:
    """Make `datarobot_drum` importable where DRUM is not installed; a second call does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _check_payload(name: str, kind: Any, payload: Any) -> Any:
    # The messages must not contain the payload: it may be a secret.
    if not isinstance(kind, str) or kind not in _TYPE_CHECKS:
        raise ValueError(
            f"Runtime parameter {name!r} has the unknown type {kind!r}: use one of {', '.join(_TYPE_CHECKS)}."
        )
    if payload is not None and not _TYPE_CHECKS[kind](payload):
        raise ValueError(
            f"Runtime parameter {name!r} is of type {kind}, but its payload is of type {type(payload).__name__}."
        )
    return payload


class _Finder(MetaPathFinder, Loader):
    """Last on `sys.meta_path`, so that an installed DRUM is found first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == PACKAGE:
            return ModuleSpec(name, self, origin=__file__, is_package=True)
        if name.startswith(f"{PACKAGE}.") and self._is_shim_loaded():
            raise ModuleNotFoundError(
                f"{name} is part of DRUM, which is not installed: pip install datarobot-drum. Without DRUM, "
                "datarobot_drum has only RuntimeParameters and CustomHTTPError.",
                name=name,
            )
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(RuntimeParameters=RuntimeParameters, CustomHTTPError=CustomHTTPError)

    def _is_shim_loaded(self) -> bool:
        spec = getattr(sys.modules.get(PACKAGE), "__spec__", None)
        return isinstance(getattr(spec, "loader", None), _Finder)
