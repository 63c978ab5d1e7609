import asyncio
import logging
import subprocess
import sys
import threading

import pytest

from drum_supervisor.request_state import NO_REQUEST, RequestIdFilter, RequestState, current_request, handling
from tests.support import TIMEOUT


def state(**headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestState.from_headers("POST", "/predict", given, new_request_id=lambda: "new", now=lambda: 12.5)


def test_state_is_read_from_method_route_and_headers():
    headers = {
        "x-request-id": " abc-1 ",
        "content-length": "42",
        "content-type": "text/csv",
        "x-datarobot-consumer-id": "c1",
        "x-datarobot-consumer-type": "deployment",
    }
    assert RequestState.from_headers("POST", "/predict", headers, now=lambda: 12.5) == RequestState(
        request_id="abc-1",
        route="/predict",
        method="POST",
        started=12.5,
        content_length=42,
        consumer_headers={"x-datarobot-consumer-id": "c1", "x-datarobot-consumer-type": "deployment"},
    )


def test_state_without_headers_has_only_a_new_id():
    assert state() == RequestState("new", "/predict", "POST", 12.5)


@pytest.mark.parametrize("given", ["", " ", "two\nlines", "\x1b[31m", "ü", "x" * 129])
def test_unsafe_id_is_replaced(given):
    assert state(x_request_id=given).request_id == "new"


def test_new_ids_differ():
    assert RequestState.from_headers("GET", "", {}).request_id != RequestState.from_headers("GET", "", {}).request_id


@pytest.mark.parametrize("given", ["", "-1", "1e3", "1_000", "٣", "9" * 5000])
def test_invalid_length_is_unknown(given):
    assert state(content_length=given).content_length is None


def test_no_current_request_outside_of_one():
    assert current_request() is None
    with handling(state()) as current:
        assert current_request() is current
    assert current_request() is None


def test_current_request_ends_when_its_handling_raises():
    with pytest.raises(ValueError, match="bad"), handling(state()):
        raise ValueError("bad")
    assert current_request() is None


def test_tasks_and_their_threads_have_separate_requests():
    async def request(request_id, mine, other):
        with handling(state(x_request_id=request_id)):
            mine.set()
            await other.wait()
            found = await asyncio.to_thread(current_request)
            return found and found.request_id

    async def serve():
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(request("1", one, two), request("2", two, one))

    assert asyncio.run(serve()) == ["1", "2"]


def test_unrelated_thread_has_no_request():
    found = [current_request()]
    thread = threading.Thread(target=lambda: found.append(current_request()))
    with handling(state()):
        thread.start()
        thread.join(TIMEOUT)
    assert found == [None, None]


@pytest.fixture
def lines():
    """Lines logged below `test_request_state`, after their request id."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Handler()
    handler.setFormatter(logging.Formatter("%(request_id)s %(message)s"))
    handler.addFilter(RequestIdFilter())
    logger = logging.getLogger("test_request_state")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_log_lines_have_the_request_id(lines):
    logger = logging.getLogger("test_request_state.of_the_user")
    logger.error("before")
    with handling(state(x_request_id="abc")):
        logger.error("during")
        logger.error("on behalf of another", extra={"request_id": "xyz"})
    logger.error("after")
    assert lines == [f"{NO_REQUEST} before", "abc during", "xyz on behalf of another", f"{NO_REQUEST} after"]


def test_forked_workers_generate_different_ids():
    program = (
        "import os\n"
        "from drum_supervisor.request_state import RequestState\n"
        "child = os.fork()\n"
        "line = RequestState.from_headers('GET', '', {}).request_id + '\\n'\n"
        "os.write(1, line.encode())\n"
        "if child: os.waitpid(child, 0)\n"
    )
    ids = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(ids)) == 2
    assert all(len(each) == 32 for each in ids)
