import os
import signal

from drum_supervisor.supervise.engine import prctl
from tests.unit.processes import died_of
from tests.unit.resources.test_proctree import NO_SUCH_PID


class TestDieWithParent:
    def test_child_is_signaled_when_the_parent_is_killed(self, spawner, in_child):
        reading, writing = os.pipe()

        def parent() -> int:
            supervisor = os.getpid()
            pid = os.fork()
            if pid == 0:
                prctl.die_with_parent(supervisor)
                os.write(writing, b"asked")
                while True:
                    signal.pause()
            os.read(reading, 5)
            return pid  # and dies

        pid = in_child(parent)
        os.close(reading)
        os.close(writing)
        assert died_of(pid) == signal.SIGTERM

    def test_child_is_signaled_at_once_if_the_parent_is_dead(self, spawner):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            prctl.die_with_parent(NO_SUCH_PID)
            os._exit(0)
        assert died_of(pid) == signal.SIGTERM
