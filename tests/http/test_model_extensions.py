"""Whole model folders: `custom_flask.py`, `custom_fastapi.py`, artifacts, and imports from DRUM."""

import textwrap

import pytest

from drum_supervisor.contract.report_pipe import ReadyMessage, StageMessage
from tests.http.children import ask, request

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
MODEL = "def load_model(code_dir): return 'model'\ndef score_unstructured(model, data, **kwargs): return model"
FLASK = """
    from flask import Response, jsonify, request

    def init_app(app):
        @app.before_request
        def refuse():
            if request.headers.get("X-Refused"):
                return jsonify(message="refused"), 401

        @app.after_request
        def sign(response):
            response.headers["X-Signed"] = "yes"
            return response

        @app.get("/mine/<name>")
        def mine(name):
            return name

        @app.get("/ping")
        def ping():
            return "mine"

        @app.get("/boom")
        def boom():
            raise KeyError("on purpose")
"""
FASTAPI = """
    from contextlib import asynccontextmanager
    from fastapi.responses import JSONResponse, PlainTextResponse

    def init_app(app):
        begun = []

        @asynccontextmanager
        async def lifespan(application):
            begun.append("yes")
            print("begun", flush=True)
            yield
            print("ended", flush=True)

        app.router.lifespan_context = lifespan

        @app.middleware("http")
        async def sign(request, call_next):
            if request.headers.get("X-Refused"):
                return JSONResponse({"message": "refused"}, 401)
            response = await call_next(request)
            response.headers["X-Signed"] = begun[0]
            return response

        @app.get("/mine/{name}")
        async def mine(name: str):
            return PlainTextResponse(name)

        @app.get("/ping")
        def ping():
            return PlainTextResponse("mine")

        @app.get("/boom")
        def boom():
            raise KeyError("on purpose")
"""


@pytest.fixture(params=SERVER_TYPES)
def server_type(request):
    return request.param


@pytest.fixture
def serve(start, tmp_path):
    """Start the model server with these files."""

    def serve_model(files: dict[str, str | bytes], server_type: str, target_type: str = "unstructured", **others):
        for name, content in files.items():
            path = tmp_path / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
        given = ["--code-dir", str(tmp_path / "model"), "--target-type", target_type, "--server-type", server_type]
        return start("-m", "drum_supervisor.serve.model", *given, **others)

    return serve_model


@pytest.fixture
def extended(serve, server_type):
    """A model server with both files; it uses its own."""
    files = {"custom.py": MODEL, "custom_flask.py": FLASK, "custom_fastapi.py": FASTAPI}
    return serve(files, server_type).until_ready()


def stages(child) -> list[str]:
    return [message.name for message in child.messages() if isinstance(message, StageMessage)]


def test_application_is_extended_before_it_serves(extended):
    assert stages(extended) == ["importing", "load_model", "starting the server", "init_app", "starting the server"]
    assert ask(extended.listener, request("GET", "/mine/abc")).body == b"abc"


def test_users_routes_come_first(extended):
    assert ask(extended.listener, request("GET", "/ping")).body == b"mine"
    assert ask(extended.listener, request("GET", "/ping/")).json() == {"message": "OK"}
    assert ask(extended.listener, request("POST", "/predictUnstructured/", b"x")).body == b"model"
    assert ask(extended.listener, request("GET", "/nothing")).json() == {
        "message": "ERROR: there is nothing at /nothing"
    }


@pytest.mark.parametrize("path", ["/mine/abc", "/ping/", "/predictUnstructured/", "/nothing"])
def test_before_request_functions_see_all_requests(extended, path):
    raw = ask(
        extended.listener, request("POST" if "predict" in path else "GET", path, b"x" if "predict" in path else b"")
    )
    assert raw.header("x-signed") == "yes"
    raw = ask(extended.listener, request("GET", path, headers=["X-Refused: 1"]))
    assert (raw.status, raw.json()) == (401, {"message": "refused"})


@pytest.mark.parametrize("path", ["/mine/abc", "/ping/", "/boom"])
def test_each_response_has_its_request_id(extended, path):
    raw = ask(extended.listener, request("GET", path, headers=["X-Request-ID: abc"]))
    assert (raw.header("x-request-id"), raw.header("x_request_id")) == ("abc", "abc")


