"""Real processes for tests, all killed and reaped afterwards, descendants included."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine import prctl
from drum_supervisor.supervise.engine.event_loop import Orphans

FOR_EVER = "sleep 600"
DAEMON = "echo up; read line"  # runs no other program: during an exec a process has no readable environment
STUBBORN = f'trap "" TERM; {DAEMON}'
NAME = "SUPERVISOR_PROCESS_NAME"


class Spawner:
    """Starts shell scripts that print the pids of their descendants."""

    def __init__(self) -> None:
        self._before = set(proctree.children(os.getpid()))
        self._started: list[subprocess.Popen[str]] = []

    @property
    def known(self) -> set[int]:
        """Children that are no orphans: those started here, and those that existed before."""
        return self._before | {process.pid for process in self._started}

    def orphans(self) -> dict[int, str]:
        return Orphans().find(self.known)

    def start(self, script: str, environ: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start an sh script in its own session, with pipes for stdin and stdout."""
        process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )
        self._started.append(process)
        return process

    def orphan(self, script: str, environ: Mapping[str, str] | None = None, scrub: str = "") -> "Orphan":
        """Start a daemon and wait until it is up; its parent has exited, and it has its own session.

        Args:
            script: for sh, without single quotes; it prints `up` first.
            scrub: a prefix command that changes the environment, such as `env -i`.
        """
        process = self.start(f"exec 3<&0; {scrub} setsid sh -c '{script}' <&3 & echo $!", environ)
        lines = {self.line(process), self.line(process)}
        process.wait()
        assert "up" in lines
        (pid,) = lines - {"up"}
        return Orphan(int(pid), process)

    def parent(self, children: int) -> "subprocess.Popen[str]":
        """Start a process with this many children and wait until all are up; they exit when its stdin closes."""
        child = "sh -c 'echo up; read line' <&3 &"
        process = self.start(f"exec 3<&0; {child * children} echo up; read line")
        assert [self.line(process) for _ in range(children + 1)] == ["up"] * (children + 1)
        return process

    @staticmethod
    def line(process: "subprocess.Popen[str]") -> str:
        """Wait for the next line of its stdout and return it."""
        assert process.stdout is not None
        return process.stdout.readline().strip()

    @staticmethod
    def rest(process: "subprocess.Popen[str]") -> str:
        """Wait until it and its descendants close stdout; return the rest of it."""
        assert process.stdout is not None
        return process.stdout.read()

    def end(self) -> None:
        """Kill and reap everything that is left."""
        for process in self._started:
            proctree.signal_each([process.pid, *proctree.descendants(process.pid)], signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        while left := set(proctree.children(os.getpid())) - self._before:
            for pid in left:
                proctree.signal_each([*proctree.descendants(pid), pid], signal.SIGKILL)
                os.waitpid(pid, 0)


@dataclass(frozen=True)
class Orphan:
    """A daemon that this process has adopted."""

    pid: int
    process: "subprocess.Popen[str]"

    def line(self) -> str:
        """Wait for the next line of its stdout and return it."""
        return Spawner.line(self.process)

    def died_of(self) -> int:
        return died_of(self.pid)


def died_of(pid: int) -> int:
    """Wait for an adopted process; return the signal that killed it, or minus its exit status."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def adopt(*, orphans: bool) -> None:
    """Become the child subreaper of this process's descendants, or stop being it."""
    if orphans:
        assert prctl.become_subreaper()
    else:
        ctypes.CDLL(None).prctl(prctl.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
