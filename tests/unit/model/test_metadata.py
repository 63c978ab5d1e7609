"""Reading `model-metadata.yaml` line by line."""

import pytest

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.metadata import read_metadata


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("targetType: binary", {"targetType": "binary"}),
        ("targetType : binary", {"targetType": "binary"}),
        ("targetType: binary # a comment", {"targetType": "binary"}),
        ("targetType: binary#no-comment", {"targetType": "binary#no-comment"}),
        ("targetType: 'binary' # a comment", {"targetType": "binary"}),
        ('name: "a: b # c"', {"name": "a: b # c"}),
        ("name: with: colon", {"name": "with: colon"}),
        ("name: two words \t", {"name": "two words"}),
        ("targetType:binary", {}),
        ("targetType:", {}),
        ("targetType: # nothing", {}),
        ("  targetType: nested", {}),
        ("# targetType: comment", {}),
        ("- targetType: item", {}),
        ("---", {}),
        ("description: |", {}),
        ("description: >-", {}),
        ("list: [a, b]", {}),
        ("record: {a: b}", {}),
        ("broken: 'quote", {}),
        ("anchor: &a b", {}),
    ],
)
def test_a_line_is_read_when_it_is_a_plain_text_at_the_top_level(tmp_path, line, expected):
    (tmp_path / "model-metadata.yaml").write_text(f"{line}\n")
    assert read_metadata(tmp_path) == expected


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    (tmp_path / "model-metadata.yaml").write_bytes(b"\xef\xbb\xbftargetType: binary\r\nname: x\r\n")
    assert read_metadata(tmp_path) == {"targetType": "binary", "name": "x"}


def test_without_the_file_nothing_is_known(tmp_path):
    assert read_metadata(tmp_path) == {}


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "model-metadata.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"model-metadata.yaml': it is not UTF-8 text"):
        read_metadata(tmp_path)


def test_a_directory_of_that_name_is_named(tmp_path):
    (tmp_path / "model-metadata.yaml").mkdir()
    with pytest.raises(UsageError, match=r"model-metadata.yaml': Is a directory"):
        read_metadata(tmp_path)
