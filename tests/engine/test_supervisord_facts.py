"""Facts about supervisord 4.3.0. A newer release that behaves differently fails here.

A `trap` shows a behaviour of supervisord itself that one of our overrides corrects: when it fails, the override is no
longer needed. The other tests show that the engine is right where supervisord is not.
"""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from supervisor import events
from supervisor.options import ProcessConfig, ServerOptions
from supervisor.process import Subprocess
from supervisor.states import ProcessStates
from supervisor.supervisord import Supervisor

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.event_loop import Orphans
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.output.log import Log
from tests.engine.conftest import Bench, open_descriptors, python
from tests.support import until

Make = Callable[[dict[str, list[str]]], Bench]
PLAIN = "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n"


def plain_options(extra: str = "", first: bool = True) -> ServerOptions:
    options = ServerOptions()
    options.configfile = StringIO(PLAIN + extra)
    options.realize(args=["--silent"], progname="plain")
    options.first = first
    options.logger = Log(lambda line: None)
    return options


def plain_process(command: str, extra: str = "") -> tuple[ServerOptions, Subprocess]:
    options = plain_options(f"[program:x]\ncommand={command}\n{extra}stdout_logfile=NONE\nstderr_logfile=NONE\n")
    process = options.process_group_configs[0].make_group().processes["x"]
    return options, process


def reap(options: ServerOptions, process: Subprocess) -> None:
    """Wait for the process and report its exit to supervisord as its loop does."""
    pid, status = os.waitpid(process.pid, 0)
    process.finish(pid, status)


def test_fact_1_configuration_may_be_a_string_in_memory() -> None:
    assert plain_options("[program:x]\ncommand=true\n").process_group_configs[0].name == "x"


def test_fact_2_trap_subscriptions_made_before_run_are_lost() -> None:
    heard: list[object] = []

    class Ending(Supervisor):  # type: ignore[misc]
        def runforever(self) -> None:
            events.notify(events.SupervisorRunningEvent())

    options = plain_options("pidfile=/dev/null\n")
    options.unlink_pidfile = False
    options.write_pidfile = lambda: None
    options.setsignals = lambda: None
    events.subscribe(events.SupervisorRunningEvent, heard.append)
    Ending(options).run()
    assert heard == []


def test_fact_3_trap_early_exit_loses_its_status() -> None:
    options, process = plain_process("sh -c 'exit 7'", "startsecs=100\n")
    process.spawn()
    reap(options, process)
    assert (process.state, process.exitstatus) == (ProcessStates.BACKOFF, None)


def test_fact_3_engine_knows_status_and_signal_of_every_exit(bench: Make) -> None:
    made = bench({"exits": ["sh", "-c", "exit 7"], "dies": ["sh", "-c", "kill -SEGV $$"]})
    made.owner.begin = lambda: [made.start(name) for name in made.programs] and None
    made.until(lambda: len(made.owner.exits) == 2)
    statuses = {run.program.name: run.status or 0 for run in made.owner.exits}
    assert os.WEXITSTATUS(statuses["exits"]) == 7
    assert os.WTERMSIG(statuses["dies"]) == signal.SIGSEGV
    assert all(run.peak_memory_bytes for run in made.owner.exits)


def test_fact_4_trap_no_program_starts_in_an_event_callback() -> None:
    options, process = plain_process("true", "startsecs=0\n")
    results: list[object] = []
    process.spawn()
    process.transition()

    def again(event: object) -> None:
        results.append(process.spawn())

    events.subscribe(events.ProcessStateExitedEvent, again)
    try:
        reap(options, process)
    finally:
        events.unsubscribe(events.ProcessStateExitedEvent, again)
    assert results == [None]
    assert process.pid == 0


def test_fact_4_program_can_start_again_in_on_exit(bench: Make) -> None:
    made = bench({"x": ["true"]})
    made.owner.begin = lambda: made.start("x") and None
    made.owner.at_exit = lambda run: made.start("x") and None if len(made.owner.exits) < 3 else None
    made.until(lambda: len(made.owner.exits) == 3)
    assert len({run.pid for run in made.owner.exits}) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2])
def test_fact_5_signals_exits_and_first_start_wake_the_loop(bench: Make, number: int) -> None:
    made = bench({"x": python(f"import os; os.kill({os.getpid()}, {int(number)})")})
    idle = []
    poll = made.engine._options.poller._poll_fds
    made.engine._options.poller._poll_fds = lambda seconds: poll(seconds) or idle.append(seconds) or []
    made.owner.begin = lambda: made.start("x") and None
    made.until(lambda: bool(made.owner.exits) and made.owner.signals == [number])
    assert idle == []


