"""The embeddings of a GGUF's vocabulary, which llama.cpp keeps to itself."""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "token_embd.weight"
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes, by type
_STRING, _ARRAY = 8, 9
_FLOATS = {0: "<f4", 1: "<f2"}
_MOST = 64 * 1024 * 1024  # bytes; of a small model they are one or two million


class Unreadable(Exception):
    """One line."""


def embeddings(path: str) -> NDArray[np.float32]:
    """(tokens, width) of a file whose header was checked before (hpcagent.llm.gguf)."""
    import numpy as np

    try:
        with open(path, "rb") as stream:  # noqa: PTH123 (a path from a request is a text)
            kind, rows, width, at = _place(stream)
            if kind not in _FLOATS:
                raise Unreadable(f"{NAME} is of type {kind}: only plain floats can be summed")
            kept = np.dtype(_FLOATS[kind])
            if rows * width * kept.itemsize > _MOST:
                raise Unreadable(f"{NAME} is {rows} x {width}: not a model that scores points")
            stream.seek(at)
            raw = stream.read(rows * width * kept.itemsize)
            return np.frombuffer(raw, dtype=kept).reshape(rows, width).astype(np.float32)
    except (OSError, struct.error, ValueError) as error:
        raise Unreadable(f"{NAME} cannot be read: {error}") from None


def _place(stream: IO[bytes]) -> tuple[int, int, int, int]:
    """(type, rows, width, offset in the file) of the embeddings."""
    _, _, tensors, pairs = _take(stream, "4sIQQ")
    alignment = 32
    for _ in range(pairs):
        key = _text(stream)
        (kind,) = _take(stream, "I")
        if key == b"general.alignment" and kind == 4:
            (alignment,) = _take(stream, "I")
        else:
            _skip(stream, kind)
    found = None
    for _ in range(tensors):
        name = _text(stream)
        (dimensions,) = _take(stream, "I")
        shape = _take(stream, f"{dimensions}Q")
        kind, offset = _take(stream, "IQ")
        if name == NAME.encode() and dimensions == 2:
            found = (kind, shape[1], shape[0], offset)
    if found is None:
        raise Unreadable(f"there is no {NAME}")
    start = -(-stream.tell() // alignment) * alignment
    return *found[:3], start + found[3]


def _skip(stream: IO[bytes], kind: int) -> None:
    if kind == _STRING:
        _text(stream)
        return
    if kind != _ARRAY:
        stream.seek(_SIZES[kind], 1)
        return
    inner, count = _take(stream, "IQ")
    if inner in _SIZES:
        stream.seek(_SIZES[inner] * count, 1)
        return
    for _ in range(count):
        _skip(stream, inner)


def _text(stream: IO[bytes]) -> bytes:
    (length,) = _take(stream, "Q")
    return stream.read(length)


def _take(stream: IO[bytes], code: str) -> tuple[Any, ...]:
    code = f"<{code}"
    return struct.unpack(code, stream.read(struct.calcsize(code)))
