"""The termination message: emptied at the start, cut to what the kubelet keeps."""

from pathlib import Path

import pytest

from drum_supervisor.supervise.termination_message import MAX_MESSAGE_BYTES, TerminationLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "termination-log").write_text("why the previous container ended")
    return tmp_path / "termination-log"


def test_is_emptied_at_the_start(path):
    TerminationLog(path)
    assert path.read_text() == ""


@pytest.mark.parametrize("character", ["x", "ä", "€", "😀", "\udcff"])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_long_message_is_cut_between_characters(path, character, before):
    """The API server refuses the status of a pod that is not valid UTF-8."""
    TerminationLog(path).write(before + character * MAX_MESSAGE_BYTES)
    written = path.read_bytes()
    assert MAX_MESSAGE_BYTES - 4 < len(written) <= MAX_MESSAGE_BYTES
    assert written.decode("utf-8").startswith(before)


def test_short_message_is_written_as_a_whole(path):
    TerminationLog(path).write("initialization failed: Gewichte fehlen für Größe")
    assert path.read_text(encoding="utf-8") == "initialization failed: Gewichte fehlen für Größe"


def test_missing_file_is_not_created(tmp_path):
    TerminationLog(tmp_path / "none").write("x")
    assert not (tmp_path / "none").exists()
