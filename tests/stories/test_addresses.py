"""Addresses to serve on, and one clear sentence for an address or run directory that is refused."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.conftest import Start

DIABETES = Path(__file__).parents[2] / "examples" / "diabetes"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0", "0.0.0.0:0", "[::]:0"])
def test_serves_on_each_kind_of_address(start: Start, address: str) -> None:
    supervised = start("--address", address, "--code-dir", DIABETES)
    supervised.until_phase("serving")
    assert supervised.get("/ping").json() == {"message": "OK"}
    assert supervised.stop() == 0


@pytest.mark.parametrize("server", ["fastapi", "flask", "gunicorn"])
def test_serves_on_a_unix_socket_and_removes_it(start: Start, tmp_path: Path, server: str) -> None:
    path = tmp_path / "model.sock"
    supervised = start("--address", f"unix:{path}", "--code-dir", DIABETES, "--server-type", server)
    supervised.until_phase("serving")
    assert supervised.run("restart").returncode == 0
    assert supervised.get("/ping").json() == {"message": "OK"}
    assert supervised.stop() == 0
    assert not path.exists()


def assert_refused(start: Start, code: int, *said: str, arguments: tuple[str, ...]) -> None:
    supervised = start(*arguments, "--code-dir", DIABETES)
    assert supervised.wait() == code
    lines = supervised.err.read_text().splitlines()
    assert len(lines) == 1, lines
    for text in said:
        assert text in lines[0]


def test_port_in_use_is_refused(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert_refused(start, 6, address, "is in use", arguments=("--address", address))


def test_address_of_another_machine_is_refused(start: Start) -> None:
    assert_refused(
        start, 6, "192.0.2.1:8080", "not an address of this machine", arguments=("--address", "192.0.2.1:8080")
    )


@pytest.mark.parametrize("address", ["8080", "localhost", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "unix:relative"])
def test_malformed_address_is_refused(start: Start, address: str) -> None:
    assert_refused(start, 2, "--address", address, arguments=("--address", address))


def privileged_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) - 1


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root needs setpriv to drop its capabilities"
)
@pytest.mark.skipif(privileged_port() < 1, reason="any user may bind any port here")
def test_privileged_port_is_refused(tmp_path: Path) -> None:
    without = ["setpriv", "--bounding-set=-net_bind_service"] if os.geteuid() == 0 else []
    address = f"127.0.0.1:{privileged_port()}"
    argv = [sys.executable, "-m", "drum_supervisor", "start", "--address", address, "--code-dir", str(DIABETES)]
    done = subprocess.run([*without, *argv], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert f"No permission to bind {address}" in done.stderr


def refusal(tmp_path: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "drum_supervisor", "start", "--address", "127.0.0.1:0", "--code-dir", str(DIABETES)]
    return subprocess.run([*argv, "--run-dir", str(run_dir)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a directory")
def test_run_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    done = refusal(tmp_path, theirs)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "belongs to uid 65534" in done.stderr


def test_run_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    done = refusal(tmp_path, shared)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "open to other users (mode 0755)" in done.stderr


def test_run_directory_in_use_is_refused(start: Start, tmp_path: Path) -> None:
    supervised = start("--code-dir", DIABETES)
    supervised.until_phase("serving")
    done = refusal(tmp_path, supervised.run_dir)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"in use by another supervisor (pid {supervised.process.pid})" in done.stderr
    assert supervised.get("/ping").status == 200
    assert supervised.stop() == 0


def test_run_directory_is_private_and_emptied(start: Start) -> None:
    supervised = start("--code-dir", DIABETES)
    supervised.until_phase("serving")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in supervised.run_dir.iterdir()}
    assert stat.S_IMODE(supervised.run_dir.stat().st_mode) == 0o700
    assert modes["supervisor.sock"] == 0o600
    files = {"supervisor.sock", "supervisord.pid", "supervisord.conf", "address", "situation.json"}
    assert set(modes) == files
    assert supervised.stop() == 0
    assert list(supervised.run_dir.iterdir()) == []
