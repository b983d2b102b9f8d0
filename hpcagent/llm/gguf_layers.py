"""What the layers of a model keep of the tokens that were read: by their tensors and sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from hpcagent.llm.gguf_reader import Tensor

_LAYER = re.compile(r"(?:blk|enc\.blk|dec\.blk)\.([0-9]{1,5})\.")
_HAS_STATE = re.compile(r"\.(?:ssm_|time_mix_|shortconv)")
_HAS_KEYS = re.compile(r"\.attn_(?:k|k_b|kv_a_mqa|kv_b)\.")


def layer_of(name: str) -> str:
    """The number of a tensor's layer; empty outside of all."""
    match = _LAYER.match(name)
    return match[1] if match else ""


def recurrent(tensors: Iterable[Tensor]) -> frozenset[int]:
    """The layers that have a state."""
    found = (layer_of(tensor.name) for tensor in tensors if _HAS_STATE.search(tensor.name))
    return frozenset(int(number) for number in found if number)


def kv_heads(told: Sequence[int], tensors: Sequence[Tensor]) -> tuple[int, ...]:
    """Heads whose keys and values are kept, of each layer.

    Files of models with recurrent layers tell them for each layer, or one number that holds for
    those with attention only. A recurrent layer may have both (falcon-h1), or a projection called
    attn_qkv that is no attention (qwen35).
    """
    without = recurrent(tensors)
    if without:
        keyed = (layer_of(tensor.name) for tensor in tensors if _HAS_KEYS.search(tensor.name))
        without -= {int(number) for number in keyed if number}
    return tuple(0 if layer in without else heads for layer, heads in enumerate(told))


def state_numbers(told: Callable[[str], int]) -> int:
    """Numbers in a recurrent layer's state: a convolution's last inputs, and what it remembers.

    As llama.cpp's hparams n_embd_r and n_embd_s; `told` gives the value of a key, 0 without one.
    """
    width, inner, state = told("embedding_length"), told("ssm.inner_size"), told("ssm.state_size")
    inputs = max(0, told("ssm.conv_kernel") - 1)
    kda = told("attention.head_count") * told("kda.head_dim")
    if kda:
        return inputs * 3 * kda + kda * told("kda.head_dim")
    of_ssm = inputs * (inner + 2 * told("ssm.group_count") * state) + inner * state
    shifted = told("token_shift_count") or 2
    of_rwkv = (shifted + told("wkv.head_size")) * width if told("wkv.head_size") else 0
    return of_ssm + of_rwkv + max(0, told("shortconv.l_cache") - 1) * width
