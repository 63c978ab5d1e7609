import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from flask import Flask

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.report_pipe import InitFailedMessage, Message, ReadyMessage, StageMessage
from drum_supervisor.runtime import DrumRuntime, run_error_server, run_error_server_fastapi
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.process import Stopped, StopSignals

PROVIDERS = ("trace_provider", "metric_provider", "log_provider")


class FakeProvider:
    """Records its end."""

    def __init__(self, name: str, ended: list[str], error: BaseException | None = None) -> None:
        self._name, self._ended, self._error = name, ended, error

    def terminate(self) -> None:
        self._ended.append(self._name)
        if self._error is not None:
            raise self._error

    shutdown = terminate


def filled(runtime: DrumRuntime, ended: list[str], error: BaseException | None = None) -> DrumRuntime:
    runtime.cm_runner = FakeProvider("cm_runner", ended, error)
    for name in PROVIDERS:
        setattr(runtime, name, FakeProvider(name, ended, error))
    return runtime


def supervised(told: list[Message], **given) -> DrumRuntime:
    return DrumRuntime(progress=InitReport(told.append), **given)


class TestAttributes:
    def test_at_first(self):
        runtime = DrumRuntime()
        assert not runtime.initialization_succeeded
        values = (runtime.app, runtime.options, runtime.cm_runner, *(getattr(runtime, name) for name in PROVIDERS))
        assert values == (None,) * 6

    @pytest.mark.parametrize("app", [Flask("test"), FastAPI()])
    def test_app_by_position_and_by_name(self, app):
        assert DrumRuntime(app).app is DrumRuntime(app=app).app is DrumRuntime(app).flask_app is app

    def test_flask_app_is_deprecated(self):
        app = Flask("test")
        with pytest.warns(DeprecationWarning, match=r"flask_app=.*app=") as warned:
            runtime = DrumRuntime(flask_app=app)
        assert warned[0].filename == __file__
        assert runtime.app is runtime.flask_app is app

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_app_and_flask_app_exclude_each_other(self):
        with pytest.raises(TypeError, match="app or flask_app, not both"):
            DrumRuntime(Flask("a"), flask_app=Flask("b"))

    def test_no_framework_is_imported(self):
        program = (
            "import sys, drum_supervisor.runtime\n"
            "with drum_supervisor.runtime.DrumRuntime() as runtime: pass\n"
            "print({'flask', 'fastapi', 'uvicorn', 'pandas', 'opentelemetry'} & sys.modules.keys())"
        )
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert result.stdout == "set()\n"


class TestExit:
    def test_exit_returns_true_without_an_exception(self):
        runtime = DrumRuntime()
        assert runtime.__enter__() is runtime
        assert runtime.__exit__(None, None, None) is True

    @pytest.mark.parametrize(
        "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), Stopped(), GeneratorExit()]
    )
    def test_every_exception_propagates(self, error):
        with pytest.raises(type(error)) as raised, DrumRuntime():
            raise error
        assert raised.value is error

    def test_is_in_order(self):
        ended: list[str] = []
        with DrumRuntime() as runtime:
            filled(runtime, ended)
        assert ended == ["cm_runner", *PROVIDERS]

    def test_is_in_order_after_a_failure(self):
        ended: list[str] = []
        runtime = DrumRuntime()
        filled(runtime, ended)
        with pytest.raises(ValueError, match="bad"), runtime:
            raise ValueError("bad")
        assert ended == ["cm_runner", *PROVIDERS]

    def test_skips_what_is_not_set(self):
        ended: list[str] = []
        with DrumRuntime() as runtime:
            runtime.log_provider = FakeProvider("log_provider", ended)
        assert ended == ["log_provider"]

    @pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(9), KeyboardInterrupt()])
    def test_failing_shutdown_hides_nothing(self, caplog, error):
        ended: list[str] = []
        runtime = DrumRuntime()
        filled(runtime, ended, error)
        with pytest.raises(ValueError, match="original"), runtime:
            raise ValueError("original")
        assert ended == ["cm_runner", *PROVIDERS]
        failures = [record for record in caplog.records if record.exc_info and record.exc_info[1] is error]
        assert [record.getMessage().split(".")[0] for record in failures] == ["cm_runner", *PROVIDERS]

    def test_failing_shutdown_raises_nothing(self, caplog):
        ended: list[str] = []
        with DrumRuntime() as runtime:
            filled(runtime, ended, RuntimeError("broken"))
        assert len(ended) == 4
        assert len(caplog.records) == 4

    def test_closes_the_listener(self, reserved):
        with DrumRuntime() as runtime:
            listener = runtime.take_listener(reserved)
            assert runtime.take_listener(reserved) is listener
        assert listener.fileno() == -1


