"""Third-party commands: how they become ready, how they fail. Whole servers are in test_servers.py."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.stories.conftest import Start

# A tiny server that takes fd 3 if LISTEN_PID names it, as with systemd, and else binds a port.
TINY = """
import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)
else:
    server = http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
"""

SERVE = "server.serve_forever()\n"
SAY_READY = 'os.write(4, b\'{"kind": "ready"}\\n\')\n'
NOTIFY = (
    "notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
    "notify.sendto(b'STATUS=almost\\nREADY=1', os.environ['NOTIFY_SOCKET'])\n"
)


def script(name: str) -> str:
    path = shutil.which(name, path=str(Path(sys.executable).parent))
    assert path, f"{name} is not installed for this Python: the extra `test` has it"
    return path


@pytest.mark.parametrize(
    ("ready", "code"), [("http", ""), ("report", SAY_READY), ("notify", NOTIFY)], ids=["http", "report", "notify"]
)
def test_readiness_of_a_server_that_takes_listen_fds(start: Start, ready: str, code: str) -> None:
    program = TINY + code + SERVE
    supervised = start("--listener", "inherit", "--ready", ready, "--", sys.executable, "-c", program)
    supervised.until_phase("serving")
    assert supervised.get("/").body == b"hello"
    assert supervised.stop() == 0


def test_shell_script_can_report_ready(start: Start) -> None:
    supervised = start(
        "--ready", "report", "--listener", "inherit", "--", "sh", "-c", """echo '{"kind": "ready"}' >&4; sleep 1000"""
    )
    supervised.until_phase("serving")
    assert supervised.stop() == 0


def test_open_port_can_mean_ready(start: Start, reserved_port: int) -> None:
    arguments = ("--address", f"127.0.0.1:{reserved_port}", "--ready", "port", "--")
    supervised = start(*arguments, sys.executable, "-c", TINY + SERVE, "{host}", "{port}")
    supervised.until_phase("serving")
    assert supervised.get("/").body == b"hello"
    assert supervised.stop() == 0


def test_missing_command_is_a_failure_with_a_reason(start: Start) -> None:
    supervised = start("--no-error-server", "--", "no-such-server", "{fd}")
    assert supervised.wait() == 3
    assert "can't find command 'no-such-server' in PATH" in supervised.last_line


def test_report_without_a_traceback_quotes_the_last_line(start: Start) -> None:
    supervised = start("--no-error-server", "--", "sh", "-c", "echo config.json is missing >&2; exit 4; : {fd}")
    assert supervised.wait() == 3
    assert supervised.last_line.endswith(
        "the model server exited with status 4 before it was ready; its last line on stderr: config.json is missing"
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_exit_code_is_128_plus_the_signal(start: Start, number: signal.Signals) -> None:
    supervised = start("--no-error-server", "--", "sh", "-c", f"kill -{int(number)} $$; : {{fd}}")
    assert supervised.wait() == 128 + number
    assert f"was killed by {number.name} before it was ready" in supervised.last_line


def test_output_passes_through_unchanged(start: Start) -> None:
    code = "import os, sys; os.write(1, bytes(range(256)) * 100); os.write(2, b'no newline'); sys.exit(1)"
    supervised = start("--no-error-server", "--", sys.executable, "-c", code, "{fd}")
    supervised.wait()
    assert supervised.out.read_bytes() == bytes(range(256)) * 100
    assert b"no newline" in supervised.err.read_bytes()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_config_prints_what_start_runs(start: Start, tmp_path: Path, workers: str) -> None:
    extra = tmp_path / "extra.ini"
    extra.write_text("[program:cache]\ncommand = sleep 1000\n")
    options = ("--workers", workers, "--config", str(extra), "--max-retries", "2", "--ready", "notify")
    command = ("--listener", "inherit", "--", sys.executable, "-c", TINY + NOTIFY + SERVE)
    supervised = start(*options, *command)
    supervised.until_phase("serving")
    printed = supervised.run("config", "--json", "--address", str(supervised.address), *options, *command)
    assert printed.returncode == 0, printed.stderr
    rendered = (supervised.run_dir / "supervisord.conf").read_text()
    assert json.loads(printed.stdout)["supervisord"] == rendered
    assert "[program:cache]" in rendered
    assert supervised.stop() == 0
