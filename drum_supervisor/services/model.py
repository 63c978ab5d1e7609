"""The model service: what a ready model server answers. Paths and shapes are DRUM's."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from drum_supervisor import __version__
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.model.errors import PayloadError, ResultError
from drum_supervisor.model.model import Model
from drum_supervisor.model.target import TargetType
from drum_supervisor.services.messages import Headers, Plan, Request, Response, json_response, message_response
from drum_supervisor.services.routes import RequestError, Route, Router
from drum_supervisor.settings import Settings

VERSION = f"drum_supervisor {__version__}"

_READ = ("GET", "HEAD")
_PROBES = ("/", "/ping", "/health", "/livez", "/readyz", "/startupz")
_PREDICT = ("/predict", "/predictions")
_PREDICT_UNSTRUCTURED = ("/predictUnstructured", "/predictionsUnstructured")
_INVOKE = ("/invocations",)

_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_LONGEST_MESSAGE = 4000

_log = logging.getLogger(__name__)


class ModelService:
    """Answers probes at once, and predictions one after the other: users' models are rarely thread-safe.

    Args:
        model: the loaded model.
        settings: prefix, largest body and server type.
        at_once: how many predictions may run in the model at the same time.
        new_request_id: makes the id of a request that brings none.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        at_once: int = 1,
        new_request_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._model = model
        self._settings = settings
        self._turns = threading.BoundedSemaphore(at_once)
        self._new_request_id = new_request_id
        self._router = Router(settings.url_prefix, self._table())

    def routes(self) -> tuple[Route, ...]:
        """Return every path that is served, with its methods, for a front that registers real routes."""
        return self._router.routes

    def plan(self, method: str, path: str) -> Plan:
        """Keep the body of predictions, and of nothing else."""
        if self._router.is_blocking(method, path):
            return Plan(keep=self._settings.max_body, blocking=True)
        return Plan()

    def answer(self, request: Request) -> Response:
        """Answer `request`; whatever the user's code raises, an exit included, becomes a 500."""
        request_id = self._request_id(request)
        try:
            response = self._router.answer(request)
        except RequestError as error:
            response = message_response(error.status, f"ERROR: {error}", error.headers)
        except PayloadError as error:
            response = message_response(422, f"ERROR: {error}")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit in a hook must not end the server
            _log.exception("%s %r failed (request %s)", request.method, request.path, request_id)
            response = message_response(500, f"ERROR: {_described(error)}")
        return replace(response, headers=(*response.headers, *_headers(request_id)))

    def _table(self) -> tuple[Route, ...]:
        is_structured = self._model.target.is_structured
        predict = self._predict if is_structured else _refuse_structured
        predict_unstructured = _refuse_unstructured if is_structured else self._predict_unstructured
        invoke = self._predict if is_structured else self._predict_unstructured
        return (
            *(Route(path, _READ, _ok) for path in _PROBES),
            Route("/info", _READ, self._info),
            Route("/capabilities", _READ, _capabilities),
            *(Route(path, ("POST",), predict, blocking=True) for path in _PREDICT),
            *(Route(path, ("POST",), predict_unstructured, blocking=True) for path in _PREDICT_UNSTRUCTURED),
            *(Route(path, ("POST",), invoke, blocking=True) for path in _INVOKE),
        )

    def _predict(self, request: Request) -> Response:
        body, content_type = self._body(request), request.headers.get("content-type", "")
        with self._turns:
            content = self._model.predict(body, content_type)
        return json_response(200, content)

    def _predict_unstructured(self, request: Request) -> Response:
        body, content_type = self._body(request), request.headers.get("content-type", "")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        with self._turns:
            output = self._model.predict_unstructured(body, content_type, query, CaselessHeaders(request.headers))
        return Response(200, output.body, output.content_type)

    def _body(self, request: Request) -> bytes:
        if request.body_too_large:
            limit = self._settings.max_body
            raise RequestError(413, f"the body is larger than {limit} bytes; --max-body sets this limit")
        if request.body_broken:
            raise RequestError(400, f"the body could not be read: {request.body_broken}")
        return request.body

    def _info(self, _: Request) -> Response:
        model = self._model
        content = {
            "codeDir": str(model.code_dir),
            "targetType": model.target_type,
            "language": "python",
            "drumVersion": VERSION,
            "drumServer": self._settings.server_type,
            "modelMetadata": dict(model.metadata) or None,
            "predictor": "custom.py",
            **_label_info(model),
        }
        return json_response(200, content)

    def _request_id(self, request: Request) -> str:
        """Return the client's id if it is safe to send back, else a new one."""
        given = request.headers.get("x-request-id", "").strip()
        return given if _REQUEST_ID.fullmatch(given) else self._new_request_id()


class CaselessHeaders(dict[str, str]):
    """The request's headers for the user's code, found however a name is written."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def _ok(_: Request) -> Response:
    return message_response(200, "OK")


def _capabilities(_: Request) -> Response:
    formats = [{"format": name, "version": None} for name in ("csv", "mtx")]
    return json_response(200, {"supported_payload_formats": formats})


def _refuse_structured(_: Request) -> Response:
    raise RequestError(
        422, "the target type is unstructured: send its requests to /predictUnstructured/ or /invocations"
    )


def _refuse_unstructured(_: Request) -> Response:
    raise RequestError(422, "the target type is not unstructured: send its requests to /predict/ or /invocations")


def _label_info(model: Model) -> dict[str, Any]:
    if model.target.type is TargetType.BINARY:
        return dict(zip(("positiveClassLabel", "negativeClassLabel"), model.labels, strict=True))
    return {"classLabels": list(model.labels)} if model.labels else {}


def _headers(request_id: str) -> Headers:
    """DRUM spells the request id with underscores, everybody else with hyphens."""
    return (("X-Request-ID", request_id), ("X_Request_ID", request_id), ("X-Drum-Version", VERSION))


def _described(error: BaseException) -> str:
    """Describe what the user's code raised, in a line or a few, without secrets."""
    if isinstance(error, SystemExit):
        return f"the model called sys.exit({error.code!r})"
    try:
        text = mask_secrets(str(error)[:_LONGEST_MESSAGE])
    except Exception:  # noqa: BLE001 - the user's class may have a broken __str__; its name is what is left to say
        text = ""
    if isinstance(error, ResultError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
