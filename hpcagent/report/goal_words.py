"""Objectives, constraints and trade-offs as words, for every form of a report."""

from __future__ import annotations

import math

from hpcagent.report import wording
from hpcagent.study.summary import (
    BoundSummary,
    ClaimSummary,
    GoalClaim,
    GoalsSummary,
    PointSummary,
    RunSummary,
)

TIME = "time"


def first_objective(summary: RunSummary) -> str:
    """What decides in this run."""
    return summary.goals.objectives[0][0] if summary.goals is not None else TIME


def gain_noun(summary: RunSummary) -> str:
    """What the figures of the trials are: "speed-up", "gain in memory"."""
    name = first_objective(summary)
    return "speed-up" if name == TIME else f"gain in {wording.visible(name)}"


def verdict(summary: RunSummary, word: str) -> str:
    """ "faster" and "slower" in the words of this run's first objective."""
    if first_objective(summary) == TIME:
        return word
    return {"faster": "better", "slower": "worse"}.get(word, word)


def better(summary: RunSummary, gain: float) -> str:
    """ "1.17x faster than the default", "1.17x better than the default in memory"."""
    name = first_objective(summary)
    if name == TIME:
        return f"{wording.ratio(gain)} faster than the default"
    return f"{wording.ratio(gain)} better than the default in {wording.visible(name)}"


def reached(summary: RunSummary, gain: float) -> str:
    """ "1.17x", "1.17x in memory": a gain that nothing is claimed of."""
    name = first_objective(summary)
    return wording.ratio(gain) + ("" if name == TIME else f" in {wording.visible(name)}")


def amount(name: str, unit: str, value: float) -> str:
    """A figure with its unit, in the form that its objective is usually read in."""
    if not math.isfinite(value):
        return wording.NONE
    if name == "memory":
        return wording.size(round(value))
    if name == "cv":
        return wording.percent(value, 2)
    if unit == "s":
        return wording.seconds(value)
    return f"{value:.4g} {wording.visible(unit)}".rstrip()


def goal(goals: GoalsSummary) -> str:
    """What the run was for."""
    names = ", then ".join(f"{name} ({way(direction)})" for name, _, direction in goals.objectives)
    return wording.visible(names + (f", within {', '.join(goals.within)}" if goals.within else ""))


def way(direction: str) -> str:
    return "more is better" if direction == "max" else "less is better"


def bound(each: BoundSummary) -> str:
    """Whether a constraint is met, and by how much."""
    parts = [f"{each.state}: {_figure(each, each.best)}"]
    end = math.isfinite(each.high) and each.high not in (each.best, 0.0)
    if each.state != "broken" and end:
        side = "least" if each.least else "most"
        parts.append(f"at {side} {_figure(each, each.high)}")
    text = ", ".join(parts) + f"; the default {_figure(each, each.default)}"
    if each.default_state == "broken":
        text += ", which breaks it"
    return text + _needed(each)


def _needed(each: BoundSummary) -> str:
    if each.state != "not shown":
        return ""
    if each.pairs_needed is None:
        return ". No number of pairs would show it if it stays so"
    return (
        f". About {each.pairs_needed} pairs would show it if it stays so: set confirm_pairs in "
        "hpcagent.toml and tune again"
    )


def _figure(each: BoundSummary, value: float) -> str:
    return amount(each.metric, {"time": "s", "energy": "J"}.get(each.metric, ""), value)


def verdict_on(summary: RunSummary, claim: ClaimSummary) -> str:
    """What the confirmation says of the first objective, and of the constraints beside it."""
    goals = summary.goals
    words = "improved" if claim.improved else "not improved"
    if claim.partial:
        return f"shown by {len(claim.jobs)} of {claim.jobs_asked} jobs only, so not announced"
    if goals is None:
        return words
    if goals.rescued:
        return f"{words}, but it keeps to what the default breaks"
    return words if goals.kept else f"{words}; a constraint is not shown to be met"


def leading(summary: RunSummary, claim: ClaimSummary) -> GoalClaim | None:
    """The claim that a proven result leads with, where that is not the first objective's."""
    goals = summary.goals
    if goals is None or goals.rescued or claim.improved:
        return None
    return next((each for each in goals.claims if each.improved), None)


def kept(goals: GoalsSummary) -> str:
    """The constraints of a proven result, as the end of a headline."""
    return f" It keeps to {_listed(goals)}." if goals.within else ""


def besides(goals: GoalsSummary) -> str:
    """What the confirmation proved of the objectives behind the first, in further sentences."""
    gains = [f"{wording.ratio(c.gain)} better in {c.name}" for c in goals.claims[1:] if c.improved]
    losses = [f"{c.name} ({wording.ratio(c.gain)})" for c in goals.claims[1:] if c.high < 1.0]
    text = f" Also {', '.join(gains)}." if gains else ""
    return wording.visible(text + (f" Worse in {', '.join(losses)}." if losses else ""))


def rescued(summary: RunSummary, goals: GoalsSummary) -> str:
    """The headline of a result that is announced for the constraint it keeps to."""
    claim = summary.claim
    broken = [each.text for each in goals.bounds if each.default_state == "broken"]
    which = "" if len(broken) == len(goals.bounds) else f" ({', '.join(broken)})"
    gain = wording.ratio(claim.speedup) if claim is not None else wording.NONE
    price = (
        f"at {gain} the default's speed"
        if first_objective(summary) == TIME
        else f"with a {gain_noun(summary)} of {gain} (below one is worse)"
    )
    return f"It keeps to {_listed(goals)}, which the default does not{which}, {price}"


def not_kept(goals: GoalsSummary) -> str:
    """Why a candidate that was confirmed is not announced; empty where constraints are met."""
    missed = [each for each in goals.bounds if each.state != "met"]
    return "; ".join(f"{each.text} is {bound(each)}" for each in missed)


def _listed(goals: GoalsSummary) -> str:
    return ", ".join(wording.visible(text) for text in goals.within)


def claim_cells(each: GoalClaim) -> tuple[str, ...]:
    """Objective, default, best, gain, interval, verdict."""
    about = "" if each.exact else "about "
    return (
        wording.visible(each.name),
        amount(each.name, each.unit, each.default),
        amount(each.name, each.unit, each.best),
        wording.ratio(each.gain),
        about + wording.interval(each.low, each.high),
        "better" if each.improved else ("worse" if each.high < 1.0 else "not shown"),
    )


def standing(point: PointSummary) -> str:
    """Where a trial stands among the others."""
    if point.broken:
        return f"breaks {', '.join(point.broken)}"
    words = "on the front" if point.front else "dominated"
    if point.recommended:
        words = "recommended"
    return words + (f", {', '.join(point.unsure)} not sure" if point.unsure else "")
