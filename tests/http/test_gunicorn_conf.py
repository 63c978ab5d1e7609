"""gunicorn with conf/gunicorn.conf.py, for third-party applications."""

import re
from collections.abc import Callable

import pytest

from drum_supervisor.contract.exits import ExitCode
from tests.http.children import ROOT, Child, answer, connect, get, request

CONF = str(ROOT / "conf" / "gunicorn.conf.py")
MODULE = "python:drum_supervisor.servers.gunicorn.conf"

FLASK = """
from flask import Flask, request
app = Flask(__name__)

@app.get("/")
def root():
    print("printed", end="")
    return "ok"

@app.get("/context")
def context():
    return str(app.extensions["worker_ctx"].running())

@app.get("/stream/<path:fifo>")
def stream(fifo):
    def pieces():
        with open("/" + fifo) as opened:
            opened.read()
        print("at the end", end="")
        yield "ok"
    print("at the beginning", end="")
    return pieces(), 200, {"Content-Length": "2"}
"""

USED_FLASK = FLASK + "\nwith app.test_client() as client:\n    client.get('/nothing')\n"

RAW = """
class Pieces:
    def __init__(self, fifo):
        self.fifo = fifo
    def __iter__(self):
        with open(self.fifo) as opened:
            opened.read()
        yield b"ok"
    def close(self):
        print("at the end", end="")

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    path = environ["PATH_INFO"]
    if path.startswith("/stream"):
        print("at the beginning", end="")
        return Pieces(path.removeprefix("/stream"))
    print("printed", end="")
    return [b"ok"]
"""

FILE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    print("printed", end="")
    with open("two", "w") as file:
        file.write("ok")
    return environ["wsgi.file_wrapper"](open("two", "rb"))
"""

APPS = {"flask": FLASK, "used-flask": USED_FLASK, "raw": RAW, "file": FILE}


@pytest.fixture
def gunicorn(start, tmp_path) -> Callable[..., Child]:
    """Run gunicorn with the configuration and an application."""

    def run(app: str = FLASK, *options: str, conf: str = CONF, environ=None) -> Child:
        (tmp_path / "app.py").write_text(app)
        argv = ["-m", "gunicorn", "-c", conf, "-b", "fd://3", "--chdir", str(tmp_path), *options, "app:app"]
        return start(*argv, environ={"PYTHONUNBUFFERED": "", **(environ or {})}, supervised=False)

    return run


class TestConfigurationFile:
    @pytest.mark.parametrize("app", APPS)
    def test_output_reaches_the_log_while_the_worker_lives(self, gunicorn, app):
        child = gunicorn(APPS[app])
        assert get(child) == "ok"
        child.until(lambda: "printed" in child.stdout)
        child.terminate()
        assert child.end() == 0

    @pytest.mark.parametrize("app", ["flask", "used-flask", "raw"])
    def test_output_at_the_end_of_a_stream_is_flushed(self, gunicorn, app, fifo):
        child = gunicorn(APPS[app])
        with connect(child.listener) as connection:
            connection.sendall(request("GET", f"/stream{fifo}"))
            child.until(lambda: "at the beginning" in child.stdout)
            fifo.write_text("")
            assert answer(connection).body == b"ok"
        child.until(lambda: "at the end" in child.stdout)

    def test_as_a_module(self, gunicorn):
        child = gunicorn(conf=MODULE)
        assert get(child, "/context") == "True"

    def test_with_gevent(self, gunicorn):
        pytest.importorskip("gevent")
        child = gunicorn(environ={"DRUM_GUNICORN_WORKER_CLASS": "gevent"})
        assert get(child) == "ok"
        child.until(lambda: "printed" in child.stdout)
        child.terminate()
        assert child.end() == 0
        assert "Traceback" not in child.stderr

    def test_users_threads_live_as_long_as_the_worker(self, gunicorn, tmp_path):
        (tmp_path / "own.conf.py").write_text(
            """
import threading
from drum_supervisor.servers.gunicorn.conf import *
from drum_supervisor.servers.gunicorn import conf as gunicorn_conf

class Database:
    def close(self):
        print("database")

def post_worker_init(worker):
    gunicorn_conf.post_worker_init(worker)
    stopping = threading.Event()
    def poll():
        print("polling")
        stopping.wait()
        print("polled", worker.ctx.running())
    worker.ctx.add_thread(threading.Thread(target=poll))
    worker.ctx.defer_stop(stopping.set, order=1)
    worker.ctx.defer_stop(lambda: print("stop"), order=0)
    worker.ctx.add_closeable(Database())
    worker.ctx.defer_cleanup(lambda: print("first"), order=1)
