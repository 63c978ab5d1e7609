"""The built-in model server around its requests: ids, stats, output, telemetry, exit. On every server."""

import json
import os
import re
import signal
import socket
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.collector import collecting
from tests.http.children import Child, answer, ask, connect, request
from tests.support import TIMEOUT

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
PROXIES = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture(params=SERVER_TYPES)
def server_type(request):
    return request.param


@pytest.fixture
def serve(start, tmp_path, server_type):
    """Start the model server with this `custom.py`."""

    def serve_model(score: str, load: str = "return 'model'", *options: str, **environ: str) -> Child:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "custom.py").write_text(
            f"import logging, os, sys\ndef load_model(code_dir):\n{textwrap.indent(load, '    ')}\n"
            f"def score_unstructured(model, data, **kwargs):\n{textwrap.indent(textwrap.dedent(score), '    ')}\n"
        )
        given = ["--code-dir", str(folder), "--target-type", "unstructured", "--server-type", server_type, *options]
        return start("-m", "drum_supervisor.serve.model", *given, environ=environ)

    return serve_model


def invoke(child: Child, body: bytes = b"x", *headers: str):
    return ask(child.listener, request("POST", "/invocations", body, headers))


def stats(child: Child):
    raw = ask(child.listener, request("GET", "/stats/"))
    assert raw.status == 200
    return json.loads(raw.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# --- requests


@pytest.mark.parametrize("path", ["/ping", "/nothing", "/invocations", "/stats/"])
def test_every_response_has_its_request_id(serve, path):
    child = serve("return data").until_ready()
    raw = ask(child.listener, request("GET", path, headers=["X-Request-ID: abc-1"]))
    assert raw.headers["x-request-id"] == raw.headers["x_request_id"] == ["abc-1"]
    assert raw.header("x-drum-version").startswith("drum_supervisor ")
    fresh = [ask(child.listener, request("GET", path)).header("x-request-id") for _ in range(2)]
    assert len(set(fresh)) == 2


def test_log_lines_have_their_request_id(serve):
    child = serve("logging.getLogger('mine').warning('scoring'); raise ValueError('no')").until_ready()
    assert invoke(child, b"x", "X-Request-ID: abc-1").status == 500
    lines = child.until(lambda: [line for line in child.stderr.splitlines() if "abc-1" in line])
    assert len(lines) == 2
    assert re.search(r"\d+ WARNING \[abc-1\] scoring$", lines[0])
    assert re.search(r"\d+ ERROR \[abc-1\] POST '/invocations' failed$", lines[1])


def test_users_log_formats_may_have_the_id(serve):
    load = "logging.basicConfig(format='mine %(request_id)s %(message)s')\nlogging.warning('loading')\nreturn 1"
    child = serve("logging.warning('scoring')\nreturn data", load).until_ready()
    assert invoke(child, b"x", "X-Request-ID: abc-1").status == 200
    child.until(lambda: child.stderr.splitlines() == ["mine - loading", "mine abc-1 scoring"])


def test_unfinished_line_is_flushed_while_idle(serve):
    child = serve("print('scored', end='')\nreturn data").until_ready()
    assert invoke(child).status == 200
    child.until(lambda: child.stdout == "scored")


def test_loading_and_computing_do_not_delay_requests(serve):
    score = "import gc, json\nreturn json.dumps([gc.get_freeze_count(), sys.getswitchinterval()])"
    frozen, seconds = invoke(serve(score).until_ready()).json()
    assert frozen > 10_000
    assert seconds < 0.001


def test_ids_do_not_depend_on_the_users_random_seed(serve):
    load = "import random\nrandom.seed(0)\nreturn 'model'"
    ids = {invoke(serve("return data", load).until_ready()).header("x-request-id") for _ in range(2)}
    assert len(ids) == 2


# --- stats


def test_stats_are_of_the_whole_server(serve, server_type):
    child = serve("return data", "return 1", "--workers", "2" if server_type == "gunicorn" else "1")
    child.until_ready(2 if server_type == "gunicorn" else 1)
    result = stats(child)
    pids = {process["pid"] for process in result["drum_info"]}
    assert pids == {process.pid for process in child.tree()}
    assert len(pids) == (3 if server_type == "gunicorn" else 1)
    assert result["mem_info"]["drum_rss"] == pytest.approx(sum(process["mem"] for process in result["drum_info"]))
    assert "serve.model" in " ".join(result["drum_info"][0]["cmdline"])


def test_stats_measure_predictions_until_they_are_read(serve):
    child = serve("if data == 'bad': raise ValueError(data)\nreturn data").until_ready()
    for body in (b"a", b"b", b"bad"):
        invoke(child, body)
    result = stats(child)
    measured = result["time_info"]["run_predictor_total"]
    assert 0 < measured["min"] <= measured["avg"] <= measured["max"] <= measured["total"] < TIMEOUT
    assert measured["total"] == pytest.approx(2 * measured["avg"])
    assert result["failed_requests"] == 1
    again = stats(child)
    assert set(again["time_info"]["run_predictor_total"].values()) == {None}
    assert again["failed_requests"] == 0


def test_stats_do_not_wait_for_predictions(serve, fifo):
    child = serve(f"return open({str(fifo)!r}).read()").until_ready()
    waiting = [connect(child.listener) for _ in range(50)]  # more than FastAPI's threads
    try:
        for connection in waiting:
            connection.sendall(request("POST", "/invocations", b"x"))
        with open(fifo, "w", encoding="ascii"):
            for _ in range(3):
                assert stats(child)["failed_requests"] == 0
                assert ask(child.listener, request("GET", "/ping")).status == 200
    finally:
        for connection in waiting:
            connection.close()


# --- telemetry


@pytest.fixture
def collector():
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collecting() as server:
        yield server


def test_predictions_are_traced_up_to_the_stop(serve, collector):
    child = serve("if data == 'bad': raise ValueError(data)\nreturn data", **collector.environ, **PROXIES)
    child.until_ready()
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert invoke(child, b"x", f"traceparent: 00-{trace}-b7ad6b7169203331-01", "X-Request-ID: abc-1").status == 200
    assert invoke(child, b"bad").status == 500
    assert ask(child.listener, request("GET", "/ping")).status == 200
    assert not collector.spans()
    child.terminate()
    assert child.end() == 0
    assert [each.name for each in collector.spans()] == ["drum.invocations"] * 2
    good, bad = sorted(collector.spans(), key=lambda span: span.start_time_unix_nano)  # each thread ends its own
    assert good.name == bad.name == "drum.invocations"
    assert good.trace_id.hex() == trace
    assert "abc-1" in {attribute.value.string_value for attribute in good.attributes}
    assert [event.name for event in bad.events] == ["exception"]
    metrics = collector.metrics()
    assert {"http.server.request.duration", "drum.requests", "drum.model.load.duration"} <= metrics.keys()
    counts = {
        tuple(sorted((a.key, a.value.string_value or a.value.int_value) for a in point.attributes)): point.as_int
        for point in metrics["drum.requests"].sum.data_points
    }
    assert sorted(counts.values()) == [1, 1, 1]
    in_flight = metrics["drum.predictions.in_flight"].sum.data_points
    assert [point.as_int for point in in_flight] == [0]


def test_users_spans_are_children_of_the_request_span(serve, collector):
    score = """
        from opentelemetry import trace
        with trace.get_tracer("mine").start_as_current_span("inner"):
            return data
    """
    child = serve(score, **collector.environ, **PROXIES).until_ready()
    assert invoke(child).status == 200
    child.terminate()
    assert child.end() == 0
    spans = {span.name: span for span in collector.spans()}
    assert spans["inner"].parent_span_id == spans["drum.invocations"].span_id


def test_failure_is_reported_before_the_exit(serve, collector):
    child = serve("return data", "raise ValueError('bad weights')", **collector.environ, **PROXIES)
    assert child.end() == 3
    (failure,) = child.failures()
    assert failure.message == "bad weights"
    (record,) = collector.records()
    assert record.body.string_value == "Initialization failed: ValueError: bad weights"
    (span,) = collector.spans()
    assert (span.name, [event.name for event in span.events]) == ("drum.initialization", ["exception"])
    stages = {a.value.string_value for a in record.attributes if a.key == "drum.stage"}
    assert stages == {"load_model"}


def test_stop_after_the_report_still_sends_the_failure(serve, collector):
    child = serve("return data", "raise ValueError('bad weights')", **collector.environ, **PROXIES)
    child.until(child.failures)
    os.killpg(child.process.pid, signal.SIGTERM)  # as the supervisor does
    child.end()
    child.until_gone()
    assert len(collector.records()) == len(collector.spans()) == 1


@pytest.mark.parametrize("ends", ["stopped", "failed"])
def test_silent_collector_delays_the_exit_only_briefly(serve, ends):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", **PROXIES}
        load = "return 1" if ends == "stopped" else "raise ValueError('bad weights')"
        child = serve("return data", load, "--stop-timeout", "4", **endpoint)
        if ends == "stopped":
            child.until_ready()
            assert invoke(child).status == 200
            child.terminate()
        assert child.end() == (0 if ends == "stopped" else 3)
        assert "The collector did not answer within 0.3" in child.stderr


# --- the end


def test_stop_answers_200_requests_in_flight(serve):
    child = serve("import time\ntime.sleep(0.002)\nreturn data").until_ready()
    answered, begun = [], threading.Semaphore(0)

    def one(number: int) -> int:
        body = str(number).encode()
        with connect(child.listener) as connection:
            connection.sendall(request("POST", "/invocations", body))
            begun.release()
            raw = answer(connection)
        assert raw.body == body
        answered.append(number)
        if len(answered) == 20:
            child.terminate()
        return raw.status

    with ThreadPoolExecutor(200) as pool:
        futures = [pool.submit(one, number) for number in range(200)]
        for _ in futures:
            assert begun.acquire(timeout=TIMEOUT)
        assert child.end() == 0
        left = [future for future in futures if not future.done()]
        # Connections not accepted wait in the backlog of the listener, which is still open here, for the next process.
        for connection in _accepted(child.listener):
            with connection:
                assert b"POST /invocations" in connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        for future in futures:
            if future not in left:
                assert future.result(TIMEOUT) == 200
    assert len(answered) >= 20


def _accepted(listener: socket.socket):
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.settimeout(TIMEOUT)
        yield connection
