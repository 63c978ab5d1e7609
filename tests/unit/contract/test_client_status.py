"""The situation: from the supervisor into a file, and from there to those who answer."""

import json
import os
from pathlib import Path

import pytest

from drum_supervisor.contract.client_status import Situation, SituationFile

FAILED = Situation(failed=True, stage="load_model", since=1.5, attempt=3, attempts_left=2, next_at=7.25, refused=True)


def show(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_comes_back_as_it_was_written(tmp_path):
    show(tmp_path / "situation.json", FAILED.to_text())
    assert vars(SituationFile(str(tmp_path / "situation.json"))()) == vars(FAILED)


def test_is_that_of_a_beginning_while_there_is_no_file(tmp_path):
    assert vars(SituationFile(str(tmp_path / "situation.json"))()) == vars(Situation())
    assert vars(SituationFile("")()) == vars(Situation())


def test_is_read_again_when_it_has_changed(tmp_path):
    path = tmp_path / "situation.json"
    read = SituationFile(str(path))
    for stage in ("init", "load", "warm"):  # of the same length
        show(path, Situation(stage=stage).to_text())
        assert read().stage == stage


def test_is_read_once_while_it_stays(tmp_path, monkeypatch):
    path = tmp_path / "situation.json"
    show(path, FAILED.to_text())
    read = SituationFile(str(path))
    assert read() is read()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', "null"])
def test_that_cannot_be_read_leaves_the_last_one(tmp_path, text):
    path = tmp_path / "situation.json"
    show(path, FAILED.to_text())
    read = SituationFile(str(path))
    read()
    show(path, text)
    assert read().stage == "load_model"
    path.unlink()
    assert read().stage == "load_model"
    show(path, json.dumps({"stage": "init"}))
    assert (read().stage, read().failed) == ("init", False)