"""
        )
        child = gunicorn(conf=str(tmp_path / "own.conf.py"))
        assert get(child, "/context") == "True"
        child.terminate()
        assert child.end() == 0
        assert child.stdout.split() == ["polling", "stop", "polled", "False", "first", "database"]

    def test_worker_without_an_application_has_no_context(self, gunicorn):
        child = gunicorn("raise RuntimeError('broken')")
        assert child.end() == 3
        assert "broken" in child.stderr
        assert "Exception during worker exit" not in child.stderr

    def test_there_is_no_control_socket(self, gunicorn, tmp_path):
        home = tmp_path / "home"
        home.mkdir()
        child = gunicorn(environ={"HOME": str(home), "XDG_RUNTIME_DIR": ""})
        assert get(child) == "ok"
        child.terminate()
        assert child.end() == 0
        assert not list(home.iterdir())  # gunicorn makes a folder for it, which stays

    def test_parameters_are_gunicorns_settings(self, gunicorn):
        environ = {
            "MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS": '{"type": "numeric", "payload": 3}',
            "DRUM_WEBSERVER_BACKLOG": "77",
            "DRUM_CLIENT_REQUEST_TIMEOUT": "120",
            "DRUM_GUNICORN_MAX_REQUESTS": "1000",
            "DRUM_GUNICORN_MAX_REQUESTS_JITTER": "50",
            "DRUM_GUNICORN_GRACEFUL_TIMEOUT": "12",
            "DRUM_GUNICORN_KEEP_ALIVE": "9",
            "DRUM_GUNICORN_LOG_LEVEL": "error",
        }
        assert settings(gunicorn(FLASK, "--print-config", environ=environ)) == {
            "workers": "3",
            "backlog": "77",
            "timeout": "120",
            "max_requests": "1000",
            "max_requests_jitter": "50",
            "worker_class": "sync",
            "graceful_timeout": "12",
            "keepalive": "9",
            "loglevel": "error",
        }

    def test_unset_parameters_are_left_to_gunicorn(self, gunicorn):
        found = settings(
            gunicorn(FLASK, "--print-config", "--graceful-timeout=33", "--keep-alive=44", "--log-level=debug")
        )
        assert (found["graceful_timeout"], found["keepalive"], found["loglevel"]) == ("33", "44", "debug")

    def test_command_line_wins(self, gunicorn):
        found = settings(gunicorn(FLASK, "--print-config", "--workers=4", environ={"CUSTOM_MODEL_WORKERS": "2"}))
        assert found["workers"] == "4"

    @pytest.mark.parametrize("conf", [CONF, MODULE], ids=["file", "module"])
    @pytest.mark.parametrize(
        ("name", "text", "accepted"),
        [
            ("CUSTOM_MODEL_WORKERS", "200", "give a whole number from 1 to 199"),
            ("MAX_WORKERS", "-1", "give a whole number from 1 to 199"),
            ("DRUM_WEBSERVER_BACKLOG", "0", "give a whole number from 1 to 10000"),
            ("DRUM_CLIENT_REQUEST_TIMEOUT", "3601", "give a whole number from 0 to 3600"),
            ("MLOPS_RUNTIME_PARAM_DRUM_GUNICORN_MAX_REQUESTS", "10001", "give a whole number from 0 to 10000"),
            ("DRUM_GUNICORN_MAX_REQUESTS_JITTER", "x", "give a whole number from 0 to 10000"),
            ("DRUM_GUNICORN_WORKER_CLASS", "gthread", "choose from sync, gevent"),
            ("DRUM_GUNICORN_GRACEFUL_TIMEOUT", "0", "give a whole number from 1 to 3600"),
            ("DRUM_GUNICORN_KEEP_ALIVE", "2.5", "give a whole number from 0 to 3600"),
            ("DRUM_GUNICORN_LOG_LEVEL", "loud", "choose from debug, info, warning, error, critical"),
        ],
    )
    def test_bad_parameter_is_one_sentence(self, gunicorn, conf, name, text, accepted):
        child = gunicorn(conf=conf, environ={name: text})
        assert child.end() == ExitCode.USAGE
        assert child.stderr == f"${name}: {text!r} is not accepted: {accepted}.\n"

    def test_missing_gevent_is_one_sentence(self, gunicorn, without_gevent):
        child = gunicorn(environ=without_gevent)
        assert child.end() == ExitCode.USAGE
        assert re.fullmatch(r"DRUM_GUNICORN_WORKER_CLASS: gevent cannot be used here: .*\n", child.stderr)


def settings(child: Child) -> dict[str, str]:
    """Return our settings as `--print-config` prints them."""
    assert child.end() == 0, child.output()
    found = dict(re.findall(r"^(\w+) += (.*)$", child.stdout, re.MULTILINE))
    ours = "workers backlog timeout max_requests max_requests_jitter worker_class graceful_timeout keepalive loglevel"
    return {name: found[name] for name in ours.split()}
