import re
import socket
import threading
from pathlib import Path
from xmlrpc.client import Fault, dumps

import pytest

from drum_supervisor.contract.control_client import ControlClient, ControlError
from tests.support import TIMEOUT


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "supervisor.sock"))
        bound.listen()
        yield bound


def test_missing_socket(tmp_path):
    path = tmp_path / "supervisor.sock"
    with pytest.raises(ControlError) as caught:
        ControlClient(path).status()
    assert str(caught.value) == f"No supervisor answers at {path}: [Errno 2] No such file or directory."


def test_supervisor_that_hangs(listener):
    with pytest.raises(ControlError, match=r"^The supervisor did not answer within 0\.1 s\.$"):
        ControlClient(Path(listener.getsockname()), timeout=0.1).status()


OK = b"HTTP/1.0 200 OK\r\n"


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"", "No supervisor answers at PATH: Remote end closed connection without response."),
        (b"nonsense\r\n\r\n", "No supervisor answers at PATH: nonsense\r\n."),
        (
            b"HTTP/1.0 500 No\r\nContent-Length: 0\r\n\r\n",
            "No supervisor answers at PATH: <ProtocolError for localhost/RPC2: 500 No>.",
        ),
        (
            OK + b"Content-Length: 5\r\n\r\n<xml>",
            "No supervisor answers at PATH: no element found: line 1, column 5.",
        ),
        (OK + b"\r\n", "No supervisor answers at PATH: no element found: line 1, column 0."),
        (
            OK + b"\r\n" + dumps(("no JSON",), methodresponse=True).encode(),
            "The supervisor at PATH sent an invalid answer: Expecting value: line 1 column 1 (char 0).",
        ),
        (OK + b"\r\n" + dumps(Fault(1, "UNKNOWN_METHOD")).encode(), "The supervisor refused: UNKNOWN_METHOD."),
    ],
)
def test_invalid_response(listener, response, error):
    def serve():
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"</methodCall>" not in request:  # closing with unread data would reset the connection
                request += connection.recv(65536)
            connection.sendall(response)

    thread = threading.Thread(target=serve)
    thread.start()
    path = Path(listener.getsockname())
    with pytest.raises(ControlError, match=f"^{re.escape(error.replace('PATH', str(path)))}$"):
        ControlClient(path).status()
    thread.join(TIMEOUT)
