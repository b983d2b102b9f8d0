"""A llama's forward pass in NumPy, written from the papers, to judge the engine by.

RMS norm (arXiv:1910.07467), rotary positions on pairs of neighbours (arXiv:2104.09864), causal
attention, and a gated unit with SiLU (arXiv:2002.05202); all in float64, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from numpy.typing import NDArray
from tiny_gguf import BYTE_TOKENS, token_of

Wide = NDArray[np.float64]


class PlainLlama:
    """The model of a file with weights in F32 and as many heads for keys as for queries."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)
        self._weights = {t.name: np.array(t.data, dtype=np.float64) for t in reader.tensors}
        told = {key: field.contents() for key, field in reader.fields.items()}
        self._layers = int(told["llama.block_count"])
        self._heads = int(told["llama.attention.head_count"])
        self._epsilon = float(told["llama.attention.layer_norm_rms_epsilon"])

    def logits(self, tokens: Sequence[int]) -> Wide:
        """(tokens, vocabulary): of what follows each token."""
        x = self._weights["token_embd.weight"][list(tokens)]
        for layer in range(self._layers):
            x = x + self._attention(layer, self._norm(x, f"blk.{layer}.attn_norm"))
            x = x + self._forward(layer, self._norm(x, f"blk.{layer}.ffn_norm"))
        return self._norm(x, "output_norm") @ self._weights["output.weight"].T

    def _norm(self, x: Wide, name: str) -> Wide:
        size = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self._epsilon)
        return x / size * self._weights[f"{name}.weight"]

    def _times(self, layer: int, name: str, x: Wide) -> Wide:
        return x @ self._weights[f"blk.{layer}.{name}.weight"].T

    def _attention(self, layer: int, x: Wide) -> Wide:
        count = len(x)
        query, key, value = (
            self._times(layer, f"attn_{which}", x).reshape(count, self._heads, -1).swapaxes(0, 1)
            for which in "qkv"
        )
        scores = _turned(query) @ _turned(key).swapaxes(1, 2) / np.sqrt(query.shape[-1])
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return self._times(layer, "attn_output", (shares @ value).swapaxes(0, 1).reshape(count, -1))

    def _forward(self, layer: int, x: Wide) -> Wide:
        gate = self._times(layer, "ffn_gate", x)
        passed = gate / (1 + np.exp(-gate)) * self._times(layer, "ffn_up", x)
        return self._times(layer, "ffn_down", passed)


def _turned(x: Wide) -> Wide:
    """(heads, tokens, width) with each pair of neighbours turned by its place."""
    pairs = x[..., 0::2] + 1j * x[..., 1::2]
    speeds = 10000.0 ** -(np.arange(pairs.shape[-1]) / pairs.shape[-1])
    pairs = pairs * np.exp(1j * np.arange(x.shape[1])[:, None] * speeds)
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)


def spelt(text: str) -> list[int]:
    """A text in the characters and bytes of tiny_gguf's vocabulary, without words."""
    tokens = []
    for letter in text.replace(" ", "\u2581"):
        known = letter == "\u2581" or "!" <= letter <= "~"
        tokens += [token_of(letter)] if known else [BYTE_TOKENS + b for b in letter.encode()]
    return tokens
