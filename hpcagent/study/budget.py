"""What a run may still spend. Core-hours are reserved before a unit is submitted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcagent.study.durable import seconds_between
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit

_SPARE = 1.2


@dataclass(frozen=True)
class Need:
    """What a unit would take: the core-hours it reserves and the seconds it should last."""

    core_hours: float
    seconds: float

    def __add__(self, other: Need) -> Need:
        return Need(self.core_hours + other.core_hours, self.seconds + other.seconds)


def core_hours(unit: Unit) -> float:
    """What a unit has cost: its reservation while it is out, then the time it really took."""
    if not unit.finished:
        return unit.resources.core_hours
    request = unit.resources
    cores = request.nodes * request.tasks_per_node * request.cpus_per_task
    return min(request.core_hours, cores * unit.job_seconds / 3600.0)


def spent_core_hours(state: TuneState) -> float:
    return sum(core_hours(unit) for unit in state.units)


def elapsed_s(state: TuneState, now_utc: str) -> float:
    """Seconds since the run was opened; a clock that was set back meanwhile takes none away."""
    if state.passed_s is None:
        return seconds_between(state.created_utc, now_utc)
    return state.passed_s + seconds_between(state.last_utc, now_utc)


def refused(state: TuneState, need: Need, now_utc: str) -> str | None:
    """Why this need (of the next unit and what must follow) does not fit into what is left."""
    settings = state.settings
    left = settings.core_hours - spent_core_hours(state)
    if settings.core_hours and need.core_hours > left:
        return (
            f"{max(0.0, left):.3g} core-hours are left, the next unit and the confirmation "
            f"reserve {need.core_hours:.3g}"
        )
    left_s = settings.wall_s - elapsed_s(state, now_utc)
    if settings.wall_s and need.seconds > left_s:
        return (
            f"{max(0.0, left_s) / 60:.3g} minutes are left, the next unit and the confirmation "
            f"take about {need.seconds / 60:.3g}"
        )
    return None


def enough(state: TuneState, first: Need, confirmation: Need, now_utc: str) -> str:
    """Which budgets would do for one round and its confirmation, and how that comes about.

    Only those bounds are told that are too small. What is advised has a fifth to spare: another
    start takes other times.
    """
    settings, told, advised = state.settings, [], []
    spent = (spent_core_hours(state), first.core_hours, confirmation.core_hours)
    if settings.core_hours and sum(spent) > settings.core_hours:
        told.append(f"{sum(spent):.3g} core-hours ({_parts(spent, 1.0)})")
        advised.append(_core_hours(settings, _SPARE * sum(spent)))
    lasted = (elapsed_s(state, now_utc), first.seconds, confirmation.seconds)
    if settings.wall_s and sum(lasted) > settings.wall_s:
        told.append(f"{sum(lasted) / 60:.3g} minutes ({_parts(lasted, 60.0)})")
        advised.append(f"--budget wall={_upwards(_SPARE * sum(lasted) / 60)}m")
    return f"{' and '.join(told)} would have done: try {' '.join(dict.fromkeys(advised))}"


def _core_hours(settings: TuneSettings, wanted: float) -> str:
    limit = settings.site_core_hours
    if not limit or wanted <= limit:
        return f"--budget core-hours={_upwards(wanted)}"
    fewer = "--confirm-jobs 1, " if settings.confirm_jobs > 1 else ""
    return f"{fewer}fewer confirm_pairs or a smaller workload (the site allows {limit:g})"


def _parts(parts: tuple[float, float, float], unit: float) -> str:
    so_far, first, confirmation = (part / unit for part in parts)
    return (
        f"{so_far:.2g} so far, {first:.2g} for the round, {confirmation:.2g} for the confirmation"
    )


def _upwards(value: float) -> str:
    """Rounded up to two digits, as an option takes it."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.6f}".rstrip("0").rstrip(".")


def spare_s(state: TuneState, need: Need, now_utc: str) -> float:
    """Seconds that the run's time leaves beside this need; infinite where it is not bounded."""
    if not state.settings.wall_s:
        return math.inf
    return state.settings.wall_s - elapsed_s(state, now_utc) - need.seconds


def needs_approval(state: TuneState, need: Need) -> str | None:
    """Why this need waits for the user; an approval lifts the limit for the rest of the run."""
    limit = state.settings.approve_core_hours
    total = spent_core_hours(state) + need.core_hours
    if not limit or total <= limit or any(a.get("type") == "approve" for a in state.advice):
        return None
    return f"the next job would bring it to {total:.3g} core-hours, over {limit:.3g}"


def awaits_approval(state: TuneState) -> bool:
    asked = "approval" in state.decisions
    return asked and not any(a.get("type") == "approve" for a in state.advice)
