"""What the strategy `model` asks a language model, and the check of what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import Any

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Message, Trial
from hpcagent.search.candidate import Candidate
from hpcagent.search.evidence import measured
from hpcagent.templates import render

REASON_LENGTH = 200
SHORT_REASON = 40  # of a model that is too slow for more
# A context that is too small gets ever less of the history: at least so many of the newest lines,
# the others as a summary. With the last one the menu is shorter as well, and the analysis is gone.
KEPT = (None, 16, 8, 4, 0)
SHORTEST = len(KEPT) - 1
SHORT_MENU = 2
# A capital letter is one token, so that a ranking takes one evaluation.
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
APPLICATION = "application"  # the fact that tells what it is, in the place of a library
_PROMPTS = Path(__file__).resolve().parent.parent / "llm" / "prompts"

Chapters = Sequence[Sequence[Trial]]


@dataclass(frozen=True)
class Question:
    """One slot to fill; `waiting` may not be chosen. `analysis` are lines of a user's function.

    `chapters` are what was told of the measurements in earlier rounds and what is new, in that
    order: to a prompt they are only ever added. Without them the history is told as it is.
    `ranked` asks for a reason and one of `labels`.
    """

    space: SearchSpace
    facts: Mapping[str, str]
    history: tuple[Trial, ...]
    waiting: tuple[Config, ...]
    menu: tuple[Candidate, ...]
    analysis: str = ""
    chapters: Chapters = ()
    ranked: bool = False

    def messages(self, shortened: int = 0) -> tuple[Message, ...]:
        """System: what never changes in a run. User: the history in order, then the menu.

        Cards begin with what may turn out not to work (the kind of kernels), which is told last:
        what stands before it can be read before that is known.

        `shortened` is how often the history was shortened for a context that is too small, at most
        SHORTEST times.
        """
        values = {
            "what": "an application" if APPLICATION in self.facts else "a numerical library",
            "facts": sorted(self.facts.items()),
            "params": self.space.params,
            "restrictions": self.space.restrictions,
        }
        last = shortened == SHORTEST
        system = render(_PROMPTS / "optimise_system.j2", values)
        user = render(_PROMPTS / "optimise_history.j2", self._history(KEPT[shortened]))
        user += render(
            _PROMPTS / "optimise_menu.j2",
            {
                "waiting": [str(config) for config in self.waiting],
                "analysis": [] if last else self.analysis.splitlines(),
                "menu": self._rows(self.offered(shortened)),
                "ranked": self.ranked,
            },
        )
        return Message("system", system), Message("user", user)

    def offered(self, shortened: int = 0) -> tuple[Candidate, ...]:
        """The candidates that a prompt shows."""
        return self.menu[:SHORT_MENU] if shortened == SHORTEST else self.menu

    def labels(self, shortened: int = 0) -> tuple[str, ...]:
        """Of the candidates in their order; the last one stands for any other configuration."""
        return tuple(LABELS[: len(self.offered(shortened)) + 1])

    def schema(self) -> dict[str, Any]:
        """The answer where it is not ranked: a bounded reason, then a value for every parameter."""
        return _object({"reason": _REASON, "config": self._config()})

    def config_schema(self) -> dict[str, Any]:
        """The answer to "which other one?"."""
        return _object({"config": self._config()})

    def _config(self) -> dict[str, Any]:
        return _object({p.name: {"enum": list(p.values)} for p in self.space.params})

    def check(self, text: str) -> tuple[Config, str] | str:
        """(configuration, the model's reason), or why the answer cannot be used."""
        try:
            answer = json.loads(text)
        except ValueError:
            return "the answer is not JSON"
        if not isinstance(answer, dict) or not isinstance(answer.get("config"), dict):
            return 'the answer has no object "config"'
        values = answer["config"]
        if not all(isinstance(value, str) for value in values.values()):
            return "every value has to be a text"
        config = Config.of(values)
        problem = self._problem(config)
        return problem or (config, one_line(answer.get("reason")))

    def _problem(self, config: Config) -> str:
        if config in {trial.config for trial in self.history}:
            return f"{config} was measured already"
        if config in self.waiting:
            return f"{config} is waiting to be measured"
        verdict = self.space.validate(config.values)
        return verdict.evidence if isinstance(verdict, Failure) else ""

    def _rows(self, menu: Sequence[Candidate]) -> list[str]:
        rows = [_offer(candidate) for candidate in menu]
        if not self.ranked:
            return rows
        rows.append("another valid configuration that you expect to be faster")
        return [f"{label}: {row}" for label, row in zip(LABELS, rows, strict=False)]

    def _history(self, kept: int | None) -> dict[str, Any]:
        told = [trial for chapter in self.chapters or (self.history,) for trial in chapter]
        cut = _cut(len(told), kept)
        return {"summary": _summary(told[:cut]), "trials": [_line(t) for t in told[cut:]]}


_REASON = {"type": "string", "maxLength": REASON_LENGTH}


def answer_bound(schema: Mapping[str, Any]) -> int:
    """Characters of the longest answer, which is as many tokens at most."""
    return len(json.dumps(_longest(schema), separators=(",", ":"))) + 1


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties)}


