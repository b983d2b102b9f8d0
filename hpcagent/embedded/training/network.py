"""The network in PyTorch: a small Llama that llama.cpp can run, trained as a prior-fitted network.

The trials of a history all stand at position 0 and see each other, so that their order means
nothing; a point that is asked about stands at position 1 and sees the history and itself
(S. Mueller, N. Hollmann, S. Pineda Arango, J. Grabocka, F. Hutter, ICLR 2022). llama.cpp gives the
same mask where every such point is a sequence of its own that shares the history.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpcagent.embedded import vocabulary as v

ROPE_BASE = 10_000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Size:
    """`width` of a position, `heads` of attention, `inner` width of the feed-forward part."""

    width: int = 96
    layers: int = 6
    heads: int = 4
    inner: int = 256

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Table(nn.Module):
    """The embeddings, factorised: slots share what a rank or a category is, each in its own way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("ranks", _waves(v.LEVELS), persistent=False)
        self.register_buffer("meanings", _waves(v.MEANINGS), persistent=False)
        self.plain = nn.Parameter(_normal(v.slot_at(0), width))
        self.categories = nn.Parameter(_normal(v.CATEGORIES, 16, scale=1.0))
        self.roles = nn.Parameter(_normal(len(v.ROLES), 8, scale=1.0))
        self.by_rank = nn.Parameter(_normal(v.SLOTS, self.ranks.shape[1], width))
        self.by_category = nn.Parameter(_normal(v.SLOTS, 16, width))
        self.by_role = nn.Parameter(_normal(v.SLOTS, 8, width))
        self.by_meaning = nn.Parameter(_normal(v.SLOTS, self.meanings.shape[1], width))

    def forward(self) -> Tensor:
        """(SIZE, width)"""
        parts = (
            torch.einsum("rf,sfw->srw", self.ranks, self.by_rank),
            torch.einsum("cf,sfw->scw", self.categories, self.by_category),
            torch.einsum("kf,sfw->skw", self.roles, self.by_role),
            torch.einsum("mf,sfw->smw", self.meanings, self.by_meaning),
        )
        slots = torch.cat(parts, dim=1).reshape(v.SLOTS * v.SLOT_SIZE, -1)
        return torch.cat([self.plain, slots])


class Layer(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        w = size.width
        self.heads = size.heads
        self.attn_norm = nn.Parameter(torch.ones(w))
        self.attn_q, self.attn_k = _linear(w, w), _linear(w, w)
        self.attn_v, self.attn_output = _linear(w, w), _linear(w, w)
        self.ffn_norm = nn.Parameter(torch.ones(w))
        self.ffn_gate, self.ffn_up = _linear(w, size.inner), _linear(w, size.inner)
        self.ffn_down = _linear(size.inner, w)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], hidden: Tensor, history: int
    ) -> Tensor:
        x = x + self._attended(norm(x, self.attn_norm), rope, hidden, history)
        y = norm(x, self.ffn_norm)
        gate, up = _together(y, self.ffn_gate, self.ffn_up)
        found: Tensor = self.ffn_down(functional.silu(gate) * up)
        return x + found

    def _attended(
        self, x: Tensor, rope: tuple[Tensor, Tensor], hidden: Tensor, history: int
    ) -> Tensor:
        """`hidden` (B, 1, T, history + 1): -inf where a position does not look; last is itself."""
        batch, length, width = x.shape
        q, k, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in _together(x, self.attn_q, self.attn_k, self.attn_v)
        )
        past = k[:, :, :history].transpose(2, 3)
        # at position 0 nothing is turned, and seen from itself a position is where it is
        turned = torch.cat([q[:, :, :history], _rotated(q[:, :, history:], *rope)], dim=2)
        scores = torch.cat([turned @ past, (q * k).sum(dim=3, keepdim=True)], dim=3)
        share = torch.softmax(scores.float() / math.sqrt(q.shape[3]) + hidden, dim=3).to(
            value.dtype
        )
        mixed = share[..., :history] @ value[:, :, :history] + share[..., history:] * value
        found: Tensor = self.attn_output(mixed.transpose(1, 2).reshape(batch, length, width))
        return found


def _together(x: Tensor, *parts: nn.Linear) -> tuple[Tensor, ...]:
    """What each gives for the same input, by one product of matrices."""
    found = functional.linear(x, torch.cat([part.weight for part in parts]))
    return tuple(found.chunk(len(parts), dim=-1))


class Network(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.table = Table(size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.output_norm = nn.Parameter(torch.ones(size.width))

    def forward(self, tokens: Tensor, seen: Tensor, history: int) -> Tensor:
        """(B, T - history, OUTPUTS) logits of tokens (B, T, W), of which `seen` (B,) are history.

        Rows `seen` ... `history` - 1 are not looked at; rows from `history` on are asked about.
        """
        table = self.table()
        batch, length, width = tokens.shape
        padded = functional.pad(table, (0, 0, 0, 1))
        flat = torch.where(tokens < 0, v.SIZE, tokens).reshape(-1, width)
        x = functional.embedding_bag(flat, padded, mode="sum", padding_idx=v.SIZE)
        x = x.view(batch, length, -1)
        hidden = _hidden(seen, length, history)
        rope = _angles(self.size.width // self.size.heads)
        for layer in self.layers:
            x = layer(x, rope, hidden, history)
        x = norm(x[:, history:], self.output_norm)
        rows = table[v.PREDICTED_AT : v.PREDICTED_AT + v.OUTPUTS]
        return x @ rows.transpose(0, 1)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x.float(), (x.shape[-1],), weight, EPSILON)


def _hidden(seen: Tensor, length: int, history: int) -> Tensor:
    """(B, 1, T, history + 1): see `Layer`."""
    past = torch.arange(history)[None, None] < seen[:, None, None]
    itself = (torch.arange(length) >= history)[None, :, None].expand(len(seen), -1, 1)
    looks = torch.cat([past.expand(-1, length, -1), itself], dim=2)
    return torch.zeros(looks.shape).masked_fill(~looks, -math.inf)[:, None]


def _angles(width: int) -> tuple[Tensor, Tensor]:
    """(cosine, sine), each (width / 2,): by how much position 1 is turned."""
    speed = ROPE_BASE ** (-torch.arange(0, width, 2) / width)
    return speed.cos(), speed.sin()


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Neighbouring pairs turned, as llama.cpp does it for this architecture."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def _waves(count: int) -> Tensor:
    """(count, 12): smooth functions of a rank."""
    x = torch.arange(count) / (count - 1)
    waves = [torch.cos(math.pi * n * x) for n in range(1, 9)]
    return torch.stack(
        [torch.ones(count), 2 * x - 1, (2 * x - 1) ** 2, (x == 0).float(), *waves], 1
    )


def _normal(*shape: int, scale: float = 0.1) -> Tensor:
    return scale * torch.randn(*shape)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    made = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(made.weight, std=0.7 / math.sqrt(inputs))
    return made
