"""Logs of any kind as clean bytes in pieces: gzip'd, UTF-16, coloured, with holes of NUL bytes.

Memory does not grow with the log: whatever comes in, pieces of about a megabyte go out.
"""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hpcagent.errors import UsageError

CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
# The first bytes of files that are no logs, and what they are.
_BINARY = {
    b"\x7fELF": "a program, library or core file",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive: unpack it first",
    b"\x89PNG": "a picture",
    b"%PDF-": "a PDF",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a model",
}
# CSI and OSC sequences and two-byte escapes (ECMA-48), and overstriking with backspace.
_SEQUENCE = rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]"
_ESCAPES = re.compile(_SEQUENCE + rb"|[^\n]\x08")
# The same without overstriking: all begin with one byte, which re looks for much faster than for
# either of two, and what compilers print in rows goes at once.
_COLOUR = rb"\[[0-9;]*+[mK]"
_ESCAPES_ALONE = re.compile(
    rb"\x1b(?:" + _COLOUR + rb"(?:\x1b" + _COLOUR + rb")*+|\[[0-?]*[ -/]*[@-~]"
    rb"|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\-_])"
)
_LONGEST_ESCAPE = 40
_UTF16_SAMPLE = 4096


def pieces(stream: BinaryIO, name: str = "the log") -> Iterator[bytes]:
    """The text of a log in pieces, whatever it is packed and encoded as.

    Colours and NUL bytes are taken out, line breaks are kept.
    Raises UsageError for what is plainly no log.
    """
    raw = _read(stream)
    first = next(raw, b"")
    if first.startswith(_GZIP):
        raw = _unzipped(first, raw)
        first = next(raw, b"")
    for magic, what in _BINARY.items():
        if first.startswith(magic):
            raise UsageError(f"{name} is no log but {what}")
    rest = b""
    for piece in _decoded(first, raw):
        whole, rest = _split_escape(rest + piece)
        yield _clean(whole)
    yield _clean(rest)


def _read(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(CHUNK):
        yield piece


def _unzipped(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    """The members of a gzip file one after another; one that is cut off or damaged ends there."""
    unzip = zlib.decompressobj(wbits=31)
    for piece in _chained(first, rest):
        data = piece
        while data:
            try:
                made = unzip.decompress(data, CHUNK)
            except zlib.error:
                return
            if made:
                yield made
            data = unzip.unconsumed_tail
            if unzip.eof:
                data = unzip.unused_data
                unzip = zlib.decompressobj(wbits=31)


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _decoded(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    encoding = _utf16(first)
    if encoding is None:
        yield from _chained(first, rest)
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for piece in _chained(first, rest):
        yield decoder.decode(piece).lstrip("\ufeff").encode("utf-8", "replace")


def _utf16(sample: bytes) -> str | None:
    """The byte order of UTF-16, by its mark or by zeros in every other byte of the beginning."""
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if sample.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    head = sample[:_UTF16_SAMPLE]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) < 16 or max(even, odd) < len(head) * 0.4 or min(even, odd) > len(head) * 0.05:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _split_escape(piece: bytes) -> tuple[bytes, bytes]:
    """A piece up to an escape sequence that goes on in the next one, and that beginning."""
    at = piece.rfind(b"\x1b", max(0, len(piece) - _LONGEST_ESCAPE))
    if at < 0 or _ESCAPES.match(piece, at):
        return piece, b""
    return piece[:at], piece[at:]


def _clean(piece: bytes) -> bytes:
    if b"\0" in piece:
        piece = piece.replace(b"\0", b"")
    if b"\x08" in piece:
        piece = _ESCAPES.sub(b"", piece)
    elif b"\x1b" in piece:
        piece = b"".join(_ESCAPES_ALONE.split(piece))
    return piece


def plain_quotes(line: bytes) -> bytes:
    """Typographic quotes, as compilers print them in UTF-8 locales, made '."""
    if b"\xe2\x80" not in line:
        return line
    return line.replace(b"\xe2\x80\x98", b"'").replace(b"\xe2\x80\x99", b"'")


def text_of(line: bytes) -> str:
    """A line for people: UTF-8, else Latin-1; control characters left out."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    return "".join(c for c in text.replace("\t", "    ") if c.isprintable()).rstrip()


def as_stream(data: bytes | BinaryIO) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else data
