"""Strategy `model`: the surrogate, with a bounded share of its choices made by a language model.

A language model helps with a small share of the evaluations and harms with a large one, so it
gets 30 % of the slots, and fewer while its picks do not pay (`earned`). Its answer is confined by a
schema made from the space and validated again; after two repeats with the validator's words the
surrogate's own choice takes the slot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpcagent.errors import UsageError
from hpcagent.protocols import LanguageModel, SearchSpace
from hpcagent.records import Config, Limits, Message, Proposal, Reply, Stop, Trial
from hpcagent.search import earned
from hpcagent.search.options import Options
from hpcagent.search.question import Question
from hpcagent.search.surrogate import Surrogate

NAME = "model"
REPEATS = 2
MENU = 6


# Lines about a history for the prompt; they are asked for once in a round.
Analysis = Callable[[SearchSpace, Sequence[Trial], Sequence[Config], int], str]


def create(options: Options) -> ModelStrategy:
    """UsageError where the options hold no model."""
    if options.model is None:
        raise UsageError("strategy 'model' needs a language model; give --model FILE.gguf")
    return ModelStrategy(options.model, options)


@dataclass(frozen=True)
class _Refused:
    """No usable answer: how many calls were made and what was wrong with the last."""

    calls: int
    words: str


class ModelStrategy:
    """`propose` asks the model once for each of its slots, at most three times each."""

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
            found: Proposal | _Refused = _Refused(0, "no usable answer before in this round")
            if not given_up:
                found = self._ask(space, history, taken, seed + slot, told)
            if isinstance(found, _Refused):
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
    ) -> Proposal | _Refused:
        menu = self._surrogate.candidates(space, history, taken, MENU, seed)
        question = Question(space, self._options.facts, tuple(history), tuple(taken), menu, told)
        messages = question.messages()
        words, calls = "", 0
        for attempt in range(1 + REPEATS):
            reply, messages = self._complete(question, messages, seed + 1000 * attempt)
            calls += 1
            if reply.failure is not None:
                words = f"{reply.failure.id}: {reply.failure.evidence}"
                if reply.failure.kind in ("unavailable", "context_overflow"):
                    break
                continue
            checked = question.check(reply.text)
            if isinstance(checked, tuple):
                self._tell("accepted")
                config, reason = checked
                return Proposal(config, reason or "no reason given", NAME)
            words = checked
            self._tell(f"rejected: {checked}")
            messages = (
                *messages,
                Message("assistant", reply.text),
                Message("user", f"This cannot be used: {checked}. Answer again."),
            )
        return _Refused(calls, words)

    def _complete(
        self, question: Question, messages: tuple[Message, ...], seed: int
    ) -> tuple[Reply, tuple[Message, ...]]:
        """The reply and the messages it answers: a prompt too long is shortened once."""
        limits = Limits(question.answer_bound(), self._options.timeout_s)
        reply = self._model.complete(messages, question.schema(), limits, seed)
        if reply.failure is None or reply.failure.kind != "context_overflow":
            return reply, messages
        shorter = question.messages(short=True)
        return self._model.complete(shorter, question.schema(), limits, seed), shorter

    def _tell(self, words: str) -> None:
        if self._options.verdict is not None:
            self._options.verdict(words)


def _instead(spare: list[Proposal], taken: Sequence[Config], refused: _Refused) -> Proposal:
    own = next(each for each in spare if each.config not in taken)
    spare.remove(own)
    note = f"in place of the model's choice ({refused.words[:120]})"
    if refused.calls:
        note = f"in place of the model's choice (no usable answer in {refused.calls}: "
        note += f"{refused.words[:120]})"
    return Proposal(own.config, f"{own.reason}; {note}", own.proposed_by)
