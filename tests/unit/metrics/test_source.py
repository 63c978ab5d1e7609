"""Asking the supervisor seldom, and saying so when it does not answer."""

import socket
import threading
from pathlib import Path
from xmlrpc.client import Fault, dumps

import pytest

from drum_supervisor.metrics.source import SHORTEST_LIFE, ControlSocket, NoFiguresError, Source
from tests.support import TIMEOUT
from tests.unit.metric_figures import answer


class Supervisor:
    """Counts who asks; fails when it is told to."""

    def __init__(self):
        self.now, self.asked, self.fails = 100.0, 0, False
        self.source = Source(self.ask, lambda pids: [], lambda: self.now)

    def ask(self, max_age):
        self.asked += 1
        if self.fails:
            raise NoFiguresError("It is busy.")
        return answer()


@pytest.fixture
def supervisor():
    return Supervisor()


def test_those_who_ask_at_the_same_time_cost_one_question(supervisor):
    assert supervisor.source.figures() is supervisor.source.figures()
    assert supervisor.asked == 1


def test_figures_get_old(supervisor):
    first = supervisor.source.figures()
    supervisor.now += SHORTEST_LIFE
    assert supervisor.source.figures() is not first
    assert supervisor.asked == 2


def test_failure_is_told_to_all_who_ask_and_forgotten_as_soon(supervisor):
    supervisor.fails = True
    for _ in range(3):
        with pytest.raises(NoFiguresError, match=r"^It is busy\.$"):
            supervisor.source.figures()
    assert supervisor.asked == 1
    supervisor.now += SHORTEST_LIFE
    supervisor.fails = False
    assert supervisor.source.figures().service["phase"] == "serving"


def test_old_figures_are_not_told_in_place_of_new_ones(supervisor):
    supervisor.source.figures()
    supervisor.now += SHORTEST_LIFE
    supervisor.fails = True
    with pytest.raises(NoFiguresError):
        supervisor.source.figures()


class TestControlSocket:
    def test_nobody_there(self, tmp_path):
        with pytest.raises(NoFiguresError, match=r"^The supervisor does not answer: .*No such file or directory\.$"):
            ControlSocket(tmp_path / "supervisor.sock").metrics(0.5)

    def test_one_that_hangs(self, listener):
        with pytest.raises(NoFiguresError, match=r"^The supervisor did not answer within 0\.1 s\.$"):
            ControlSocket(Path(listener.getsockname()), timeout=0.1).metrics(0.5)

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"nonsense\r\n\r\n",
            b"HTTP/1.0 500 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n<xml>",
            b"HTTP/1.0 200 OK\r\n\r\n" + dumps(("no JSON",), methodresponse=True).encode(),
            b"HTTP/1.0 200 OK\r\n\r\n" + dumps(Fault(1, "UNKNOWN_METHOD")).encode(),
        ],
    )
    def test_one_that_speaks_in_tongues(self, listener, said):
        def speak():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(NoFiguresError, match="The supervisor does not answer: "):
            ControlSocket(Path(listener.getsockname())).metrics(0.5)
        thread.join(TIMEOUT)


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "supervisor.sock"))
        bound.listen()
        yield bound