def test_fact_5_simultaneous_signals_are_seen_in_one_turn(bench: Make) -> None:
    made = bench({})
    seen: list[list[int]] = []

    def begin() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM):
            os.kill(os.getpid(), number)

    made.owner.begin = begin
    made.owner.step = lambda: None
    made.until(lambda: seen.append(list(made.owner.signals)) is None and len(made.owner.signals) == 3)
    assert [len(signals) for signals in seen][:-1].count(1) == 0


def test_fact_6_all_programs_stop_in_the_same_turn(bench: Make) -> None:
    made = bench({name: ["sleep", "1000"] for name in "abc"})
    made.owner.begin = lambda: [made.start(name) for name in made.programs] and None
    stopped_in: list[int] = []

    def step() -> None:
        if made.owner.turns == 2:
            for name in made.programs:
                made.engine.stop(name, 5)
            stopped_in.append(made.owner.turns)
            assert {made.engine._process(name).state for name in made.programs} == {ProcessStates.STOPPING}
        if len(made.owner.exits) == 3:
            made.engine.end()

    made.owner.step = step
    made.run()
    assert stopped_in == [2]
    assert all(run.stop_requested for run in made.owner.exits)


PRINTS_ITS_FDS = """
import json, os, socket, stat
fds = sorted(int(n) for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}'))
listener = socket.socket(fileno=3)
print(json.dumps({
    'fds': fds, 'port': listener.getsockname()[1], 'blocking': os.get_blocking(3),
    'pid': os.getpid() == int(os.environ['LISTEN_PID']), 'count': os.environ['LISTEN_FDS'],
    'report': os.environ['DRUM_SUPERVISOR_REPORT_FD'], 'stdin': os.readlink('/proc/self/fd/0'),
}))
os.write(4, b'{"kind": "ready"}\\n')
"""


def test_fact_7_child_gets_only_listener_and_report_pipe(bench: Make, tmp_path: Path) -> None:
    made = bench({"x": python(PRINTS_ITS_FDS)})
    leaked = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        made.owner.begin = lambda: made.start("x", listener.fileno()) and None
        made.until(lambda: bool(made.owner.exits))
        port = listener.getsockname()[1]
    for fd in leaked:
        os.close(fd)
    said = json.loads(made.output())
    assert said.pop("fds")[:5] == [0, 1, 2, 3, 4]
    assert said == {
        "port": port, "blocking": False, "pid": True, "count": "1", "report": "4", "stdin": "/dev/null",
    }  # fmt: skip
    assert made.owner.lines == [b'{"kind": "ready"}']


def test_fact_7_child_without_listener_has_no_listen_variables(bench: Make) -> None:
    made = bench(
        {"x": python("import os; print([n for n in os.environ if n.startswith('LISTEN_')], end=''); os.fstat(4)")}
    )
    made.owner.begin = lambda: made.start("x") and None
    made.until(lambda: bool(made.owner.exits))
    assert (made.output(), made.owner.exits[0].status) == ("[]", 0)


def test_fact_7_trap_supervisord_closes_all_fds_above_2() -> None:
    assert "for i in range(3, options.minfds)" in Path(sys.modules[Subprocess.__module__].__file__ or "").read_text()


@pytest.mark.parametrize("argument", ["100%", "%(x)s", "a ; b", "# c", "two\nlines", "'\"", "ü", "", "{}"])
def test_fact_8_every_argument_arrives_unchanged(bench: Make, argument: str) -> None:
    made = bench({"x": [*python("import sys; sys.stdout.write(repr(sys.argv[1]))"), argument]})
    made.owner.begin = lambda: made.start("x") and None
    made.until(lambda: bool(made.owner.exits))
    assert made.output() == repr(argument)


def test_fact_9_trap_setsid_child_survives_the_group_kill(bench: Make) -> None:
    script = (
        "import os, subprocess\nprint(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True)\n"
    )
    made = bench({"x": python(script + "import signal; os.write(4, b'up\\n'); signal.pause()")})
    made.owner.begin = lambda: made.start("x") and None

    def step() -> None:
        if made.owner.lines and not made.owner.exits:
            made.engine.stop("x", 5)
        if made.owner.exits:
            made.engine.end()

    made.owner.step = step
    made.run()
    survivor = int(made.output())
    try:  # during its exec its environment cannot be read
        until(lambda: Orphans().find([]) == {survivor: "x"})
    finally:
        os.kill(survivor, signal.SIGKILL)
        os.waitpid(survivor, 0)


