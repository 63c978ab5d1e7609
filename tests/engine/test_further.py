"""Extra programs: supervisord's rules, our output streams, and loop turns exactly when supervisord needs them."""

import os
import signal
from collections.abc import Callable

import pytest

from drum_supervisor.contract.log_records import prefixed
from drum_supervisor.supervise.engine.extra_process import ExtraProcess
from drum_supervisor.supervise.engine.run import ExtraProgramExit
from tests.engine.conftest import Bench, Reports, python

Make = Callable[..., Bench]
OURS = "stdout_logfile=/dev/stdout\nstderr_logfile=/dev/stderr\n"


def program(command: str, more: str = "", name: str = "x") -> str:
    return f"\n[program:{name}]\ncommand={command}\n{OURS}{more}"


@pytest.fixture
def extra(bench: Make) -> Callable[[str], tuple[Bench, Reports]]:
    def make(text: str) -> tuple[Bench, Reports]:
        made = bench({}, text)
        return made, made.program_control

    return make


def processes(made: Bench) -> list[ExtraProcess]:
    return made.engine._extra_processes()


def timed_out_polls(made: Bench) -> list[float]:
    """Record from now on the timeouts of polls that nothing ended early."""
    timed_out: list[float] = []
    poll = made.engine._options.poller._poll_fds
    made.engine._options.poller._poll_fds = lambda seconds: poll(seconds) or timed_out.append(seconds) or []
    return timed_out


def test_output_goes_to_our_streams_and_opens_no_file(extra) -> None:
    made, reports = extra(program("sh -c 'echo out; echo err >&2'", "startsecs=0\n"))
    made.until(lambda: bool(reports.exited))
    assert (made.output(), made.err_path.read_text()) == ("out\n", "err\n")
    config = processes(made)[0].config
    assert (config.stdout_logfile, config.stderr_logfile) == tuple(
        made.engine._options.context.log_files[key].path for key in made.engine._options.context.log_files
    )


@pytest.mark.parametrize("how", ["redirect_stderr=true\n", ""])
def test_stderr_can_go_to_stdout(extra, how: str) -> None:
    text = program("sh -c 'echo err >&2'", f"startsecs=0\n{how}")
    made, reports = extra(text if how else text.replace("stderr_logfile=/dev/stderr", "stderr_logfile=/dev/stdout"))
    made.until(lambda: bool(reports.exited))
    assert made.output() == "err\n"


def test_output_into_a_file_is_left_to_supervisord(extra, tmp_path) -> None:
    text = program("echo filed", "startsecs=0\n").replace("/dev/stdout", str(tmp_path / "log"))
    made, reports = extra(text)
    made.until(lambda: bool(reports.exited))
    assert (made.output(), (tmp_path / "log").read_text()) == ("", "filed\n")


