"""The responses of a ready model server, without a framework."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from drum_supervisor import __version__
from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.http.messages import BodyPlan, Pending, Request, Response
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.datarobot_drum_shim import CustomHTTPError
from drum_supervisor.model.hooks import Hooks
from drum_supervisor.model.model import Model
from drum_supervisor.request_state import RequestState, handling
from drum_supervisor.services.model import RUN_PREDICTOR, ModelService

CSV = b"a\n1\n2\n"
REGRESSION, UNSTRUCTURED = Target(TargetType.REGRESSION), Target(TargetType.UNSTRUCTURED)
PROBES = ["/", "/ping", "/ping/", "/health", "/health/", "/livez", "/livez/", "/readyz", "/readyz/", "/startupz"]
PREDICT = ["/predict", "/predict/", "/predictions", "/predictions/", "/invocations", "/invocations/"]
PREDICT_UNSTRUCTURED = [
    "/predictUnstructured",
    "/predictUnstructured/",
    "/predictionsUnstructured",
    "/predictionsUnstructured/",
    "/invocations",
    "/invocations/",
]


def score(data: pd.DataFrame, model: Any, **kwargs: Any) -> pd.DataFrame:
    return pd.DataFrame({"Predictions": data["a"] * model})


def echo(model: Any, data: Any, **kwargs: Any) -> Any:
    return data


def service_of(target: Target = REGRESSION, hook: Callable[..., Any] | None = None, **flags: str) -> ModelService:
    name = "score" if target.is_structured else "score_unstructured"
    hooks = Hooks({name: hook or (score if target.is_structured else echo)})
    model = Model(Path("/model"), target, hooks, 2, {"name": "of mine"})
    return ModelService(model, resolve(choose(flags, {})))


def ask(service: ModelService, request: Request) -> Response:
    """Wait for the response."""
    response = service.answer(request)
    return response.future.result(30) if isinstance(response, Pending) else response


def post(service: ModelService, path: str = "/predict/", body: bytes = CSV, content_type: str = "text/csv") -> Response:
    return ask(service, Request("POST", path, headers={"content-type": content_type}, body=body))


def content_of(response: Response) -> Any:
    assert response.content_type == "application/json"
    return json.loads(response.body)


def raising(error: BaseException) -> Callable[..., Any]:
    def hook(*arguments, **options):
        raise error

    return hook


@pytest.mark.parametrize("path", [*PROBES, "/startupz/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_are_answered(method, path):
    response = ask(service_of(), Request(method, path))
    assert (response.status, content_of(response)) == (200, {"message": "OK"})


@pytest.mark.parametrize("path", PREDICT)
def test_every_prediction_path_predicts(path):
    response = post(service_of(), path)
    assert (response.status, content_of(response)) == (200, {"predictions": [2.0, 4.0]})


@pytest.mark.parametrize("path", PREDICT_UNSTRUCTURED)
def test_every_unstructured_path_predicts(path):
    response = post(service_of(UNSTRUCTURED), path, b"\xff", "application/octet-stream")
    assert (response.status, response.body, response.content_type) == (200, b"\xff", "application/octet-stream")


def test_unstructured_hook_gets_the_request():
    seen: dict[str, Any] = {}

    def hook(model, data, **kwargs):
        seen.update(kwargs)

    headers = {"content-type": "text/plain", "x-tenant": "a"}
    service = service_of(UNSTRUCTURED, hook)
    response = ask(service, Request("POST", "/predictUnstructured/", "a=1&b=&a=2&c=%C3%A4", headers, b"x"))
    assert (response.status, response.body) == (200, b"")
    assert seen["query"] == {"a": "1", "b": "", "c": "ä"}
    assert seen["headers"] == headers
    assert seen["headers"]["X-Tenant"] == seen["headers"].get("x-TENANT") == "a"
    assert "Content-Type" in seen["headers"]
    assert seen["headers"].get("X-None") is None


@pytest.mark.parametrize(
    ("target", "path", "said"),
    [
        (UNSTRUCTURED, "/predict/", "is unstructured: send its requests to /predictUnstructured/ or /invocations"),
        (REGRESSION, "/predictUnstructured/", "is not unstructured: send its requests to /predict/ or /invocations"),
    ],
)
def test_wrong_endpoint_names_the_right_one(target, path, said):
    response = post(service_of(target), path)
    assert (response.status, content_of(response)) == (422, {"message": f"ERROR: the target type {said}"})


@pytest.mark.parametrize("path", ["/nothing", "/predict/x", "//", "/PING", "", "*", "/stats/x", "/v1/ping"])
def test_unknown_path_is_404(path):
    response = ask(service_of(), Request("GET", path))
    assert (response.status, content_of(response)) == (404, {"message": f"ERROR: there is nothing at {path}"})


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/ping", "GET, HEAD, OPTIONS"),
        ("GET", "/predict/", "POST, OPTIONS"),
        ("BREW", "/info", "GET, HEAD, OPTIONS"),
    ],
)
def test_wrong_method_is_405_with_allow(method, path, allow):
    response = ask(service_of(), Request(method, path))
    assert response.status == 405
    assert ("Allow", allow) in response.headers
    assert content_of(response) == {"message": f"ERROR: {path} answers {allow}, not {method}"}


@pytest.mark.parametrize(("path", "allow"), [("/", "GET, HEAD, OPTIONS"), ("/invocations", "POST, OPTIONS")])
def test_options_is_204_with_allow(path, allow):
    response = ask(service_of(), Request("OPTIONS", path))
    assert (response.status, response.body) == (204, b"")
    assert ("Allow", allow) in response.headers


def test_prefix_applies_to_every_path():
    service = service_of(url_prefix="/v1/a")
    for path in ("/v1/a", "/v1/a/", "/v1/a/ping", "/v1/a/info/"):
        assert ask(service, Request("GET", path)).status == 200
    for path in ("/", "/ping", "/v1", "/v1/aping"):
        assert ask(service, Request("GET", path)).status == 404
    assert post(service, "/v1/a/predict").status == 200
    assert post(service, "/predict").status == 404


@pytest.mark.parametrize("path", [*PROBES, *PREDICT, *PREDICT_UNSTRUCTURED, "/info", "/capabilities"])
def test_every_path_has_both_slash_forms(path):
    service, bare = service_of(), path.rstrip("/")
    names = {service.route_name(form) for form in (bare or "/", f"{bare}/")}
    assert names == {bare or "/"}


@pytest.mark.parametrize("path", [*PREDICT, *PREDICT_UNSTRUCTURED])
def test_only_the_body_of_a_prediction_is_kept(path):
    service = service_of(max_body="1K")
    assert service.plan("POST", path) == BodyPlan(keep=1024)
    assert service.plan("GET", path) == BodyPlan()


@pytest.mark.parametrize("path", [*PROBES, "/info/", "/nothing"])
def test_other_bodies_are_drained(path):
    assert {service_of().plan(method, path) for method in ("GET", "POST", "BREW")} == {BodyPlan(keep=0)}


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (REGRESSION, {}),
        (Target(TargetType.BINARY, ("yes", "no")), {"positiveClassLabel": "yes", "negativeClassLabel": "no"}),
        (Target(TargetType.MULTICLASS, ("a", "b")), {"classLabels": ["a", "b"]}),
    ],
)
def test_info_describes_the_model(target, labels):
    response = ask(service_of(target, server_type="flask"), Request("GET", "/info/"))
    assert content_of(response) == {
        "codeDir": "/model",
        "targetType": target.type.value,
        "language": "python",
        "drumVersion": f"drum_supervisor {__version__}",
        "drumServer": "flask",
        "modelMetadata": {"name": "of mine"},
        "predictor": "custom.py",
        **labels,
    }


def test_capabilities_name_the_formats():
    content = content_of(ask(service_of(), Request("GET", "/capabilities/")))
    assert content == {"supported_payload_formats": {"csv": None, "mtx": None}, "supported_methods": {"chat": False}}


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", "text/csv", "ERROR: no data: "),
        (b'a,b\n"1', "text/csv", "ERROR: the CSV cannot be read: "),
        (b"{}", "application/json", "ERROR: the content type 'application/json' is not supported: "),
        (b"broken", "multipart/form-data; boundary=b", "ERROR: the multipart form is broken: "),
    ],
)
def test_unreadable_data_is_422(body, content_type, said):
    response = post(service_of(), body=body, content_type=content_type)
    assert response.status == 422
    assert content_of(response)["message"].startswith(said)


def test_no_content_type_at_all_is_csv():
    response = ask(service_of(), Request("POST", "/predict/", body=CSV))
    assert content_of(response) == {"predictions": [2.0, 4.0]}


def test_body_over_the_limit_is_413():
    response = ask(service_of(max_body="1M"), Request("POST", "/predict/", body_too_large=True))
    assert response.status == 413
    assert content_of(response)["message"] == (
        "ERROR: the body is larger than 1048576 bytes; --max-body sets this limit"
    )


def test_broken_body_is_400_with_the_reason():
    response = ask(service_of(), Request("POST", "/predict/", body_broken="the client went silent"))
    assert response.status == 400
    assert content_of(response)["message"] == "ERROR: the body could not be read: the client went silent"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class UnspeakableCode:
    def __repr__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("bmi"), "ERROR: KeyError: 'bmi'"),
        (ValueError(), "ERROR: ValueError"),
        (SystemExit(7), "ERROR: the model called sys.exit(7)"),
        (GeneratorExit(), "ERROR: GeneratorExit"),
        (UnspeakableError(), "ERROR: UnspeakableError: (its text cannot be shown: RuntimeError)"),
        (SystemExit(UnspeakableCode()), "ERROR: the model called sys.exit((its text cannot be shown: SystemExit))"),
        (SystemExit("password=hunter22"), "ERROR: the model called sys.exit('password=********')"),
        (ConnectionError("postgres://me:hunter22@db"), "ERROR: ConnectionError: postgres://me:********@db"),
        (ValueError("x" * 9999), f"ERROR: ValueError: {'x' * 4000}"),
        (ValueError("\ud800"), "ERROR: ValueError: \ud800"),
    ],
)
@pytest.mark.parametrize("target", [REGRESSION, UNSTRUCTURED])
def test_any_error_of_a_hook_is_a_500(target, error, message, caplog):
    service = service_of(target, raising(error))
    for _ in range(2):
        response = post(service, "/invocations")
        assert (response.status, content_of(response)) == (500, {"message": message})
    assert ask(service, Request("GET", "/ping")).status == 200


def test_traceback_is_logged_and_not_sent(caplog):
    response = post(service_of(hook=raising(KeyError("bmi"))))
    assert b"Traceback" not in response.body
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "POST '/predict/' failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_wrong_shape_is_a_500_with_the_expected_one(caplog):
    response = post(service_of(hook=lambda data, model: [1]))
    assert response.status == 500
    assert content_of(response)["message"] == "ERROR: score must return a DataFrame, but it returned list."


def test_keyboard_interrupt_from_the_model_is_a_500():
    response = post(service_of(hook=raising(KeyboardInterrupt())))
    assert (response.status, content_of(response)["message"]) == (500, "ERROR: KeyboardInterrupt")


@pytest.mark.parametrize("target", [REGRESSION, UNSTRUCTURED])
@pytest.mark.parametrize("status", [400, 418, 503])
def test_users_http_error_is_the_response(target, status, caplog):
    response = post(service_of(target, raising(CustomHTTPError("come back later", status))), "/invocations")
    assert (response.status, content_of(response)) == (status, {"message": "come back later"})
    assert ("X-Drum-User-Http-Error", "true") in response.headers
    assert not caplog.records


def test_users_http_error_with_a_good_status_is_a_500(caplog):
    response = post(service_of(hook=raising(CustomHTTPError("all is well", 200))))
    assert (response.status, content_of(response)) == (500, {"message": "ERROR: CustomHTTPError: all is well"})


@pytest.mark.parametrize("path", ["/ping", "/nothing", "/predict/", "/stats"])
def test_every_response_has_the_version(path):
    response = ask(service_of(), Request("GET", path))
    assert response.headers[-1] == ("X-Drum-Version", f"drum_supervisor {__version__}")


def test_models_error_is_in_the_request_state():
    error = ValueError("no")
    with handling(RequestState("abc", "/predict", "POST")) as state:
        post(service_of(hook=raising(error)))
    assert state.error is error


@pytest.mark.parametrize(
    ("prefix", "path", "name"),
    [("", "/predict/", "/predict"), ("", "/", "/"), ("/p", "/p/stats", "/stats"), ("/p", "/stats", ""), ("", "/x", "")],
)
def test_route_name(prefix, path, name):
    assert service_of(url_prefix=prefix).route_name(path) == name


class TestStats:
    def stats(self, service: ModelService) -> Any:
        response = ask(service, Request("GET", "/stats/"))
        assert response.status == 200
        return content_of(response)

    def test_stats_of_this_process_in_drums_format(self):
        stats = self.stats(service_of())
        assert set(stats) == {"mem_info", "drum_info", "time_info", "failed_requests"}
        assert stats["drum_info"][0]["pid"] == os.getpid()
        assert stats["time_info"] == {RUN_PREDICTOR: {"min": None, "max": None, "avg": None, "total": None}}

    def test_each_prediction_is_measured_until_read(self):
        service = service_of()
        post(service)
        post(service)
        measured = self.stats(service)["time_info"][RUN_PREDICTOR]
        assert measured["total"] == pytest.approx(2 * measured["avg"])
        assert 0 < measured["min"] <= measured["avg"] <= measured["max"]
        assert self.stats(service)["time_info"][RUN_PREDICTOR]["total"] is None

    def test_failed_requests_are_counted_separately(self):
        service = service_of(hook=raising(ValueError("no")))
        post(service)
        post(service, body=b"")
        stats = self.stats(service)
        assert stats["failed_requests"] == 2
        assert stats["time_info"][RUN_PREDICTOR]["total"] is None
        assert self.stats(service)["failed_requests"] == 0

    def test_answered_during_a_prediction(self):
        entered, leave = threading.Event(), threading.Event()

        def hook(data, model, **options):
            entered.set()
            leave.wait(10)
            return score(data, model)

        service = service_of(hook=hook)
        thread = threading.Thread(target=post, args=(service,))
        thread.start()
        assert entered.wait(10)
        try:
            assert self.stats(service)["time_info"][RUN_PREDICTOR]["total"] is None
        finally:
            leave.set()
            thread.join(10)

    def test_need_no_body(self):
        assert service_of().plan("GET", "/stats/") == BodyPlan(keep=0)


class Gate:
    """A hook which reports the calls inside it, and blocks them until released."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)

    def __call__(self, data: Any, model: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.leave.acquire(timeout=30)
        self.inside -= 1
        return score(data, model)


def test_predictions_queue_and_probes_do_not():
    gate = Gate()
    service = service_of(hook=gate)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(post(service).status)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert gate.entered.acquire(timeout=30)
        assert ask(service, Request("GET", "/ping")).status == 200
        gate.leave.release()
    for thread in threads:
        thread.join(timeout=30)
    assert statuses == [200, 200, 200]
    assert gate.most == 1


def submitted(service: ModelService) -> Pending:
    pending = service.answer(Request("POST", "/predict/", headers={"content-type": "text/csv"}, body=CSV))
    assert isinstance(pending, Pending)
    return pending


def test_max_concurrent_requests_allows_more():
    gate = Gate()
    service = service_of(hook=gate, max_concurrent_requests="2")
    pending = [submitted(service) for _ in range(3)]
    for _ in range(2):
        assert gate.entered.acquire(timeout=30)
    assert gate.inside == 2
    gate.leave.release(len(pending))
    assert [each.future.result(30).status for each in pending] == [200, 200, 200]
    assert gate.most == 2


def test_full_queue_refuses_predictions_but_no_probes():
    gate = Gate()
    service = service_of(hook=gate, max_queue_depth="1")
    pending = [submitted(service) for _ in range(2)]
    refused = post(service)
    assert refused.status == 503
    assert ("Retry-After", "1") in refused.headers
    assert content_of(refused)["message"] == "ERROR: the model is busy: the queue of 1 is full"
    assert ask(service, Request("GET", "/ping")).status == 200
    assert ask(service, Request("GET", "/stats/")).status == 200
    gate.leave.release(2)
    assert [each.future.result(30).status for each in pending] == [200, 200]
    gate.leave.release()
    assert post(service).status == 200


def test_queue_of_length_zero():
    gate = Gate()
    service = service_of(hook=gate, max_queue_depth="0")
    pending = submitted(service)
    assert post(service).status == 503
    gate.leave.release()
    assert pending.future.result(30).status == 200


@pytest.mark.parametrize(("text", "seconds"), [("0", None), ("1.5", 1.5)])
def test_prediction_has_a_time_limit(text, seconds):
    pending = submitted(service_of(request_timeout=text))
    assert pending.seconds == seconds
    assert pending.timeout_response.status == 504
    if seconds:
        message = "ERROR: the model has not answered within 1.5 seconds"
        assert content_of(pending.timeout_response)["message"] == message


def test_predictions_run_in_the_same_thread():
    threads = set()

    def hook(data, model, **options):
        threads.add(threading.get_ident())
        return score(data, model)

    service = service_of(hook=hook)
    for _ in range(3):
        assert post(service).status == 200
    assert len(threads) == 1