def test_fact_10_trap_supervisord_ends_without_an_exit_code() -> None:
    source = Path(sys.modules[Supervisor.__module__].__file__ or "").read_text()
    assert "sys.exit" not in source


def test_fact_11_trap_dev_stdout_cannot_be_opened_on_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(["sh", "-c", "exec 2>/dev/null; : > /dev/stdout"], stdout=theirs.fileno(), check=False)
    assert done.returncode != 0


def test_fact_12_three_hundred_children_are_reaped_in_one_turn(bench: Make) -> None:
    made = bench({})
    pids = []
    for _ in range(300):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    made.until(lambda: True)
    assert proctree.children(os.getpid()) == []


def test_fact_12_trap_supervisord_reaps_at_most_a_hundred() -> None:
    assert "recursionguard == 100" in Path(sys.modules[Supervisor.__module__].__file__ or "").read_text()


def test_fact_13_every_supervisord_line_has_our_format(bench: Make) -> None:
    made = bench({"x": ["true"], "y": ["/nonexistent"]})
    made.owner.begin = lambda: [made.start(name) for name in made.programs] and None
    made.until(lambda: bool(made.owner.exits))
    form = re.compile(rb"^[-0-9T:.]+Z (DEBUG  |INFO   |WARNING|ERROR  ) drum-supervise: .+\n$")
    assert made.log_lines
    assert all(form.match(line) for line in made.log_lines)


def test_failed_spawn_is_reported_and_the_engine_goes_on(bench: Make) -> None:
    made = bench({"x": ["no-such-command"], "y": ["/etc/passwd"], "z": ["true"]})
    runs = []
    made.owner.begin = lambda: runs.extend(made.start(name) for name in made.programs)
    made.until(lambda: bool(made.owner.exits))
    assert runs[0].spawn_error == "can't find command 'no-such-command' in PATH"
    assert "not executable" in runs[1].spawn_error
    assert [run.spawn_error for run in runs[2:]] == [""]
    assert [run.is_command_unusable for run in runs] == [True, True, False]


def test_failed_fork_says_nothing_about_the_command(bench: Make, monkeypatch) -> None:
    made = bench({"command": ["true"]})
    runs = []

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(made.engine._options, "fork", refuse)
    made.owner.begin = lambda: runs.append(made.start("command"))
    made.until(lambda: bool(runs))
    assert runs[0].spawn_error == "Too many processes in process table to spawn 'command'"
    assert not runs[0].is_command_unusable


def test_stop_right_after_start_is_never_lost(bench: Make) -> None:
    # between fork and exec supervisord's own handler would swallow a SIGTERM in the child
    made = bench({"x": ["sleep", "1000"]})

    def again(run: object = None) -> None:
        if len(made.owner.exits) < 50:
            made.start("x")
            made.engine.stop("x", 1000)

    made.owner.begin = again
    made.owner.at_exit = again
    made.until(lambda: len(made.owner.exits) == 50)
    assert {run.status for run in made.owner.exits} == {signal.SIGTERM}


def test_output_before_an_exit_arrives_whole(bench: Make) -> None:
    made = bench(
        {
            "x": python(
                "import os; os.write(1, b'x' * 60000); os.write(2, b'y' * 60000); os.write(4, b'last\\n'); os._exit(1)"
            )
        }
    )
    made.owner.begin = lambda: made.start("x") and None
    made.until(lambda: bool(made.owner.exits))
    assert (len(made.output()), made.err_path.stat().st_size) == (60000, 60000)
    assert made.owner.lines == [b"last"]


def test_engine_leaves_no_fd_and_no_signal_handler(bench: Make) -> None:
    made = bench({"x": ["true"]})
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)]
    before = open_descriptors()
    made.owner.begin = lambda: made.start("x") and None
    made.until(lambda: bool(made.owner.exits))
    assert open_descriptors() <= before
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)] == handlers


def test_control_socket_is_private_to_this_user(bench: Make, tmp_path: Path) -> None:
    made = bench({})
    modes: list[int] = []
    made.owner.begin = lambda: modes.append(RunDir(tmp_path).socket.stat().st_mode & 0o777)
    made.until(lambda: True)
    assert modes == [0o600]


def test_supervisord_still_has_the_methods_we_override() -> None:
    assert {"make_process", "make_dispatchers"} <= set(vars(ProcessConfig))
    assert {"finish", "drain", "get_execv_args", "_prepare_child_fds"} <= set(vars(Subprocess))
