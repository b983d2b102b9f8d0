from __future__ import annotations

import os
import resource
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from gguf import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import TEMPLATE, make_tiny_gguf

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf, gguf_reader
from hpcagent.llm.gguf_types import GIVEN_UP, TYPES


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


def pairs(values: Mapping[str, object]) -> bytes:
    """Metadata: texts, whole numbers, floats and tuples of whole numbers."""
    made = b""
    for key, value in values.items():
        made += text(key)
        if isinstance(value, str):
            made += struct.pack("<I", 8) + text(value)
        elif isinstance(value, float):
            made += struct.pack("<If", 6, value)
        elif isinstance(value, tuple):
            made += struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)
        else:
            made += struct.pack("<II", 4, value)
    return made


def make(
    path: Path,
    values: Mapping[str, object],
    tensors: Sequence[tuple[str, tuple[int, ...], int]] = (),
    size: int = 4096,
) -> Path:
    """A file of `size` bytes with that metadata and tensors (name, shape, type) at offset 0."""
    rest = pairs(values)
    for name, shape, kind in tensors:
        rest += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)
    path.write_bytes(header(3, len(tensors), len(values), rest).ljust(size, b"\0"))
    return path


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


def test_everything_that_a_model_is_chosen_by(scratch: Path) -> None:
    found = gguf.read(
        make(
            scratch,
            {
                "general.architecture": "jamba",
                "general.file_type": 15,
                "jamba.block_count": 3,
                "jamba.embedding_length": 64,
                "jamba.attention.head_count": 8,
                "jamba.attention.head_count_kv": (2, 0, 2),
                "jamba.attention.key_length": 16,
                "jamba.feed_forward_length": 256,
                "jamba.expert_count": 8,
                "jamba.expert_used_count": 2,
                "jamba.rope.freq_base": 500000.0,
                "jamba.rope.scaling.type": "yarn",
                "jamba.rope.scaling.factor": 4.0,
                "jamba.vocab_size": 1000,
                "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.pre": "qwen2",
                "tokenizer.chat_template": "a",
                "tokenizer.chat_template.tool_use": "b",
            },
            [
                ("token_embd.weight", (64, 16), 0),
                ("blk.0.ffn_up.weight", (256, 12), 12),
                ("blk.1.ffn_up.weight", (256, 4), 14),
            ],
            size=1 << 14,
        )
    )
    assert found.quantisation == "Q4_K_M"
    assert [name for name, _ in found.mixture] == ["Q4_K", "F32", "Q6_K"]
    assert sum(share for _, share in found.mixture) == pytest.approx(1)
    shape = found.shape
    assert (shape.layers, shape.heads, shape.kv_heads) == (3, 8, (2, 0, 2))
    assert (shape.key_length, shape.value_length) == (16, 8)
    assert (shape.experts, shape.experts_used, shape.vocabulary) == (8, 2, 1000)
    assert found.rope == "base 500000, yarn x 4"
    assert found.tokenizer == "gpt2 qwen2"
    assert found.templates == ("a", "b")
    assert found.weights == gguf.Weights(4096 + 12 * 144 + 4 * 210, 12 * 144, 4096)


def test_the_types_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    del theirs[9]  # Q8_1, which no file holds: two halves in ggml-common.h, two floats in theirs
    assert {number: tuple(TYPES[number]) for number in theirs} == theirs
    assert not set(GIVEN_UP) & set(TYPES)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"general.architecture": "clip"}, "projector for images"),
        ({"general.architecture": "qwen2", "general.type": "mmproj"}, "projector for images"),
        ({"general.architecture": "llama", "general.type": "adapter"}, "adapter"),
        ({"general.architecture": "llama", "adapter.type": "lora"}, "adapter"),
        ({"general.architecture": "a", "general.type": "imatrix"}, "importance matrix"),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, "model for embeddings"),
        ({"general.architecture": "nomic-bert"}, "reads text and writes none"),
        ({"general.architecture": "llama"}, "vocabulary without weights"),
    ],
)
def test_what_is_no_language_model_is_told(
    scratch: Path, values: Mapping[str, object], kind: str
) -> None:
    tensors = (
        [("a", (8,), 0)] if len(values) > 1 or values != {"general.architecture": "llama"} else []
    )
    make(scratch, values, tensors)
    assert kind in gguf.describe(scratch).kind
    article = "an" if kind[0] in "ai" else "a"
    said = refused(scratch)
    assert f"not a language model but {article} {kind[:7]}" in said or kind in said


def part(folder: Path, number: int, count: int = 3, tensors: int = 3) -> Path:
    values = {"split.no": number, "split.count": count, "split.tensors.count": tensors}
    if number == 0:
        values |= {"general.architecture": "llama"}  # type: ignore[dict-item]
    path = folder / f"big-{number + 1:05}-of-{count:05}.gguf"
    return make(path, values, [(f"blk.{number}.w", (32, 2), 8)])


