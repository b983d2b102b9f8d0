"""The confirmations of a run: one job, or several that must show the same together and alone.

Noise that stays with one side for as long as a job lasts is a difference within that job; only
other allocations tell. With several jobs an improvement is announced where all their pairs together
show it at the run's alpha, and each job's pairs by themselves at ALONE (an intersection-union test:
R. L. Berger, Technometrics 24 (1982) 295-300), so a false claim is no more likely than with one.
That each shows it at alpha would cost a tenth to half of the power and saves few false claims
(docs/benchmarks.md).
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
    whole = judged(known, units, winner) if units else None
    if whole is None or len(units) == 1:
        return whole
    alone = [judged(known, [unit], winner, ALONE) for unit in units]
    return _together(whole, [verdict for verdict in alone if verdict is not None])


def shown_alone(known: Knowledge, unit: Unit, winner: Config) -> Verdict | None:
    """What one of the run's confirmations shows by itself, at what is asked of one."""
    alone = None if known.state.settings.confirm_jobs == 1 else ALONE
    return judged(known, [unit], winner, alone)


def _together(whole: Verdict, alone: Sequence[Verdict]) -> Verdict:
    figures = zip(whole.figures, *(verdict.figures for verdict in alone), strict=True)
    bounds = zip(whole.bounds, *(verdict.bounds for verdict in alone), strict=True)
    return Verdict(
        tuple(_figures(first, rest) for first, *rest in figures),
        tuple(_bound(first, rest) for first, *rest in bounds),
        jobs=len(alone),
    )


def _figures(whole: Figures, alone: Sequence[Figures]) -> Figures:
    return replace(whole, claim=together(whole.claim, [each.claim for each in alone]))


def _bound(whole: Bound, alone: Sequence[Bound]) -> Bound:
    state = _met([row.state for row in alone], whole.state)
    needed = math.ceil(whole.needed / len(alone)) if whole.needed else None
    return replace(
        whole,
        high=max(row.high for row in (whole, *alone)),
        state=state,
        default_state=_broken([row.default_state for row in alone], whole.default_state),
        needed=needed if state == NOT_SHOWN else None,
    )


def _met(alone: Sequence[str], whole: str) -> str:
    """Met only where each job shows it as well."""
    return NOT_SHOWN if whole == MET and set(alone) != {MET} else whole


def _broken(alone: Sequence[str], whole: str) -> str:
    """Broken only where each job shows it as well: a winner may be announced for it."""
    return NOT_SHOWN if whole == BROKEN and set(alone) != {BROKEN} else whole
