"""Builds as a part of the search: the space of build and run parameters together.

A configuration of such a space names a *variant*, one build of the library, and how it is run.
Which variants a set of configurations needs, what each is built from and what will hold for it
when it is loaded follow from the configuration alone: nothing is built to find out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from hpcagent.apps.card import Card
from hpcagent.apps.space import Knobs, Setting, find_knobs, whole_space
from hpcagent.errors import UsageError
from hpcagent.probe.microarch import lineage
from hpcagent.probe.software import Software
from hpcagent.records import Config, Library, Machine, Param
from hpcagent.search.space import Space
from hpcagent.toolchain.choose import modules_of, partnered_compilers
from hpcagent.toolchain.openblas_recipe import BuildRequest, OpenblasSource, openblas_recipe
from hpcagent.toolchain.parameters import Parameter, Parameters, Place, resolve
from hpcagent.toolchain.recipe import Recipe, places

PREFIX = "build_"
COMPILER = "compiler"
# What decides which run parameters act on a build.
_KIND = ("dynamic_arch", "threading")


@dataclass(frozen=True)
class BuildPlan:
    """What may be built: a verified source, values that are fixed, compiler families to try.

    `store` is where builds are kept.
    """

    source: OpenblasSource
    fixed: Mapping[str, str]
    families: tuple[str, ...]
    modules: tuple[str, ...]
    store: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BuildPlan:
        """From what `dataclasses.asdict` and JSON make of it."""
        row = data["source"]
        source = OpenblasSource(
            row["path"], row["sha256"], row["version"], tuple(row["targets"]), tuple(row["lapack"])
        )
        families, modules = tuple(data["families"]), tuple(data["modules"])
        return cls(source, dict(data["fixed"]), families, modules, data["store"])


@dataclass(frozen=True)
class Variant:
    """One build: its parameters that are searched, its recipe, and the library that it will be
    (None: an application, whose MPI has this `launcher`)."""

    values: tuple[tuple[str, str], ...]
    recipe: Recipe
    library: Library | None
    launcher: str = ""

    @property
    def id(self) -> str:
        """Short enough for the name of a unit; builds that are the same have the same."""
        return self.recipe.digest[:12]


class Builds(Protocol):
    """All builds that a search may need at one node, and the space that they and their settings
    span. `store` is where they are kept, `module_init` what makes `module` known to a shell."""

    @property
    def store(self) -> str: ...
    @property
    def module_init(self) -> str: ...
    @property
    def choices(self) -> tuple[Param, ...]: ...
    @property
    def space(self) -> Space: ...
    def of(self, config: Config) -> Variant: ...
    def setting(self, config: Config) -> Setting: ...
    def run_knobs(self, config: Config) -> Knobs: ...


def needed(builds: Builds, configs: Iterable[Config]) -> dict[str, Config]:
    """The ids of the distinct builds of these configurations, in their order, each with the first
    that has it; what cannot be built here is left out."""
    found: dict[str, Config] = {}
    for config in configs:
        try:
            found.setdefault(builds.of(config).id, config)
        except UsageError:
            continue
    return found


@dataclass(frozen=True)
class Variants:
    """Those of a library."""

    card: Card
    parameters: Parameters
    plan: BuildPlan
    machine: Machine
    software: Software
    routines: tuple[str, ...]

    @cached_property
    def place(self) -> Place:
        machine = self.machine
        return Place(machine.architecture, machine.microarchitecture, len(machine.cpus_allowed))

    @cached_property
    def choices(self) -> tuple[Param, ...]:
        """The build's dimensions that have more than one value here; names begin with build_."""
        base = resolve(self.parameters, self.plan.fixed, self.place)
        found = [_compilers(self.plan.families)]
        for parameter in self.parameters.parameters:
            if parameter.name not in self.plan.fixed:
                found.append(_choice(parameter, base[parameter.name], self.place))
        return tuple(param for param in found if len(param.values) > 1)

    @cached_property
    def space(self) -> Space:
        """Build and run parameters; a run parameter that a build does not know stays at its
        default there."""
        kinds = self._kinds()
        params: dict[str, Param] = {}
        facts: dict[str, object] = {}
        rules: dict[str, None] = {}
        active: dict[str, set[int]] = {}
        for number, (_, knobs) in enumerate(kinds):
            part = whole_space(knobs)
            facts = {**part.facts, **facts}
            rules |= dict.fromkeys(part.restrictions)
            for param in part.params:
                active.setdefault(param.name, set()).add(number)
                params[param.name] = _merged(params.get(param.name), param)
        for name, where in active.items():
            if len(where) < len(kinds):
                rules[_only_where(params[name], [kinds[i][0] for i in sorted(where)])] = None
        rules |= dict.fromkeys(self._build_rules())
        names = {*params, *(param.name for param in self.choices)}
        kept = {name: fact for name, fact in facts.items() if name not in names}
        return Space((*self.choices, *params.values()), tuple(rules), kept)

    def of(self, config: Config) -> Variant:
        """The build that a configuration runs; UsageError where this node cannot build it."""
        return self._variant(self._build_values(config))

    @property
    def store(self) -> str:
        return self.plan.store

    @property
    def module_init(self) -> str:
        return self.software.modules.init

    def setting(self, config: Config) -> Setting:
        """What puts the run parameters into effect on the configuration's build."""
        return self.run_knobs(config).setting(config)

    def run_knobs(self, config: Config) -> Knobs:
        return self._knobs(self.library_of(config))

    def library_of(self, config: Config) -> Library:
        library = self.of(config).library
        assert library is not None
        return library

    def _build_values(self, config: Config) -> dict[str, str]:
        own = {param.name: param.default for param in self.choices}
        values = config.values
        return {name.removeprefix(PREFIX): values.get(name, own[name]) for name in own}

    @cached_property
    def _made(self) -> dict[tuple[tuple[str, str], ...], Variant]:
        """What was worked out already: rendering a recipe for each of 10^4 points takes minutes."""
        return {}

    @cached_property
    def _known_knobs(self) -> dict[str, Knobs]:
        return {}

    def _variant(self, values: Mapping[str, str]) -> Variant:
        key = tuple(sorted(values.items()))
        if key not in self._made:
            self._made[key] = self._new_variant(values)
        return self._made[key]

    def _new_variant(self, values: Mapping[str, str]) -> Variant:
        family = values.get(COMPILER, self.plan.families[0])
        chosen = {name: value for name, value in values.items() if name != COMPILER}
        given = {**self.plan.fixed, **chosen}
        full = resolve(self.parameters, given, self.place)
        languages = ("c", "fortran") if full["lapack"] == "fortran" else ("c",)
        compilers = partnered_compilers(self.software, languages, family)
        modules = modules_of([*self.plan.modules, *(c.module for c in compilers.values())])
        request = BuildRequest(
            self.plan.source, tuple(sorted(given.items())), tuple(compilers.values()), modules,
            self.place,
        )  # fmt: skip
        recipe = openblas_recipe(request, self.parameters)
        prefix = places(recipe, self.plan.store)["prefix"]
        library = self._library(full, f"{prefix}/{recipe.required[0]}")
        return Variant(tuple(sorted(values.items())), recipe, library)

    def _library(self, values: Mapping[str, str], path: str) -> Library:
        most = int(values["max_threads"])
        serial = values["threading"] == "serial"
        return Library(
            path=path,
            source="prefix",
            version=self.plan.source.version,
            config=" ".join(f"{name}={value}" for name, value in values.items()),
            dynamic_arch=values["dynamic_arch"] != "off",
            threading=values["threading"],
            max_threads=most,
            default_threads=1 if serial else min(most, self.place.cpus),
            interface=values["interface"],
            symbol_prefix="",
            symbol_suffix=values["symbol_suffix"].replace("none", ""),
            core=values["target"],
            routines=self.routines,
        )

    def _kinds(self) -> list[tuple[dict[str, str], Knobs]]:
        """Builds that differ in what acts on them: the searched values of _KIND, and the knobs."""
        varied = [p for p in self.choices if p.name.removeprefix(PREFIX) in _KIND]
        found = []
        for values in itertools.product(*(param.values for param in varied)):
            named = {p.name: value for p, value in zip(varied, values, strict=True)}
            short = {name.removeprefix(PREFIX): value for name, value in named.items()}
            library = self._variant(short).library
            assert library is not None
            found.append((named, self._knobs(library)))
        return found

    def _knobs(self, library: Library) -> Knobs:
        """The knobs that are searched beside builds; the others stay at their default."""
        if library.path not in self._known_knobs:
            knobs = find_knobs(self.card, self.machine, library)
            kept = tuple(each for each in knobs.active if each[0].with_builds)
            self._known_knobs[library.path] = dataclasses.replace(knobs, active=kept)
        return self._known_knobs[library.path]

    def _build_rules(self) -> Iterable[str]:
        """A library for many processors has kernels for each: its least target matters little."""
        names = {param.name: param for param in self.choices}
        target, dynamic = names.get(PREFIX + "target"), names.get(PREFIX + "dynamic_arch")
        if target is not None and dynamic is not None:
            yield f'{dynamic.name} == "off" or {target.name} == "{target.default}"'


