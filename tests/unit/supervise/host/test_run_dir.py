"""The run directory: private, locked by one supervisor, found by commands, never another user's."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.supervise.host.run_dir import (
    MAX_SOCKET_PATH,
    RunDir,
    base_directory,
    find_running,
    is_running,
    lock,
    make,
)


@pytest.fixture
def environ(short_path):
    """An environment whose private run directories are in a folder of the test."""
    return {"XDG_RUNTIME_DIR": str(short_path)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestBaseDirectory:
    def test_is_in_the_runtime_directory(self, environ):
        assert base_directory(environ) == Path(environ["XDG_RUNTIME_DIR"]) / "drum-supervisor"

    @pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "/no/such/directory"}])
    def test_is_otherwise_in_the_temporary_directory(self, environ):
        assert base_directory(environ) == Path(tempfile.gettempdir()) / f"drum-supervisor-{os.geteuid()}"

    def test_is_not_in_a_read_only_runtime_directory(self, short_path, as_nobody):
        short_path.chmod(0o500)
        found = as_nobody(lambda: str(base_directory({"XDG_RUNTIME_DIR": str(short_path)})))
        assert not found.startswith(str(short_path))


class TestPrivateRunDir:
    def test_is_new_each_time_and_only_for_its_owner(self, environ):
        first, second = make("", environ), make("", environ)
        assert first.path != second.path
        assert first.is_private
        assert first.path.parent == second.path.parent == base_directory(environ)
        assert (mode(first.path), mode(base_directory(environ))) == (0o700, 0o700)

    def test_is_private_whatever_the_umask(self, environ):
        before = os.umask(0)
        try:
            made = make("", environ)
        finally:
            os.umask(before)
        assert (mode(made.path), mode(base_directory(environ))) == (0o700, 0o700)

    def test_is_removed_with_all_its_files(self, environ):
        made = make("", environ)
        made.write(made.failure, "{}")
        made.remove()
        assert not made.path.exists()

    def test_parent_that_others_can_write_to_is_refused(self, environ):
        base_directory(environ).mkdir(mode=0o777)
        base_directory(environ).chmod(0o777)
        with pytest.raises(UsageError) as caught:
            make("", environ)
        assert str(caught.value) == (
            f"The directory for run directories: {base_directory(environ)} is open to other users (mode 0777): "
            "chmod 700 it, or choose a directory that does not exist yet."
        )

    def test_parent_that_is_a_symlink_is_refused(self, environ, short_path):
        base_directory(environ).symlink_to(short_path)
        with pytest.raises(UsageError) as caught:
            make("", environ)
        assert str(caught.value) == (
            f"The directory for run directories: {base_directory(environ)} is a link or a file, not a directory. "
            "Choose another --run-dir."
        )


class TestGivenRunDir:
    def test_is_created_with_its_parents(self, short_path):
        made = make(str(short_path / "a" / "b"), {})
        assert mode(made.path) == 0o700
        assert not made.is_private

    def test_existing_directory_is_used(self, short_path):
        short_path.chmod(0o700)
        assert make(str(short_path), {}).path == short_path

    def test_relative_path_becomes_absolute(self, short_path, monkeypatch):
        monkeypatch.chdir(short_path)
        assert make("run", {}).path == short_path / "run"

    @pytest.mark.parametrize("open_to_others", [0o750, 0o705, 0o777, 0o701, 0o1777])
    def test_directory_open_to_others_is_refused(self, short_path, open_to_others):
        short_path.chmod(open_to_others)
        with pytest.raises(UsageError) as caught:
            make(str(short_path), {})
        assert str(caught.value) == (
            f"--run-dir: {short_path} is open to other users (mode {open_to_others & 0o7777:04o}): "
            "chmod 700 it, or choose a directory that does not exist yet."
        )
        assert mode(short_path) == open_to_others

    def test_symlink_to_a_directory_is_refused(self, short_path):
        (short_path / "real").mkdir(mode=0o700)
        (short_path / "link").symlink_to(short_path / "real")
        with pytest.raises(UsageError) as caught:
            make(str(short_path / "link"), {})
        assert str(caught.value) == (
            f"--run-dir: {short_path / 'link'} is a link or a file, not a directory. Choose another --run-dir."
        )

    @pytest.mark.parametrize("name", ["file", "dangling", "file/below"])
    def test_path_that_is_not_a_directory_is_refused(self, short_path, name):
        (short_path / "file").touch()
        (short_path / "dangling").symlink_to("nowhere")
        with pytest.raises(UsageError) as caught:
            make(str(short_path / name), {})
        assert str(caught.value) == (
            f"--run-dir: {short_path / name} cannot be used: it is not a directory. Choose another --run-dir."
        )

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
    def test_directory_of_another_user_is_refused(self, short_path):
        short_path.chmod(0o700)
        os.chown(short_path, 65534, 65534)
        with pytest.raises(UsageError) as caught:
            make(str(short_path), {})
        assert str(caught.value) == (
            f"--run-dir: {short_path} belongs to uid 65534, and we are uid 0: its owner could control this supervisor. "
            "Choose another --run-dir."
        )

    def test_directory_that_cannot_be_created_is_refused(self, short_path, as_nobody):
        short_path.chmod(0o500)
        with pytest.raises(RuntimeError, match=r"UsageError: --run-dir: .* cannot be used: Permission denied"):
            as_nobody(lambda: str(make(str(short_path / "run"), {}).path))

    def test_path_too_long_for_the_socket_is_refused(self, short_path):
        room = MAX_SOCKET_PATH - len(os.fsencode(short_path)) - len("//supervisor.sock")
        fits = make(str(short_path / ("x" * room)), {})
        assert len(str(fits.socket)) == MAX_SOCKET_PATH
        path = short_path / ("x" * (room + 1))
        with pytest.raises(UsageError) as caught:
            make(str(path), {})
        assert str(caught.value) == (
            f"Run directory {path} has too long a path for a socket: choose a shorter, plainer --run-dir."
        )

    @pytest.mark.parametrize("name", ["a ;b", "a #b", "a\t;b", "a\nb"])
    def test_path_that_supervisord_would_misread_is_refused(self, short_path, name):
        with pytest.raises(UsageError) as caught:
            make(str(short_path / name), {})
        assert str(caught.value) == (
            f"Run directory {short_path / name} has a path that supervisord would read as a comment: "
            "choose a shorter, plainer --run-dir."
        )

    @pytest.mark.parametrize("name", ["a;b", "a#b", "a b", "50%", "größe", "'", '"'])
    def test_any_other_path_is_accepted(self, short_path, name):
        assert make(str(short_path / name), {}).path.is_dir()

    def test_path_length_is_counted_in_bytes(self, short_path):
        with pytest.raises(UsageError, match="too long a path for a socket"):
            make(str(short_path / ("é" * 40)), {})

    def test_remove_keeps_the_failure_and_other_files(self, short_path):
        made = make(str(short_path / "run"), {})
        for path in (made.socket, made.pid_file, made.configuration, made.address, made.notify_socket, made.failure):
            made.write(path, "")
        (made.path / "notes").touch()
        made.remove()
        assert sorted(path.name for path in made.path.iterdir()) == ["failure.json", "notes"]

    def test_remove_accepts_missing_files(self, short_path):
        made = make(str(short_path / "run"), {})
        made.remove()
        assert made.path.is_dir()


class TestWrite:
    def test_file_is_only_for_its_owner(self, short_path):
        made = make(str(short_path / "run"), {})
        before = os.umask(0)
        try:
            made.write(made.address, "127.0.0.1:8080\n")
        finally:
            os.umask(before)
        assert mode(made.address) == 0o600
        assert made.address.read_text() == "127.0.0.1:8080\n"

    def test_overwrites_the_file(self, short_path):
        made = make(str(short_path / "run"), {})
        made.write(made.address, "127.0.0.1:8080 and more\n")
        made.write(made.address, "[::1]:80\n")
        assert made.address.read_text() == "[::1]:80\n"

    def test_accepts_file_names_that_are_not_utf_8(self, short_path):
        made = make(str(short_path / "run"), {})
        made.write(made.configuration, os.fsdecode(b"command=run /models/\xff\n"))
        assert made.configuration.read_bytes() == b"command=run /models/\xff\n"


@pytest.fixture
def run_dir(short_path):
    return make(str(short_path / "run"), {})


class TestLock:
    def test_is_held_until_it_is_closed(self, run_dir):
        assert not is_running(run_dir.path)
        fd = lock(run_dir)
        assert is_running(run_dir.path)
        os.close(fd)
        assert not is_running(run_dir.path)

    def test_is_not_inherited(self, run_dir):
        fd = lock(run_dir)
        assert not os.get_inheritable(fd)
        os.close(fd)

    def test_second_lock_is_refused_with_the_pid_of_the_first(self, run_dir):
        fd = lock(run_dir)
        run_dir.write(run_dir.pid_file, "4711\n")
        with pytest.raises(UsageError) as caught:
            lock(run_dir)
        assert str(caught.value) == (
            f"Run directory {run_dir.path} is in use by another supervisor (pid 4711): "
            "stop it with drum-supervise stop, or choose another --run-dir."
        )
        os.close(fd)

    def test_second_lock_is_refused_before_there_is_a_pid_file(self, run_dir):
        fd = lock(run_dir)
        with pytest.raises(UsageError, match=r"\(pid unknown\)"):
            lock(run_dir)
        os.close(fd)

    def test_refused_lock_leaks_no_descriptor(self, run_dir):
        fd = lock(run_dir)
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(UsageError):
            lock(run_dir)
        assert sorted(os.listdir("/proc/self/fd")) == before
        os.close(fd)

    def test_shared_lock_of_a_command_is_not_a_supervisor(self, run_dir):
        shared = os.open(run_dir.path, os.O_RDONLY)
        fcntl.flock(shared, fcntl.LOCK_SH)
        assert not is_running(run_dir.path)
        os.close(shared)

    def test_is_released_when_its_process_ends(self, run_dir, in_child):
        in_child(lambda: lock(run_dir))
        assert not is_running(run_dir.path)

    def test_waits_for_the_shared_lock_of_a_command(self, run_dir, in_child):
        """The child holds the shared lock until its pipe is closed."""
        shared, shown = os.open(run_dir.path, os.O_RDONLY), os.pipe()
        fcntl.flock(shared, fcntl.LOCK_SH)
        pid = os.fork()
        if pid == 0:
            os.close(shown[1])
            os.read(shown[0], 1)  # until the parent is about to take the lock
            os._exit(0)
        os.close(shared)  # the child keeps it open, and so holds the lock
        os.close(shown[0])
        os.close(shown[1])
        os.close(lock(run_dir))
        os.waitpid(pid, 0)


class TestIsRunning:
    @pytest.mark.parametrize("name", ["gone", "file"])
    def test_is_false_if_there_is_no_directory(self, short_path, name):
        (short_path / "file").touch()
        assert not is_running(short_path / name)

    def test_is_false_for_an_unreadable_directory(self, short_path, as_nobody):
        short_path.chmod(0o700)
        assert as_nobody(lambda: is_running(short_path / "run")) is False


class TestFindRunning:
    def test_finds_nothing_without_run_directories(self, environ):
        assert find_running(environ) == []

    def test_finds_locked_directories(self, environ):
        made = [make("", environ) for _ in range(3)]
        locks = [lock(each) for each in made[:2]]
        assert [each.path for each in find_running(environ)] == sorted(each.path for each in made[:2])
        for fd in locks:
            os.close(fd)
        assert find_running(environ) == []

    def test_ignores_files(self, environ):
        made = make("", environ)
        (made.path.parent / "file").touch()
        assert find_running(environ) == []


class TestStaleDirectories:
    """The next supervisor removes the directories of killed ones."""

    @pytest.fixture
    def stale(self, environ):
        path = make("", environ).path
        (path / "supervisor.sock").touch()
        os.utime(path, (0, 0))
        return path

    def test_is_removed(self, environ, stale):
        make("", environ)
        assert not stale.exists()

    def test_new_directory_is_kept(self, environ, stale):
        os.utime(stale)
        make("", environ)
        assert stale.exists()

    def test_locked_directory_is_kept(self, environ, stale):
        fd = lock(RunDir(stale))
        make("", environ)
        assert stale.exists()
        os.close(fd)

    def test_symlink_is_not_followed(self, environ, stale, short_path):
        (short_path / "precious").touch()
        os.utime(short_path, (0, 0))
        (stale.parent / "link").symlink_to(short_path)
        make("", environ)
        assert (short_path / "precious").exists()
