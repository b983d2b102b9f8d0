"""The confirmations of a run: one job, or several of which each must show the same by itself.

Noise that stays with one side for as long as a job lasts is a difference within that job; only
other allocations tell. With several, an improvement is announced where each of them shows it at
alpha (an intersection-union test: R. L. Berger, Technometrics 24 (1982) 295-300). A false claim is
then no more likely than with one alone, and where what disturbs them differs, about its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpcagent.measure.statistics import Claim
from hpcagent.measure.worker import median
from hpcagent.records import Config
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.verdict import BROKEN, MET, NOT_SHOWN, Bound, Figures, Verdict, judged


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
    """What all these show together; None where there is none, or one has too few valid pairs."""
    verdicts = [judged(known, unit, winner) for unit in units]
    whole = [verdict for verdict in verdicts if verdict is not None]
    if not whole or len(whole) < len(verdicts):
        return None
    return whole[0] if len(whole) == 1 else _together(whole)


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    figures = zip(*(verdict.figures for verdict in verdicts), strict=True)
    bounds = zip(*(verdict.bounds for verdict in verdicts), strict=True)
    return Verdict(
        tuple(_figures(rows) for rows in figures),
        tuple(_bound(rows) for rows in bounds),
        jobs=len(verdicts),
    )


def _figures(rows: Sequence[Figures]) -> Figures:
    return replace(
        rows[0],
        default=median([row.default for row in rows]),
        winner=median([row.winner for row in rows]),
        claim=_claim([row.claim for row in rows]),
    )


def _claim(claims: Sequence[Claim]) -> Claim:
    """The hull of the intervals, which holds the truth wherever one of them does."""
    return Claim(
        speedup=median([claim.speedup for claim in claims]),
        low=min(claim.low for claim in claims),
        high=max(claim.high for claim in claims),
        coverage=min(claim.coverage for claim in claims),
        improved=all(claim.improved for claim in claims),
        pairs=min(claim.pairs for claim in claims),
        note="; ".join(dict.fromkeys(claim.note for claim in claims if claim.note)),
    )


def _bound(rows: Sequence[Bound]) -> Bound:
    worst = max(rows, key=lambda row: row.high)
    needed = [row.needed for row in rows if row.needed is not None]
    state = _state([row.state for row in rows], any_breaks=True)
    return replace(
        worst,
        default=median([row.default for row in rows]),
        value=max(row.value for row in rows),
        state=state,
        default_state=_state([row.default_state for row in rows], any_breaks=False),
        needed=max(needed) if needed and state == NOT_SHOWN else None,
    )


def _state(states: Sequence[str], any_breaks: bool) -> str:
    """Met where all show it; broken where one does, or (of the default) where all do."""
    if all(state == MET for state in states):
        return MET
    broken = [state == BROKEN for state in states]
    return BROKEN if (any(broken) if any_breaks else all(broken)) else NOT_SHOWN
