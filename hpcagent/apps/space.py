"""From a card and the probed facts to the space, and from a configuration to what sets it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.apps.card import Card, Dimension
from hpcagent.apps.filling import NOWHERE, PLACEHOLDER, RANKS, Places, count, fill, filled
from hpcagent.apps.placement import place
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.expressions import compile_expression
from hpcagent.records import Config, Library, Machine, Param
from hpcagent.search.space import Space

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,2})?", re.ASCII)


@dataclass(frozen=True)
class Setting:
    """What puts a configuration into effect: environment, words before the command, CPUs.

    Of an application also its `command`, its `files` (name, text) and the modules that it runs
    with.
    """

    env: tuple[tuple[str, str], ...]
    prefix: tuple[str, ...]
    binding: tuple[int, ...]
    command: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()


def facts_of(machine: Machine, library: Library) -> dict[str, Any]:
    """The names that the card of a library may use in its expressions."""
    return {
        **machine_facts(machine),
        "library.dynamic_arch": library.dynamic_arch,
        "library.threading": library.threading,
        "library.max_threads": library.max_threads or len(machine.cpus_allowed),
        "library.default_threads": library.default_threads,
        "library.core": library.core,
        "threads": library.default_threads,
    }


def machine_facts(machine: Machine) -> dict[str, Any]:
    """The names any card's expressions may use. `cores` are usable ones, `cpus` logical ones.

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
        "tools.numactl": "numactl" in machine.tools,
        "cores": machine.usable_cores,
        "physical_cores": _physical_cores(machine),
        "cpus": len(machine.cpus_allowed),
    }


@dataclass(frozen=True)
class Knobs:
    """The card's dimensions that act on this machine (with this library), with their defaults.

    `places` are an application's.
    """

    card: Card
    machine: Machine
    facts: Mapping[str, Any]
    active: tuple[tuple[Dimension, str], ...]
    places: Places = NOWHERE

    @property
    def told_apart(self) -> frozenset[str]:
        """The parameters of which each value is certain to set something of its own."""
        words = self.card.command.argv, self.card.env.values(), self.card.files.values()
        used = {name for texts in words for text in texts for name in PLACEHOLDER.findall(text)}
        used |= (
            {RANKS} if self.card.command.launch == "mpi" and not self.card.command.ranks else set()
        )
        acting = {dimension.name for dimension, _ in self.active}
        return frozenset(used & acting) if self.card.is_application else frozenset()

    @property
    def tells_apart(self) -> bool:
        """Whether that is so of all."""
        return self.told_apart == {dimension.name for dimension, _ in self.active}

    @property
    def hints(self) -> dict[str, str]:
        """The value that the card hints at, of each parameter of which it does."""
        told = {d.name: d.hint for d, _ in self.active if d.hint is not None}
        listed = {d.name: d.listed for d, _ in self.active}
        return {name: _literal(hint, listed[name], self.facts) for name, hint in told.items()}

    def setting(self, config: Config) -> Setting:
        """What puts `config` into effect; parameters at their default set nothing of their own.

        UsageError where an application's card cannot be filled with it.
        """
        if not self.card.is_application:
            return self._own(config, {})
        try:
            made = filled(self.card, self.all_values(config), self.facts, self.places)
        except UsageError as error:
            raise UsageError(f"{self.card.name}: with {config}: {error}") from None
        own = self._own(config, made.names)
        env = tuple(sorted((dict(made.env) | dict(own.env)).items()))
        prefix = (*made.prefix, *own.prefix)
        return Setting(env, prefix, own.binding, made.command, made.files)

    def _own(self, config: Config, names: Mapping[str, str]) -> Setting:
        """What the parameters that differ from their defaults set by themselves."""
        env: dict[str, str] = {}
        prefix: list[str] = []
        binding: tuple[int, ...] = ()
        values = config.values
        for dimension, default in self.active:
            value = values[dimension.name]
            if value == default:
                continue
            known = {**names, "value": value}
            for name, text in dimension.env.items():
                env[name] = fill(text, known)
            prefix += [fill(word, known) for word in dimension.argv]
            if dimension.binding:
                told = values.get("threads") or names.get("threads")
                threads = told or self.facts.get("threads", self.facts["cores"])
                binding = place(self.machine, value, count(threads, "threads"))
        return Setting(tuple(sorted(env.items())), tuple(prefix), binding)

    def all_values(self, config: Config) -> dict[str, str]:
        """The values of all parameters: those that do not act here are at their defaults."""
        acting = {dimension.name for dimension, _ in self.active}
        others = {
            d.name: _literal(d.default, d.listed, self.facts)
            for d in self.card.space
            if d.name not in acting
        }
        return others | config.values


