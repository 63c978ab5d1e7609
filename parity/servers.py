"""Starting and stopping the compared servers. All options are variables, the same for DRUM and for us."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from parity.models import Model, copied

START_SECONDS = 60.0
STOP_SECONDS = 40.0

DRUM = "drum"
OURS = ("fastapi", "flask", "gunicorn")


@dataclass(frozen=True)
class Running:
    """A running server."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"


class NotStartedError(Exception):
    """A server has exited or does not answer; the text has the last line of its log."""


@contextmanager
def running(
    name: str, model: Model, drum: Path, folder: Path, more: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Serve `model` with the server `name` (`drum`, or one of ours) for the block.

    Args:
        drum: the environment in which DRUM is installed.
        folder: an empty folder for the copy of the model and the log.
        more: additional variables.
    """
    is_drum = name == DRUM
    python = drum / "bin" / "python" if is_drum else Path(sys.executable)
    code_dir = copied(model.name, folder, python)
    port = _free_port()
    environment = {
        **{key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ},
        "CODE_DIR": str(code_dir),
        "TARGET_TYPE": model.target_type,
        "ADDRESS": f"127.0.0.1:{port}",
        **{key: value.replace("{folder}", str(code_dir)) for key, value in model.environment.items()},
        **(more or {}),
    }
    if is_drum:
        command = [str(drum / "bin" / "drum"), "server"]
        environment["GUNICORN_CMD_ARGS"] = "--no-control-socket"
    else:
        command = [str(python), "-m", "drum_supervisor", "start", "--server-type", name, "--no-error-server"]
        command += ["--run-dir", str(folder / "run")]
        environment |= {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
    log = folder / "log.txt"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, model.environment.get("URL_PREFIX", ""), log)
        yield Running(name, port, process)
    finally:
        _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, prefix: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", f"{prefix}/ping/")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    # Only the last line: the lines above may be a traceback through code that must not be printed.
    lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
    raise NotStartedError(f"exit code {process.poll()}: {lines[-1][:300]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and all processes of its session."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
