"""A loaded model with the sampling settings of one role: several roles share one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.tables import Sampling
from hpcagent.records import Limits, Message, Ranking, Reply


class Sampled:
    """A RankingModel; probabilities are the model's own, which no sampling changes."""

    def __init__(self, model: LlamaCpp, sampling: Sampling) -> None:
        self._model = model
        self._sampling = sampling

    @property
    def notes(self) -> tuple[str, ...]:
        """What is not as it was asked for, from the first answer on."""
        return self._model.notes

    def read_ahead(self, messages: Sequence[Message], limits: Limits) -> Reply:
        return self._model.read_ahead(messages, limits)

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        return self._model.complete(messages, schema, limits, seed, self._sampling)

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        return self._model.rank(messages, menu, limits, reason, seed, self._sampling)
