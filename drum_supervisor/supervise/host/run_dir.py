"""The run directory: one supervisor's control socket, pid file, configuration and last failure report.

A running supervisor holds a lock on its directory (flock(2) on the directory itself). The kernel releases the lock with
the process, so that a directory whose lock is free has no supervisor.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.contract.exits import UsageError

MAX_SOCKET_PATH = 107 - len(".4194304")  # supervisord binds a temporary name first: the path, a dot and the pid

MAX_UNLOCKED_SECONDS = 60.0  # from making a directory to locking it; usually milliseconds


@dataclass(frozen=True)
class RunDir:
    path: Path
    is_private: bool = False  # made by us, and removed at the end

    @property
    def socket(self) -> Path:
        return self.path / "supervisor.sock"

    @property
    def pid_file(self) -> Path:
        return self.path / "supervisord.pid"

    @property
    def configuration(self) -> Path:
        return self.path / "supervisord.conf"

    @property
    def failure(self) -> Path:
        return self.path / "failure.json"

    @property
    def client_status(self) -> Path:
        return self.path / "situation.json"

    @property
    def address(self) -> Path:
        return self.path / "address"

    @property
    def metrics_address(self) -> Path:
        return self.path / "metrics-address"

    @property
    def notify_socket(self) -> Path:
        return self.path / "notify.sock"

    def write(self, path: Path, text: str) -> None:
        """Write a file of this directory that only its owner can read."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:  # file names need not be UTF-8
            file.write(text)

    def replace(self, path: Path, text: str) -> None:
        """Write such a file atomically: a reader sees the old or the new content, never half of it."""
        new = path.with_suffix(".new")
        self.write(new, text)
        os.replace(new, path)

    def remove(self) -> None:
        """Remove a private directory; remove all our files but the failure report from a given one."""
        if self.is_private:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        addresses = (self.address, self.metrics_address)
        for path in (
            self.socket,
            self.pid_file,
            self.configuration,
            *addresses,
            self.notify_socket,
            self.client_status,
        ):
            with suppress(OSError):
                path.unlink()


def base_directory(environ: Mapping[str, str]) -> Path:
    """Return the parent of all private run directories of this user."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime) / "drum-supervisor"
    return Path(tempfile.gettempdir()) / f"drum-supervisor-{os.geteuid()}"


def make(given: str, environ: Mapping[str, str]) -> RunDir:
    """Make the run directory: the given one, or a private one if `given` is empty."""
    if given:
        path = Path(given).absolute()
        _make_private(path, "--run-dir")
        run_dir = RunDir(path)
    else:
        parent = base_directory(environ)
        _make_private(parent, "The directory for run directories")
        _remove_stale(parent)
        run_dir = RunDir(Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent)), is_private=True)
    problem = _find_problem(run_dir)
    if problem:
        if run_dir.is_private:
            run_dir.remove()
        raise UsageError(f"Run directory {run_dir.path} {problem}: choose a shorter, plainer --run-dir.")
    return run_dir


def _find_problem(run_dir: RunDir) -> str:
    if len(os.fsencode(run_dir.socket)) > MAX_SOCKET_PATH:
        return "has too long a path for a socket"
    if re.search(r"\s[;#]|[\r\n]", str(run_dir.path)):
        return "has a path that supervisord would read as a comment"
    return ""


def lock(run_dir: RunDir) -> int:
    """Lock the directory for this process; return the descriptor that holds the lock.

    Raises:
        UsageError: another supervisor runs in it.
    """
    fd = os.open(run_dir.path, os.O_RDONLY | os.O_DIRECTORY)
    while not _try_lock(fd, fcntl.LOCK_EX):
        if not _try_lock(
            fd, fcntl.LOCK_SH
        ):  # else a command holds a shared lock for an instant, to see whether a supervisor runs
            os.close(fd)
            raise UsageError(
                f"Run directory {run_dir.path} is in use by another supervisor (pid {_read_pid(run_dir)}): "
                "stop it with drum-supervise stop, or choose another --run-dir."
            )
    return fd


def find_running(environ: Mapping[str, str]) -> list[RunDir]:
    """Return the private run directories of this user in which a supervisor runs."""
    try:
        paths = sorted(path for path in base_directory(environ).iterdir() if path.is_dir())
    except OSError:
        return []
    return [RunDir(path, is_private=True) for path in paths if is_running(path)]


def is_running(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        # Shared: two commands that check at the same time must not take each other for a supervisor.
        return not _try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_private(path: Path, what: str) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(path)
    except OSError as error:
        problem = "it is not a directory" if error.errno in (errno.EEXIST, errno.ENOTDIR) else f"{error.strerror}"
        raise UsageError(f"{what}: {path} cannot be used: {problem}. Choose another --run-dir.") from error
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{what}: {path} is a link or a file, not a directory. Choose another --run-dir.")
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{what}: {path} belongs to uid {status.st_uid}, and we are uid {os.geteuid()}: its owner could control "
            "this supervisor. Choose another --run-dir."
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(
            f"{what}: {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}): "
            "chmod 700 it, or choose a directory that does not exist yet."
        )


def _remove_stale(parent: Path) -> None:
    """Remove the directories of supervisors that were killed."""
    for path in parent.iterdir():
        if path.is_dir() and not path.is_symlink() and not _is_new(path) and not is_running(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_new(path: Path) -> bool:
    """Whether it may not be locked yet. The pid in its name does not help: in containers all supervisors have pid 1."""
    try:
        return time.time() - path.stat().st_mtime < MAX_UNLOCKED_SECONDS
    except OSError:
        return True


def _read_pid(run_dir: RunDir) -> str:
    try:
        return run_dir.pid_file.read_text().strip()
    except OSError:
        return "unknown"
