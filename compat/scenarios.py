"""What is done with every server, and what was observed: each scenario is a function of a supervised server.

A server is started once with a good model, which goes through `GOOD` in that order, and once for each of `BROKEN`.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from compat.environments import APPS, filled_in
from compat.load import ANSWERED, Load, ask, load
from compat.servers import Server
from tests.support import Supervised, as_json, pause

STOP_TIMEOUT = 10
ALWAYS = ("--restart-window", "1")  # so short that a crash does not delay the restart after the next one
STEADY = 50  # correct responses in a row that count as recovered
SOON = 15.0


@dataclass(frozen=True)
class Seen:
    """The observation of one scenario.

    Attributes:
        good: whether the supervisor kept its promises.
        words: for the table.
        figures: for the JSON.
    """

    good: bool
    words: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Running:
    """A server under a supervisor."""

    server: Server
    supervised: Supervised
    host: str
    began: float

    @property
    def port(self) -> int:
        return self.supervised.address.port

    @property
    def request(self) -> bytes:
        server = self.server
        method = "POST" if server.question else "GET"
        head = f"{method} {server.path} HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n"
        body = f"Content-Type: application/json\r\nContent-Length: {len(server.question)}\r\n\r\n{server.question}"
        return (head + (body if server.question else "\r\n")).encode()

    def predict(self) -> str:
        """Send one request and return its outcome."""
        return asyncio.run(ask(self.host, self.port, self.request))

    def load(self) -> Any:
        """Return a context in which clients send requests."""
        return load(self.host, self.port, self.request)

    def until(self, met: Callable[[dict[str, Any]], bool], patience: float) -> dict[str, Any]:
        """Return the first status that meets the condition, or the last one after the timeout."""
        deadline = time.monotonic() + patience
        status = self.supervised.status()
        while not met(status) and time.monotonic() < deadline:
            status = as_json(self.supervised.client.wait(status["serial"], 1.0))
        return status

    def wait(self, clients: Load, met: Callable[[], bool], patience: float) -> bool:
        """Wait while the clients run; return whether the condition was met in time."""
        deadline = time.monotonic() + patience
        while not met() and time.monotonic() < deadline:
            pause(self.supervised.process)
        return met()

    def pid(self) -> int:
        """Return the server's pid, 0 without a server."""
        programs = self.supervised.status()["programs"]
        return next(int(entry["pid"] or 0) for entry in programs if entry["name"] == "model-server")

    def workers(self) -> list[psutil.Process]:
        """Return the server's own workers, the youngest last."""
        main = self.pid() if self.server.worker else 0
        found: list[psutil.Process] = []
        if not main:
            return found
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(main).children(recursive=True):
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    if self.server.worker in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return sorted(found, key=lambda process: process.create_time())


@contextmanager
def running(server: Server, environment: Path, folder: Path, kind: str, *options: str) -> Iterator[Running]:
    """Start `server` under a supervisor with that kind of model; at the end stop everything."""
    with ExitStack() as stack:
        host, port = "127.0.0.1", 0 if server.shared else stack.enter_context(_reserved_port())
        shutil.copytree(APPS, folder / "apps")  # some servers write to their working directory
        os.chdir(folder / "apps" / server.folder)
        arguments = ["--address", f"{host}:{port}", "--stop-timeout", str(STOP_TIMEOUT), *ALWAYS, *options]
        command = filled_in(server.command, environment)
        began = time.monotonic()
        supervised = Supervised(
            folder,
            [*arguments, *server.options.split(), "--", *command],
            {"COMPAT_MODEL": kind, "PYTHONDONTWRITEBYTECODE": "1", **server.environ},
        )
        stack.callback(_end, supervised)
        yield Running(server, supervised, host, began)


def _end(supervised: Supervised) -> None:
    """Stop gracefully first: the servers have files and shared memory of their own to remove."""
    if supervised.process.poll() is None:
        supervised.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            supervised.process.wait(STOP_TIMEOUT + SOON)
    with suppress(AssertionError):  # remaining processes are a result, reported by `stop`
        supervised.close()


