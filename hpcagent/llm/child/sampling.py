"""Draws tokens: from all that the model may say, or from those that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.llm.child.decode import Run


@dataclass(frozen=True)
class Filters:
    """What is left to draw from.

    The `top_k` most probable tokens; of these as many as make up `top_p`; of these none less
    probable than `min_p` times the first. `temperature` 0 takes the first.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05

    @staticmethod
    def of(given: Mapping[str, float]) -> Filters:
        usual = Filters()
        return Filters(
            temperature=given.get("temperature", usual.temperature),
            top_k=int(given.get("top_k", usual.top_k)),
            top_p=given.get("top_p", usual.top_p),
            min_p=given.get("min_p", usual.min_p),
        )


class Sampler:
    """llama.cpp's chain of filters with a seed of its own; `close` frees it."""

    def __init__(self, run: Run, filters: Filters, seed: int) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._run = run
        self._chain = _chain(filters, seed)

    def close(self) -> None:
        self._api.llama_sampler_free(self._chain)

    def draw(self) -> int:
        """The next token, whatever it is."""
        self._run.evaluate()
        return int(self._api.llama_sampler_sample(self._chain, self._run.context, -1))

    def draw_from(self, allowed: Any) -> int:
        """The next token of those that `allowed` (an array of their numbers) holds.

        The others are taken out before the filters, for this draw and later ones from the same
        evaluation. RuntimeError where the model has no numbers for any of them.
        """
        import numpy as np

        logits = self._run.logits()
        kept = logits[allowed]
        if not np.isfinite(kept).any():
            raise RuntimeError("the model computes no numbers")
        logits[:] = -np.inf
        logits[allowed] = np.where(np.isfinite(kept), kept, -np.inf)
        token = int(self._api.llama_sampler_sample(self._chain, self._run.context, -1))
        if not np.isfinite(logits[token]):
            raise RuntimeError("the model computes no numbers")
        return token


def _chain(filters: Filters, seed: int) -> Any:
    import llama_cpp

    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if filters.temperature <= 0:
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_greedy())
        return chain
    for link in (
        llama_cpp.llama_sampler_init_top_k(filters.top_k),
        llama_cpp.llama_sampler_init_top_p(filters.top_p, 1),
        llama_cpp.llama_sampler_init_min_p(filters.min_p, 1),
        llama_cpp.llama_sampler_init_temp(filters.temperature),
        llama_cpp.llama_sampler_init_dist(seed),
    ):
        llama_cpp.llama_sampler_chain_add(chain, link)
    return chain
