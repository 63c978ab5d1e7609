import json
import os
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import ClientStatus, ClientStatusFile

FAILED = ClientStatus(
    failed=True, stage="load_model", since=1.5, attempt=3, attempts_left=2, next_at=7.25, refused=True
)


def write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_status_round_trips(tmp_path):
    write(tmp_path / "situation.json", FAILED.to_json())
    assert ClientStatusFile(str(tmp_path / "situation.json"))() == FAILED


def test_missing_file_means_the_initial_status(tmp_path):
    assert ClientStatusFile(str(tmp_path / "situation.json"))() == ClientStatus()
    assert ClientStatusFile("")() == ClientStatus()


def test_changed_file_is_read_again(tmp_path):
    path = tmp_path / "situation.json"
    read = ClientStatusFile(str(path))
    for stage in ("init", "load", "warm"):  # of the same length
        write(path, ClientStatus(stage=stage).to_json())
        assert read().stage == stage


def test_unchanged_file_is_read_once(tmp_path):
    path = tmp_path / "situation.json"
    write(path, FAILED.to_json())
    read = ClientStatusFile(str(path))
    assert read() is read()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', "null"])
def test_invalid_file_leaves_the_last_status(tmp_path, text):
    path = tmp_path / "situation.json"
    write(path, FAILED.to_json())
    read = ClientStatusFile(str(path))
    read()
    write(path, text)
    assert read().stage == "load_model"
    path.unlink()
    assert read().stage == "load_model"
    write(path, json.dumps({"stage": "init"}))
    assert (read().stage, read().failed) == ("init", False)
