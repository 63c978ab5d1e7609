"""Finding orphans, with real processes."""

import os
import signal

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.event_loop import Orphans
from tests.unit.processes import DAEMON, NAME


def test_orphans_have_the_name_of_their_program(spawner):
    first = spawner.orphan(DAEMON, {NAME: "model-server"})
    second = spawner.orphan(DAEMON, {NAME: "error-server"})
    assert spawner.orphans() == {first.pid: "model-server", second.pid: "error-server"}


def test_orphan_that_forked_twice_is_found(spawner, tmp_path):
    (tmp_path / "again").write_text("echo $$; read line")
    # it waits: the shell that started it could reap it if it ended at once
    daemon = spawner.orphan(f"echo up; setsid sh {tmp_path}/again <&3 & read line", {NAME: "model-server"})
    again = int(daemon.line())
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.died_of()
    assert spawner.orphans() == {again: "model-server"}


def test_orphan_with_cleared_environment_has_no_name(spawner):
    daemon = spawner.orphan(DAEMON, {NAME: "model-server"}, scrub="env -i PATH=$PATH")
    assert spawner.orphans() == {daemon.pid: ""}


def test_started_process_is_not_an_orphan(spawner):
    process = spawner.start("echo up; read line", {NAME: "model-server"})
    spawner.line(process)
    assert spawner.orphans() == {}


def test_dead_orphan_is_left_out(spawner):
    daemon = spawner.orphan("echo up; read line; exit 7", {NAME: "model-server"})
    daemon.process.stdin.close()  # only now is it ours: a shell that still lived would have reaped it
    os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
    assert proctree.is_zombie(daemon.pid)
    assert spawner.orphans() == {}
    assert daemon.died_of() == -7


def test_orphan_keeps_its_name_when_its_environment_changes(spawner, tmp_path):
    (tmp_path / "scrubbed").write_text("echo scrubbed; read line")
    daemon = spawner.orphan(f"echo up; read line; exec env -i sh {tmp_path}/scrubbed", {NAME: "model-server"})
    orphans = Orphans()
    assert orphans.find(spawner.known) == {daemon.pid: "model-server"}
    daemon.process.stdin.write("go on\n")
    daemon.process.stdin.flush()
    assert daemon.line() == "scrubbed"
    assert orphans.find(spawner.known) == {daemon.pid: "model-server"}
    orphans.forget(daemon.pid)
    assert orphans.find(spawner.known) == {daemon.pid: ""}
