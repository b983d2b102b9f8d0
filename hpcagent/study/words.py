"""What a run's decisions say of who leads and of what the confirmation showed, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcagent.measure.objectives import TIME, Constraint
from hpcagent.measure.statistics import Claim
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.verdict import BROKEN, MET, Bound, Figures, Verdict


def no_winner(known: Knowledge) -> str:
    """Why nothing is confirmed."""
    settings, standing = known.state.settings, known.standings.get(known.unpruned.default.id)
    if settings.plain and len(known.trials) == 1:
        return "no configuration but the default was tried"
    if settings.plain:
        return "no configuration was measurably faster than the default"
    goals = " or ".join(settings.objectives)
    reason = f"no configuration was measurably better than the default in {goals}"
    broken = (*standing.broken, *standing.doubtful) if standing is not None else ()
    if broken:
        return f"the default breaks {', '.join(broken)}, and so does all that was measured"
    return reason + within(settings.within)


def within(constraints: Sequence[str]) -> str:
    return f" within {', '.join(constraints)}" if constraints else ""


def chosen(known: Knowledge) -> str:
    """Why the leader is confirmed."""
    best, settings = known.best, known.state.settings
    standing = known.standings[best.config.id]
    gain = math.exp(-standing.losses[0])
    if settings.objectives[0] == TIME:
        reason = f"{gain:.4g} times the default's speed in the search"
    else:
        reason = (
            f"{gain:.4g} times as good as the default in {settings.objectives[0]} in the search"
        )
    for name, loss in zip(settings.objectives[1:], standing.losses[1:], strict=True):
        reason += f", {math.exp(-loss):.4g} times as good in {name}"
    if standing.unsure:
        reason += f"; whether it keeps to {', '.join(standing.unsure)} is not sure yet"
    return reason


def shown(verdict: Verdict) -> str:
    """What the confirmation showed."""
    first, *others = verdict.figures
    parts = [_first(first, verdict.gained)]
    parts += [_jobs(verdict)] if verdict.asked > 1 else []
    parts += [f"{f.objective.name}: {_gain(f.claim)}" for f in others]
    parts += [bound_words(bound) for bound in verdict.bounds]
    if verdict.rescued:
        parts.append("it is announced because it keeps to what the default breaks")
    return "; ".join(parts)


def _jobs(verdict: Verdict) -> str:
    """What its confirmations show, each by itself."""
    gains = " and ".join(f"{gain:.4g}" for gain in verdict.gains)
    if verdict.complete:
        return f"in {verdict.jobs} jobs, {gains} by themselves"
    return f"in {verdict.jobs} of {verdict.asked} jobs, all of which have to show it"


def _first(figures: Figures, gained: bool) -> str:
    claim, name = figures.claim, figures.objective.name
    if name != TIME:
        return f"{name}: {_gain(claim)}"
    if gained:
        return f"{claim.speedup:.4f} times the default's speed, {_interval(claim)}"
    return f"best candidate {claim.speedup:.4f}, {_interval(claim)}"


def _gain(claim: Claim) -> str:
    proven = "" if claim.improved else " (no improvement is proven)"
    return f"{claim.speedup:.4f} times as good as the default, {_interval(claim)}{proven}"


def _interval(claim: Claim) -> str:
    words = f"{claim.coverage * 100:.2f} % interval {claim.low:.4f} to {claim.high:.4f}"
    return f"{words}; {claim.note}" if claim.note else words


def bound_words(bound: Bound) -> str:
    """A constraint in the confirmation: met, broken or not shown, with the figures."""
    value, high = (amount(bound.constraint, x) for x in (bound.value, bound.high))
    text = f"{bound.constraint.text}: {bound.state}, {value}"
    if bound.state != BROKEN and bound.high != bound.value:
        side = "least" if bound.constraint.inverse else "most"
        text += f", at {side} {high}" if math.isfinite(bound.high) else ""
    if bound.state not in (MET, BROKEN):
        pairs = f"about {bound.needed} pairs would show it if it stays so (confirm_pairs)"
        text += f"; {pairs if bound.needed else 'no number of pairs would show it if it stays so'}"
    return text


def amount(constraint: Constraint, value: float) -> str:
    """A figure in the unit of the constraint, as the card prints it."""
    if not math.isfinite(value) or (constraint.inverse and value == 0.0):
        return "unknown"
    value = 1.0 / value if constraint.inverse else value
    if constraint.metric == "cv":
        return f"{100.0 * value:.3g} %"
    if constraint.metric == "memory":
        return f"{value / 2**20:.4g} MiB"
    unit = {"energy": "J", "time": "s"}.get(constraint.metric, "")
    return f"{value:.4g} {unit}".rstrip()