def _choice(parameter: Parameter, default: str, place: Place) -> Param:
    """A build parameter as a dimension; one that is not tuned has its default alone."""
    values = [default]
    if parameter.tuned == "lineage":
        by = parameter.default_by or {}
        nearest = [by[name] for name in lineage(place.microarchitecture) if name in by]
        values = list(dict.fromkeys([default, *nearest]))[:2]
    elif parameter.tuned is not None:
        allowed = parameter.enumeration(place.architecture)
        values = [value for value in parameter.tuned if value in allowed]
        values = values if default in values else [default, *values]
    return Param(PREFIX + parameter.name, "categorical", tuple(values), default, parameter.meaning)


def _compilers(families: tuple[str, ...]) -> Param:
    if not families:
        raise UsageError("no compiler family to build with")
    meaning = "the family of compilers that builds the library"
    return Param(PREFIX + COMPILER, "categorical", families, families[0], meaning)


def _merged(known: Param | None, param: Param) -> Param:
    """Two builds may know different values of a run parameter: the space has them all."""
    if known is None or known == param:
        return param
    values = list(dict.fromkeys([*known.values, *param.values]))
    if param.kind == "ordinal":
        values.sort(key=float)
    return dataclasses.replace(known, values=tuple(values))


def _only_where(param: Param, kinds: list[dict[str, str]]) -> str:
    """The restriction that keeps a run parameter at its default on builds that do not know it."""
    ways = [
        "(" + " and ".join(f'{name} == "{value}"' for name, value in kind.items()) + ")"
        for kind in kinds
    ]
    return f'{param.name} == "{param.default}" or ' + " or ".join(ways)
