"""The loop that the engine is measured against: llama.cpp and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from hpcagent.llm.child.decode import attention

_BATCH = 512


class Bare:
    """A context of `length` tokens beside that of the engine; RuntimeError, ValueError."""

    def __init__(self, llama: Any, length: int) -> None:
        import llama_cpp

        self._api = llama_cpp
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = length
        parameters.n_batch = parameters.n_ubatch = _BATCH
        parameters.n_threads = llama.n_threads
        parameters.n_threads_batch = llama.n_threads_batch
        parameters.flash_attn_type = attention()
        self._context = llama_cpp.llama_init_from_model(llama.model, parameters)
        if not self._context:
            raise ValueError(f"no memory for {length} tokens of context")
        self._greedy = llama_cpp.llama_sampler_init_greedy()
        self._token = 0

    def __enter__(self) -> Bare:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._api.llama_sampler_free(self._greedy)
        self._api.llama_free(self._context)

    def read(self, tokens: Sequence[int]) -> None:
        """Forget everything, evaluate a prompt, and take the token after it."""
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)
        for start in range(0, len(tokens), _BATCH):
            self._decode(tokens[start : start + _BATCH])
        self._token = self._api.llama_sampler_sample(self._greedy, self._context, -1)

    def step(self) -> None:
        """Evaluate the token taken last, and take the next one."""
        self._decode([self._token])
        self._token = self._api.llama_sampler_sample(self._greedy, self._context, -1)

    def _decode(self, tokens: Sequence[int]) -> None:
        held = (self._api.llama_token * len(tokens))(*tokens)
        batch = self._api.llama_batch_get_one(held, len(tokens))
        result = self._api.llama_decode(self._context, batch)
        if result != 0:
            raise RuntimeError(f"llama_decode returned {result}")
