"""The built-in server on gunicorn: its context, its parameters, gevent."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from json import loads

import pytest

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.report_pipe import ReadyMessage
from tests.http.children import Child, answer, ask, connect, get, request
from tests.http.conftest import ECHO

# The built-in server; the arguments decide what its application and context do.
BUILT_IN = """
import os, sys, threading
from flask import Flask
from drum_supervisor.contract.listener import parse_address
from drum_supervisor.contract.report_pipe import Reporter
from drum_supervisor.config.gunicorn import read_parameters
from drum_supervisor.servers.gunicorn.server import Options, serve
from drum_supervisor.servers.process import StopSignals, take_listener

def block(fifo):
    with open(fifo) as opened:
        opened.read()

def load(progress, context):
    context.defer_stop(lambda: print("stopped", flush=True))
    context.defer_cleanup(lambda: print("closed", flush=True), order=-1)
    if closing:
        context.defer_cleanup(closing)
    progress.begin_stage("loading")
    loading()
    app = Flask("app")
    app.add_url_rule("/block/<path:fifo>", "block", lambda fifo: block("/" + fifo) or "ok")
    app.add_url_rule("/context", "context", lambda: f"{app.extensions['worker_ctx'] is context} {context.running()}")
    app.add_url_rule("/pid", "pid", lambda: str(os.getpid()))
    return app

