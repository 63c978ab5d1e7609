"""What is left to us is found, and looked at once."""

import os

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.event_loop import Orphans
from tests.unit.processes import DAEMON, NAME


def test_orphans_are_the_daemons_of_our_programs_with_the_name_of_each(family):
    first = family.orphan(DAEMON, {NAME: "model-server"})
    second = family.orphan(DAEMON, {NAME: "error-server"})
    assert family.orphans() == {first.pid: "model-server", second.pid: "error-server"}


def test_orphans_that_forked_twice_are_found(family, tmp_path):
    (tmp_path / "again").write_text("echo $$; read line")
    daemon = family.orphan(f"echo up; setsid sh {tmp_path}/again <&3 &", {NAME: "model-server"})
    again = int(daemon.line())
    daemon.died_of()
    assert family.orphans() == {again: "model-server"}


def test_orphans_with_a_scrubbed_environment_have_no_name(family):
    daemon = family.orphan(DAEMON, {NAME: "model-server"}, scrub="env -i PATH=$PATH")
    assert family.orphans() == {daemon.pid: ""}


def test_orphans_are_not_those_that_we_started(family):
    process = family.start("echo up; read line", {NAME: "model-server"})
    family.line(process)
    assert family.orphans() == {}


def test_orphans_that_are_dead_are_left_out(family):
    daemon = family.orphan("echo up; read line; exit 7", {NAME: "model-server"})
    daemon.process.stdin.close()  # only now is it ours: a shell that still lived would have reaped it
    os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
    assert proctree.is_zombie(daemon.pid)
    assert family.orphans() == {}
    assert daemon.died_of() == -7


def test_orphans_keep_their_name_whatever_becomes_of_their_environment(family, tmp_path):
    (tmp_path / "scrubbed").write_text("echo scrubbed; read line")
    daemon = family.orphan(f"echo up; read line; exec env -i sh {tmp_path}/scrubbed", {NAME: "model-server"})
    orphans = Orphans()
    assert orphans.find(family.known) == {daemon.pid: "model-server"}
    daemon.process.stdin.write("go on\n")
    daemon.process.stdin.flush()
    assert daemon.line() == "scrubbed"
    assert orphans.find(family.known) == {daemon.pid: "model-server"}
    orphans.forget(daemon.pid)
    assert orphans.find(family.known) == {daemon.pid: ""}
