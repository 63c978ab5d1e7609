"""Further programs: supervisord's rules, our outlets, and turns of the loop when supervisord needs them."""

import os
import signal
from collections.abc import Callable

import pytest

from drum_supervisor.contract.log_records import prefixed
from drum_supervisor.supervise.engine.extra_process import ExtraProcess
from drum_supervisor.supervise.engine.run import ControlState, ExtraProgramExit, ProgramState
from drum_supervisor.supervise.programs.program import Program
from tests.engine.conftest import Bench, python

Make = Callable[..., Bench]
OURS = "stdout_logfile=/dev/stdout\nstderr_logfile=/dev/stderr\n"


class ProgramControl:
    """Records what becomes of further programs."""

    def __init__(self) -> None:
        self.exited: list[ExtraProgramExit] = []
        self.gave_up: list[ExtraProgramExit] = []
        self.started: list[str] = []
        self.changes = 0

    def start(self, program: Program) -> str:
        return "no"

    stop = start

    def is_worker(self, program: Program) -> bool:
        return True

    def control_state(self, program: Program) -> ControlState:
        return ControlState(ProgramState.STOPPED)

    def on_extra_changed(self) -> None:
        self.changes += 1

    def on_extra_started(self, name: str, pid: int) -> None:
        self.started.append(name)

    def on_extra_exited(self, program_exit: ExtraProgramExit) -> None:
        self.exited.append(program_exit)

    def on_extra_gave_up(self, program_exit: ExtraProgramExit) -> None:
        self.gave_up.append(program_exit)


def program(command: str, more: str = "", name: str = "x") -> str:
    return f"\n[program:{name}]\ncommand={command}\n{OURS}{more}"


@pytest.fixture
def further(bench: Make) -> Callable[[str], tuple[Bench, ProgramControl]]:
    def make(text: str) -> tuple[Bench, ProgramControl]:
        made, desk = bench({}, text), ProgramControl()
        made.program_control = desk
        return made, desk

    return make


def processes(made: Bench) -> list[ExtraProcess]:
    return made.engine._extra_processes()


def polls_in_vain(made: Bench) -> list[float]:
    """Note from now on for how long the loop slept when nothing woke it."""
    in_vain: list[float] = []
    poll = made.engine._options.poller._poll_fds
    made.engine._options.poller._poll_fds = lambda seconds: poll(seconds) or in_vain.append(seconds) or []
    return in_vain


def test_output_goes_to_our_outlets_and_no_file_is_opened(further) -> None:
    made, desk = further(program("sh -c 'echo out; echo err >&2'", "startsecs=0\n"))
    made.until(lambda: bool(desk.exited))
    assert (made.output(), made.err_path.read_text()) == ("out\n", "err\n")
    config = processes(made)[0].config
    assert (config.stdout_logfile, config.stderr_logfile) == tuple(
        made.engine._options.context.log_files[key].path for key in made.engine._options.context.log_files
    )


@pytest.mark.parametrize("how", ["redirect_stderr=true\n", ""])
def test_output_that_changes_sides_does(further, how: str) -> None:
    text = program("sh -c 'echo err >&2'", f"startsecs=0\n{how}")
    made, desk = further(text if how else text.replace("stderr_logfile=/dev/stderr", "stderr_logfile=/dev/stdout"))
    made.until(lambda: bool(desk.exited))
    assert made.output() == "err\n"


def test_output_into_a_file_is_supervisords(further, tmp_path) -> None:
    text = program("echo filed", "startsecs=0\n").replace("/dev/stdout", str(tmp_path / "log"))
    made, desk = further(text)
    made.until(lambda: bool(desk.exited))
    assert (made.output(), (tmp_path / "log").read_text()) == ("", "filed\n")


