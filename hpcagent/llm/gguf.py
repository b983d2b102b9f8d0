"""The header of a GGUF file, read with the standard library; hostile files are expected.

Layout: magic, version, counts, metadata, tensor infos, padding, tensor data
(the GGUF specification of the ggml project, versions 2 and 3). Nothing that the file claims is
allocated before it is known to fit into the file.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hpcagent.errors import EnvironmentProblem

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_PAIRS = 100_000
_MAX_TENSORS = 100_000
_MAX_STRING = 16 * 1024 * 1024
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_MAX_ITEMS = 4_000_000  # texts in an array; the largest vocabularies have under a million
_STRING, _ARRAY = 8, 9
_SCALARS: Mapping[int, str] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
# ggml type -> (name, values in a block, bytes of a block); from ggml's block definitions.
_TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}

Value = int | float | bool | str | None


@dataclass(frozen=True)
class ModelFile:
    """What a GGUF says of itself. `parameters` counts the weights of this file.

    `quantisation` is the tensor type that holds most of the weights; `chat_template` is None
    where the file has none.
    """

    path: Path
    architecture: str
    name: str
    parameters: int
    quantisation: str
    context_length: int | None
    size_bytes: int
    chat_template: str | None


@dataclass(frozen=True)
class _Tensor:
    name: str
    elements: int
    kind: int
    offset: int


def read(path: Path) -> ModelFile:
    """The header of the file at `path`; EnvironmentProblem says in one line why it cannot serve."""
    if not path.exists():
        raise EnvironmentProblem(f"model {path}: there is no such file")
    if not path.is_file():
        raise EnvironmentProblem(f"model {path}: not a regular file")
    try:
        with path.open("rb") as stream:
            return _parse(path, stream)
    except OSError as error:
        raise EnvironmentProblem(f"model {path}: cannot be read: {error.strerror}") from None


def digest(path: Path) -> str:
    """SHA-256 of the file in hex, read in pieces; EnvironmentProblem where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EnvironmentProblem(f"model {path}: cannot be read: {error.strerror}") from None


