"""Tiny ONNX models, written without the onnx package: each file is a few protobuf messages (onnx.proto3)."""

import struct
from collections.abc import Sequence

FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11

# Field numbers of the messages, and attribute types.
_MODEL_IR, _MODEL_GRAPH, _MODEL_OPSET = 1, 7, 8
_GRAPH_NODE, _GRAPH_NAME, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 2, 11, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_INT, _TEXT, _FLOATS, _INTS, _TEXTS = 2, 3, 6, 7, 8


def model(nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    """Return the content of a model file."""
    graph = (
        *((_GRAPH_NODE, node) for node in nodes),
        (_GRAPH_NAME, b"g"),
        *((_GRAPH_INPUT, each) for each in inputs),
        *((_GRAPH_OUTPUT, each) for each in outputs),
    )
    operators = ((2, 15),), ((1, b"ai.onnx.ml"), (2, 3))
    return _message(
        (_MODEL_IR, 8), (_MODEL_GRAPH, _message(*graph)), *((_MODEL_OPSET, _message(*each)) for each in operators)
    )


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], ml: bool = True, **attributes: int | str | list
) -> bytes:
    return _message(
        *((_NODE_INPUT, each.encode()) for each in inputs),
        *((_NODE_OUTPUT, each.encode()) for each in outputs),
        (_NODE_OP, op.encode()),
        *((_NODE_ATTRIBUTE, _attribute(name, value)) for name, value in attributes.items()),
        (_NODE_DOMAIN, b"ai.onnx.ml" if ml else b""),
    )


def tensor(name: str, kind: int, *shape: int | None) -> bytes:
    """Return the declaration of an input or output; None is an unknown dimension."""
    dims = [(1, _message(*([(1, length)] if length else [(2, b"N")]))) for length in shape]
    return _message((1, name.encode()), (2, _message((1, _message((1, kind), (2, _message(*dims)))))))


def maps(name: str, key: int) -> bytes:
    """Return the declaration of an output with one map per row, from class to probability."""
    number = _message((1, _message((1, FLOAT))))
    row = _message((5, _message((1, key), (2, number))))
    rows = _message((4, _message((1, row))))
    return _message((1, name.encode()), (2, rows))


def linear_regression(coefficients: list[float], kind: int = FLOAT) -> bytes:
    """Return a model with a single input of this type for all columns."""
    nodes = [
        node("Cast", ["X"], ["numbers"], ml=False, to=FLOAT),
        node("LinearRegressor", ["numbers"], ["y"], coefficients=coefficients, intercepts=[0.0]),
    ]
    return model(nodes, [tensor("X", kind, None, len(coefficients))], [tensor("y", FLOAT, None, 1)])


def sum_of(*columns: str) -> bytes:
    """Return a model with one input per column."""
    inputs = [tensor(name, FLOAT, None, 1) for name in columns]
    return model([node("Sum", columns, ["y"], ml=False)], inputs, [tensor("y", FLOAT, None, 1)])


def classifier(classes: Sequence[int] | Sequence[str], named: bool = False) -> bytes:
    """Return a model of one column that gives value k the class `classes[k]`.

    Args:
        classes: in the order of the output's columns.
        named: output the probabilities as maps by class.
    """
    is_text = isinstance(classes[0], str)
    how = {"classlabels_strings" if is_text else "classlabels_ints": list(classes)}
    # The score of class k is 2kx - k^2, which is greatest at x = k.
    numbers = range(len(classes))
    scores = {"coefficients": [2.0 * k for k in numbers], "intercepts": [-1.0 * k * k for k in numbers]}
    nodes = [node("LinearClassifier", ["X"], ["label", "scores"], post_transform="SOFTMAX", **scores, **how)]
    kind = STRING if is_text else INT64
    outputs = [tensor("label", kind, None), tensor("scores", FLOAT, None, len(classes))]
    if named:
        names = {"classlabels_strings" if is_text else "classlabels_int64s": list(classes)}
        nodes.append(node("ZipMap", ["scores"], ["maps"], **names))
        outputs[1] = maps("maps", kind)
    return model(nodes, [tensor("X", FLOAT, None, 1)], outputs)


def _attribute(name: str, value: int | str | list) -> bytes:
    content: list[tuple[int, int | bytes | float]]
    if isinstance(value, int):
        content = [(3, value), (20, _INT)]
    elif isinstance(value, str):
        content = [(4, value.encode()), (20, _TEXT)]
    elif isinstance(value[0], str):
        content = [*((9, each.encode()) for each in value), (20, _TEXTS)]
    elif isinstance(value[0], int):
        content = [*((8, each) for each in value), (20, _INTS)]
    else:
        content = [*((7, each) for each in value), (20, _FLOATS)]
    return _message((1, name.encode()), *content)


def _message(*fields: tuple[int, int | bytes | float]) -> bytes:
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: int | bytes | float) -> bytes:
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value %= 2**64
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