def test_sigusr2_reopens_a_moved_log_file(extra, tmp_path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    os.mkfifo(gate)
    text = program(f"sh -c 'echo before; head -n 1 {gate}'", "startsecs=0\n").replace("/dev/stdout", str(log))
    made, reports = extra(text)

    def step() -> bool:
        if log.exists() and log.read_text() == "before\n" and not (tmp_path / "moved").exists():
            log.rename(tmp_path / "moved")
            os.kill(os.getpid(), signal.SIGUSR2)
        elif made.owner.signals == [signal.SIGUSR2] and not reports.exited and log.exists():
            os.write(writer, b"after\n")
            made.owner.signals.clear()
        return bool(reports.exited)

    writer = os.open(gate, os.O_RDWR)
    made.until(step)
    os.close(writer)
    assert ((tmp_path / "moved").read_text(), log.read_text()) == ("before\n", "after\n")


def test_last_output_arrives_although_our_stream_is_full(extra) -> None:
    made, reports = extra(program("sh -c 'head -c 60000 /dev/zero'", "startsecs=0\n"))
    sink = made.engine._options.context.streams.out
    sink._limit = 0  # full from the beginning
    made.until(lambda: bool(reports.exited))
    assert len(made.output()) == 60000


def test_each_start_and_exit_is_reported(extra) -> None:
    made, reports = extra(program("sh -c 'exit 3'", "startsecs=0\nautorestart=false\n"))
    made.until(lambda: bool(reports.gave_up))
    (ended,) = reports.exited
    assert reports.started == ["x"]
    assert (ended.name, ended.program, os.WEXITSTATUS(ended.status), ended.stop_requested) == ("x", "x", 3, False)
    assert os.WEXITSTATUS(reports.gave_up[0].status) == 3
    assert reports.changes


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
def test_gives_up_only_when_no_restart_follows(extra, command: str, rule: str, ends: bool) -> None:
    made, reports = extra(program(command, f"startsecs=0\n{rule}\n"))
    made.until(lambda: bool(reports.gave_up) or len(reports.exited) == 3)
    assert (len(reports.exited), len(reports.gave_up)) == ((1, 1) if ends else (3, 0))


def test_restarts_need_no_poll_timeout(extra) -> None:
    # supervisord itself polls once a second
    made, reports = extra(
        program("false", "startsecs=0\nautorestart=true\n", "a") + program("false", "startretries=0\n")
    )
    timed_out = timed_out_polls(made)
    made.until(lambda: len(reports.exited) > 5 and bool(reports.gave_up))
    assert max(timed_out, default=0.0) < 0.5


def test_giving_up_a_failed_start_has_no_status(extra) -> None:
    made, reports = extra(program("no-such-command", "startretries=0\n"))
    made.until(lambda: bool(reports.gave_up))
    assert reports.gave_up == [ExtraProgramExit("x", "x", 0, None, "can't find command 'no-such-command'")]


def test_nothing_is_restarted_while_everything_stops(extra) -> None:
    made, reports = extra(program("sleep 1000", "startsecs=0\nautorestart=true\n"))

    def step() -> bool:
        made.engine.wakeup.wake()
        if made.owner.turns == 2:
            made.engine.begin_stopping()
            os.kill(processes(made)[0].pid, signal.SIGKILL)
        return bool(reports.exited) and made.owner.turns > 100

    made.until(step)
    assert reports.started == ["x"]


def test_requested_stop_is_marked(extra) -> None:
    made, reports = extra(program("sleep 1000", "startsecs=0\n"))
    made.owner.at_exit = lambda run: None

    def step() -> bool:
        if made.owner.turns == 2:
            made.engine.stop_extra(999, 5.0)
        return bool(reports.exited)

    made.until(step)
    assert [(ended.stop_requested, ended.status) for ended in reports.exited] == [(True, signal.SIGTERM)]
    assert reports.gave_up == []


def test_stubborn_program_is_killed_right_at_the_timeout(extra) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    made, reports = extra(program(f'{python("")[0]} -c "{code}"', "startsecs=0\nstopwaitsecs=1000\n"))
    timed_out: list[list[float]] = []

    def step() -> bool:
        if made.output() == "up\n" and not timed_out:
            timed_out.append(timed_out_polls(made))
            made.engine.stop_extra(999, 0.3)
        return bool(reports.exited)

    made.until(step)
    assert reports.exited[0].status == signal.SIGKILL
    assert max(timed_out[0]) < 0.5


def test_children_inherit_nothing_of_ours(extra, monkeypatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_FDS", "1")
    code = (
        "import os, signal; print(sorted(os.listdir('/proc/self/fd'))[:3], os.environ.get('NOTIFY_SOCKET'), "
        "os.environ.get('LISTEN_FDS'), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), os.path.exists('/proc/self/fd/4'))"
    )
    made, reports = extra(program(f'{python("")[0]} -c "{code}"', "startsecs=0\n"))
    made.until(lambda: bool(reports.exited))
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


def test_event_listeners_hear_of_all_programs(bench: Make, tmp_path) -> None:
    (tmp_path / "listener.py").write_text(LISTENER)
    text = (
        f"\n[eventlistener:listener]\ncommand={python('')[0]} {tmp_path}/listener.py\nstartsecs=0\n"
        "events=PROCESS_STATE_EXITED\nstdout_logfile=NONE\nstderr_logfile=/dev/stderr\n"
    )
    made = bench({"model-server": ["true"]}, text + program("true", "startsecs=0\n"))
    made.owner.begin = lambda: made.start("model-server") and None
    made.until(lambda: made.err_path.read_text().count("\n") == 2)
    assert set(made.err_path.read_text().splitlines()) == {
        "PROCESS_STATE_EXITED processname:model-server",
        "PROCESS_STATE_EXITED processname:x",
    }


def test_capture_mode_removes_the_captured_output(extra, tmp_path) -> None:
    said = "before <!--XSUPERVISOR:BEGIN-->captured<!--XSUPERVISOR:END--> after"
    made, reports = extra(program(f"echo '{said}'", "startsecs=0\nstdout_capture_maxbytes=1KB\n"))
    made.until(lambda: bool(reports.exited))
    assert made.output() == "before  after\n"


def test_line_prefix_is_the_name_supervisorctl_shows(extra) -> None:
    made, reports = extra(program("printf one", "startsecs=0\n") + "[group:all]\nprograms=x\n")
    object.__setattr__(made.engine._options.context.streams, "line_format", prefixed)
    made.until(lambda: bool(reports.exited))
    assert made.output() == "all:x | one\n"
