"""The options that say what a run is to make better, checked before a run is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

import click

from hpcagent.apps.card import Card
from hpcagent.config import Settings, rates
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.measure import energy
from hpcagent.measure.objectives import COST, ENERGY, Objective, parse_constraints
from hpcagent.measure.statistics import pairs_needed
from hpcagent.protocols import Scheduler
from hpcagent.records import Resources
from hpcagent.schedulers.catalogue_charge import price
from hpcagent.study.goals import goals_of, metrics
from hpcagent.study.settings import TuneSettings

Command = TypeVar("Command", bound=Callable[..., Any])
_META = "hpcagent.goals"
MOST_JOBS = 8


def _keep(ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | int) -> None:
    ctx.meta.setdefault(_META, {})[param.name] = value


def goal_options(command: Command) -> Command:
    """Add --objective, --within and --confirm-jobs; `wanted` and `confirm_jobs` give what was
    said."""
    command = click.option(
        "--confirm-jobs", type=click.IntRange(1, MOST_JOBS), metavar="N", callback=_keep,
        expose_value=False, help="Jobs that must confirm the winner, together and each by itself, "
        "on other nodes where there are some. [default: 2]",
    )(command)  # fmt: skip
    command = click.option(
        "--within", multiple=True, metavar="METRIC<BOUND", callback=_keep, expose_value=False,
        help='What must hold meanwhile: "cv<2%", "memory<500M", "energy<50J", "time<3ms", '
        "a card's figure (\"accuracy>0.9\"); may be repeated.",
    )(command)  # fmt: skip
    return click.option(
        "--objective", "objectives", multiple=True, metavar="NAME", callback=_keep,
        expose_value=False,
        help="What to make better: time, throughput, cost, energy, memory, cv or the card's own "
        "figure. Repeated: the first decides, and the trade-off is shown. [default: the card's "
        "first figure, which is time]",
    )(command)  # fmt: skip


def wanted(configured: Settings, figure: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(objectives, constraints) in the user's order, the constraints as they are written.

    Where nothing is said it is for what the card prints first, the `figure`.
    """
    said: Mapping[str, Any] = click.get_current_context().meta.get(_META, {})
    objectives = said.get("objectives") or configured.objectives or (figure,)
    within = parse_constraints(said.get("within") or configured.within)
    return objectives, tuple(each.text for each in within)


def confirm_jobs(configured: Settings) -> int:
    """How many jobs confirm the winner. UsageError for a number that cannot be."""
    said = click.get_current_context().meta.get(_META, {}).get("confirm_jobs")
    if said is None and not 1 <= configured.confirm_jobs <= MOST_JOBS:
        words = f"confirm_jobs is {configured.confirm_jobs}, it must be from 1 to {MOST_JOBS}"
        raise UsageError(f"configuration: {words}")
    return int(said or configured.confirm_jobs)


def check(settings: TuneSettings, card: Card) -> tuple[Objective, ...]:
    """The objectives. UsageError, or EnvironmentProblem where one cannot be had on this machine."""
    found = goals_of(card, settings, None).objectives
    least = pairs_needed(1.0 - settings.alpha / len(found))
    if settings.confirm_pairs < least:
        raise UsageError(
            f"configuration: confirm_pairs is {settings.confirm_pairs}, claims for {len(found)} "
            f"objectives need at least {least}"
        )
    if ENERGY in metrics(settings) and settings.scheduler == "local":
        why = energy.why_not()
        if why:
            raise EnvironmentProblem(f"energy cannot be measured here: {why}; {energy.CURE}")
    return found


def charge(
    objectives: tuple[str, ...], scheduler: Scheduler, asks: Resources, cores: int, nodes: int,
    configured: Settings,
) -> dict[str, Any] | None:  # fmt: skip
    """What an hour of a job on so many nodes, with so many cores of each, costs, as JSON.

    None where nobody asks. SchedulerUnreachable where untold.
    """
    if COST not in objectives:
        return None
    catalogue = scheduler.catalogue().priced(rates(configured.charge_rates))
    found = price(catalogue, asks, cores)
    return asdict(replace(found, job_hour=found.job_hour * nodes))
