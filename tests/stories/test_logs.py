"""Output of the programs: `logs`, supervisorctl tail, and formatted lines."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drum_supervisor.contract.exits import ExitCode
from tests.stories.conftest import Start
from tests.stories.test_commands import script
from tests.support import TIMEOUT, Supervised, until

ECHOES = """
import os, sys
print("out", flush=True)
print("err", file=sys.stderr, flush=True)
os.write(4, b'{"kind": "ready"}\\n')
for line in open(sys.argv[1]):
    print(line, end="", flush=True)
print("last words", end="")
"""


@pytest.fixture
def talking(start: Start, fifo: Callable[[str], Path]) -> tuple[Supervised, Path]:
    """A program that prints the lines it reads from a named pipe."""
    gate = fifo("gate")
    command = ["--listener", "inherit", "--ready", "report", "--", sys.executable, "-c", ECHOES, str(gate)]
    supervised = start("--max-restarts", 0, "--no-error-server", *command)
    supervised.until_phase("serving")
    return supervised, gate


@pytest.fixture
def following(talking) -> Iterator[Callable[..., "Follower"]]:
    started = []

    def begin(*options: str) -> Follower:
        started.append(Follower(talking[0], *options))
        return started[-1]

    yield begin
    for follower in started:
        follower.close()


class Follower:
    """A `logs -f` process with its output in a file."""

    def __init__(self, supervised: Supervised, *options: str) -> None:
        self.path = supervised.run_dir.parent / f"followed-{len(options)}.log"
        argv = [sys.executable, "-m", "drum_supervisor", "logs", "-f", "--run-dir", str(supervised.run_dir), *options]
        with open(self.path, "wb") as file:
            self.process = subprocess.Popen(argv, stdout=file, stderr=subprocess.STDOUT)

    def until(self, text: str) -> str:
        until(lambda: text in self.path.read_text(), tail=self.path.read_text)
        return self.path.read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT)


def test_logs_prints_recent_output_in_order(talking):
    supervised, _ = talking
    lines = supervised.run("logs").stdout.splitlines()
    assert "out" in lines
    assert "err" in lines
    assert lines[0].endswith(f"run directory {supervised.run_dir}")
    assert supervised.run("logs", "-n", "0").stdout == ""
    assert supervised.run("logs", "--program", "model-server").stdout.splitlines() == ["out", "err"]
    assert supervised.run("logs", "--program", "model-server", "--stream", "stderr").stdout == "err\n"
    record = json.loads(supervised.run("logs", "--program", "model-server", "--json").stdout.splitlines()[0])
    assert record == {"program": "model-server", "stream": "stdout", "message": "out"}


def test_unknown_program_is_refused_with_the_known_ones(talking):
    result = talking[0].run("logs", "--program", "unknown")
    assert result.returncode == 2
    assert "'unknown' has not run: choose from drum-supervise, model-server." in result.stderr


def test_follow_prints_each_line_and_the_end(talking, following):
    supervised, gate = talking
    follower = following("--program", "model-server")
    with open(gate, "w") as writer:
        follower.until("err\n")
        for word in ("one", "two"):
            print(word, file=writer, flush=True)
            follower.until(f"{word}\n")
    assert supervised.wait() == ExitCode.KEPT_DYING
    assert follower.process.wait(TIMEOUT) == 0
    assert follower.until("The supervisor has ended.").startswith("out\nerr\none\ntwo\nlast words")


def test_supervisorctl_tails_each_stream(talking):
    supervised, gate = talking
    ctl = [script("supervisorctl"), "-s", f"unix://{supervised.run_dir}/supervisor.sock", "tail"]
    for stream, text in (("stdout", "out"), ("stderr", "err")):
        done = subprocess.run(
            [*ctl, "model-server", stream], capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
        assert done.stdout.rstrip() == text
    with open(supervised.run_dir / "tail.log", "w") as file, open(gate, "w") as writer:
        tail = subprocess.Popen([*ctl, "-f", "model-server"], stdout=file, stderr=subprocess.STDOUT)
        try:
            print("followed", file=writer, flush=True)
            until(lambda: "followed" in Path(file.name).read_text(), tail, Path(file.name).read_text)
        finally:
            tail.kill()
            tail.wait(TIMEOUT)


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_prefix_and_log_format(start, form):
    command = f'{sys.executable} -c \'import os; print("one"); print("last words", end="")\''
    supervised = start(
        "--log-prefix",
        "--log-format",
        form,
        "--no-error-server",
        "--listener",
        "inherit",
        "--",
        "sh",
        "-c",
        f"{command}; exit 1",
    )
    supervised.wait()
    lines = supervised.out.read_text().splitlines()
    if form == "text":
        assert lines == ["model-server | one", "model-server | last words"]
    else:
        assert [json.loads(line)["message"] for line in lines] == ["one", "last words"]
        assert all(json.loads(line) for line in supervised.err.read_text().splitlines())