@pytest.fixture
def reserved():
    from drum_supervisor.contract.listener import parse_address

    return parse_address("127.0.0.1:0")


class TestReports:
    def test_readiness_is_reported_once(self):
        told: list[Message] = []
        with supervised(told) as runtime:
            runtime.initialization_succeeded = True
            runtime.initialization_succeeded = True
            assert runtime.initialization_succeeded
        assert told == [ReadyMessage()]

    @pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(7), MemoryError("much"), Exception()])
    def test_failure_is_reported_with_its_stage(self, error):
        told: list[Message] = []
        runtime = supervised(told)
        runtime.options = SimpleNamespace(with_error_server=True, address="127.0.0.1:0")
        runtime.progress.begin_stage("load_model")
        with pytest.raises(type(error)), runtime:
            raise error
        stage, failure = told
        assert stage == StageMessage("load_model")
        assert isinstance(failure, InitFailedMessage)
        assert (failure.stage, failure.type) == ("load_model", type(error).__name__)

    def test_failure_is_reported_before_the_shutdown(self):
        told: list[Message] = []
        ended: list[str] = []
        runtime = supervised(told)
        filled(runtime, ended)
        runtime.cm_runner = SimpleNamespace(terminate=lambda: ended.append(f"{len(told)} told"))
        with pytest.raises(ValueError, match="bad"), runtime:
            raise ValueError("bad")
        assert ended == ["1 told", *PROVIDERS]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped()])
    def test_stop_is_no_failure(self, error):
        told: list[Message] = []
        with pytest.raises(type(error)), supervised(told):
            raise error
        assert told == []

    def test_stop_wrapped_by_the_model_is_no_failure(self):
        told: list[Message] = []
        stop = StopSignals()
        stop.requested = True
        with pytest.raises(RuntimeError), supervised(told, stop=stop):
            raise RuntimeError("interrupted")
        stop.close()
        assert told == []

    def test_exception_after_readiness_is_no_failure(self):
        told: list[Message] = []
        runtime = supervised(told)
        runtime.initialization_succeeded = True
        with pytest.raises(ValueError, match="later"), runtime:
            raise ValueError("later")
        assert told == [ReadyMessage()]