def _parse(path: Path, stream: BinaryIO) -> ModelFile:
    size = path.stat().st_size
    reader = _Reader(path, stream, size)
    tensor_count, pair_count = _preamble(reader)
    metadata = {}
    for _ in range(pair_count):
        key = reader.string("a key")
        metadata[key] = reader.value(reader.scalar("I"), 0)
    tensors = [_tensor(reader) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise reader.corrupt(f"alignment {alignment!r}")
    start = -(-stream.tell() // alignment) * alignment
    _check_length(reader, tensors, start)
    return _described(path, size, metadata, tensors)


def _preamble(reader: _Reader) -> tuple[int, int]:
    magic = reader.take(4, "the magic")
    if magic != _MAGIC:
        raise EnvironmentProblem(f"model {reader.path}: not a GGUF file (it begins {magic!r})")
    version = reader.scalar("I")
    if version not in _VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS:
            raise EnvironmentProblem(f"model {reader.path}: a big-endian GGUF; convert it")
        raise EnvironmentProblem(
            f"model {reader.path}: GGUF version {version} is not supported (2 and 3 are)"
        )
    tensor_count, pair_count = reader.scalar("Q"), reader.scalar("Q")
    if tensor_count > _MAX_TENSORS or pair_count > _MAX_PAIRS:
        raise reader.corrupt(f"{tensor_count} tensors, {pair_count} metadata pairs")
    return tensor_count, pair_count


def _tensor(reader: _Reader) -> _Tensor:
    name = reader.string("a tensor's name")
    dimensions = reader.scalar("I")
    if dimensions > _MAX_DIMENSIONS:
        raise reader.corrupt(f"tensor {name[:60]!r} with {dimensions} dimensions")
    elements = math.prod(reader.scalar("Q") for _ in range(dimensions))
    return _Tensor(name, elements, reader.scalar("I"), reader.scalar("Q"))


def _check_length(reader: _Reader, tensors: list[_Tensor], start: int) -> None:
    needed = start
    for tensor in tensors:
        # A type newer than the table is taken for one bit a value, so that it is not refused here.
        _, values, size = _TYPES.get(tensor.kind, ("", 8, 1))
        needed = max(needed, start + tensor.offset + -(-tensor.elements // values) * size)
    if needed > reader.size:
        raise EnvironmentProblem(
            f"model {reader.path}: truncated at {reader.size} of {needed} bytes; copy it again"
        )


def _described(
    path: Path, size: int, metadata: Mapping[str, Value], tensors: list[_Tensor]
) -> ModelFile:
    architecture = _text(metadata.get("general.architecture"))
    if not architecture:
        raise EnvironmentProblem(f"model {path}: damaged GGUF: it names no architecture")
    context = metadata.get(f"{architecture}.context_length")
    template = metadata.get("tokenizer.chat_template")
    weights: dict[int, int] = {}
    for tensor in tensors:
        weights[tensor.kind] = weights.get(tensor.kind, 0) + tensor.elements
    main = max(weights, key=lambda kind: weights[kind], default=-1)
    return ModelFile(
        path=path,
        architecture=architecture,
        name=_text(metadata.get("general.name")) or path.stem,
        parameters=sum(weights.values()),
        quantisation=_TYPES[main][0] if main in _TYPES else f"type {main}",
        context_length=context if isinstance(context, int) and context > 0 else None,
        size_bytes=size,
        chat_template=template if isinstance(template, str) and template else None,
    )


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


class _Reader:
    """Bounded reads from one stream; every length is checked against what is left of the file."""

    def __init__(self, path: Path, stream: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self._stream = stream

    def take(self, count: int, what: str) -> bytes:
        left = self.size - self._stream.tell()
        data = self._stream.read(min(count, left)) if left > 0 else b""
        if len(data) < count:
            raise self.ends_in(what)
        return data

    def ends_in(self, what: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"model {self.path}: not a whole GGUF: the file of {self.size} bytes ends in {what}"
        )

    def scalar(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code), "the header"))[0])

    def string(self, what: str) -> str:
        length = self.scalar("Q")
        if length > _MAX_STRING:
            raise self.corrupt(f"{what} of {length} bytes")
        return self.take(length, what).decode("utf-8", errors="replace")

    def value(self, kind: int, depth: int) -> Value:
        """A metadata value; arrays are skipped, None stands for them."""
        if kind == _STRING:
            return self.string("a text")
        if kind == _ARRAY:
            self._skip_array(depth)
            return None
        code = _SCALARS.get(kind)
        if code is None:
            raise self.corrupt(f"metadata of type {kind}")
        found: Value = struct.unpack(f"<{code}", self.take(struct.calcsize(code), "metadata"))[0]
        return found

    def corrupt(self, what: str) -> EnvironmentProblem:
        return EnvironmentProblem(f"model {self.path}: damaged GGUF: {what}")

    def _skip_array(self, depth: int) -> None:
        kind, count = self.scalar("I"), self.scalar("Q")
        code = _SCALARS.get(kind)
        width = struct.calcsize(code) if code else 8  # a text has its length at least
        if depth >= _MAX_DEPTH:
            raise self.corrupt("arrays in arrays")
        if count * width > self.size - self._stream.tell():
            raise self.ends_in(f"an array of {count} values of type {kind}")
        if code:
            self._stream.seek(count * width, 1)
            return
        if count > _MAX_ITEMS:
            raise self.corrupt(f"an array of {count} texts")
        for _ in range(count):
            self._skip_item(kind, depth)

    def _skip_item(self, kind: int, depth: int) -> None:
        if kind == _ARRAY:
            self._skip_array(depth + 1)
            return
        if kind != _STRING:
            raise self.corrupt(f"an array of values of type {kind}")
        length = self.scalar("Q")
        if length > self.size - self._stream.tell():
            raise self.ends_in(f"a text of {length} bytes")
        self._stream.seek(length, 1)