def _longest(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return max(schema["enum"], key=_spelt_length)
    if schema["type"] == "string":
        return "x" * int(schema["maxLength"])
    return {name: _longest(part) for name, part in schema["properties"].items()}


def _cut(count: int, kept: int | None) -> int:
    """How many of the oldest lines are summarised: all but `kept` of the newest, or up to twice as
    many, so that the summary stays as it is for some rounds and with it the model's cache."""
    if kept is None:
        return 0
    return count if kept == 0 else max(0, count // kept - 1) * kept


def _spelt_length(value: str) -> int:
    return len(json.dumps(value))


def _line(trial: Trial) -> str:
    if trial.failure is not None:
        return f"{trial.config} -> failed ({trial.failure.id})"
    if not measured(trial) or trial.log_ratio is None:
        return f"{trial.config} -> not measured"
    error = f" +- {100 * trial.spread:.1f} %" if trial.spread else ""
    broken = "" if trial.eligible else ", but it breaks a constraint and cannot win"
    return f"{trial.config} -> {_ratio(trial.log_ratio)}{error}{broken}"


def _ratio(log_ratio: float) -> str:
    return f"{exp(max(-50.0, min(50.0, log_ratio))):.4f}"


def _summary(told: Sequence[Trial]) -> str:
    if not told:
        return ""
    old = {trial.config: trial for trial in told}.values()  # of each what was told last
    times = [(trial.log_ratio, trial) for trial in old if measured(trial)]
    failed = sum(trial.failure is not None for trial in old)
    text = f"{len(old)} earlier ones, {failed} of them failed"
    ranked = sorted(
        ((y, t) for y, t in times if y is not None and t.eligible), key=lambda pair: pair[0]
    )
    if ranked:
        (fast, best), (slow, worst) = ranked[0], ranked[-1]
        text += f"; fastest: {best.config} -> {_ratio(fast)}"
        text += f"; slowest: {worst.config} -> {_ratio(slow)}"
    return text


def _offer(candidate: Candidate) -> str:
    if candidate.mean is None or candidate.spread is None:
        return f"{candidate.config} -> unknown, would cover new ground"
    chance = f", runs with probability {candidate.feasibility:.2f}"
    return f"{candidate.config} -> {_ratio(candidate.mean)} +- {100 * candidate.spread:.1f} %" + (
        chance if candidate.feasibility < 0.995 else ""
    )


def one_line(reason: object) -> str:
    """The model's words, fit for a journal line: printable ASCII, bounded."""
    if not isinstance(reason, str):
        return ""
    kept = "".join(char if " " <= char <= "~" else " " for char in reason)
    return " ".join(kept.split())[:REASON_LENGTH]
