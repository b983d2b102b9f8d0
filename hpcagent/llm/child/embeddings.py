"""The embeddings of a GGUF's vocabulary, which llama.cpp keeps to itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.gguf_reader import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "token_embd.weight"
_FLOATS = {0: "<f4", 1: "<f2"}  # by the type of the tensor
_MOST = 64 * 1024 * 1024  # bytes; of a small model they are one or two million


class Unreadable(Exception):
    """One line."""


def embeddings(path: Path, stream: BinaryIO) -> NDArray[np.float32]:
    """(tokens, width) of the file that was opened at `path`."""
    import numpy as np

    try:
        stream.seek(0)
        header = read_header(path, stream)
        found = next((t for t in header.tensors if t.name == NAME), None)
        if found is None or len(found.shape) != 2:
            raise Unreadable(f"there is no {NAME}")
        if found.kind not in _FLOATS:
            raise Unreadable(f"{NAME} is of type {found.kind}: only plain floats can be summed")
        width, rows = found.shape
        if found.size_bytes > _MOST:
            raise Unreadable(f"{NAME} is {rows} x {width}: not a model that scores points")
        stream.seek(header.start + found.offset)
        kept = np.frombuffer(stream.read(found.size_bytes), dtype=_FLOATS[found.kind])
        return kept.reshape(rows, width).astype(np.float32)
    except (EnvironmentProblem, OSError, ValueError) as error:
        raise Unreadable(f"{NAME} cannot be read: {error}") from None