def test_a_log_file_that_was_moved_away_is_opened_anew(further, tmp_path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    os.mkfifo(gate)
    text = program(f"sh -c 'echo before; head -n 1 {gate}'", "startsecs=0\n").replace("/dev/stdout", str(log))
    made, desk = further(text)

    def step() -> bool:
        if log.exists() and log.read_text() == "before\n" and not (tmp_path / "moved").exists():
            log.rename(tmp_path / "moved")
            os.kill(os.getpid(), signal.SIGUSR2)
        elif made.owner.signals == [signal.SIGUSR2] and not desk.exited and log.exists():
            os.write(writer, b"after\n")
            made.owner.signals.clear()
        return bool(desk.exited)

    writer = os.open(gate, os.O_RDWR)
    made.until(step)
    os.close(writer)
    assert ((tmp_path / "moved").read_text(), log.read_text()) == ("before\n", "after\n")


def test_last_words_arrive_also_when_our_outlet_is_full(further) -> None:
    made, desk = further(program("sh -c 'head -c 60000 /dev/zero'", "startsecs=0\n"))
    sink = made.engine._options.context.streams.out
    sink._limit = 0  # full from the beginning
    made.until(lambda: bool(desk.exited))
    assert len(made.output()) == 60000


def test_each_start_and_end_is_told(further) -> None:
    made, desk = further(program("sh -c 'exit 3'", "startsecs=0\nautorestart=false\n"))
    made.until(lambda: bool(desk.gave_up))
    (program_exit,) = desk.exited
    assert desk.started == ["x"]
    assert (
        program_exit.name,
        program_exit.program,
        os.WEXITSTATUS(program_exit.status),
        program_exit.stop_requested,
    ) == ("x", "x", 3, False)
    assert os.WEXITSTATUS(desk.gave_up[0].status) == 3
    assert desk.changes


@pytest.mark.parametrize(
    ("command", "rule", "ends"),
    [
        ("true", "autorestart=unexpected", True),
        ("false", "autorestart=unexpected\nexitcodes=1", True),
        ("true", "autorestart=false", True),
        ("false", "autorestart=unexpected", False),
        ("true", "autorestart=true", False),
    ],
)
def test_what_is_started_again_has_not_ended_for_good(further, command: str, rule: str, ends: bool) -> None:
    made, desk = further(program(command, f"startsecs=0\n{rule}\n"))
    made.until(lambda: bool(desk.gave_up) or len(desk.exited) == 3)
    assert (len(desk.exited), len(desk.gave_up)) == ((1, 1) if ends else (3, 0))


def test_restarts_and_retries_come_without_a_poll_that_runs_out(further) -> None:
    """supervisord itself looks again once in a second."""
    made, desk = further(
        program("false", "startsecs=0\nautorestart=true\n", "a") + program("false", "startretries=0\n")
    )
    in_vain = polls_in_vain(made)
    made.until(lambda: len(desk.exited) > 5 and bool(desk.gave_up))
    assert max(in_vain, default=0.0) < 0.5


def test_what_cannot_be_started_ends_for_good_without_a_status(further) -> None:
    made, desk = further(program("no-such-command", "startretries=0\n"))
    made.until(lambda: bool(desk.gave_up))
    assert desk.gave_up == [ExtraProgramExit("x", "x", 0, None, "can't find command 'no-such-command'")]


def test_nothing_is_started_any_more_when_everything_is_stopped(further) -> None:
    made, desk = further(program("sleep 1000", "startsecs=0\nautorestart=true\n"))

    def step() -> bool:
        made.engine.wakeup.wake()
        if made.owner.turns == 2:
            made.engine.begin_stopping()
            os.kill(processes(made)[0].pid, signal.SIGKILL)
        return bool(desk.exited) and made.owner.turns > 100

    made.until(step)
    assert desk.started == ["x"]


def test_a_stop_that_was_asked_for_is_told_apart(further) -> None:
    made, desk = further(program("sleep 1000", "startsecs=0\n"))
    made.owner.at_exit = lambda run: None

    def step() -> bool:
        if made.owner.turns == 2:
            made.engine.stop_extra(999, 5.0)
        return bool(desk.exited)

    made.until(step)
    assert [(program_exit.stop_requested, program_exit.status) for program_exit in desk.exited] == [
        (True, signal.SIGTERM)
    ]
    assert desk.gave_up == []


def test_one_that_does_not_stop_is_killed_when_the_time_is_over_and_not_a_second_later(further) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    made, desk = further(program(f'{python("")[0]} -c "{code}"', "startsecs=0\nstopwaitsecs=1000\n"))
    in_vain: list[list[float]] = []

    def step() -> bool:
        if made.output() == "up\n" and not in_vain:
            in_vain.append(polls_in_vain(made))
            made.engine.stop_extra(999, 0.3)
        return bool(desk.exited)

    made.until(step)
    assert desk.exited[0].status == signal.SIGKILL
    assert max(in_vain[0]) < 0.5


def test_children_get_nothing_of_ours(further, monkeypatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    code = (
        "import os, signal; print(sorted(os.listdir('/proc/self/fd'))[:3], os.environ.get('NOTIFY_SOCKET'), "
        "os.environ.get('LISTEN_FDS'), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), os.path.exists('/proc/self/fd/4'))"
    )
    made, desk = further(program(f'{python("")[0]} -c "{code}"', "startsecs=0\n"))
    made.until(lambda: bool(desk.exited))
    assert made.output() == "['0', '1', '2'] None None True set() False\n"


LISTENER = """
import os, sys
while True:
    print("READY", flush=True)
    header = dict(pair.split(":") for pair in sys.stdin.readline().split())
    body = sys.stdin.read(int(header["len"]))
    os.write(2, (header["eventname"] + " " + body.split()[0] + chr(10)).encode())
    sys.stdout.write("RESULT 2" + chr(10) + "OK")
    sys.stdout.flush()
"""


def test_event_listeners_are_told_of_all_programs_ours_too(bench: Make, tmp_path) -> None:
    (tmp_path / "listener.py").write_text(LISTENER)
    text = (
        f"\n[eventlistener:told]\ncommand={python('')[0]} {tmp_path}/listener.py\nstartsecs=0\n"
        "events=PROCESS_STATE_EXITED\nstdout_logfile=NONE\nstderr_logfile=/dev/stderr\n"
    )
    made = bench({"model-server": ["true"]}, text + program("true", "startsecs=0\n"))
    made.owner.begin = lambda: made.start("model-server") and None
    made.until(lambda: made.err_path.read_text().count("\n") == 2)
    assert set(made.err_path.read_text().splitlines()) == {
        "PROCESS_STATE_EXITED processname:model-server",
        "PROCESS_STATE_EXITED processname:x",
    }


def test_output_can_still_be_captured_for_events(further, tmp_path) -> None:
    said = "before <!--XSUPERVISOR:BEGIN-->captured<!--XSUPERVISOR:END--> after"
    made, desk = further(program(f"echo '{said}'", "startsecs=0\nstdout_capture_maxbytes=1KB\n"))
    made.until(lambda: bool(desk.exited))
    assert made.output() == "before  after\n"


def test_lines_are_wrapped_with_the_name_that_supervisorctl_shows(further) -> None:
    made, desk = further(program("printf one", "startsecs=0\n") + "[group:all]\nprograms=x\n")
    object.__setattr__(made.engine._options.context.streams, "line_format", prefixed)
    made.until(lambda: bool(desk.exited))
    assert made.output() == "all:x | one\n"