loading, closing = (eval(text, globals()) for text in sys.argv[1:3])
stop = StopSignals()
stop.install()
given = {name: float(value) for name, _, value in (text.partition("=") for text in sys.argv[3:])}
options = Options(parameters=read_parameters(os.environ), **{"drain_seconds": 10.0, **given})
listener = take_listener(parse_address("127.0.0.1:0"))
stop.exit(serve(load, listener, Reporter.from_environment(os.environ).send, options))
"""

NOTHING = "lambda: None"
WORKER_CLASSES = ("sync", "gevent")


@pytest.fixture
def built_in(start, tmp_path) -> Callable[..., Child]:
    """Run the built-in server."""

    def run(*options: str, loading: str = NOTHING, closing: str = "None", environ=None) -> Child:
        (tmp_path / "built_in.py").write_text(BUILT_IN)
        return start(str(tmp_path / "built_in.py"), loading, closing, *options, environ=environ)

    return run


class TestContextOfTheBuiltInServer:
    def test_lives_as_long_as_the_worker(self, built_in):
        child = built_in().until_ready()
        assert get(child, "/context") == "True True"
        child.terminate()
        assert child.end() == 0
        assert child.stdout.split() == ["stopped", "closed"]

    def test_cleanup_has_its_time_after_a_full_drain(self, built_in, fifo):
        closing = "lambda: threading.Event().wait(3) or print('waited', flush=True)"
        child = built_in("drain_seconds=0.5", closing=closing).until_ready()
        with connect(child.listener) as connection:
            connection.sendall(request("GET", f"/block{fifo}"))
            with open(fifo, "w"):
                child.terminate()
                assert child.end() == 0
            assert connection.recv(100) == b""
        assert child.stdout.split() == ["stopped", "waited", "closed"]

    def test_context_is_cleaned_up_after_a_failed_load(self, built_in):
        child = built_in(loading="lambda: 1 / 0")
        assert child.end() == ExitCode.INIT_FAILED
        assert child.stdout.split() == ["stopped", "closed"]
        assert [(failure.stage, failure.type) for failure in child.failures()] == [("loading", "ZeroDivisionError")]

    def test_stop_after_a_failure_does_not_interrupt_cleanup(self, built_in, fifo):
        child = built_in(loading="lambda: 1 / 0", closing=f"lambda: block({str(fifo)!r})")
        child.until(child.failures)
        os.killpg(child.process.pid, signal.SIGTERM)  # as the supervisor does
        fifo.write_text("")
        child.end()
        child.until_gone()
        assert child.stdout.split() == ["stopped", "closed"]

    def test_missing_gevent_is_reported_before_the_start(self, built_in, without_gevent):
        child = built_in(environ=without_gevent)
        assert child.end() != 0
        assert "DRUM_GUNICORN_WORKER_CLASS: gevent cannot be used here" in child.stderr
        assert child.stdout == ""


class TestParametersInTheBuiltInServer:
    @pytest.mark.parametrize("worker_class", WORKER_CLASSES)
    def test_worker_at_the_request_limit_is_recycled_without_loss(self, start, worker_class):
        options = ["workers=2", "max_requests=20", "max_requests_jitter=5", *gevent_if(worker_class)]
        child = start(ECHO, "gunicorn", *options).until_ready(2)

        def ask_for_pids(_: int) -> list[int]:
            with ExitStack() as stack:
                connections = [stack.enter_context(connect(child.listener)) for _ in range(5)]
                for connection in connections:
                    connection.sendall(request("GET", "/pid"))
                return [int(loads(answer(connection).body)["pid"]) for connection in connections]

        with ThreadPoolExecutor(8) as pool:
            pids = [pid for some in pool.map(ask_for_pids, range(60)) for pid in some]
        assert len(pids) == 300
        assert len(set(pids)) > 4
        assert child.messages().count(ReadyMessage()) >= len(set(pids))
        assert not child.failures()
        child.terminate()
        assert child.end() == 0

    def test_context_ends_with_a_recycled_worker(self, built_in):
        child = built_in(environ={"DRUM_GUNICORN_MAX_REQUESTS": "1"}).until_ready()
        first = get(child, "/pid")
        child.until(lambda: child.stdout.split() == ["stopped", "closed"])
        assert child.until_ready(2)
        assert get(child, "/pid") != first

    def test_failed_load_of_a_new_worker_is_a_failure(self, built_in, tmp_path):
        loading = f"lambda: os.mkdir({str(tmp_path / 'loaded')!r})"
        child = built_in(loading=loading, environ={"DRUM_GUNICORN_MAX_REQUESTS": "1"}).until_ready()
        get(child, "/pid")
        assert child.end() == ExitCode.INIT_FAILED
        assert [failure.type for failure in child.failures()] == ["FileExistsError"]

    def test_timeout_spares_a_loading_worker(self, built_in):
        loading = "lambda: threading.Event().wait(6)"
        environ = {"DRUM_CLIENT_REQUEST_TIMEOUT": "1"}
        # the timeout is 4 seconds then: a worker sends a heartbeat each second, and a busy machine delays it
        child = built_in("finish_seconds=3", loading=loading, environ=environ).until_ready()
        assert get(child, "/context") == "True True"
        assert child.messages().count(ReadyMessage()) == 1

    def test_graceful_timeout_shortens_the_draining(self, built_in, fifo):
        environ = {"DRUM_GUNICORN_GRACEFUL_TIMEOUT": "1"}
        child = built_in("drain_seconds=1000", environ=environ).until_ready()
        with connect(child.listener) as connection:
            connection.sendall(request("GET", f"/block{fifo}"))
            with open(fifo, "w"):
                child.terminate()
                assert child.end() == 0
        assert child.stdout.split() == ["stopped", "closed"]

    @pytest.mark.parametrize(("level", "is_said"), [("", False), ("info", True)])
    def test_log_level(self, built_in, level, is_said):
        child = built_in(environ={"DRUM_GUNICORN_LOG_LEVEL": level}).until_ready()
        assert ("Booting worker" in child.stderr) == is_said

    @pytest.mark.parametrize("worker_class", WORKER_CLASSES)
    @pytest.mark.parametrize(("seconds", "said"), [("", ""), ("3600", ""), ("0", "close")])
    def test_keep_alive(self, built_in, worker_class, seconds, said):
        gevent_if(worker_class)
        environ = {"DRUM_GUNICORN_KEEP_ALIVE": seconds, "DRUM_GUNICORN_WORKER_CLASS": worker_class}
        child = built_in(environ=environ).until_ready()
        assert ask(child.listener, request("GET", "/pid")).header("connection") == said

    @pytest.mark.parametrize("worker_class", WORKER_CLASSES)
    def test_recycled_worker_closes_kept_connections(self, start, worker_class):
        child = start(ECHO, "gunicorn", "max_requests=5", *gevent_if(worker_class)).until_ready()
        pids: list[int] = []
        while len(set(pids)) < 3:
            with connect(child.listener) as connection:
                said = ""
                while said != "close":
                    connection.sendall(request("GET", "/pid"))
                    raw = answer(connection)
                    said = raw.header("connection")
                    pids.append(raw.json()["pid"])
        assert pids.count(pids[0]) >= 5  # it may have accepted another connection before it stopped


def gevent_if(worker_class: str) -> list[str]:
    if worker_class == "gevent":
        pytest.importorskip("gevent")
        return ["gevent=1"]
    return []


class TestGevent:
    """The promises of the other servers, with `gevent`; they do not hold while the model computes."""

    @pytest.fixture
    def child(self, start):
        pytest.importorskip("gevent")
        return start(ECHO, "gunicorn", "gevent=1", "drain_seconds=60", "head_seconds=3").until_ready()

    def test_stops_without_clients(self, child):
        child.terminate()
        assert child.end() == 0
        assert child.stderr == ""

    def test_open_connections_are_answered(self, child):
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(child.listener)) for _ in range(50)]
            assert ask(child.listener, request("GET", "/")).status == 200  # accepted later than those
            child.terminate()
            for connection in connections:
                connection.sendall(request("GET", "/late"))
            assert {answer(connection).status for connection in connections} == {200}
        assert child.end() == 0

    def test_swap_loses_no_connection(self, start, child):
        with ExitStack() as stack:
            before = [stack.enter_context(connect(child.listener)) for _ in range(50)]
            child.terminate()
            after = [stack.enter_context(connect(child.listener)) for _ in range(10)]
            for connection in (*before, *after):
                connection.sendall(request("GET", "/pid"))
            start(ECHO, "gunicorn", "gevent=1", listener=child.listener).until_ready()
            assert {answer(connection).status for connection in (*before, *after)} == {200}
        assert child.end() == 0

    def test_silent_clients_do_not_delay_the_stop(self, child):
        with connect(child.listener) as silent, connect(child.listener) as partial:
            partial.sendall(b"GET / HT")
            assert ask(child.listener, request("GET", "/")).status == 200
            child.terminate()
            assert child.end() == 0
            assert silent.recv(100) == b""
            assert partial.recv(100) == b""

    @pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: test\r\n"], ids=["nothing", "most"])
    def test_client_without_a_head_is_closed(self, child, begin):
        with connect(child.listener) as connection:
            connection.sendall(begin)
            assert connection.recv(100) == b""
        assert ask(child.listener, request("GET", "/")).status == 200

    def test_model_predicts(self, start, tmp_path):
        pytest.importorskip("gevent")
        (tmp_path / "custom.py").write_text(
            "def load_model(code_dir): return 'model'\ndef score_unstructured(model, data, **kwargs): return data\n"
        )
        given = ["--code-dir", str(tmp_path), "--target-type", "unstructured", "--server-type", "gunicorn"]
        environ = {"DRUM_GUNICORN_WORKER_CLASS": "gevent"}
        child = start("-m", "drum_supervisor.serve.model", *given, environ=environ).until_ready()
        for _ in range(3):
            assert ask(child.listener, request("POST", "/invocations", b"abc")).body == b"abc"

    def test_stop_while_loading_ends_at_once(self, built_in, fifo):
        pytest.importorskip("gevent")
        loading = f"lambda: block({str(fifo)!r})"
        child = built_in(loading=loading, environ={"DRUM_GUNICORN_WORKER_CLASS": "gevent"})
        with open(fifo, "w"):
            child.terminate()
            assert child.end() == 0
        assert ReadyMessage() not in child.messages()

    def test_context_is_cleaned_up(self, built_in):
        pytest.importorskip("gevent")
        child = built_in(environ={"DRUM_GUNICORN_WORKER_CLASS": "gevent"}).until_ready()
        assert get(child, "/context") == "True True"
        child.terminate()
        assert child.end() == 0
        assert child.stdout.split() == ["stopped", "closed"]