class TestErrorServer:
    @pytest.mark.parametrize(
        "options",
        [None, SimpleNamespace(), SimpleNamespace(with_error_server=False, address="127.0.0.1:0")],
    )
    def test_does_not_run_unless_requested(self, options, caplog):
        runtime = DrumRuntime()
        runtime.options = options
        with pytest.raises(ValueError, match="bad"), runtime:
            raise ValueError("bad")
        assert not caplog.records

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped()])
    def test_does_not_run_after_a_stop(self, error):
        runtime = DrumRuntime()
        runtime.options = SimpleNamespace(with_error_server=True, address="127.0.0.1:0")
        with pytest.raises(type(error)), runtime:
            raise error

    def test_does_not_run_after_readiness(self):
        runtime = DrumRuntime()
        runtime.options = SimpleNamespace(with_error_server=True, address="127.0.0.1:0")
        runtime.initialization_succeeded = True
        with pytest.raises(ValueError, match="later"), runtime:
            raise ValueError("later")

    @pytest.mark.parametrize("address", ["localhost", "", "8080", "::1:8080", "[::1]", "localhost:http", "a b:1", None])
    def test_invalid_address_is_one_log_line(self, address, caplog):
        runtime = DrumRuntime()
        runtime.options = SimpleNamespace(with_error_server=True, address=address)
        with pytest.raises(ValueError, match="original"), runtime:
            raise ValueError("original")
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage() == (
            f"The error server cannot run: Address {str(address)!r} is not HOST:PORT: write for example 0.0.0.0:8080, "
            "[::1]:8080, 127.0.0.1:0 (any free port) or unix:/path/to/socket."
        )
        assert record.exc_info is None

    @pytest.mark.parametrize("run", [run_error_server, run_error_server_fastapi])
    def test_missing_port_is_refused(self, run):
        with pytest.raises(UsageError, match=r"no port for 'localhost'.*localhost:8080"):
            run("localhost", None, ValueError("bad"))

    def test_takes_over_a_flask_app_and_returns(self):
        app = Flask("test")
        app.add_url_rule("/predict/", view_func=lambda: "of a model that is not there", methods=["POST"])
        runtime = DrumRuntime(app)
        runtime.options = SimpleNamespace(with_error_server=True, address="127.0.0.1:0")
        with pytest.raises(ValueError, match="bad"), runtime:
            raise ValueError("bad weights")
        client = app.test_client()
        for path in ("/", "/ping", "/ping/", "/health", "/health/"):
            answer = client.get(path)
            assert (answer.status_code, answer.json) == (
                200,
                {"message": "Error Server Running", "error": "ValueError: bad weights"},
            )
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            answer = client.open("/predict/", method=method)
            assert (answer.status_code, answer.json) == (513, {"message": "ERROR: ValueError: bad weights"})

    def test_shows_no_secret(self):
        app = Flask("test")
        run_error_server("127.0.0.1", 0, ValueError("password=hunter2"), app)
        assert b"hunter2" not in app.test_client().get("/predict").data

    def test_reads_prefix_and_limits_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("URL_PREFIX", "/p")
        monkeypatch.setenv("DRUM_SUPERVISOR_ERROR_DETAIL", "none")
        app = Flask("test")
        run_error_server("127.0.0.1", 0, ValueError("bad weights"), app)
        assert app.test_client().get("/p/ping").status_code == 200
        answer = app.test_client().get("/ping")
        assert answer.status_code == 513
        assert b"bad weights" not in answer.data


class TestRealProviders:
    @pytest.mark.parametrize("fails", [False, True])
    def test_are_shut_down_in_order_after_recording_the_failure(self, fails):
        pytest.importorskip("opentelemetry.sdk")
        from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        events: list[str] = []

        class Spans(SpanProcessor):
            def on_end(self, span):
                events.append(span.name)

            def shutdown(self):
                events.append("traces")

        class Reader(InMemoryMetricReader):
            def shutdown(self, *arguments, **options):
                events.append("metrics")
                super().shutdown(*arguments, **options)

        class UsageLog(LogRecordProcessor):
            def on_emit(self, log_record):
                events.append("log record")

            def shutdown(self):
                events.append("logs")

            def force_flush(self, timeout_millis=30000):
                return True

        runtime = DrumRuntime()
        runtime.cm_runner = SimpleNamespace(terminate=lambda: events.append("cm_runner"))
        runtime.trace_provider = traces = TracerProvider(shutdown_on_exit=False)
        traces.add_span_processor(Spans())
        runtime.metric_provider = MeterProvider([Reader()], shutdown_on_exit=False)
        runtime.log_provider = logs = LoggerProvider(shutdown_on_exit=False)
        logs.add_log_record_processor(UsageLog())
        if fails:
            with pytest.raises(ValueError, match="bad"), runtime:
                raise ValueError("bad")
            assert events[:2] == ["drum.initialization", "log record"]
        else:
            with runtime:
                pass
        assert events[-4:] == ["cm_runner", "traces", "metrics", "logs"]
        assert len(events) == (6 if fails else 4)
