"""What a run may still spend. Core-hours are reserved before a unit is submitted."""

from __future__ import annotations

from datetime import datetime

from hpcagent.records import Resources
from hpcagent.study.state import TuneState, Unit


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
    return max(0.0, (_time(now_utc) - _time(state.created_utc)).total_seconds())


def refused(
    state: TuneState, next_unit: Resources, kept_for_later: Resources, now_utc: str
) -> str | None:
    """Why the next unit does not fit into what is left, when `kept_for_later` must fit as well."""
    settings = state.settings
    wanted = next_unit.core_hours + kept_for_later.core_hours
    left = settings.core_hours - spent_core_hours(state)
    if settings.core_hours and wanted > left:
        return (
            f"{left:.3g} core-hours are left, the next unit and the confirmation "
            f"reserve {wanted:.3g}"
        )
    seconds = next_unit.walltime_s + kept_for_later.walltime_s
    left_s = settings.wall_s - elapsed_s(state, now_utc)
    if settings.wall_s and seconds > left_s:
        return (
            f"{max(0.0, left_s) / 60:.3g} minutes are left, the next unit and the confirmation "
            f"may take {seconds / 60:.3g}"
        )
    return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
