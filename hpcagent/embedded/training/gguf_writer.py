"""Writes a GGUF of the Llama architecture that llama.cpp reads.

Layout after the GGUF specification of the ggml project, version 3. The vocabulary is of the
SentencePiece type with all 256 bytes, since llama.cpp refuses one that cannot spell everything.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcagent.embedded import vocabulary as v

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIGNMENT = 32
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_UNKNOWN, _CONTROL, _USER, _BYTE = 2, 3, 4, 6  # types of tokens
_F32, _F16 = 0, 1


def write(
    path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Matrices as 16-bit floats, vectors as 32-bit ones. The same input gives the same bytes."""
    pairs = {**metadata, **_tokenizer()}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(_text(key) + _value(value) for key, value in pairs.items())
    offset, infos, data = 0, b"", b""
    for name, tensor in tensors.items():
        raw = tensor.astype(np.float16 if tensor.ndim > 1 else np.float32).tobytes()
        infos += _text(name) + struct.pack("<I", tensor.ndim)
        infos += b"".join(struct.pack("<Q", n) for n in reversed(tensor.shape))
        infos += struct.pack("<IQ", _F16 if tensor.ndim > 1 else _F32, offset)
        data += raw + b"\0" * (-len(raw) % _ALIGNMENT)
        offset = len(data)
    head += infos
    path.write_bytes(head + b"\0" * (-len(head) % _ALIGNMENT) + data)


def _tokenizer() -> dict[str, Any]:
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256 + [_USER] * (v.SIZE - v.FIRST)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": v.texts(),
        "tokenizer.ggml.scores": [0.0] * v.SIZE,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<I", _ARRAY) + _array(value)


def _array(values: list[Any]) -> bytes:
    head, count = values[0], struct.pack("<Q", len(values))
    if isinstance(head, str):
        return struct.pack("<I", _STRING) + count + b"".join(map(_text, values))
    kind, code = (_FLOAT32, "f") if isinstance(head, float) else (_INT32, "i")
    return struct.pack("<I", kind) + count + struct.pack(f"<{len(values)}{code}", *values)


def _text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw
