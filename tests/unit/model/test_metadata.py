"""Reading `model-metadata.yaml`, and the target from it or from the settings."""

from pathlib import Path

import pytest

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.metadata import read_metadata, read_target


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
def test_only_plain_scalars_at_the_top_level_are_read(tmp_path, line, expected):
    (tmp_path / "model-metadata.yaml").write_text(f"{line}\n")
    assert read_metadata(tmp_path) == expected


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path):
    (tmp_path / "model-metadata.yaml").write_bytes(b"\xef\xbb\xbftargetType: binary\r\nname: x\r\n")
    assert read_metadata(tmp_path) == {"targetType": "binary", "name": "x"}


def test_without_the_file_there_are_no_values(tmp_path):
    assert read_metadata(tmp_path) == {}


def test_a_binary_file_is_an_error_with_its_path(tmp_path):
    (tmp_path / "model-metadata.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError) as caught:
        read_metadata(tmp_path)
    assert str(caught.value) == f"Cannot read '{tmp_path}/model-metadata.yaml': it is not UTF-8 text."


def test_a_directory_of_that_name_is_an_error_with_its_path(tmp_path):
    (tmp_path / "model-metadata.yaml").mkdir()
    with pytest.raises(UsageError) as caught:
        read_metadata(tmp_path)
    assert str(caught.value) == f"Cannot read '{tmp_path}/model-metadata.yaml': Is a directory."


def target_of(metadata: str = "", **flags: str) -> Target:
    return read_target(resolve(choose(flags, {})), {"targetType": metadata} if metadata else {})


def target_error(metadata: str = "", **flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        target_of(metadata, **flags)
    return str(caught.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


SUPPORTED = "the built-in model server supports binary, regression, anomaly, multiclass, unstructured."


@pytest.mark.parametrize("text", ["regression", "Regression", " regression "])
def test_metadata_names_the_target_type(text):
    assert target_of(text) == Target(TargetType.REGRESSION)


def test_the_setting_overrides_the_metadata():
    assert target_of("multiclass", target_type="anomaly") == Target(TargetType.ANOMALY)


def test_without_a_target_type_the_supported_ones_are_listed():
    assert target_error() == (
        "No target type: give --target-type, set TARGET_TYPE, or add a targetType line to model-metadata.yaml in the "
        f"code directory; {SUPPORTED}"
    )


def test_an_unknown_target_type_in_the_metadata_is_named():
    assert target_error("regresion") == (f"Target type 'regresion' (from model-metadata.yaml) is unknown; {SUPPORTED}")


@pytest.mark.parametrize(
    "target_type", ["transform", "textgeneration", "geopoint", "vectordatabase", "agenticworkflow", "multilabel"]
)
def test_unsupported_target_types_of_drum_refer_to_drum(target_type):
    assert target_error(target_type=target_type) == (
        f"Target type '{target_type}' is not supported by the built-in model server, which supports binary, "
        "regression, anomaly, multiclass, unstructured; run DRUM instead: --server-type drum."
    )


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        ("", "no", "Target type binary needs both class labels: give --positive-class-label."),
        ("yes", "", "Target type binary needs both class labels: give --negative-class-label."),
        ("x", "x", "Target type binary needs two class labels, but both are 'x'."),
    ],
)
def test_binary_needs_two_different_labels(positive, negative, message):
    labels = {"positive_class_label": positive, "negative_class_label": negative}
    given = {name: label for name, label in labels.items() if label}
    assert target_error(target_type="binary", **given) == message


def test_binary_labels_are_positive_then_negative():
    target = target_of(target_type="binary", positive_class_label="1", negative_class_label="0")
    assert target == Target(TargetType.BINARY, ("1", "0"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {},
            "Target type multiclass needs its class labels: give --class-labels 'a b c', or --class-labels-file with "
            "one label per line.",
        ),
        (
            {"class_labels": "a b a"},
            "Target type multiclass needs at least two different class labels, but 'a' is given twice.",
        ),
        (
            {"class_labels": "a"},
            "Target type multiclass needs at least two different class labels, but only 'a' is given.",
        ),
        (
            {"class_labels": "a b", "class_labels_file": "labels.txt"},
            "Both --class-labels and --class-labels-file are set: give one of them.",
        ),
    ],
)
def test_multiclass_needs_different_labels_from_one_place(flags, message):
    assert target_error(target_type="multiclass", **flags) == message


def test_multiclass_labels_come_from_the_setting_or_a_file(tmp_path):
    labels = write(tmp_path / "labels.txt", "red wine\n\nwhite wine\r\n")
    assert target_of(target_type="multiclass", class_labels="a b").labels == ("a", "b")
    assert target_of(target_type="multiclass", class_labels_file=labels).labels == ("red wine", "white wine")


def test_an_unusable_labels_file_is_named(tmp_path):
    empty = write(tmp_path / "empty.txt", "\n")
    assert target_error(target_type="multiclass", class_labels_file=empty) == (
        f"--class-labels-file: '{empty}' has no labels; write one per line."
    )
    assert target_error(target_type="multiclass", class_labels_file="/no/labels") == (
        "--class-labels-file: cannot read '/no/labels': No such file or directory."
    )
