"""From a card and the probed facts to the space, and from a configuration to what sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.apps.card import Card, Dimension
from hpcagent.apps.placement import place
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.expressions import compile_expression
from hpcagent.records import Config, Library, Machine, Param
from hpcagent.search.space import Space


@dataclass(frozen=True)
class Setting:
    """What puts a configuration into effect: environment, words before the command, CPUs."""

    env: tuple[tuple[str, str], ...]
    prefix: tuple[str, ...]
    binding: tuple[int, ...]


def facts_of(machine: Machine, library: Library) -> dict[str, Any]:
    """The names a card's expressions may use. `cores` are usable ones, `cpus` logical ones.

    Hardware threads of one core are one of `physical_cores`.
    """
    return {
        "machine.architecture": machine.architecture,
        "machine.microarchitecture": machine.microarchitecture,
        "machine.features": machine.features,
        "machine.numa_nodes": machine.numa_nodes,
        "machine.sockets": machine.sockets,
        "machine.huge_pages": machine.huge_pages or "unknown",
        "machine.glibc_minor": _glibc_minor(machine.glibc),
        "library.dynamic_arch": library.dynamic_arch,
        "library.threading": library.threading,
        "library.max_threads": library.max_threads or len(machine.cpus_allowed),
        "library.default_threads": library.default_threads,
        "library.core": library.core,
        "tools.numactl": "numactl" in machine.tools,
        "cores": machine.usable_cores,
        "physical_cores": _physical_cores(machine),
        "cpus": len(machine.cpus_allowed),
        "threads": library.default_threads,
    }


@dataclass(frozen=True)
class Knobs:
    """The card's dimensions that act with this library on this machine, with their defaults."""

    card: Card
    machine: Machine
    facts: Mapping[str, Any]
    active: tuple[tuple[Dimension, str], ...]

    @property
    def hints(self) -> dict[str, str]:
        """The value that the card hints at, of each parameter of which it does."""
        told = {d.name: d.hint for d, _ in self.active if d.hint is not None}
        return {name: str(_evaluate(hint, self.facts)) for name, hint in told.items()}

    def setting(self, config: Config) -> Setting:
        """What puts `config` into effect; parameters at their default set nothing."""
        env: dict[str, str] = {}
        prefix: list[str] = []
        binding: tuple[int, ...] = ()
        values = config.values
        for dimension, default in self.active:
            value = values[dimension.name]
            if value == default:
                continue
            for name, text in dimension.env.items():
                env[name] = text.replace("{value}", value)
            prefix += [word.replace("{value}", value) for word in dimension.argv]
            if dimension.binding:
                threads = int(values.get("threads", str(self.facts["threads"])))
                binding = place(self.machine, value, threads)
        return Setting(tuple(sorted(env.items())), tuple(prefix), binding)


def find_knobs(card: Card, machine: Machine, library: Library) -> Knobs:
    facts = facts_of(machine, library)
    active = tuple(
        (d, str(_evaluate(d.default, facts))) for d in card.space if _evaluate(d.when, facts)
    )
    if not active:
        raise EnvironmentProblem(
            f"{card.name}: no parameter acts here (library {library.path}, "
            f"{machine.usable_cores} core): there is nothing to tune"
        )
    return Knobs(card, machine, facts, active)


def whole_space(knobs: Knobs) -> Space:
    """Every combination that the restrictions allow; what fails here is not known yet."""
    params = tuple(_param(dimension, default, knobs.facts) for dimension, default in knobs.active)
    names = {p.name for p in params}
    absent = {d.name for d in knobs.card.space} - names - set(knobs.facts)
    known = names | absent | set(knobs.facts)
    usable = tuple(
        text
        for text in knobs.card.restrictions
        if not compile_expression(text, known).names & absent
    )
    return Space(params, usable, {k: v for k, v in knobs.facts.items() if k not in names})


def without_doubles(knobs: Knobs, space: Space) -> Space:
    """The space less the points that set exactly what an earlier one (the default first) sets.

    One that is too large to enumerate stays as it is.
    """
    if not space.enumerable:
        return space
    seen = {knobs.setting(space.default): space.default.id}
    doubles = set()
    for config in space.points():
        if seen.setdefault(knobs.setting(config), config.id) != config.id:
            doubles.add(config.id)
    return space.excluding(frozenset(doubles))


def cpus_requested(card: Card, machine: Machine) -> int:
    """CPUs a measuring job asks for."""
    asked = card.resources.cpus_per_task
    if isinstance(asked, int):
        return asked
    return int(_evaluate(asked, {"cores": machine.usable_cores, "cpus": len(machine.cpus_allowed)}))


def _param(dimension: Dimension, default: str, facts: Mapping[str, Any]) -> Param:
    if dimension.values is not None:
        values = _listed(dimension, facts)
    else:
        values = list((dimension.choices or {}).get(str(facts[dimension.by or ""]), []))
        values = [v for v in values if v.casefold() != default.casefold()]
    if default not in values:
        values.append(default)
    if dimension.kind == "ordinal":
        values = _ascending(dimension.name, values)
    return Param(
        dimension.name, dimension.kind, tuple(values), default, dimension.meaning, dimension.limit
    )


def _listed(dimension: Dimension, facts: Mapping[str, Any]) -> list[str]:
    found = _evaluate(str(dimension.values), facts)
    if not isinstance(found, tuple | list) or not found:
        raise UsageError(
            f"space: {dimension.name}: values {dimension.values!r} are no list, or none"
        )
    return list(dict.fromkeys(str(value) for value in found))


def _ascending(name: str, values: list[str]) -> list[str]:
    try:
        return sorted(values, key=float)
    except ValueError:
        raise UsageError(
            f"space: {name}: an ordinal has numbers, in contrast to {', '.join(values)}: write them"
            " so, or make it categorical"
        ) from None


def _evaluate(text: str, facts: Mapping[str, Any]) -> Any:
    return compile_expression(text, facts.keys()).evaluate(facts)


def _physical_cores(machine: Machine) -> int:
    """Of the usable ones: two hardware threads of a core share its arithmetic units."""
    allowed = set(machine.cpus_allowed)
    cores = {(cpu.socket, cpu.core) for cpu in machine.cpus if cpu.id in allowed}
    return max(1, min(len(cores) or machine.usable_cores, machine.usable_cores))


def _glibc_minor(version: str | None) -> int:
    """35 for "2.35"; 0 where it is not known or not glibc 2."""
    parts = (version or "").split(".")
    return int(parts[1]) if len(parts) > 1 and parts[0] == "2" and parts[1].isdigit() else 0
