"""Builds of a tune run: what the node can build, the units that do it, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcagent.apps.application_builds import ApplicationBuilds, ApplicationPlan
from hpcagent.apps.card import Card
from hpcagent.apps.render import FAMILIES, PRECISIONS
from hpcagent.apps.space import Knobs
from hpcagent.apps.variants import BuildPlan, Builds, Variants, needed
from hpcagent.errors import UsageError
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Config, Failure, Machine
from hpcagent.search.space import Space
from hpcagent.study.attempts import given_up
from hpcagent.study.state import TuneState
from hpcagent.toolchain.buildend import build_end
from hpcagent.toolchain.parameters import load_parameters

_LAPACK = ("getrf", "potrf")


def variants_of(
    card: Card, build: Mapping[str, Any], machine: Machine, facts: Mapping[str, Any]
) -> Variants:
    """What may be built at the node of these facts; `build` is a BuildPlan as JSON."""
    plan = BuildPlan.from_json(build)
    without = _LAPACK if plan.fixed.get("lapack") == "none" else ()
    routines = tuple(p + f for p, _ in PRECISIONS for f in FAMILIES if f not in without)
    return Variants(card, load_parameters(card.name), plan, machine, software_of(facts), routines)


def application_builds_of(
    knobs: Knobs, build: Mapping[str, Any], facts: Mapping[str, Any], prologue: tuple[str, ...]
) -> ApplicationBuilds:
    """The same for an application; `build` is an ApplicationPlan as JSON."""
    plan = ApplicationPlan.from_json(build)
    raw = RawFacts(facts)
    programs = {str(name): str(path) for name, path in raw.section("programs").items()}
    loaded = raw.word("environment", "LOADEDMODULES") or ""
    return ApplicationBuilds(knobs, plan, software_of(facts), prologue, programs, loaded)


def software_of(facts: Mapping[str, Any]) -> Software:
    """What the node has to build with, as far as it was asked."""
    parts = facts.get("parts")
    raw = parts.get("software") if isinstance(parts, Mapping) else None
    return parse_software(raw if isinstance(raw, Mapping) else {})


def variant_purpose(variant_id: str) -> str:
    """The unit that builds a variant."""
    return f"variant-{variant_id}"


def driver_purpose(variants: Builds, config: Config) -> str:
    """The unit that compiles the driver of the configuration's build of a library; the default's is
    `build`."""
    variant, default = variants.of(config), variants.of(variants.space.default)
    return "build" if variant.id == default.id else f"driver-{variant.id}"


def failure_of_build(state: TuneState, variants: Builds, config: Config) -> Failure | None:
    """Why the configuration's build, or the driver on it, cannot be had, as far as is known."""
    try:
        variant = variants.of(config)
    except UsageError as error:
        return Failure("configure", "outside_space", str(error))
    purposes = [variant_purpose(variant.id)]
    if variant.library is not None:
        purposes.append(driver_purpose(variants, config))
    for purpose in purposes:
        lost = given_up(state, purpose)
        if lost is not None:
            return lost[0]
        unit = state.done(purpose)
        failure = build_end(unit.steps).failure if unit is not None and unit.steps else None
        if failure is not None:
            return failure
    return None


def space_that_works(state: TuneState, variants: Builds) -> Space:
    """The space without the configurations whose build has failed; what was proposed stays, for the
    search to judge its neighbours by."""
    space = variants.space
    begun = {unit.purpose for unit in state.units}
    tried = {name.partition("-")[2] for name in begun if name.startswith(("variant-", "driver-"))}
    if not tried:
        return space
    points = space.points()
    first = needed(variants, points)
    bad = {name for name in tried & set(first) if failure_of_build(state, variants, first[name])}
    if not bad:
        return space
    proposed = {p.config.id for rows in state.proposed.values() for p in rows}
    lost = [c.id for c in points if variants.of(c).id in bad and c.id not in proposed]
    return space.excluding(lost) if lost else space
