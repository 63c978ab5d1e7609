"""The model service: the responses of a ready model server, with the paths and formats of DRUM."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from drum_supervisor import __version__
from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.contract.report_pipe import error_text
from drum_supervisor.http.messages import BodyPlan, Pending, Request, Response, json_response, message_response
from drum_supervisor.model.data.errors import PayloadError, ResultError
from drum_supervisor.model.data.target import TargetType
from drum_supervisor.model.datarobot_drum_shim import read_http_error
from drum_supervisor.model.model import Model
from drum_supervisor.request_state import current_request
from drum_supervisor.resource_monitor import ResourceMonitor
from drum_supervisor.services.executor import BoundedExecutor, QueueFullError
from drum_supervisor.services.routes import Handler, RequestError, Route, Router
from drum_supervisor.stats_collector import StatsCollector

VERSION = f"drum_supervisor {__version__}"

_READ = ("GET", "HEAD")
_PROBES = ("/", "/ping", "/health", "/livez", "/readyz", "/startupz")
_PREDICT = ("/predict", "/predictions")
_PREDICT_UNSTRUCTURED = ("/predictUnstructured", "/predictionsUnstructured")
_INVOKE = ("/invocations",)

# DRUM's name in `/stats/` for the time in the model, without the time in the queue.
RUN_PREDICTOR = "run_predictor_total"
_START, _FINISH = "start", "finish"

_BUSY = "the model is busy"
_SLOW = "the model has not answered within"
_TRY_AGAIN = (("Retry-After", "1"),)

# Marks a status and message chosen by the user's code.
_USER_ERROR = (("X-Drum-User-Http-Error", "true"),)

_LONGEST_MESSAGE = 4000

_log = logging.getLogger(__name__)


class ModelService:
    """Answers probes at once, and predictions in a bounded executor: users' models are rarely thread-safe.

    Args:
        model: the loaded model.
        settings: prefix, server type, and the limits for bodies, concurrent and queued predictions, and time.
        monitor: measures resource usage for `/stats/`; by default that of this process.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        monitor: ResourceMonitor | None = None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._executor = BoundedExecutor(settings.max_concurrent_requests, settings.max_queue_depth, "prediction")
        self._stats_executor = BoundedExecutor(1, name="stats")
        self._monitor = monitor or ResourceMonitor()
        self._stats = StatsCollector()
        self._stats.register_report(RUN_PREDICTOR, _START, _FINISH)
        self._router = Router(settings.url_prefix, self._build_routes())

    def plan(self, method: str, path: str) -> BodyPlan:
        """Keep the body of predictions only."""
        return BodyPlan(keep=self._settings.max_body if self._router.keeps_body(method, path) else 0)

    def route_name(self, path: str) -> str:
        """Return the route of `path`, without prefix and trailing slash; empty without a route."""
        return self._router.name(path)

    def answer(self, request: Request) -> Response | Pending:
        """Answer `request`; every error of the user's code, SystemExit included, becomes a 500."""
        try:
            route = self._router.find(request.method, request.path)
            if route.executor is None:
                return self._handle(route.handler, request)
            pending = route.executor.submit(partial(self._handle, route.handler, request))
        except RequestError as error:
            return _add_version(message_response(error.status, f"ERROR: {error}", error.headers))
        except QueueFullError as error:
            return _add_version(message_response(503, f"ERROR: {_BUSY}: {error}", _TRY_AGAIN))
        seconds = self._settings.request_timeout
        timeout_response = message_response(504, f"ERROR: {_SLOW} {seconds:g} seconds", _TRY_AGAIN)
        return Pending(pending, seconds or None, _add_version(timeout_response))

    def close(self) -> None:
        """End the threads once they have finished all predictions."""
        self._executor.close()
        self._stats_executor.close()

    def _handle(self, handler: Handler, request: Request) -> Response:
        try:
            response = handler(request)
        except RequestError as error:
            response = message_response(error.status, f"ERROR: {error}", error.headers)
        except PayloadError as error:
            response = message_response(422, f"ERROR: {error}")
        except BaseException as error:  # noqa: BLE001 - sys.exit in a hook must not end the server
            if (user_answer := read_http_error(error)) is not None:
                return _add_version(message_response(*user_answer, _USER_ERROR))
            _log.exception("%s %r failed", request.method, request.path)
            if (state := current_request()) is not None:
                state.error = error
            response = message_response(500, f"ERROR: {_describe_error(error)}")
        return _add_version(response)

    def _build_routes(self) -> tuple[Route, ...]:
        is_structured = self._model.target.is_structured
        predict = self._predict if is_structured else _refuse_structured
        predict_unstructured = _refuse_unstructured if is_structured else self._predict_unstructured
        invoke = self._predict if is_structured else self._predict_unstructured
        return (
            *(Route(path, _READ, _ok) for path in _PROBES),
            Route("/info", _READ, self._info),
            Route("/capabilities", _READ, _capabilities),
            Route("/stats", _READ, self._report_stats, self._stats_executor),
            *(Route(path, ("POST",), predict, self._executor, keeps_body=True) for path in _PREDICT),
            *(
                Route(path, ("POST",), predict_unstructured, self._executor, keeps_body=True)
                for path in _PREDICT_UNSTRUCTURED
            ),
            *(Route(path, ("POST",), invoke, self._executor, keeps_body=True) for path in _INVOKE),
        )

    def _predict(self, request: Request) -> Response:
        body, content_type = self._body(request), request.headers.get("content-type", "")
        with self._measured():
            content = self._model.predict_as_json(body, content_type)
        return Response(200, content)

    def _predict_unstructured(self, request: Request) -> Response:
        body, content_type = self._body(request), request.headers.get("content-type", "")
        query = _keep_first(parse_qsl(request.query, keep_blank_values=True))
        with self._measured():
            output = self._model.predict_unstructured(body, content_type, query, CaselessHeaders(request.headers))
        return Response(200, output.body, output.content_type)

    @contextmanager
    def _measured(self) -> Iterator[None]:
        self._stats.mark(_START)
        try:
            yield
        except BaseException:
            self._stats.mark_failed()
            raise
        self._stats.mark(_FINISH)

    def _report_stats(self, _: Request) -> Response:
        resources = self._monitor.collect_resources_info(current_request())
        taken = self._stats.take()
        return json_response(200, {**resources, "time_info": taken.reports, "failed_requests": taken.failed})

    def _body(self, request: Request) -> bytes:
        if request.body_too_large:
            limit = self._settings.max_body
            raise RequestError(413, f"the body is larger than {limit} bytes; --max-body sets this limit")
        if request.body_broken:
            raise RequestError(400, f"the body could not be read: {request.body_broken}")
        if request.body_not_stored:
            raise RequestError(503, f"the body could not be stored: {request.body_not_stored}", _TRY_AGAIN)
        return request.content()

    def _info(self, _: Request) -> Response:
        model = self._model
        content = {
            "codeDir": str(model.code_dir),
            "targetType": model.target_type,
            "language": "python",
            "drumVersion": VERSION,
            "drumServer": self._settings.server_type,
            "modelMetadata": dict(model.metadata) or None,
            "predictor": model.predictor_name,
            **_label_info(model),
        }
        return json_response(200, content)


def _keep_first(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs as a dict; of equal names the first wins, as in DRUM."""
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


class CaselessHeaders(dict[str, str]):
    """The headers of a request for the user's code, with case-insensitive names."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


def _add_version(response: Response) -> Response:
    return replace(response, headers=(*response.headers, ("X-Drum-Version", VERSION)))


def _ok(_: Request) -> Response:
    return message_response(200, "OK")


def _capabilities(_: Request) -> Response:
    formats = dict.fromkeys(("csv", "mtx"))  # format versions: neither has one
    return json_response(200, {"supported_payload_formats": formats, "supported_methods": {"chat": False}})


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


def _describe_error(error: BaseException) -> str:
    """Describe an error of the user's code for the client, without secrets."""
    text = mask_secrets(error_text(error)[:_LONGEST_MESSAGE])
    if isinstance(error, (SystemExit, ResultError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
