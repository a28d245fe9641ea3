"""ONNX files with one of their outputs alone, so that what only the others need is not computed.

ONNX Runtime computes a whole graph, whichever of its outputs is asked for. So the other outputs, and the nodes that
only they need, are taken out of the file's bytes. The file is a protocol buffer
(protobuf.dev/programming-guides/encoding): fields of a number, a type and a value, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator

_GRAPH = 7
"""Number of the field ``ModelProto.graph``."""
_NODE, _OUTPUT = 1, 12
"""Of ``GraphProto.node`` and ``GraphProto.output``."""
_NAME = 1
"""Of ``ValueInfoProto.name``."""
_READS, _GIVES, _ATTRIBUTE = 1, 2, 5
"""Of ``NodeProto.input``, ``NodeProto.output`` and ``NodeProto.attribute``."""
_INNER_GRAPHS = (6, 11)
"""Of ``AttributeProto.g`` and ``AttributeProto.graphs``, which may read names of the graph around them."""
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def with_output(network: bytes, name: str) -> bytes:
    """Return the ONNX file `network` with the one output called `name`.

    In a network with branches or loops, all nodes are kept.

    Raises:
        ValueError: the bytes are no ONNX file, or it has no such output.
    """
    model = bytearray()
    found = False
    for number, whole, value in _fields(network):
        if number != _GRAPH:
            model += whole
            continue
        graph = b"".join(_graph_with(value, name.encode()))
        found = found or bool(graph)
        model += _varint(_GRAPH << 3 | _BYTES) + _varint(len(graph)) + graph
    if not found:
        raise ValueError(f"it has no output '{name}'")
    return bytes(model)


def _graph_with(graph: memoryview, output: bytes) -> list[memoryview]:
    """Return the fields of a graph with one output; nothing if there is no such output."""
    fields = list(_fields(graph))
    needed, found, kept = {output}, False, []
    branches = any(number == _NODE and _has_inner_graph(value) for number, _, value in fields)
    # A node stands behind those whose results it reads, so the last ones come first here.
    for number, whole, value in reversed(fields):
        if number == _OUTPUT:
            if output not in _texts(value, _NAME):
                continue
            found = True
        if number == _NODE and not branches:
            if needed.isdisjoint(_texts(value, _GIVES)):
                continue
            needed |= set(_texts(value, _READS))
        kept.append(whole)
    return kept[::-1] if found else []


def _has_inner_graph(node: memoryview) -> bool:
    return any(
        number == _ATTRIBUTE and any(inner in _INNER_GRAPHS for inner, _, _ in _fields(value))
        for number, _, value in _fields(node)
    )


def _texts(message: memoryview, number: int) -> list[bytes]:
    """Return the values of all fields of that number."""
    return [bytes(value) for found, _, value in _fields(message) if found == number]


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield the number, all bytes and the value of each field of a message."""
    view = memoryview(message)
    place = 0
    while place < len(view):
        start = place
        key, place = _read_varint(view, place)
        kind = key & 7
        if kind == _VARINT:
            begin = place
            _, place = _read_varint(view, place)
        else:
            length = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
            if kind == _BYTES:
                length, place = _read_varint(view, place)
            if length is None or place + length > len(view):
                raise ValueError("it is no protocol buffer")
            begin, place = place, place + length
        yield key >> 3, view[start:place], view[begin:place]


def _read_varint(view: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            break
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("it is no protocol buffer")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
