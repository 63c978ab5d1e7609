"""Resource usage as operators see it: while serving, after a failure, and with `--watch`."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any

import psutil
import pytest

from drum_supervisor.supervise.stats.usage_ring import MAX_POINTS
from tests.stories.conftest import Start
from tests.support import TIMEOUT, Supervised, until

MIB = 1024 * 1024
GOOD = "def load_model(code_dir): return 1\ndef score_unstructured(model, data, **kwargs): return data\n"
BUSY = """
import threading
def burn():
    while True:
        sum(range(10000))
def load_model(code_dir):
    threading.Thread(target=burn, daemon=True).start()
    return 1
def score_unstructured(model, data, **kwargs): return data
"""
# Allocates 64 MiB each time a named pipe is written to, three times, then fails.
GROWING = """
def load_model(code_dir):
    kept = []
    for _ in range(3):
        with open({pipe!r}) as pipe:
            pipe.read()
        kept.append(bytearray(b"x") * (64 << 20))
    raise MemoryError("the weights do not fit")
def score_unstructured(model, data, **kwargs): return data
"""
UNSTRUCTURED = ("--target-type", "unstructured")


@pytest.fixture
def serving(start: Start, model: Callable[[str], Path]) -> Supervised:
    supervised = start("--code-dir", model(GOOD), *UNSTRUCTURED)
    supervised.until_phase("serving")
    return supervised


def program(stats: dict[str, Any], name: str = "model-server") -> dict[str, Any]:
    return next(each for each in stats["programs"] if each["name"] == name)


class TestServing:
    def test_json_is_complete_and_documented(self, serving: Supervised) -> None:
        stats = json.loads(serving.run("stats", "--json").stdout)
        worker = program(stats)
        process = psutil.Process(serving.pid())
        assert stats["phase"] == "serving"
        assert (worker["pid"], worker["state"], worker["ready"]) == (process.pid, "ready", True)
        assert (worker["group"], worker["worker"]) == ("model-server", 1)
        assert [each["pid"] for each in worker["processes"]] == [process.pid]
        assert worker["rss_bytes"] == pytest.approx(process.memory_info().rss, rel=0.2)
        assert 0 < worker["memory_bytes"] < worker["rss_bytes"]
        assert worker["counts_shared_once"] is True
        assert worker["threads"] >= 1
        assert worker["descriptors"] > 3
        assert 0 < worker["cpu_seconds"] <= sum(process.cpu_times()[:2]) + 0.01
        assert stats["supervisor"]["pid"] == serving.process.pid
        assert stats["supervisor"]["rss_bytes"] > MIB
        history = stats["history"]
        assert len({len(column) for column in history.values()}) == 1
        assert history["times"] == sorted(history["times"])
        assert history["times"][-1] <= stats["taken_at"]
        assert history["rss_bytes"][-1] == worker["rss_bytes"]
        page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
        assert [name for name in (*stats, *stats["supervisor"], *worker, *history) if f"`{name}`" not in page] == []

    def test_text_output_is_tables(self, serving: Supervised) -> None:
        shown = serving.run("stats").stdout
        assert re.search(rf"^model-server  ready  {serving.pid()} ", shown, re.MULTILINE)
        assert re.search(rf"^{serving.pid()} .* python\S* .*-m drum_supervisor", shown, re.MULTILINE)
        assert "CPU " in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_recent_sample_is_reused_an_old_one_is_not(self, serving: Supervised) -> None:
        first = serving.stats()
        assert serving.stats(max_age_seconds=1000)["taken_at"] == pytest.approx(first["taken_at"], abs=0.002)
        assert serving.stats()["taken_at"] > first["taken_at"]

    def test_shared_memory_and_history_only_on_request(self, serving: Supervised) -> None:
        everything = serving.stats(shared_memory=True, history=True)
        assert program(everything)["processes"][0]["pss_bytes"] > 0
        plain = serving.stats(max_age_seconds=1000)
        assert program(plain)["processes"][0]["pss_bytes"] is None
        assert program(plain)["memory_bytes"] == program(plain)["rss_bytes"]
        assert plain["history"] is None

    def test_cpu_percent_is_right_in_the_first_call(self, start: Start, model: Callable[[str], Path]) -> None:
        supervised = start("--code-dir", model(BUSY), *UNSTRUCTURED)
        supervised.until_phase("serving")
        stats = supervised.stats()
        assert 5 < program(stats)["cpu_percent"] < 400
        assert stats["supervisor"]["cpu_percent"] < 50

    def test_each_worker_is_listed_and_the_history_is_their_sum(
        self, start: Start, model: Callable[[str], Path]
    ) -> None:
        supervised = start("--code-dir", model(GOOD), *UNSTRUCTURED, "--workers", 2)
        supervised.until_status(lambda status: status["workers_ready"] == 2)
        stats = supervised.stats(history=True)
        workers = [program(stats, f"model-server-{number}") for number in (1, 2)]
        assert [worker["worker"] for worker in workers] == [1, 2]
        assert stats["history"]["rss_bytes"][-1] == sum(worker["rss_bytes"] for worker in workers)


class TestFailed:
    def test_crashed_model_server_leaves_its_usage(self, start: Start, model: Callable[[str], Path]) -> None:
        supervised = start("--code-dir", model(GOOD), *UNSTRUCTURED, "--max-restarts", 0)
        supervised.until_phase("serving")
        used = program(supervised.stats(history=True))["rss_bytes"]
        os.kill(supervised.pid(), signal.SIGKILL)
        supervised.until_phase("failed")
        supervised.until_status(lambda status: program(status, "error-server")["state"] == "ready")
        stats = supervised.stats(history=True)
        dead = program(stats)
        assert (dead["state"], dead["pid"], dead["processes"], dead["memory_bytes"]) == ("stopped", None, [], None)
        assert program(stats, "error-server")["memory_bytes"] > MIB
        assert stats["history"]["rss_bytes"][-1] == used
        report = json.loads(supervised.run("failure", "--json").stdout)
        curve = report["curve"]
        assert report["signal"] == signal.SIGKILL
        assert 1 <= len(curve["seconds_before"]) <= MAX_POINTS
        assert curve["rss_bytes"][-1] == used
        assert re.search(
            r"^Memory +\S+\n +min .*, max .*, last .*, over ", supervised.run("failure").stdout, re.MULTILINE
        )
        assert "stopped" in supervised.run("stats").stdout

    def test_usage_is_recorded_up_to_the_failure(
        self, start: Start, model: Callable[[str], Path], fifo: Callable[[str], Path]
    ) -> None:
        pipe = fifo("go")
        supervised = start("--code-dir", model(GROWING.format(pipe=str(pipe))), *UNSTRUCTURED)
        supervised.until_status(lambda status: status["stage"] == "load_model")

        def used() -> int:
            return program(supervised.stats(history=True))["rss_bytes"]

        before = used()
        for grown in (0, 48, 96):  # each adds 64, but the kernel may reclaim unused pages meanwhile
            supervised.until(lambda grown=grown: used() >= before + grown * MIB)
            pipe.write_text("go")
        failure = supervised.until_phase("failed")["failure"]
        curve = failure["curve"]
        assert failure["error"] == "MemoryError: the weights do not fit"
        assert curve["seconds_before"] == sorted(curve["seconds_before"], reverse=True)
        assert curve["seconds_before"][-1] < 0.5  # the process still runs, so the last sample is from this moment
        assert curve["rss_bytes"][-1] > curve["rss_bytes"][0] + 128 * MIB
        answer = supervised.post("/invocations", b"x", "text/plain")
        assert answer.json() == {"message": "ERROR: MemoryError: the weights do not fit"}

    def test_instant_exit_has_a_short_curve_or_none(self, start: Start) -> None:
        supervised = start("--", "sh", "-c", "exit 7; : {fd}")
        curve = supervised.until_phase("failed")["failure"]["curve"]
        assert curve is None or len(curve["rss_bytes"]) <= 2
        assert supervised.run("failure").returncode == 0


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `stats --watch` for a supervisor, with its output in a pipe."""
    started: list[subprocess.Popen[str]] = []

    def begin(supervised: Supervised, *arguments: str) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "drum_supervisor", "stats", "--run-dir", str(supervised.run_dir), "--watch"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen([*argv, "--interval", "0.1", *arguments], text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end child processes; a shell that runs the tests in the background ignores SIGINT for them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
class TestWatch:
    def test_lines_in_a_pipe_until_ctrl_c(self, serving: Supervised, watch) -> None:
        process = watch(serving)
        lines = [process.stdout.readline() for _ in range(3)]
        assert all(re.fullmatch(r"\S+Z  serving   CPU [\d.]+ %  RSS [\d.]+ MiB.*\n", line) for line in lines)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, complaints) == (0, "")

    def test_follows_a_restart_and_ends_with_the_supervisor(self, serving: Supervised, watch) -> None:
        process = watch(serving, "--json")
        before = program(json.loads(process.stdout.readline()))["pid"]
        assert serving.run("restart").returncode == 0
        after = serving.pid()
        assert after != before
        assert any(program(json.loads(line))["pid"] == after for line in process.stdout)
        assert serving.stop() == 0
        assert all(json.loads(line)["phase"] for line in process.stdout)
        assert (process.wait(), process.stderr.read()) == (0, "The supervisor has ended.\n")

    def test_killed_supervisor_has_ended_too(self, serving: Supervised, watch) -> None:
        process = watch(serving)
        process.stdout.readline()
        serving.process.kill()
        _, complaints = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, complaints) == (0, "The supervisor has ended.\n")
        serving.process.wait()
        until(lambda: not serving.left())  # by their parent-death signal

    def test_view_in_a_terminal_of_80_columns(self, serving: Supervised) -> None:
        shown, code = in_terminal(serving, "xterm", lambda text: text.count("PROGRAM") >= 3)
        assert code == 0
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        assert f"model-server  ready  {serving.pid()}" in plain
        assert max(len(line) for line in re.split(r"[\r\n]+", plain)) <= 80
        assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back

    def test_plain_lines_in_a_dumb_terminal(self, serving: Supervised) -> None:
        shown, code = in_terminal(serving, "dumb", lambda text: text.count("serving") >= 3)
        assert code == 0
        assert "\x1b" not in shown


def in_terminal(supervised: Supervised, term: str, enough: Callable[[str], bool]) -> tuple[str, int]:
    """Run `stats --watch` in a terminal until `enough`, then press Ctrl-C; return output and exit code."""
    argv = [sys.executable, "-m", "drum_supervisor", "stats", "--run-dir", str(supervised.run_dir), "--watch"]
    ours, theirs = pty.openpty()
    ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [*argv, "--interval", "0.1"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": term},
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""
    with process, os.fdopen(ours, "rb", buffering=0) as terminal, killed_on_exit(process):
        while not enough(shown):
            shown += terminal.read(65536).decode()
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # the terminal ends with the process
            while data := terminal.read(65536):
                shown += data.decode()
        process.wait(TIMEOUT)
    return shown, process.returncode


@contextmanager
def killed_on_exit(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Kill a process, so that a failing test does not wait for it."""
    try:
        yield
    finally:
        process.kill()
