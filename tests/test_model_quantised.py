"""Files as llama.cpp itself quantises them: what their header tells, and that they serve."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_gguf import Shape, make_tiny_gguf

from hpcagent.llm import gguf
from hpcagent.llm.gguf_types import TYPES
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Limits, Message

pytestmark = pytest.mark.llama

# By their numbers in llama.h (llama_ftype); in a process of its own, since llama.cpp may abort.
MIXTURES: Mapping[str, int] = {"Q4_K_M": 15, "IQ4_XS": 30, "Q2_0": 41}
QUANTISE = """
import ctypes, sys, llama_cpp
source, target, number = sys.argv[1:]
wanted = llama_cpp.llama_model_quantize_default_params()
wanted.ftype, wanted.nthread = int(number), 1
sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(wanted)))
"""
SCHEMA = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}


def quantised(folder: Path, width: int, name: str) -> Path:
    source = folder / f"{width}.gguf"
    if not source.exists():
        make_tiny_gguf(source, shape=Shape(width=width, heads=2, forward=2 * width))
    target = folder / f"{width}-{name}.gguf"
    words = [sys.executable, "-c", QUANTISE, source, target, str(MIXTURES[name])]
    done = subprocess.run(words, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return target


def answers(path: Path) -> None:
    model = LlamaCpp(path, context=512, sequences=1, threads=1)
    try:
        reply = model.complete((Message("user", "Is it?"),), SCHEMA, Limits(32, 60), 1)
    finally:
        model.close()
    assert reply.failure is None


@pytest.mark.parametrize("name", MIXTURES)
def test_a_quantised_file_is_named_sized_and_serves(tmp_path: Path, name: str) -> None:
    path = quantised(tmp_path, 256, name)
    found = gguf.read(path)
    assert found.quantisation == name
    assert {kind for kind, _ in found.mixture} <= {kind.name for kind in TYPES.values()}
    assert 0 < found.size_bytes - found.weights.total < 20_000  # the rest are the vocabulary's
    answers(path)


def test_rows_that_no_block_divides_are_told_as_what_they_became(tmp_path: Path) -> None:
    """Of a width that is no multiple of 256 llama.cpp takes another type than it was asked for."""
    path = quantised(tmp_path, 288, "Q4_K_M")
    assert gguf.read(path).quantisation == "Q5_0"
    answers(path)


def test_a_type_newer_than_the_table_counts_with_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = quantised(tmp_path, 256, "Q2_0")
    known = gguf.read(path).weights
    without = {number: kind for number, kind in TYPES.items() if kind.name != "Q2_0"}
    for module in ("hpcagent.llm.gguf_types.TYPES", "hpcagent.llm.gguf.TYPES"):
        monkeypatch.setattr(module, without)
    found = gguf.read(path)
    assert found.weights.total == found.size_bytes > known.total
    assert found.weights.layer >= known.layer // 2
