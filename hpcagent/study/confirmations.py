"""The confirmations of a run: one job, or several that must show the same together and alone.

Noise that stays with one side for as long as a job lasts is a difference within that job; only
other allocations tell. With several jobs an improvement is announced where all their pairs together
show it at the run's alpha and each job's pairs by themselves at ALONE (an intersection-union test:
R. L. Berger, Technometrics 24 (1982) 295-300), so a false claim is no more likely than with one; or
where each job shows it at alpha, since nodes may gain differently. To ask for the latter alone
would cost a tenth to half of the power (docs/benchmarks.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hpcagent.measure.statistics import together
from hpcagent.records import Config
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.verdict import BROKEN, MET, NOT_SHOWN, Bound, Figures, Verdict, judged

# The alpha of one of several jobs by itself. 0.05 keeps the power of a single job for small gains
# under independent noise, and more under heavy tails (docs/benchmarks.md).
ALONE = 0.05


def purpose(index: int) -> str:
    """Of the confirmation of this number, from 1."""
    return "confirm" if index == 1 else f"confirm-{index}"


def confirmations(state: TuneState) -> tuple[Unit, ...]:
    """Those that have ended well, in their order."""
    found = (state.done(purpose(i)) for i in range(1, state.settings.confirm_jobs + 1))
    return tuple(unit for unit in found if unit is not None)


def confirmed_on(state: TuneState) -> tuple[str, ...]:
    """The nodes of the confirmations so far."""
    return tuple(dict.fromkeys(unit.node for unit in confirmations(state) if unit.node))


def shown_by(known: Knowledge, units: Sequence[Unit], winner: Config) -> Verdict | None:
    """What all these show together, and each alone; None where one has too few valid pairs."""
    asked = known.state.settings.confirm_jobs
    whole = judged(known, units, winner) if units else None
    if whole is None or asked == 1:
        return whole
    alone = [judged(known, [unit], winner, ALONE) for unit in units]
    sure = [judged(known, [unit], winner) for unit in units]
    if any(verdict is None for verdict in (*alone, *sure)):
        return None
    return _together(whole, [v for v in alone if v], [v for v in sure if v], asked)


def passed(known: Knowledge, unit: Unit, winner: Config) -> bool:
    """Whether one of several confirmations shows what is asked of it by itself.

    Either certainty will do: that the first of several objectives is proven to be worse may be
    seen at the lesser one only, and what all jobs show together decides on that.
    """
    each = (judged(known, [unit], winner, alpha) for alpha in (ALONE, None))
    return any(verdict is not None and verdict.improved for verdict in each)


def shown_alone(known: Knowledge, unit: Unit, winner: Config) -> Verdict | None:
    """What one of the run's confirmations shows by itself, at what is asked of one."""
    alone = None if known.state.settings.confirm_jobs == 1 else ALONE
    return judged(known, [unit], winner, alone)


def _together(
    whole: Verdict, alone: Sequence[Verdict], sure: Sequence[Verdict], asked: int
) -> Verdict:
    figures = zip(whole.figures, *(v.figures for v in (*alone, *sure)), strict=True)
    bounds = zip(whole.bounds, *(v.bounds for v in (*alone, *sure)), strict=True)
    jobs = len(alone)
    return Verdict(
        tuple(_figures(first, rest[:jobs], rest[jobs:]) for first, *rest in figures),
        tuple(_bound(first, rest[:jobs], rest[jobs:], asked) for first, *rest in bounds),
        gains=tuple(verdict.claim.speedup for verdict in alone),
        asked=asked,
    )


def _figures(whole: Figures, alone: Sequence[Figures], sure: Sequence[Figures]) -> Figures:
    each, surely = ([figures.claim for figures in rows] for rows in (alone, sure))
    return replace(whole, claim=together(whole.claim, each, surely))


def _bound(whole: Bound, alone: Sequence[Bound], sure: Sequence[Bound], asked: int) -> Bound:
    """Met, or broken by the default, only where each job shows it as well, or all do surely."""
    state = _state(MET, *([row.state for row in rows] for rows in ([whole], alone, sure)))
    default = _state(
        BROKEN, *([row.default_state for row in rows] for rows in ([whole], alone, sure))
    )
    first = (whole, *alone)
    return replace(
        whole,
        high=min(max(row.high for row in rows) for rows in (first, sure)),
        state=state,
        default_state=default,
        needed=_needed(whole, alone, asked) if state == NOT_SHOWN else None,
    )


def _state(wanted: str, whole: Sequence[str], alone: Sequence[str], sure: Sequence[str]) -> str:
    """`wanted` where it is shown, else what all pairs together say or that nothing is shown."""
    if set(sure) == {wanted} or {*whole, *alone} == {wanted}:
        return wanted
    return NOT_SHOWN if whole[0] == wanted else whole[0]


def _needed(whole: Bound, alone: Sequence[Bound], asked: int) -> int | None:
    """Pairs in each job that would show the bound together, and in each by itself."""
    lacking = [row.needed for row in alone if row.state != MET]
    if whole.state != MET:
        lacking.append(math.ceil(whole.needed / asked) if whole.needed else None)
    return None if None in lacking else max(each for each in lacking if each is not None)