@contextmanager
def _reserved_port() -> Iterator[int]:
    """Yield a port that the kernel does not assign: bound here without listening, and available for another bind."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind(("127.0.0.1", 0))
        yield int(reservation.getsockname()[1])


# --- a model that works


def ready(run: Running) -> Seen:
    status = run.until(lambda status: status["phase"] in ("serving", "failed"), run.server.patience)
    seconds = round(time.monotonic() - run.began, 1)
    if status["phase"] == "serving":
        return Seen(True, f"{seconds} s", {"seconds": seconds})
    return Seen(False, _reason(status), {"failure": status["failure"], "output": run.supervised.output()})


def prediction(run: Running) -> Seen:
    outcome = run.predict()
    return Seen(outcome == ANSWERED, "42" if outcome == ANSWERED else outcome)


def restart(run: Running) -> Seen:
    """Restart the server under load."""
    with run.load() as clients:
        if not run.wait(clients, lambda: clients.outcomes[ANSWERED] >= STEADY, SOON):
            return Seen(False, f"no load possible: {dict(clients.outcomes)}")
        clients.mark()
        run.supervised.client.restart(0)
        run.until(lambda status: status["restarts"]["request"] == 1 and status["phase"] != "serving", SOON)
        status = run.until(lambda status: status["phase"] in ("serving", "failed"), run.server.patience)
        before = clients.outcomes[ANSWERED]
        steady = run.wait(clients, lambda: clients.outcomes[ANSWERED] >= before + STEADY, SOON)
    good = status["phase"] == "serving" and steady and not (run.server.shared and clients.outcomes["refused"])
    return Seen(good, _losses(clients), _figures(clients))


def worker(run: Running) -> Seen:
    """Kill one of the server's own workers under load."""
    before = run.workers()
    if not before:
        return Seen(not run.server.worker, "-" if not run.server.worker else "none found")
    main, crashes = run.pid(), run.supervised.status()["restarts"]["crash"]
    with run.load() as clients:
        run.wait(clients, lambda: clients.outcomes[ANSWERED] >= STEADY, SOON)
        clients.mark()
        killed = time.monotonic()
        before[-1].kill()
        known = {process.pid for process in before}
        replaced = run.wait(clients, lambda: any(p.pid not in known for p in run.workers()), SOON)
        seconds = round(time.monotonic() - killed, 1)
        answered = clients.outcomes[ANSWERED]
        steady = run.wait(clients, lambda: clients.outcomes[ANSWERED] >= answered + STEADY, run.server.patience)
    status = run.until(lambda status: status["phase"] == "serving", SOON)
    by_us = status["restarts"]["crash"] > crashes
    hung = "counts as a crash" in run.supervised.err.read_text()
    ended = "failed liveness probes, restarted by us" if hung else "ended, restarted by us"
    who = ended if by_us else f"replaced in {seconds} s" if replaced else "not replaced"
    if not steady:
        who += ", does not recover"
    figures = {"replaced": replaced, "seconds": seconds, "by_us": by_us, "same_main": run.pid() == main}
    return Seen(steady, f"{who}; {_losses(clients)}", {**_figures(clients), **figures})


