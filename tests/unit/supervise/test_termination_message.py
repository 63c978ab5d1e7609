"""The termination message: emptied at the start, cut to what the kubelet keeps."""

from pathlib import Path

import pytest

from drum_supervisor.supervise.termination_message import LONGEST_TERMINATION_MESSAGE, TerminationLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "termination-log").write_text("why the container before has ended")
    return tmp_path / "termination-log"


def test_is_emptied_at_the_start(path):
    TerminationLog(path)
    assert path.read_text() == ""


@pytest.mark.parametrize("character", ["x", "ä", "€", "😀", "\udcff"])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_is_at_most_so_long_and_stays_readable(path, character, before):
    """The API server refuses the status of a pod that is not valid UTF-8."""
    TerminationLog(path).write(before + character * LONGEST_TERMINATION_MESSAGE)
    written = path.read_bytes()
    assert LONGEST_TERMINATION_MESSAGE - 4 < len(written) <= LONGEST_TERMINATION_MESSAGE
    assert written.decode("utf-8").startswith(before)


def test_a_short_one_is_whole(path):
    TerminationLog(path).write("initialization failed: Gewichte fehlen für Größe")
    assert path.read_text(encoding="utf-8") == "initialization failed: Gewichte fehlen für Größe"


def test_is_not_made_where_there_is_none(tmp_path):
    TerminationLog(tmp_path / "none").write("x")
    assert not (tmp_path / "none").exists()
