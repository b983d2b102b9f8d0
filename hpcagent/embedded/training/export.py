"""A trained network as a GGUF, its embeddings written out."""

from __future__ import annotations

from pathlib import Path

import torch

from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.training.gguf_writer import write
from hpcagent.embedded.training.network import EPSILON, ROPE_BASE, Network

NAME = "hpcagent-embedded"
_PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def export(network: Network, path: Path) -> None:
    size = network.size
    metadata = {
        "general.architecture": "llama",
        "general.name": NAME,
        "general.license": "Apache-2.0",
        "hpcagent.embedded.format": v.FORMAT,
        "llama.context_length": 512,
        "llama.embedding_length": size.width,
        "llama.block_count": size.layers,
        "llama.feed_forward_length": size.inner,
        "llama.attention.head_count": size.heads,
        "llama.attention.head_count_kv": size.heads,
        "llama.attention.layer_norm_rms_epsilon": EPSILON,
        "llama.rope.dimension_count": size.width // size.heads,
        "llama.rope.freq_base": ROPE_BASE,
        "llama.vocab_size": v.SIZE,
    }
    with torch.no_grad():
        tensors = {"token_embd.weight": network.table(), "output_norm.weight": network.output_norm}
        for n, layer in enumerate(network.layers):
            for part in ("attn_norm", "ffn_norm"):
                tensors[f"blk.{n}.{part}.weight"] = getattr(layer, part)
            for part in _PARTS:
                tensors[f"blk.{n}.{part}.weight"] = getattr(layer, part).weight
        arrays = {name: tensor.float().contiguous().numpy() for name, tensor in tensors.items()}
    write(path, metadata, arrays)