def crash(run: Running) -> Seen:
    """Kill the server itself under load."""
    main = psutil.Process(run.pid())
    crashes = run.supervised.status()["restarts"]["crash"]
    old = [main, *main.children(recursive=True)]
    with run.load() as clients:
        run.wait(clients, lambda: clients.outcomes[ANSWERED] >= STEADY, SOON)
        clients.mark()
        main.kill()
        run.until(lambda status: status["restarts"]["crash"] > crashes, SOON)
        status = run.until(lambda status: status["phase"] in ("serving", "failed"), run.server.patience)
        answered = clients.outcomes[ANSWERED]
        steady = run.wait(clients, lambda: clients.outcomes[ANSWERED] >= answered + STEADY, run.server.patience)
    left = [process for process in old if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    again = status["phase"] == "serving" and steady
    good = again and not left and not (run.server.shared and clients.outcomes["refused"])
    words = _losses(clients) if again else f"not again: {_reason(status)}"
    if left:
        words += f"; {len(left)} of the old left"
    return Seen(good, words, _figures(clients))


def stop(run: Running) -> Seen:
    """Send TERM to the supervisor."""
    run.supervised.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    try:
        code: int | None = run.supervised.process.wait(STOP_TIMEOUT + SOON)
    except subprocess.TimeoutExpired:
        code = None
    seconds = round(time.monotonic() - began, 1)
    left = [process.name() for process in run.supervised.left()]
    words = f"{seconds} s" if code == 0 else f"exit {code} after {seconds} s"
    if left:
        words += f", left: {', '.join(left)}"
    ending = next((line for line in run.supervised.err.read_text().splitlines() if "stopped as requested" in line), "")
    if "SIGKILL" in ending:
        words += " (killed)"
    return Seen(code == 0 and not left, words, {"seconds": seconds, "server": ending.rpartition("asked: ")[2]})


# --- a model that fails


def broken(run: Running) -> Seen:
    """Wait for the failure and read its reason."""
    patience = run.server.startup_timeout + STOP_TIMEOUT + SOON
    status = run.until(lambda status: status["phase"] in ("serving", "failed"), patience)
    seconds = round(time.monotonic() - run.began, 1)
    if status["phase"] != "failed":
        outcome = run.predict() if status["phase"] == "serving" else ""
        return Seen(False, f"{status['phase']} anyway, answers: {outcome}", {"output": run.supervised.output()})
    outcome = _error_answer(run)
    failure = status["failure"]
    figures = {"seconds": seconds, "error": failure["error"], "exit_status": failure["exit_status"], "asked": outcome}
    return Seen(outcome == "513", _reason(status), figures)


def _error_answer(run: Running) -> str:
    """Return the response after a failure; a server with its own port must first be gone with all its processes."""
    deadline = time.monotonic() + STOP_TIMEOUT + SOON
    while (outcome := run.predict()) != "513" and time.monotonic() < deadline:
        pause(run.supervised.process)
    return outcome


GOOD = {"ready": ready, "prediction": prediction, "restart": restart, "worker": worker, "crash": crash, "stop": stop}
BROKEN = ("import", "load", "hang")


def scenarios(server: Server, environment: Path, folder: Path) -> Iterator[tuple[str, Seen]]:
    """Run all scenarios; if one breaks, report it and go on."""
    with running(server, environment, folder / "good", "good") as run:
        for name, scenario in GOOD.items():
            seen = _tried(scenario, run)
            yield name, seen
            if name == "ready" and not seen.good:
                break
    for kind in BROKEN if server.question else ():
        timeout = ("--startup-timeout", str(server.startup_timeout))
        with running(server, environment, folder / kind, kind, *timeout) as run:
            yield kind, _tried(broken, run)


def _tried(scenario: Callable[[Running], Seen], run: Running) -> Seen:
    try:
        return scenario(run)
    except Exception as error:  # noqa: BLE001 - a broken scenario is a result, and the next one runs
        return Seen(False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


# --- words


def _losses(clients: Load) -> str:
    lost = ", ".join(f"{count} {outcome}" for outcome, count in sorted(clients.lost().items()))
    return f"{lost or 'nothing lost'}, gap {clients.worst:.1f} s"


def _figures(clients: Load) -> dict[str, Any]:
    return {"outcomes": dict(clients.outcomes), "gap": round(clients.worst, 2)}


def _reason(status: dict[str, Any]) -> str:
    """Return whether the failure names the true reason, and how the server ended."""
    failure = status["failure"]
    if failure is None:
        return str(status["phase"])
    if failure["signal"]:
        ended = f"signal {failure['signal']}"
    else:
        ended = "still running" if failure["exit_status"] is None else f"exit {failure['exit_status']}"
    true = any(words in failure["error"] for words in ("weights are not there", "module is broken"))
    if true:
        return f"the reason, {ended}"
    known = "deadline" if failure["cause"] == "startup_timeout" else f"“{failure['error'][:90]}”"
    return f"{known}, {ended}"
