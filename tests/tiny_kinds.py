"""Makes tiny GGUFs of other kinds than llama's, with random weights.

mamba has only recurrent layers, lfm2 one of them and one with attention, gemma3 a sliding window.
gpt2 has learnt positions and a vocabulary that stands for bytes and knows no beginning. qwen3moe is
a mixture of experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from tiny_gguf import TEMPLATE, add_vocabulary

WIDTH, FORWARD, CONTEXT = 32, 64, 2048
WINDOW = 64
EXPERTS = 4
_HEADS = {"attention.head_count": 2, "attention.head_count_kv": 2}
_NUMBERS: Mapping[str, Mapping[str, int | list[int]]] = {
    "mamba": {"ssm.conv_kernel": 4, "ssm.inner_size": 64, "ssm.state_size": 8,
              "ssm.time_step_rank": 4},
    "lfm2": {"attention.head_count": 2, "attention.head_count_kv": [0, 2], "shortconv.l_cache": 3},
    "gemma3": {**_HEADS, "attention.sliding_window": WINDOW, "attention.key_length": 16,
               "attention.value_length": 16},
    "gpt2": _HEADS,
    "qwen3moe": {**_HEADS, "attention.key_length": 16, "attention.value_length": 16,
                 "expert_count": EXPERTS, "expert_used_count": 2,
                 "expert_feed_forward_length": FORWARD},
}  # fmt: skip
RECURRENT = ("mamba", "lfm2")
KINDS = tuple(_NUMBERS)
_GATED = {"ffn_gate": (FORWARD, WIDTH), "ffn_up": (FORWARD, WIDTH), "ffn_down": (WIDTH, FORWARD)}
_QKV = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
_QK_NORMS = {"attn_q_norm": (16,), "attn_k_norm": (16,)}
_MAMBA = {
    "attn_norm": (WIDTH,), "ssm_in": (128, WIDTH), "ssm_conv1d": (64, 4), "ssm_conv1d.bias": (64,),
    "ssm_x": (20, 64), "ssm_dt": (64, 4), "ssm_dt.bias": (64,), "ssm_a.": (64, 8), "ssm_d.": (64,),
    "ssm_out": (WIDTH, 64),
}  # fmt: skip
_NORMS = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
_CONVOLUTION = {"shortconv.conv": (WIDTH, 3), "shortconv.in_proj": (3 * WIDTH, WIDTH),
                "shortconv.out_proj": (WIDTH, WIDTH)}  # fmt: skip
_WITH_BIAS = {
    **_NORMS, "attn_qkv": (3 * WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH),
    "ffn_up": (FORWARD, WIDTH), "ffn_down": (WIDTH, FORWARD),
}  # fmt: skip
_EXPERTS = {"ffn_gate_inp": (EXPERTS, WIDTH), "ffn_gate_exps": (EXPERTS, FORWARD, WIDTH),
            "ffn_up_exps": (EXPERTS, FORWARD, WIDTH),
            "ffn_down_exps": (EXPERTS, WIDTH, FORWARD)}  # fmt: skip
_AFTER = {"post_attention_norm": (WIDTH,), "post_ffw_norm": (WIDTH,)}
# Each layer's tensors; ".weight" is added where a name has no end of its own.
_LAYERS: Mapping[str, tuple[Mapping[str, tuple[int, ...]], ...]] = {
    "mamba": (_MAMBA, _MAMBA),
    "lfm2": ({**_NORMS, **_CONVOLUTION, **_GATED}, {**_NORMS, **_QKV, **_QK_NORMS, **_GATED}),
    "gemma3": ({**_NORMS, **_AFTER, **_QKV, **_QK_NORMS, **_GATED},) * 2,
    "qwen3moe": ({**_NORMS, **_QKV, **_QK_NORMS, **_EXPERTS},) * 2,
    "gpt2": ({**_WITH_BIAS, **{f"{n}.bias": s[:1] for n, s in _WITH_BIAS.items()}},) * 2,
}
_OUTSIDE: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "mamba": {"output_norm": (WIDTH,)},
    "lfm2": {"token_embd_norm": (WIDTH,)},
    "gemma3": {"output_norm": (WIDTH,)},
    "qwen3moe": {"output_norm": (WIDTH,)},
    "gpt2": {"output_norm": (WIDTH,), "output_norm.bias": (WIDTH,),
             "position_embd": (CONTEXT, WIDTH)},
}  # fmt: skip


def make_kind(path: Path, kind: str, architecture: str = "") -> Path:
    """Write a model of a kind; `architecture` names another one than that of its tensors."""
    writer = GGUFWriter(path, architecture or kind)
    prefix = architecture or kind
    writer.add_name(f"tiny-{prefix}")
    common = {"context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": FORWARD,
              "block_count": len(_LAYERS[kind])}  # fmt: skip
    for key, value in {**common, **_NUMBERS[kind]}.items():
        if isinstance(value, list):
            writer.add_array(f"{prefix}.{key}", value)
        else:
            writer.add_uint32(f"{prefix}.{key}", value)
    for norm in ("layer_norm_rms_epsilon", "layer_norm_epsilon"):
        writer.add_float32(f"{prefix}.attention.{norm}", 1e-5)
    count = _add_bytes(writer) if kind == "gpt2" else add_vocabulary(writer)
    writer.add_vocab_size(count)
    writer.add_chat_template(TEMPLATE)
    _add_tensors(writer, kind, count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_bytes(writer: GGUFWriter) -> int:
    """GPT-2's letters for the 256 bytes, two pairs of them, and one token that ends everything."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = (chr(256 + place) for place in range(256 - len(shown)))
    letters = [chr(byte) if byte in shown else next(other) for byte in range(256)]
    tokens = [*letters, f"{letters[32]}t", "he", "<|endoftext|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([int(TokenType.NORMAL)] * 258 + [int(TokenType.CONTROL)])
    writer.add_token_merges([f"{letters[32]} t", "h e"])
    writer.add_eos_token_id(258)
    writer.add_add_bos_token(False)
    return len(tokens)


def _add_tensors(writer: GGUFWriter, kind: str, count: int) -> None:
    rng = np.random.default_rng(5)
    wanted = {"token_embd": (count, WIDTH), **_OUTSIDE[kind]}
    for number, layer in enumerate(_LAYERS[kind]):
        wanted |= {f"blk.{number}.{name}": shape for name, shape in layer.items()}
    for name, shape in wanted.items():
        stem = name.removesuffix(".")
        whole = stem if name.endswith((".", ".bias")) else f"{name}.weight"
        values = rng.normal(0.0, 0.2, shape)
        if stem.endswith("norm"):
            values = np.ones(shape)
        if stem.endswith("ssm_a"):
            values = -np.abs(values) - 0.1  # what it remembers fades
        writer.add_tensor(whole, values.astype(np.float32))
