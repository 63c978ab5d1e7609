"""Real families of processes for tests: what is started here, and all that comes of it, is gone afterwards."""

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
DAEMON = "echo up; read line"  # no exec any more: in the midst of one a process has no environment to be read
STUBBORN = f'trap "" TERM; {DAEMON}'
NAME = "SUPERVISOR_PROCESS_NAME"


class Family:
    """Starts shell scripts that print the pids of their descendants; this process adopts whoever is left alone."""

    def __init__(self) -> None:
        self._before = set(proctree.children(os.getpid()))
        self._started: list[subprocess.Popen[str]] = []

    @property
    def known(self) -> set[int]:
        """Who is no orphan: what was started here, and what others started before."""
        return self._before | {process.pid for process in self._started}

    def orphans(self) -> dict[int, str]:
        return Orphans().find(self.known)

    def start(self, script: str, environ: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a script of sh in a process group of its own; its stdout is a pipe to us."""
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
        """Start a daemon: its parent is dead, it has a session of its own, and it has said that it is up.

        Args:
            script: for sh, without single quotes; prints `up` first of all.
            scrub: a command that changes the environment, `env -i` for example.
        """
        process = self.start(f"exec 3<&0; {scrub} setsid sh -c '{script}' <&3 & echo $!", environ)
        lines = {self.line(process), self.line(process)}
        process.wait()
        assert "up" in lines
        (pid,) = lines - {"up"}
        return Orphan(int(pid), process)

    def parent(self, children: int) -> "subprocess.Popen[str]":
        """Start a process with so many children, each of which has said that it is up; they end with its input."""
        child = "sh -c 'echo up; read line' <&3 &"
        process = self.start(f"exec 3<&0; {child * children} echo up; read line")
        assert [self.line(process) for _ in range(children + 1)] == ["up"] * (children + 1)
        return process

    @staticmethod
    def line(process: "subprocess.Popen[str]") -> str:
        """Return the next line that it prints; waits for it."""
        assert process.stdout is not None
        return process.stdout.readline().strip()

    @staticmethod
    def rest(process: "subprocess.Popen[str]") -> str:
        """Return all else that it and its descendants print; waits for their end."""
        assert process.stdout is not None
        return process.stdout.read()

    def end(self) -> None:
        """Kill and reap all that is left."""
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
    """A daemon that was left to us."""

    pid: int
    process: "subprocess.Popen[str]"

    def line(self) -> str:
        """Return the next line that it prints; waits for it."""
        return Family.line(self.process)

    def died_of(self) -> int:
        return died_of(self.pid)


def died_of(pid: int) -> int:
    """Wait for an adopted process; return the signal that killed it, or minus its exit status."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def adopt(*, orphans: bool) -> None:
    """Become the one to whom orphans are handed, or be it no more."""
    if orphans:
        assert prctl.become_subreaper()
    else:
        ctypes.CDLL(None).prctl(prctl.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
