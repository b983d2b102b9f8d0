"""What a file that is no GGUF is, by its first bytes, and what to do about it."""

from __future__ import annotations

import re

LONGEST = 512  # bytes that are looked at

_CONVERT = "convert it with convert_hf_to_gguf.py of llama.cpp"
_SIZE = re.compile(rb"^size ([0-9]{1,19})$", re.MULTILINE)
_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", f"a zip archive or a PyTorch file: unpack it, or {_CONVERT}"),
    (b"\x80\x02", f"a Python pickle, perhaps of PyTorch: {_CONVERT}"),
    (b"lmgg", f"a file of ggml, older than GGUF: {_CONVERT}"),
    (b"fmgg", f"a file of ggml, older than GGUF: {_CONVERT}"),
    (b"tjgg", f"a file of ggml, older than GGUF: {_CONVERT}"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (b"<!DOCTYPE", "a web page: the download went wrong, get it again"),
    (b"<!doctype", "a web page: the download went wrong, get it again"),
    (b"<html", "a web page: the download went wrong, get it again"),
    (b"{", "a JSON text, an index or a manifest beside the weights"),
)


def stranger(first: bytes) -> str:
    """What begins with `first`, in words with the cure; empty where it may be a GGUF."""
    if first.startswith(b"GGUF") or b"GGUF".startswith(first[:4]):
        return ""
    if first.startswith(b"version https://git-lfs"):
        size = _SIZE.search(first)
        of = f" to {int(size.group(1))} bytes" if size else ""
        return f"this is a Git LFS pointer{of}, not the model: fetch it with `git lfs pull`"
    if first[8:10] in (b'{"', b"{ ", b"{}") and int.from_bytes(first[:8], "little") < 1 << 32:
        return f"this is a safetensors file: {_CONVERT}"
    for magic, words in _MAGICS:
        if first.startswith(magic):
            return f"this is {words}"
    return ""
