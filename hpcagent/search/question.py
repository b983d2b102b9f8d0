"""What the strategy `model` asks a language model, and the check of what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Message, Trial
from hpcagent.search.evidence import measured
from hpcagent.search.surrogate import Candidate
from hpcagent.templates import render

REASON_LENGTH = 200
KEPT_WHEN_SHORT = 8  # trials quoted in full once the history had to be shortened
_PROMPTS = Path(__file__).resolve().parent.parent / "llm" / "prompts"


@dataclass(frozen=True)
class Question:
    """One slot to fill; `waiting` may not be chosen. `analysis` are lines of a user's function."""

    space: SearchSpace
    facts: Mapping[str, str]
    history: tuple[Trial, ...]
    waiting: tuple[Config, ...]
    menu: tuple[Candidate, ...]
    analysis: str = ""

    def messages(self, short: bool = False) -> tuple[Message, ...]:
        """System: what never changes in a run. User: the history in order, then the menu.

        `short` summarises all but the newest trials, for a context that is too small.
        """
        values = {
            "facts": sorted(self.facts.items()),
            "params": self.space.params,
            "restrictions": self.space.restrictions,
        }
        system = render(_PROMPTS / "optimise_system.j2", values)
        user = render(_PROMPTS / "optimise_history.j2", self._history(short))
        user += render(
            _PROMPTS / "optimise_menu.j2",
            {
                "waiting": [str(config) for config in self.waiting],
                "analysis": self.analysis.splitlines(),
                "menu": [_offer(candidate) for candidate in self.menu],
            },
        )
        return Message("system", system), Message("user", user)

    def schema(self) -> dict[str, Any]:
        """The answer: a bounded reason, then one value for every parameter."""
        config = {param.name: {"enum": list(param.values)} for param in self.space.params}
        return {
            "type": "object",
            "properties": {
                "reason": {"type": "string", "maxLength": REASON_LENGTH},
                "config": {"type": "object", "properties": config},
            },
        }

    def answer_bound(self) -> int:
        """Characters of the longest answer, which is as many tokens at most."""
        config = {p.name: max(p.values, key=_spelt_length) for p in self.space.params}
        longest = {"reason": "x" * REASON_LENGTH, "config": config}
        return len(json.dumps(longest, separators=(",", ":"))) + 1

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
        return problem or (config, _one_line(answer.get("reason")))

    def _problem(self, config: Config) -> str:
        if config in {trial.config for trial in self.history}:
            return f"{config} was measured already"
        if config in self.waiting:
            return f"{config} is waiting to be measured"
        verdict = self.space.validate(config.values)
        return verdict.evidence if isinstance(verdict, Failure) else ""

    def _history(self, short: bool) -> dict[str, Any]:
        cut = max(0, len(self.history) - KEPT_WHEN_SHORT) if short else 0
        old, recent = self.history[:cut], self.history[cut:]
        return {"summary": _summary(old), "trials": [_line(trial) for trial in recent]}


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
    from math import exp

    return f"{exp(max(-50.0, min(50.0, log_ratio))):.4f}"


def _summary(old: Sequence[Trial]) -> str:
    if not old:
        return ""
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


def _one_line(reason: object) -> str:
    """The model's words, fit for a journal line: printable ASCII, bounded."""
    if not isinstance(reason, str):
        return ""
    kept = "".join(char if " " <= char <= "~" else " " for char in reason)
    return " ".join(kept.split())[:REASON_LENGTH]
