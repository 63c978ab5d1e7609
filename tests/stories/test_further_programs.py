"""The user's configuration file: extra programs, and settings for our own."""

import base64
import http.client
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.stories.conftest import Start
from tests.stories.test_ending import HEAD, IGNORE, PAUSE, SETSID, assert_kill_frees_the_port, program, serving
from tests.stories.test_supervisorctl import ctl, states
from tests.support import TIMEOUT, Supervised, until

READY = """echo '{"kind": "ready"}'"""
CONF = Path(__file__).parents[2] / "conf"
SIDECAR = (
    f"[program:sidecar]\ncommand = {sys.executable} -c \"import signal; print('up', flush=True); signal.pause()\"\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Write a configuration file; return the options for it."""

    def write(text: str) -> tuple[str, str]:
        (tmp_path / "extra.conf").write_text(text)
        return "--config", str(tmp_path / "extra.conf")

    return write


def script(tmp_path: Path, code: str) -> str:
    """Return a command that runs this code from a file: in a configuration file it would need escapes."""
    path = tmp_path / f"script-{len(list(tmp_path.iterdir()))}.py"
    path.write_text(HEAD + code)
    return f"{sys.executable} {path}"


def named(supervised: Supervised, name: str) -> dict[str, object]:
    return next(entry for entry in supervised.status()["programs"] if entry["name"] == name)


def test_annotated_example_with_its_metrics_sidecar(start: Start, tmp_path: Path) -> None:
    text = (CONF / "supervisord.conf").read_text()
    for line in ("127.0.0.1:9090", "python3 %(here)s", "address = 127.0.0.1:8080"):
        assert line in text
    text = text.replace("127.0.0.1:9090", "127.0.0.1:0").replace("python3 %(here)s", f"{sys.executable} {CONF}")
    (tmp_path / "example.conf").write_text(text)
    printed = "print(os.environ['OMP_NUM_THREADS'], os.environ['DEPLOYMENT'])"
    (tmp_path / "custom.py").write_text(
        f"import os\nload_model = lambda code_dir: {printed} or 1\nscore_unstructured = len\n"
    )
    model = ("--code-dir", tmp_path, "--target-type", "unstructured")
    supervised = start("--config", tmp_path / "example.conf", *model)
    supervised.until_status(lambda status: status["phase"] == "serving" and len(status["programs"]) == 2)
    url = supervised.until(lambda: supervised.out.read_text().partition("metrics on ")[2].partition("\n")[0])
    with urlopen(url, timeout=TIMEOUT) as answer:
        metrics = answer.read().decode()
    assert 'drum_supervisor_phase{phase="serving"} 1\n' in metrics
    assert 'program="metrics"' in metrics
    assert "2 example" in supervised.out.read_text()
    assert supervised.stop() == 0
    ends = [line for line in supervised.err.read_text().splitlines() if "stopped as requested" in line]
    assert [line.split()[3] for line in ends] == ["model-server", "metrics"]  # by priority
    assert supervised.left() == []


def test_extra_program_is_shown_restarted_and_stopped(start: Start, config) -> None:
    supervised = serving(start, arguments=config(SIDECAR))
    status = supervised.until_status(lambda status: status["programs"][-1]["state"] == "running")
    shown = status["programs"][-1]
    assert (shown["name"], shown["worker"]) == ("sidecar", None)
    assert shown["uptime_s"] >= 0
    assert shown["memory_bytes"] > 0
    assert "sidecar" in supervised.run("status").stdout
    os.kill(shown["pid"], signal.SIGKILL)
    supervised.until(lambda: named(supervised, "sidecar")["pid"] not in (None, shown["pid"]))
    assert "sidecar (pid" in supervised.err.read_text()
    supervised.until(lambda: states(supervised)["sidecar"] == "RUNNING")
    assert ctl(supervised, "stop", "sidecar").stdout == "sidecar: stopped\n"
    assert ctl(supervised, "start", "sidecar").stdout == "sidecar: started\n"
    assert ctl(supervised, "tail", "sidecar").stdout.split() == ["up"] * 3
    assert "sidecar" in supervised.run("logs", "--program", "sidecar", "--json").stdout
    assert ctl(supervised, "restart", "all").returncode == 0
    assert supervised.status()["restarts"]["crash"] == 0
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_failed_start_does_not_affect_the_model_server(start: Start, config) -> None:
    supervised = serving(start, arguments=config("[program:x]\ncommand = no-such-command\nstartretries = 0\n"))
    supervised.until_status(lambda status: status["programs"][-1]["state"] == "fatal")
    assert ctl(supervised, "status").returncode == 3
    assert ctl(supervised, "remove", "x").stdout == "x: removed process group\n"
    assert ctl(supervised, "status").returncode == 0
    assert supervised.stop() == 0
    assert "x could not be started: can't find command 'no-such-command'" in supervised.err.read_text()


@pytest.mark.parametrize(
    ("ends", "rules", "code", "how"),
    [
        ("sys.exit(7)", "startsecs = 0\nautorestart = false", 7, "exited with status 7"),
        ("sys.exit(0)", "startsecs = 0\nautorestart = false", 0, "exited with status 0"),
        ("os.kill(os.getpid(), 9)", "startsecs = 0\nautorestart = false", 137, "was killed by SIGKILL"),
        ("sys.exit(9)", "startretries = 1", 9, "exited with status 9"),
    ],
)
def test_essential_program_ends_the_supervisor_with_its_code(
    start: Start, config, tmp_path: Path, fifo, ends: str, rules: str, code: int, how: str
) -> None:
    gate, log = fifo("gate"), tmp_path / "termination-log"
    log.touch()
    command = script(tmp_path, f"open({str(gate)!r}).close()\n{ends}\n")
    text = f"[program:vital]\ncommand = {command}\n{rules}\nessential = true\n"
    supervised = serving(start, SETSID, arguments=(*config(text), "--termination-log", str(log)))
    while supervised.process.poll() is None and "will not be restarted" not in supervised.err.read_text():
        open_gate(gate)
    assert supervised.wait() == code
    words = f"vital, an essential program, {how}"
    assert supervised.last_line == f"drum-supervise: exit {code}: {words}"
    assert log.read_text() == words
    assert supervised.left() == []


def open_gate(gate: Path) -> None:
    """Release the program that waits for a named pipe, if there is one."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        signal.sigtimedwait([], 0.02)


def test_essential_program_that_cannot_start_exits_with_127(start: Start, config) -> None:
    text = "[program:vital]\ncommand = no-such-command\nstartretries = 0\nessential = true\n"
    supervised = start(*config(text), *program())
    assert supervised.wait() == 127
    assert "could not be started: can't find command 'no-such-command'" in supervised.last_line


def test_operator_can_stop_an_essential_program(start: Start, config) -> None:
    supervised = serving(start, arguments=config(f"{SIDECAR}essential = true\n"))
    supervised.until(lambda: states(supervised)["sidecar"] == "RUNNING")
    assert ctl(supervised, "stop", "sidecar").returncode == 0
    assert supervised.status()["phase"] == "serving"
    assert supervised.stop() == 0


def test_killed_supervisor_leaves_no_extra_program(start: Start, config, tmp_path: Path) -> None:
    text = f"[program:x]\ncommand = {script(tmp_path, IGNORE + SETSID + PAUSE)}\n"
    supervised = serving(start, arguments=(*config(text), "--stop-timeout", "0.5"))
    supervised.until(lambda: len([process for process in supervised.left() if process.name() == "sleep"]) == 1)
    assert_kill_frees_the_port(supervised)


def test_stubborn_program_is_killed_with_its_descendants(start: Start, config, tmp_path: Path) -> None:
    text = f"[program:x]\ncommand = {script(tmp_path, IGNORE + SETSID + PAUSE)}\nstopwaitsecs = 1000\n"
    supervised = serving(start, arguments=(*config(text), "--stop-timeout", "0.5"))
    supervised.until(lambda: len([process for process in supervised.left() if process.name() == "sleep"]) == 1)
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_higher_priority_stops_first_while_the_model_serves(start: Start, config, tmp_path: Path, fifo) -> None:
    gate = fifo("gate")
    end = f"def end(*_): open({str(gate)!r}).read(); sys.exit()\nsignal.signal(signal.SIGTERM, end)\n"
    waits = end + "print('up', flush=True)\n"
    text = f"[program:first]\ncommand = {script(tmp_path, waits + PAUSE)}\npriority = 1000\n"
    supervised = serving(start, arguments=config(text))
    supervised.until(lambda: "up" in supervised.out.read_text())
    supervised.process.terminate()
    supervised.until_phase("stopping")
    with open(gate, "w"):  # opens when the program is being stopped
        assert named(supervised, "model-server")["state"] == "ready"
    assert supervised.wait() == 0
    ends = [line.split()[3] for line in supervised.err.read_text().splitlines() if "stopped as requested" in line]
    assert ends == ["first", "model-server"]


def test_second_signal_ignores_priorities(start: Start, config, tmp_path: Path) -> None:
    up = "print('up', flush=True)\n"
    text = f"[program:x]\ncommand = {script(tmp_path, IGNORE + up + PAUSE)}\npriority = 1000\nstopwaitsecs = 1000\n"
    supervised = serving(start, arguments=(*config(text), "--stop-timeout", "1000"))
    supervised.until(lambda: "up" in supervised.out.read_text())
    supervised.process.terminate()
    supervised.until_phase("stopping")
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_control_port_needs_a_password_or_warns(start: Start, config, reserved_port: int) -> None:
    port = f"[inet_http_server]\nport = 127.0.0.1:{reserved_port}\n"
    supervised = serving(start, arguments=config(f"{port}username = me\npassword = secret\n"))
    assert [page(reserved_port), page(reserved_port, "me:wrong"), page(reserved_port, "me:secret")] == [401, 401, 200]
    assert "anyone who reaches" not in supervised.err.read_text()
    shown = supervised.run("config", *config(f"{port}username = me\npassword = secret\n"), "--", "x", "{fd}")
    assert "secret" not in shown.stdout
    assert supervised.stop() == 0
    open_to_all = serving(start, arguments=config(port))
    assert page(reserved_port) == 200
    assert f"anyone who reaches 127.0.0.1:{reserved_port} controls this supervisor" in open_to_all.err.read_text()
    assert open_to_all.stop() == 0


def page(port: int, credentials: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        token = base64.b64encode(credentials.encode()).decode()
        connection.request("GET", "/", headers={"Authorization": f"Basic {token}"} if credentials else {})
        return connection.getresponse().status
    finally:
        connection.close()


def test_control_port_in_use_is_a_usage_error(start: Start, config) -> None:
    supervised = serving(start)
    port = supervised.address.port
    other = start(*config(f"[inet_http_server]\nport = 127.0.0.1:{port}\n"), *program())
    assert other.wait() == 2
    assert "Another program is already listening on a port" in other.last_line
    until(lambda: not other.left())
    assert supervised.stop() == 0


def test_model_server_runs_as_the_file_says(start: Start, config, model) -> None:
    # the relative path of the model folder is that of the supervisor's working directory
    facts = "{'cwd': os.getcwd(), 'umask': os.umask(0o022), 'a': os.environ['A']}"
    load = f"import json, os\ndef load_model(code_dir): return print(json.dumps({facts}), flush=True) or 1\n"
    folder = model(load + "score_unstructured = len\n")
    text = '[program:model-server]\ndirectory = /\numask = 027\nenvironment = A="1;2"\nstopsignal = INT\n'
    supervised = start(*config(text), "--code-dir", os.path.relpath(folder), "--target-type", "unstructured")
    supervised.until_phase("serving")
    assert json.loads(supervised.out.read_text()) == {"cwd": "/", "umask": 0o027, "a": "1;2"}
    assert supervised.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_model_server_runs_as_another_user(start: Start, config) -> None:
    command = ("--ready", "report", "--listener", "inherit", "--", "sh", "-c", f"id -un; {READY} >&4; exec sleep 1000")
    supervised = start(*config("[program:model-server]\nuser = nobody\n"), *command)
    supervised.until_phase("serving")
    assert supervised.out.read_text() == "nobody\n"
    supervised.kill()  # the parent-death signal reaches a process of another user too


def test_errors_name_their_line_or_section(start: Start, config) -> None:
    supervised = start(*config("[program:x]\ncommand = x\nautostrat = true\n"), *program())
    assert supervised.wait() == 2
    assert "extra.conf', line 3: 'autostrat' in [program:x] is refused: there is no such key." in supervised.last_line
    supervised = start(*config("[program:x]\ncommand = x\nstartsecs = soon\n"), *program())
    assert supervised.wait() == 2
    assert supervised.last_line == (
        "drum-supervise: --config: supervisord: invalid literal for int() with base 10: 'soon' in section 'program:x'"
    )


def test_restart_loop_does_not_affect_the_model_server(start: Start, config, tmp_path: Path) -> None:
    text = "[program:x]\ncommand = true\nstartsecs = 0\nautorestart = true\n"
    supervised = serving(start, arguments=config(text))
    supervised.until(lambda: supervised.err.read_text().count("x (pid") > 20)
    assert ctl(supervised, "restart", "model-server").returncode == 0
    assert supervised.stop() == 0
    assert supervised.left() == []