def test_a_split_model_is_one_model(tmp_path: Path) -> None:
    parts = [part(tmp_path, number) for number in range(3)]
    found = gguf.read(parts[0])
    assert found.parts == tuple(parts)
    assert (found.parameters, found.size_bytes) == (192, 3 * 4096)
    assert found.weights == gguf.Weights(3 * 68, 68, 0)
    assert "name the first one, big-00001-of-00003.gguf" in refused(parts[1])
    whole = gguf.digest(parts[0])
    parts[2].write_bytes(parts[2].read_bytes() + b"x")
    assert gguf.digest(parts[0]) != whole


def test_a_vocabulary_alone_has_nothing_after_its_header(scratch: Path) -> None:
    """No file of those in llama.cpp's repository is filled up to where weights would begin."""
    make(scratch, {"general.architecture": "llama", "general.name": "odd length"}, [])
    with scratch.open("rb") as stream:
        header = gguf_reader.read_header(scratch, stream)
        os.truncate(scratch, stream.tell())
    assert header.metadata["general.name"] == "odd length"
    assert "but a vocabulary without weights" in refused(scratch)


def test_what_a_split_model_lacks_is_told(tmp_path: Path) -> None:
    first = part(tmp_path, 0)
    assert "big-00002-of-00003.gguf and 1 more is missing" in refused(first)
    part(tmp_path, 1)
    assert "of which big-00003-of-00003.gguf is missing" in refused(first)
    part(tmp_path, 2, tensors=9)
    part(tmp_path, 0, tensors=9)
    assert "hold 3 of 9 tensors" in refused(first)
    renamed = first.rename(tmp_path / "big.gguf")
    assert "NAME-00001-of-00003.gguf: rename it" in refused(renamed)


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


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_lengths_put_anywhere_never_crash_the_reader_or_cost_much(
    model: Path, scratch: Path, data: st.DataObject
) -> None:
    whole = bytearray(model.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(4, 12_000))
        length = data.draw(st.one_of(st.integers(0, 70), st.integers(0, 2**64 - 1)))
        if data.draw(st.booleans()):
            whole[where:where] = struct.pack("<Q", length)
        else:
            whole[where : where + 8] = struct.pack("<Q", length)
    scratch.write_bytes(whole)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        gguf.read(scratch)
    except EnvironmentProblem as problem:
        assert "\n" not in str(problem)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


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
        (b"version https://git-lfs.github.com/spec/v1\nsize 417\n", "Git LFS pointer to 417 bytes"),
        (struct.pack("<Q", 90) + b'{"__metadata__": {}}', "a safetensors file: convert it with"),
        (b"PK\x03\x04", "PyTorch file"),
        (b"\x80\x02}q", "Python pickle"),
        (b"lmgg\x01\x00", "older than GGUF"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b'{"schemaVersion": 2}', "a JSON text"),
    ],
)
def test_hostile_headers_are_told_in_one_line(scratch: Path, content: bytes, words: str) -> None:
    scratch.write_bytes(content)
    assert words in refused(scratch)


def test_what_is_not_a_file_is_told(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "absent.gguf")
    assert "not a regular file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "cannot be read: File name too long" in refused(tmp_path / ("n" * 300))
    assert "cannot be read" in refused(tmp_path / "a\0b")


def test_a_file_of_others_is_told(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "closed.gguf"
    path.write_bytes(model.read_bytes())
    path.chmod(0)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0
    if root:  # who may read everything
        os.seteuid(65534)
    try:
        assert "cannot be read: Permission denied" in refused(path)
    finally:
        if root:
            os.seteuid(0)


def test_a_type_that_llama_cpp_gave_up_is_told(scratch: Path) -> None:
    make(scratch, {"general.architecture": "llama"}, [("a", (32,), 31)])
    assert "quantised as Q4_0_4_4, which llama.cpp has given up" in refused(scratch)


def test_a_newer_type_is_for_llama_cpp_to_judge(scratch: Path) -> None:
    make(scratch, {"general.architecture": "llama"}, [("a", (32,), 200)])
    assert gguf.read(scratch).quantisation == "type 200"


def test_what_is_kept_of_a_header_is_bounded(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {f"k{index}": "x" * 1000 for index in range(40)}
    make(scratch, {"general.architecture": "llama", **values}, [("a", (8,), 0)], size=1 << 16)
    gguf.read(scratch)
    monkeypatch.setattr(gguf_reader, "_MAX_KEPT", 20_000)
    assert "damaged GGUF: more than 20000 bytes of texts" in refused(scratch)
    many = text("a") + struct.pack("<IIQ", 9, 8, 1000) + bytes(8000)
    scratch.write_bytes(header(3, 0, 1, many))
    monkeypatch.setattr(gguf_reader, "_MAX_ITEMS", 999)
    assert "arrays of more than 999 texts" in refused(scratch)
