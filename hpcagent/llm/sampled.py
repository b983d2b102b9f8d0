"""A loaded model with the sampling settings of one role: several roles share one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.tables import Sampling
from hpcagent.protocols import LanguageModel, RankingModel
from hpcagent.records import Limits, Message, Ranking, Reply


def sampled(model: LlamaCpp, sampling: Sampling) -> LanguageModel:
    """The model as it is where nothing was set; it ranks where the model can."""
    if sampling == Sampling():
        return model
    if isinstance(model, RankingModel):
        return _SampledRanking(model, model, sampling)
    return _Sampled(model, sampling)


class _Sampled:
    def __init__(self, model: LlamaCpp, sampling: Sampling) -> None:
        self._model = model
        self._sampling = sampling

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        return self._model.complete(messages, schema, limits, seed, self._sampling)


class _SampledRanking(_Sampled):
    """Probabilities are the model's own: no sampling changes them."""

    def __init__(self, model: LlamaCpp, ranking: RankingModel, sampling: Sampling) -> None:
        super().__init__(model, sampling)
        self._ranking = ranking

    def rank(self, messages: Sequence[Message], menu: Sequence[str], limits: Limits) -> Ranking:
        return self._ranking.rank(messages, menu, limits)