def test_error_in_a_users_route_is_a_logged_500(extended):
    assert ask(extended.listener, request("GET", "/boom")).status == 500
    extended.until(lambda: "KeyError: 'on purpose'" in extended.stderr)
    assert ask(extended.listener, request("GET", "/ping/")).status == 200


def test_users_lifespan_runs_with_the_server(serve):
    child = serve({"custom.py": MODEL, "custom_fastapi.py": FASTAPI}, "fastapi").until_ready()
    assert child.stdout == "begun\n"
    child.terminate()
    assert child.end() == 0
    assert child.stdout == "begun\nended\n"


BROKEN = {
    "raises": ("def init_app(app): raise ValueError('no luck')", ("init_app", "ValueError", "no luck")),
    "raises at import": ("raise ValueError('no luck')", ("init_app", "ValueError", "no luck")),
    "exits": ("import sys\ndef init_app(app): sys.exit(7)", ("init_app", "SystemExit", "the model called sys.exit(7)")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_failing_extension_is_a_failed_initialization(serve, server_type, case):
    code, expected = BROKEN[case]
    child = serve({"custom.py": MODEL, "custom_flask.py": code, "custom_fastapi.py": code}, server_type)
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.type, failure.message) == expected
    assert "Traceback (most recent call last)" in failure.traceback
    assert ReadyMessage() not in child.messages()


def test_extension_without_init_app_is_a_usage_error(serve, server_type):
    child = serve({"custom.py": MODEL, "custom_flask.py": "", "custom_fastapi.py": ""}, server_type)
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.type) == ("init_app", "")
    assert failure.message.endswith(
        "must define a function init_app(app), which is called with the application before it serves."
    )


def test_failing_lifespan_is_a_failed_initialization(serve):
    code = """
    def init_app(app):
        async def fail(application):
            raise ValueError("no luck")
            yield

        from contextlib import asynccontextmanager
        app.router.lifespan_context = asynccontextmanager(fail)
    """
    child = serve({"custom.py": MODEL, "custom_fastapi.py": code}, "fastapi")
    assert child.end() == 3
    (failure,) = child.failures()
    assert (failure.stage, failure.message) == ("starting the server", "no luck")


ARTIFACT = b"cbeside\nConstant\n)R."  # the pickle of an object of this class
BESIDE = "class Constant:\n    def predict(self, table): return [9] * len(table)"


def test_artifact_is_served_without_any_hook(serve, server_type):
    child = serve({"model.pkl": ARTIFACT, "beside.py": BESIDE}, server_type, "regression").until_ready()
    assert ask(child.listener, request("POST", "/predict/", b"a\n1\n2\n")).json() == {"predictions": [9.0, 9.0]}
    assert ask(child.listener, request("GET", "/info/")).json()["predictor"] == "scikit-learn"
    assert stages(child) == ["load_model", "starting the server"]


def test_users_code_may_import_drums_names(serve, server_type):
    custom = """
    from datarobot_drum import CustomHTTPError, RuntimeParameters

    def load_model(code_dir):
        return RuntimeParameters.get("WORD")

    def score_unstructured(model, data, **kwargs):
        if data == "teapot":
            raise CustomHTTPError("I am a teapot", status_code=418)
        return model
    """
    word = {"MLOPS_RUNTIME_PARAM_WORD": '{"type": "string", "payload": "hello"}'}
    child = serve({"custom.py": custom}, server_type, environ=word).until_ready()
    assert ask(child.listener, request("POST", "/predictUnstructured/", b"x")).body == b"hello"
    raw = ask(child.listener, request("POST", "/predictUnstructured/", b"teapot"))
    assert (raw.status, raw.json()) == (418, {"message": "I am a teapot"})
    assert raw.header("x-drum-user-http-error") == "true"
    assert "Traceback" not in child.stderr


def test_missing_parameter_is_a_failed_initialization(serve, server_type):
    custom = (
        "from datarobot_drum import RuntimeParameters\ndef load_model(code_dir): return RuntimeParameters.get('WORD')"
    )
    child = serve({"custom.py": f"{custom}\ndef score_unstructured(model, data): pass"}, server_type)
    assert child.end() == 3
    (failure,) = child.failures()
    assert failure.message == "Runtime parameter 'WORD' is not set: set MLOPS_RUNTIME_PARAM_WORD."
