"""What users' code imports from `datarobot_drum`, for where DRUM is not installed."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from drum_supervisor.config.parsers import RUNTIME_PARAMETER

PACKAGE = "datarobot_drum"

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda payload: isinstance(payload, str),
    "boolean": lambda payload: isinstance(payload, bool),
    # DRUM takes numbers in quotes too, and passes them on as they are
    "numeric": lambda payload: isinstance(payload, int | float | str) and not isinstance(payload, bool),
    "credential": lambda payload: isinstance(payload, dict),
    "deployment": lambda payload: isinstance(payload, str),
}


class RuntimeParameters:
    """The parameters that DataRobot, or whoever sets `MLOPS_RUNTIME_PARAM_<NAME>`, gives to a model."""

    @classmethod
    def has(cls, name: str) -> bool:
        """Whether the parameter is set; upper and lower case differ."""
        return RUNTIME_PARAMETER + name in os.environ

    @classmethod
    def get(cls, name: str) -> Any:
        """Return the payload: a text, a switch, a number, a dict for a credential; plain text as it is.

        Raises:
            ValueError: there is no such parameter, or its payload is not of its type.
        """
        text = os.environ.get(RUNTIME_PARAMETER + name)
        if text is None:
            raise ValueError(f"Runtime parameter {name!r} is not set: give it in {RUNTIME_PARAMETER}{name}.")
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if not isinstance(record, dict) or "payload" not in record:
            return text
        return _payload(name, record.get("type", "string"), record["payload"])


def _payload(name: str, kind: Any, payload: Any) -> Any:
    """Never say what the payload is: it may be a secret."""
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"Runtime parameter {name!r} has the unknown type {kind!r}: give one of {', '.join(_TYPES)}.")
    if payload is not None and not _TYPES[kind](payload):
        raise ValueError(
            f"Runtime parameter {name!r} is of type {kind}, but its payload is of type {type(payload).__name__}."
        )
    return payload


class CustomHTTPError(Exception):
    """Raised by a hook, it is the answer: its status, and the message as it is."""

    def __init__(self, message: str = "The model raised CustomHTTPError.", status_code: int = 400) -> None:
        super().__init__(message)
        self.status_code = status_code


def user_http_answer(error: BaseException) -> tuple[int, str] | None:
    """Return the status and the message that the user wants sent, if `error` is a `CustomHTTPError`, ours or DRUM's.

    The name is asked for as well: other exceptions, of HTTP clients for example, have such an attribute.
    """
    if not any(each.__name__ == CustomHTTPError.__name__ for each in type(error).__mro__):
        return None
    status = getattr(error, "status_code", None)
    is_status = isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599
    if status is None or not is_status:
        return None
    try:
        return status, str(error)
    except Exception:  # noqa: BLE001 - the user's class may have a broken __str__
        return None


def offer() -> None:
    """Let `datarobot_drum` be found here by those who do not find the real one; again: does nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder, Loader):
    """Last on `sys.meta_path`, so that it is asked only for what nobody else finds."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == PACKAGE:
            return ModuleSpec(name, self, origin=__file__, is_package=True)
        if name.startswith(f"{PACKAGE}.") and self._is_ours():
            raise ModuleNotFoundError(
                f"{name} is a part of DRUM, which is not installed: pip install datarobot-drum. Without it there are "
                "RuntimeParameters and CustomHTTPError in datarobot_drum.",
                name=name,
            )
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(RuntimeParameters=RuntimeParameters, CustomHTTPError=CustomHTTPError)

    def _is_ours(self) -> bool:
        spec = getattr(sys.modules.get(PACKAGE), "__spec__", None)
        return isinstance(getattr(spec, "loader", None), _Finder)
