"""Bounded reads from a GGUF file that may be hostile, with the standard library.

Layout: magic, version, counts, metadata, tensor infos, padding, tensor data (the GGUF
specification of the ggml project, versions 2 and 3). Nothing that the file claims is allocated
before it is known to fit into the file, and what is read at all is bounded, whatever its size.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.gguf_types import stored_bytes

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_PAIRS = 100_000
_MAX_TENSORS = 100_000
_MAX_STRING = 16 * 1024 * 1024
_MAX_KEPT = 64 * 1024 * 1024  # bytes of texts and numbers in memory
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 4
_MAX_ITEMS = 4_000_000  # of arrays, in all; the largest vocabularies have under a million
_MAX_NUMBERS = 4096  # of an array that is kept: one for each layer, at most
_PIECE = 1 << 20
_LENGTH = struct.Struct("<Q")
_NUMBER = 32  # bytes of a number in Python
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


@dataclass(frozen=True)
class Array:
    """An array of the metadata; `numbers` is empty where it is one of texts, or a long one."""

    count: int
    numbers: tuple[float, ...] = ()


Value = int | float | bool | str | Array


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return stored_bytes(self.kind, self.elements)


@dataclass(frozen=True)
class Header:
    """`start` is where the tensors' offsets count from, in bytes of the file."""

    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    start: int


def read_header(path: Path, stream: BinaryIO) -> Header:
    """Everything before the tensor data; EnvironmentProblem where it is not a whole GGUF."""
    reader = _Reader(path, stream, os.fstat(stream.fileno()).st_size)
    tensor_count, pair_count = _preamble(reader)
    metadata: dict[str, Value] = {}
    for _ in range(pair_count):
        key = reader.string("a key")
        metadata[key] = reader.value(reader.scalar("I"))
    tensors = tuple(_tensor(reader) for _ in range(tensor_count))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise reader.corrupt(f"alignment {alignment!r}")
    start = -(-stream.tell() // alignment) * alignment
    needed = max((start + t.offset + t.size_bytes for t in tensors), default=0)
    if needed > reader.size:
        raise EnvironmentProblem(
            f"model {path}: truncated at {reader.size} of {needed} bytes; copy it again"
        )
    return Header(metadata, tensors, start)


def _preamble(reader: _Reader) -> tuple[int, int]:
    magic = reader.take(4, "the magic")
    if magic != _MAGIC:
        raise EnvironmentProblem(f"model {reader.path}: not a GGUF file (it begins {magic!r})")
    version = reader.scalar("I")
    if version not in _VERSIONS:
        if int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS:
            raise EnvironmentProblem(
                f"model {reader.path}: a big-endian GGUF; convert it (gguf_convert_endian.py of"
                " llama.cpp)"
            )
        raise EnvironmentProblem(
            f"model {reader.path}: GGUF version {version} is not supported (2 and 3 are): take a"
            " newer file of that model"
        )
    tensor_count, pair_count = reader.scalar("Q"), reader.scalar("Q")
    if tensor_count > _MAX_TENSORS or pair_count > _MAX_PAIRS:
        raise reader.corrupt(f"{tensor_count} tensors, {pair_count} metadata pairs")
    return tensor_count, pair_count


def _tensor(reader: _Reader) -> Tensor:
    name = reader.string("a tensor's name")
    dimensions = reader.scalar("I")
    if dimensions > _MAX_DIMENSIONS:
        raise reader.corrupt(f"tensor {name[:60]!r} with {dimensions} dimensions")
    shape = tuple(reader.scalar("Q") for _ in range(dimensions))
    return Tensor(name, shape, reader.scalar("I"), reader.scalar("Q"))


class _Reader:
    """Reads from one stream; every length is checked against what is left of the file."""

    def __init__(self, path: Path, stream: BinaryIO, size: int) -> None:
        self.path = path
        self.size = size
        self._stream = stream
        self._items = 0
        self._kept = 0

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

    def corrupt(self, what: str) -> EnvironmentProblem:
        return EnvironmentProblem(f"model {self.path}: damaged GGUF: {what}")

    def scalar(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code), "the header"))[0])

    def string(self, what: str) -> str:
        length = self.scalar("Q")
        if length > _MAX_STRING:
            raise self.corrupt(f"{what} of {length} bytes")
        self._kept += length
        if self._kept > _MAX_KEPT:
            raise self.corrupt(f"more than {_MAX_KEPT} bytes of texts")
        return self.take(length, what).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.string("a text")
        if kind == _ARRAY:
            return self._array(0)
        code = _SCALARS.get(kind)
        if code is None:
            raise self.corrupt(f"metadata of type {kind}")
        found: Value = struct.unpack(f"<{code}", self.take(struct.calcsize(code), "metadata"))[0]
        return found

    def _array(self, depth: int) -> Array:
        kind, count = self.scalar("I"), self.scalar("Q")
        code = _SCALARS.get(kind)
        width = struct.calcsize(code) if code else 8  # a text has its length at least
        if depth >= _MAX_DEPTH:
            raise self.corrupt("arrays in arrays")
        if count * width > self.size - self._stream.tell():
            raise self.ends_in(f"an array of {count} values of type {kind}")
        if code and count <= _MAX_NUMBERS and self._kept + count * _NUMBER <= _MAX_KEPT:
            self._kept += count * _NUMBER
            data = self.take(count * width, "an array")
            return Array(count, struct.unpack(f"<{count}{code}", data))
        if code:
            self._stream.seek(count * width, 1)
            return Array(count)
        self._items += count
        if self._items > _MAX_ITEMS:
            raise self.corrupt(f"arrays of more than {_MAX_ITEMS} texts")
        if kind == _STRING:
            self._skip_texts(count)
            return Array(count)
        if kind != _ARRAY:
            raise self.corrupt(f"an array of values of type {kind}")
        for _ in range(count):
            self._array(depth + 1)
        return Array(count)

    def _skip_texts(self, count: int) -> None:
        """Walks over their lengths in pieces of the file: a vocabulary has 10^5 of them."""
        piece, start, at = b"", self._stream.tell(), 0
        for _ in range(count):
            if at + 8 > len(piece):
                start, at = start + at, 0
                self._stream.seek(start)
                piece = self._stream.read(_PIECE)
                if len(piece) < 8:
                    raise self.ends_in("a text")
            length = int(_LENGTH.unpack_from(piece, at)[0])
            at += 8 + length
            if start + at > self.size:
                raise self.ends_in(f"a text of {length} bytes")
        self._stream.seek(start + at)