def find_knobs(card: Card, machine: Machine, library: Library) -> Knobs:
    """Those of a library."""
    return _acting(card, machine, facts_of(machine, library), f"library {library.path}, ")


def application_knobs(card: Card, machine: Machine, places: Places) -> Knobs:
    """Those of an application; its facts include how many `nodes` a job has."""
    knobs = _acting(card, machine, application_facts(machine, card.resources.nodes))
    return dataclasses.replace(knobs, places=places)


def application_facts(machine: Machine, nodes: int) -> dict[str, Any]:
    """The names that the card of an application may use in its expressions."""
    return {**machine_facts(machine), "nodes": nodes}


def _acting(card: Card, machine: Machine, facts: dict[str, Any], where: str = "") -> Knobs:
    active = tuple(
        (d, _literal(d.default, d.listed, facts)) for d in card.space if _evaluate(d.when, facts)
    )
    if not active:
        raise EnvironmentProblem(
            f"{card.name}: no parameter acts here ({where}{machine.usable_cores} core): there is "
            "nothing to tune"
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


def without_doubles(space: Space, setting_of: Callable[[Config], Hashable]) -> Space:
    """The space less the points that set exactly what an earlier one (the default first) sets.

    One that is too large to enumerate stays as it is.
    """
    if not space.enumerable:
        return space
    seen = {setting_of(space.default): space.default.id}
    doubles = set()
    for config in space.points():
        try:
            setting = setting_of(config)
        except UsageError:  # an application's card cannot be filled with it
            continue
        if seen.setdefault(setting, config.id) != config.id:
            doubles.add(config.id)
    return space.excluding(frozenset(doubles))


def cpus_requested(card: Card, machine: Machine) -> int:
    """CPUs of each task that a measuring job asks for."""
    return _asked(card.resources.cpus_per_task, machine)


def tasks_requested(card: Card, machine: Machine) -> int:
    """Tasks on each node that a measuring job asks for."""
    return _asked(card.resources.tasks_per_node, machine)


def _asked(said: str | int, machine: Machine) -> int:
    if isinstance(said, int):
        return said
    facts = {"cores": machine.usable_cores, "cpus": len(machine.cpus_allowed)}
    return int(count(_evaluate(said, facts), f"resources: {said}"))


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
    found = dimension.listed or _evaluate(str(dimension.values), facts)
    if not isinstance(found, tuple | list) or not found:
        raise UsageError(
            f"space: {dimension.name}: values {dimension.values!r} are no list, or none"
        )
    return list(dict.fromkeys(str(value) for value in found))


def _ascending(name: str, values: list[str]) -> list[str]:
    if not all(_NUMBER.fullmatch(value) for value in values):
        raise UsageError(
            f"space: {name}: an ordinal has numbers, in contrast to {', '.join(values)}: write them"
            " so, or make it categorical"
        )
    return sorted(values, key=float)


def _literal(text: str, listed: Sequence[str], facts: Mapping[str, Any]) -> str:
    """One of the values that stand for themselves, or what an expression gives."""
    return text if text in listed else str(_evaluate(text, facts))


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
