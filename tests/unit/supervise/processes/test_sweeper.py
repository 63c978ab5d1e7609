"""Orphans are found, get TERM, then KILL, and are awaited."""

import signal
from collections.abc import Iterator

import pytest

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.processes.sweeper import EVERYTHING, Sweeper
from tests.unit.processes import DAEMON, FOR_EVER, NAME, STUBBORN, Spawner, adopt, died_of

MODEL = {NAME: "model-server"}


class World:
    """Real processes, and a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.spawner = Spawner()
        self.timers = Timers(lambda: self.now)
        self.sweeper = Sweeper(self.spawner.orphans, self.timers, timeout=25.0)

    def turn(self) -> None:
        self.timers.ring()
        self.sweeper.advance()

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.turn()


@pytest.fixture
def world() -> Iterator[World]:
    adopt(orphans=True)
    made = World()
    yield made
    made.spawner.end()
    adopt(orphans=False)


def test_without_orphans_sweeping_ends_on_the_next_turn(world):
    world.sweeper.sweep("model-server")
    assert world.sweeper.is_sweeping("model-server")
    world.turn()
    assert not world.sweeper.is_sweeping("model-server")


def test_daemon_gets_term_and_is_awaited(world):
    daemon = world.spawner.orphan(DAEMON, MODEL)
    world.sweeper.sweep("model-server")
    world.turn()
    assert world.sweeper.is_sweeping("model-server")
    assert daemon.died_of() == signal.SIGTERM
    world.turn()
    assert not world.sweeper.is_sweeping("model-server")
    assert world.timers.seconds_left() == float("inf")


def test_stubborn_daemon_is_killed_after_the_timeout(world):
    daemon = world.spawner.orphan(STUBBORN, MODEL)
    world.sweeper.sweep("model-server")
    world.turn()
    world.pass_by(24.9)
    assert world.sweeper.is_sweeping("model-server")
    assert daemon.pid in world.spawner.orphans()
    world.pass_by(0.2)
    assert daemon.died_of() == signal.SIGKILL
    world.turn()
    assert not world.sweeper.is_sweeping("model-server")


def test_kill_is_repeated_while_orphans_are_left(world):
    world.spawner.orphan(STUBBORN, MODEL)
    world.sweeper.sweep("model-server")
    world.turn()
    world.now += 25
    world.timers.ring()
    assert world.timers.seconds_left() == 1.0


def test_children_of_a_daemon_get_term_too(world):
    daemon = world.spawner.orphan(f"{FOR_EVER} & echo up; echo $!; read line", MODEL)
    child = int(daemon.line())
    world.sweeper.sweep("model-server")
    world.turn()
    assert daemon.died_of() == signal.SIGTERM
    assert died_of(child) == signal.SIGTERM


def test_process_started_on_term_gets_term_too(world, tmp_path):
    (tmp_path / "late").write_text("echo $$; read line")
    daemon = world.spawner.orphan(f'trap "setsid sh {tmp_path}/late <&3 & exit" TERM; {DAEMON}', MODEL)
    world.sweeper.sweep("model-server")
    world.turn()
    late = int(daemon.line())
    daemon.died_of()
    world.turn()
    assert died_of(late) == signal.SIGTERM
    world.turn()
    assert not world.sweeper.is_sweeping("model-server")


def test_each_process_gets_term_once(world):
    process = world.spawner.start('trap "echo term" TERM; echo up; read line; read line; echo bye', MODEL)
    assert world.spawner.line(process) == "up"
    sweeper = Sweeper(lambda: {process.pid: "model-server"}, world.timers, 25.0)
    sweeper.sweep("model-server")
    for _ in range(5):
        sweeper.advance()
    assert world.spawner.line(process) == "term"
    process.stdin.write("\n\n")
    process.stdin.close()
    assert world.spawner.rest(process) == "bye\n"


def test_sweeping_again_keeps_the_timeout(world):
    daemon = world.spawner.orphan(STUBBORN, MODEL)
    world.sweeper.sweep("model-server")
    world.turn()
    world.pass_by(20)
    world.sweeper.sweep("model-server")
    world.turn()
    world.pass_by(5.1)
    assert daemon.died_of() == signal.SIGKILL


class TestBelonging:
    def test_daemon_of_another_program_is_spared(self, world):
        daemon = world.spawner.orphan(DAEMON, {NAME: "error-server"})
        world.sweeper.sweep("model-server")
        world.turn()
        assert not world.sweeper.is_sweeping("model-server")
        assert world.spawner.orphans() == {daemon.pid: "error-server"}

    @pytest.mark.parametrize("name", ["model-server", "model-server-2"])
    def test_daemon_without_a_name_belongs_to_the_model_server(self, world, name):
        daemon = world.spawner.orphan(DAEMON, MODEL, scrub="env -i PATH=$PATH")
        world.sweeper.sweep(name)
        world.turn()
        assert daemon.died_of() == signal.SIGTERM

    @pytest.mark.parametrize("name", ["error-server", "stand-in"])
    def test_daemon_without_a_name_belongs_to_no_other_program(self, world, name):
        daemon = world.spawner.orphan(DAEMON, MODEL, scrub="env -i PATH=$PATH")
        world.sweeper.sweep(name)
        world.turn()
        assert not world.sweeper.is_sweeping(name)
        assert world.spawner.orphans() == {daemon.pid: ""}

    def test_daemon_of_another_worker_is_spared(self, world):
        daemon = world.spawner.orphan(DAEMON, {NAME: "model-server-1"})
        world.sweeper.sweep("model-server-2")
        world.turn()
        assert world.spawner.orphans() == {daemon.pid: "model-server-1"}

    def test_everything_includes_all_daemons(self, world):
        daemons = [world.spawner.orphan(DAEMON, {NAME: name}) for name in ("model-server", "error-server", "users-own")]
        daemons.append(world.spawner.orphan(DAEMON, scrub="env -i PATH=$PATH"))
        world.sweeper.sweep(EVERYTHING)
        world.turn()
        assert [daemon.died_of() for daemon in daemons] == [signal.SIGTERM] * 4
        world.turn()
        assert not world.sweeper.is_sweeping(EVERYTHING)


class TestKill:
    def test_kills_swept_orphans_at_once(self, world):
        daemon = world.spawner.orphan(STUBBORN, MODEL)
        world.sweeper.sweep("model-server")
        world.turn()
        world.sweeper.kill()
        assert daemon.died_of() == signal.SIGKILL

    def test_spares_other_orphans(self, world):
        daemon = world.spawner.orphan(DAEMON, MODEL)
        world.sweeper.sweep("error-server")
        world.sweeper.kill()
        assert world.spawner.orphans() == {daemon.pid: "model-server"}
