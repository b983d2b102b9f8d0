"""Strategy `model`: the surrogate, with a bounded share of its choices made by a language model.

A language model helps with a small share of the evaluations and harms with a large one, so it
gets 30 % of the slots, and fewer while its picks do not pay (`earned`). It picks from the
surrogate's candidates, or names a configuration of its own, which is confined by a schema made from
the space and validated again; after two repeats with the validator's words the surrogate's own
choice takes the slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcagent.errors import UsageError
from hpcagent.protocols import LanguageModel, RankingModel, SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search import earned
from hpcagent.search.dialogue import Dialogue, Refused
from hpcagent.search.options import Options
from hpcagent.search.question import Question
from hpcagent.search.surrogate import Surrogate

NAME = "model"
MENU = 6


# Lines about a history for the prompt; they are asked for once in a round.
Analysis = Callable[[SearchSpace, Sequence[Trial], Sequence[Config], int], str]


def create(options: Options) -> ModelStrategy:
    """UsageError where the options hold no model."""
    if options.model is None:
        raise UsageError("strategy 'model' needs a language model; give --model FILE.gguf")
    return ModelStrategy(options.model, options)


class ModelStrategy:
    """`propose` asks the model once for each of its slots, in a bounded number of calls."""

    def __init__(
        self, model: LanguageModel, options: Options, analysis: Analysis | None = None
    ) -> None:
        self._model = model
        self._analysis = analysis
        self._options = options
        self._surrogate = Surrogate(prior=options.prior)

    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """As the surrogate, whose last choices give way to the model's."""
        own = self._surrogate.propose(space, history, pending, k, seed)
        if isinstance(own, Stop):
            return own
        slots = earned.slots(history, pending, len(own))
        if own and own[0].config == space.default:
            slots = min(slots, len(own) - 1)
        kept, spare = own[: len(own) - slots], list(own[len(own) - slots :])
        chosen: list[Proposal] = list(kept)
        told = self._analysis(space, history, pending, seed) if self._analysis and slots else ""
        given_up = False
        for slot in range(slots):
            taken = (*pending, *(each.config for each in chosen))
            found: Proposal | Refused = Refused(0, "no usable answer before in this round")
            if not given_up:
                found = self._ask(space, history, taken, seed + slot, told)
            if isinstance(found, Refused):
                given_up = True
                found = _instead(spare, taken, found)
            chosen.append(found)
        return tuple(chosen)

    def _ask(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        taken: Sequence[Config],
        seed: int,
        told: str,
    ) -> Proposal | Refused:
        question = Question(
            space,
            self._options.facts,
            tuple(history),
            tuple(taken),
            self._surrogate.candidates(space, history, taken, MENU, seed),
            told,
            () if self._options.chapters is None else self._options.chapters(),
            isinstance(self._model, RankingModel),
        )
        options = self._options
        dialogue = Dialogue(
            self._model, question, options.timeout_s, self._tell, left_s=options.left_s
        )
        found = dialogue.choose(seed)
        if isinstance(found, Refused):
            return found
        return Proposal(found.config, found.reason or "no reason given", NAME)

    def _tell(self, words: str) -> None:
        if self._options.verdict is not None:
            self._options.verdict(words)


def _instead(spare: list[Proposal], taken: Sequence[Config], refused: Refused) -> Proposal:
    own = next(each for each in spare if each.config not in taken)
    spare.remove(own)
    note = f"in place of the model's choice ({refused.words[:120]})"
    if refused.calls:
        note = f"in place of the model's choice (no usable answer in {refused.calls}: "
        note += f"{refused.words[:120]})"
    return Proposal(own.config, f"{own.reason}; {note}", own.proposed_by)
