from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import TEMPLATE, make_tiny_gguf

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "damaged.gguf"


def refused(path: Path) -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        gguf.read(path)
    words = str(caught.value)
    assert str(path) in words and "\n" not in words
    return words


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(version: int = 3, tensors: int = 0, pairs: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def test_the_header_of_a_real_file(model: Path) -> None:
    found = gguf.read(model)
    assert found.architecture == "llama"
    assert found.name == "tiny-random"
    assert found.quantisation == "F32"
    assert found.context_length == 16384
    assert found.chat_template == TEMPLATE
    assert found.size_bytes == model.stat().st_size
    assert 20_000 < found.parameters < 100_000


def test_the_digest_is_that_of_the_bytes(scratch: Path) -> None:
    scratch.write_bytes(b"abc")
    assert gguf.digest(scratch).startswith("ba7816bf8f01cfea")
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        gguf.digest(scratch.parent / "absent")


def test_every_cut_is_told(model: Path, scratch: Path) -> None:
    whole = model.read_bytes()
    for length in [*range(400), *range(400, len(whole), 9973), len(whole) - 1]:
        scratch.write_bytes(whole[:length])
        words = refused(scratch)
        assert "not a whole GGUF" in words or f"truncated at {length} of {len(whole)}" in words


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_crash_the_reader(
    model: Path, scratch: Path, data: st.DataObject
) -> None:
    whole = bytearray(model.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.one_of(st.integers(0, 600), st.integers(0, 12_000)))
        whole[where] = data.draw(st.integers(0, 255))
    scratch.write_bytes(whole)
    try:
        found = gguf.read(scratch)
    except EnvironmentProblem as problem:
        assert "\n" not in str(problem)
    else:
        assert found.size_bytes == len(whole)


@given(rest=st.binary(max_size=200), tensors=st.integers(0, 4), pairs=st.integers(0, 4))
def test_any_bytes_after_the_magic_never_crash_the_reader(
    scratch: Path, rest: bytes, tensors: int, pairs: int
) -> None:
    scratch.write_bytes(header(3, tensors, pairs, rest))
    refused(scratch)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends in the magic"),
        (b"PK\x03\x04 and so on", "not a GGUF file"),
        (header(version=1), "version 1 is not supported"),
        (header(version=4), "version 4 is not supported"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(tensors=2**63), "damaged"),
        (header(pairs=2**60), "damaged"),
        (header(pairs=1, rest=struct.pack("<Q", 2**62)), "a key of"),
        (header(pairs=1, rest=text("k") + struct.pack("<I", 99)), "metadata of type 99"),
        (header(pairs=1, rest=text("k") + struct.pack("<IIQ", 9, 4, 2**62)), "an array of"),
        (header(pairs=1, rest=text("k") + struct.pack("<IIQ", 9, 8, 2**61)), "an array of"),
        (
            header(
                pairs=1,
                rest=text("k") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 9, 1) * 30,
            ),
            "arrays in arrays",
        ),
        (header(tensors=1, rest=text("t") + struct.pack("<I", 9)), "9 dimensions"),
        (
            header(tensors=1, rest=text("t") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0)),
            "truncated at",
        ),
        (header(rest=bytes(64)), "names no architecture"),
    ],
)
def test_hostile_headers_are_told_in_one_line(scratch: Path, content: bytes, words: str) -> None:
    scratch.write_bytes(content)
    assert words in refused(scratch)


def test_what_is_not_a_file_is_told(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "absent.gguf")
    assert "not a regular file" in refused(tmp_path)
