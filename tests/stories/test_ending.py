"""However a supervisor or a program ends, it leaves no process, no port and no lost output."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import MARK, TIMEOUT, Supervised, until

REPORT_READY = 'os.write(4, b\'{"kind": "ready"}\\n\')\n'
PAUSE = "while True: signal.pause()\n"
HEAD = "import os, signal, subprocess, sys, time\n"
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
IGNORE_AND_PAUSE = "import signal; " + IGNORE.strip() + "; signal.pause()"
SETSID = "subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
DOUBLE_FORK = "subprocess.run(['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 &'])\n"
SCRUBBED = (
    f"only = {{name: os.environ[name] for name in [{MARK!r}]}}\n"
    "subprocess.Popen(['sleep', '1000'], start_new_session=True, env=only)\n"
)

IGNORING_CHILD = f"subprocess.Popen([sys.executable, '-c', {IGNORE_AND_PAUSE!r}], start_new_session=True)\n"
HOLDS_THE_PORT = (
    f"only = {{name: os.environ[name] for name in [{MARK!r}]}}\n"
    "subprocess.Popen(['sleep', '1000'], start_new_session=True, env=only, pass_fds=[3])\n"
)

each_hidden_descendant = pytest.mark.parametrize(
    "left",
    [SETSID, DOUBLE_FORK, SCRUBBED, IGNORING_CHILD],
    ids=["setsid", "double fork", "scrubbed", "ignores TERM"],
)


def program(*parts: str) -> tuple[str, ...]:
    return (
        "--ready",
        "report",
        "--listener",
        "inherit",
        "--",
        sys.executable,
        "-c",
        HEAD + "".join(parts) + REPORT_READY + PAUSE,
    )


def serving(start: Start, *parts: str, arguments: tuple[str, ...] = ()) -> Supervised:
    supervised = start(*arguments, *program(*parts))
    supervised.until_phase("serving")
    return supervised


@each_hidden_descendant
def test_stop_finds_hidden_descendants(start: Start, left: str) -> None:
    supervised = serving(start, left, arguments=("--stop-timeout", "0.5"))
    assert len(supervised.left()) > len(own_pids(supervised))
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_stop_kills_what_ignores_sigterm_after_the_timeout(start: Start) -> None:
    supervised = serving(start, IGNORE, IGNORING_CHILD, arguments=("--stop-timeout", "0.5"))
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_second_signal_kills_at_once(start: Start) -> None:
    supervised = serving(start, IGNORE, SETSID, arguments=("--stop-timeout", "1000"))
    supervised.process.send_signal(signal.SIGTERM)
    supervised.until_phase("stopping")
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.wait() == 0
    assert supervised.left() == []


@each_hidden_descendant
def test_leftovers_of_a_crash_are_gone_before_the_restart(start: Start, left: str) -> None:
    supervised = serving(start, left, arguments=("--stop-timeout", "0.5"))
    worker = supervised.pid()
    daemons = [process for process in supervised.left() if process.pid not in own_pids(supervised)]
    assert daemons
    os.kill(worker, signal.SIGKILL)
    supervised.until_status(lambda s: s["phase"] == "serving" and s["restarts"]["crash"] == 1)
    assert not any(daemon.is_running() for daemon in daemons)
    assert supervised.stop() == 0


@pytest.mark.parametrize("listener", ["inherit", "bind"])
@each_hidden_descendant
def test_leftovers_of_a_failed_start_are_gone(start: Start, reserved_port: int, left: str, listener: str) -> None:
    command = ("--listener", listener, "--ready", "report", "--", sys.executable, "-c", HEAD + left + "sys.exit(1)")
    supervised = start("--address", f"127.0.0.1:{reserved_port}", "--stop-timeout", "0.5", *command)
    supervised.until_status(lambda status: status["programs"][-1]["state"] == "ready")
    supervised.until(lambda: {process.pid for process in supervised.left()} == own_pids(supervised))
    assert supervised.get("/x").status == 513
    assert supervised.stop() == 0


def own_pids(supervised: Supervised) -> set[int]:
    """Return the pids of the supervisor, its guard and its programs."""
    programs = {program["pid"] for program in supervised.status()["programs"]}
    guards = {process.pid for process in supervised.left() if "drum-guard" in process.cmdline()}
    return ({supervised.process.pid} | programs | guards) - {None}


@pytest.mark.parametrize(
    "parts",
    [(), (SETSID,), (DOUBLE_FORK,), (IGNORE,), (IGNORING_CHILD,), (HOLDS_THE_PORT,)],
    ids=["itself", "setsid", "double fork", "ignores TERM", "a child that ignores TERM", "keeps the listener"],
)
def test_killed_supervisor_leaves_no_process_and_a_free_port(start: Start, parts: tuple[str, ...]) -> None:
    supervised = serving(start, *parts, arguments=("--stop-timeout", "0.5"))
    assert_kill_frees_the_port(supervised)


@pytest.mark.parametrize("server", ["fastapi", "flask", "gunicorn"])
def test_killed_supervisor_leaves_no_built_in_server(start: Start, model, server: str) -> None:
    folder = model("load_model = len\ndef score_unstructured(model, data, **kwargs): return 'fine'\n")
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server, "--workers", 2)
    supervised.until_status(lambda status: status["workers_ready"] == status["workers"])
    assert_kill_frees_the_port(supervised)


def assert_kill_frees_the_port(supervised: Supervised) -> None:
    address = supervised.address
    supervised.kill()
    with socket.socket() as probe:
        assert probe.connect_ex((address.host, address.port)) == errno.ECONNREFUSED


def test_stop_command_waits_for_the_exit(start: Start) -> None:
    supervised = serving(start)
    done = supervised.run("stop")
    assert (done.returncode, done.stdout) == (0, f"Stopped (pid {supervised.process.pid}).\n")
    assert supervised.wait() == 0


def test_commands_without_a_supervisor_say_so(start: Start) -> None:
    supervised = serving(start)
    assert supervised.stop() == 0
    for command in ("status", "restart", "stop"):
        done = supervised.run(command)
        assert done.returncode == 2
        assert done.stderr == f"drum-supervise: No supervisor runs in {supervised.run_dir}.\n"


def test_supervisorctl_shutdown_is_a_stop(start: Start) -> None:
    supervised = serving(start)
    argv = [
        sys.executable,
        "-m",
        "supervisor.supervisorctl",
        "-s",
        f"unix://{supervised.run_dir}/supervisor.sock",
        "shutdown",
    ]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert supervised.wait() == 0


def test_sighup_restarts_the_workers(start: Start) -> None:
    supervised = serving(start)
    before = supervised.pid()
    supervised.process.send_signal(signal.SIGHUP)
    status = supervised.until_status(lambda s: s["restarts"]["request"] == 1 and s["phase"] == "serving")
    assert status["programs"][0]["pid"] != before
    assert supervised.stop() == 0


ATEXIT = """
import atexit, sys
from drum_supervisor.cli.main import main
atexit.register(print, "said at the end")
print("still in the buffer")
sys.exit(main())
"""


def run_to_the_end(folder: Path, stdout: int) -> "subprocess.CompletedProcess[str]":
    """Run a supervisor whose program fails, in a process where other code prints too."""
    given = ["--address", "127.0.0.1:0", "--run-dir", str(folder / "run"), "--no-error-server", "--listener", "inherit"]
    argv = [sys.executable, "-c", ATEXIT, "start", *given, "--", "sh", "-c", "echo from the program; exit 1"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    streams = {"stdout": stdout, "stderr": subprocess.PIPE}
    return subprocess.run(argv, **streams, text=True, timeout=TIMEOUT, env=environ, check=False)


def test_exit_flushes_buffers_and_runs_atexit(tmp_path: Path) -> None:
    done = run_to_the_end(tmp_path, subprocess.PIPE)
    assert done.stdout == "from the program\nstill in the buffer\nsaid at the end\n"
    assert (done.returncode, done.stderr.splitlines()[-1][:24]) == (3, "drum-supervise: exit 3: ")


def test_exit_code_survives_a_broken_stdout(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = run_to_the_end(tmp_path, write)
    os.close(write)
    assert (done.returncode, done.stderr.splitlines()[-1][:24]) == (3, "drum-supervise: exit 3: ")


def test_stale_control_socket_does_not_delay_the_start(short_path: Path) -> None:
    (short_path / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_path / "run" / "supervisor.sock"))
    done = run_to_the_end(short_path, subprocess.DEVNULL)
    assert done.returncode == 3
    assert "stale" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_standard_fds_change_nothing(start: Start, tmp_path: Path, closed: str) -> None:
    run_dir = tmp_path / "run"
    command = f'exec "$0" -m drum_supervisor start --address 127.0.0.1:0 --run-dir {run_dir} "$@" {closed}'
    process = subprocess.Popen(["sh", "-c", command, sys.executable, *program()], start_new_session=True)
    until((run_dir / "supervisor.sock").exists, process)
    argv = [sys.executable, "-m", "drum_supervisor", "stop", "--run-dir", str(run_dir)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0
    assert process.wait() == 0


def test_stdout_can_be_a_socket(start: Start, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-m", "drum_supervisor", "start", "--address", "127.0.0.1:0", "--no-error-server"]
        command = ["sh", "-c", "echo hello; exit 1; : {fd}"]
        done = subprocess.run([*argv, "--", *command], stdout=theirs.fileno(), stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == 3
        assert ours.recv(100) == b"hello\n"


def test_stalled_reader_does_not_delay_a_stop(start: Start, tmp_path: Path, fifo: Callable[[str], Path]) -> None:
    path, run_dir = fifo("output"), tmp_path / "run"
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(path, "wb") as writer:
        argv = [sys.executable, "-m", "drum_supervisor", "start", "--address", "127.0.0.1:0", "--run-dir", str(run_dir)]
        flood = [
            "--listener",
            "inherit",
            "--ready",
            "report",
            "--",
            "sh",
            "-c",
            """echo '{"kind": "ready"}' >&4; exec yes""",
        ]
        process = subprocess.Popen([*argv, *flood], stdout=writer, stderr=subprocess.DEVNULL, start_new_session=True)
        until((run_dir / "supervisor.sock").exists, process)
        status = subprocess.run(
            [sys.executable, "-m", "drum_supervisor", "status", "--run-dir", str(run_dir)],
            capture_output=True,
            check=False,
        )
        assert b"model-server" in status.stdout
        process.terminate()
        assert process.wait() == 0
    os.close(reader)
