"""The builds of an application: the parameters that they depend on, and the recipe of each.

`build` in its card says how one is made; a configuration's follows from the values of those
parameters that `{name}` puts into it. Nothing is built to find out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

from hpcagent.apps.card import Card
from hpcagent.apps.filling import MPIRUN, PLACEHOLDER, build_names, fill
from hpcagent.apps.space import Knobs, Setting, whole_space
from hpcagent.apps.variants import Variant
from hpcagent.errors import UsageError
from hpcagent.probe.software import Software
from hpcagent.records import Config, Param
from hpcagent.search.space import Space
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.choose import choose_toolchain, modules_of
from hpcagent.toolchain.commands_recipe import Commands, commands_recipe, with_files
from hpcagent.toolchain.parameters import Place
from hpcagent.toolchain.program import Program, checked
from hpcagent.toolchain.program_recipe import Toolchain, program_recipe
from hpcagent.toolchain.recipe import Recipe, places
from hpcagent.toolchain.steps import MODULE

T = TypeVar("T")
Keys = tuple[str | int, ...]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CALLED = ("mpicc", "mpicxx", "mpifort")
# What of `build` is filled in.
_FILLED = ("program", "compiler", "mpi", "blas", "modules", "commands", "env", "files", "programs",
           "makes")  # fmt: skip


@dataclass(frozen=True)
class ApplicationPlan:
    """From what an application is built: a verified `source` {path, sha256}, with the `sources` of
    a program in the order in which they can be compiled; further modules; the folder of builds.

    It `prefers` this compiler, mpi and blas where its card does not say; `looks` is whether a node
    has to tell what software it has, `programs` are those whose places it tells.
    """

    source: Mapping[str, str]
    sources: tuple[str, ...]
    modules: tuple[str, ...]
    store: str
    prefers: Mapping[str, str]
    looks: bool
    programs: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ApplicationPlan:
        """From what `dataclasses.asdict` and JSON make of it."""
        lists = {name: tuple(data[name]) for name in ("sources", "modules", "programs")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class ApplicationBuilds:
    """Those of a card at one node. `prologue` are the lines of shell in front of every job,
    `programs` the places of those that were asked for (`asked_programs`), `loaded` the modules that
    a job comes with."""

    knobs: Knobs
    plan: ApplicationPlan
    software: Software
    prologue: tuple[str, ...] = ()
    programs: Mapping[str, str] = field(default_factory=dict)
    loaded: str = ""

    @property
    def card(self) -> Card:
        return self.knobs.card

    @property
    def store(self) -> str:
        return self.plan.store

    @property
    def module_init(self) -> str:
        return self.software.modules.init

    @cached_property
    def space(self) -> Space:
        return whole_space(self.knobs)

    @cached_property
    def choices(self) -> tuple[Param, ...]:
        """The parameters of the space that a build depends on."""
        names = names_in_build(self.card)
        return tuple(param for param in self.space.params if param.name in names)

    def of(self, config: Config) -> Variant:
        """The build that a configuration runs; UsageError where this node cannot build it."""
        values = config.values
        key = tuple((param.name, values[param.name]) for param in self.choices)
        if key not in self._made:
            try:
                self._made[key] = self._variant(key, config)
            except UsageError as error:
                told = ", ".join(f"{name}={value}" for name, value in key)
                self._made[key] = f"build{f' with {told}' if told else ''}: {error}"
        found = self._made[key]
        if isinstance(found, str):
            raise UsageError(found)
        return found

    def setting(self, config: Config) -> Setting:
        """What runs, from the folder of the configuration's build and with its modules."""
        variant = self.of(config)
        there = dataclasses.replace(
            self.knobs.places, prefix=self.prefix_of(config), mpirun=variant.launcher
        )
        setting = dataclasses.replace(self.knobs, places=there).setting(config)
        return dataclasses.replace(setting, modules=variant.recipe.modules)

    def run_knobs(self, config: Config) -> Knobs:
        return self.knobs

    def prefix_of(self, config: Config) -> str:
        """Where the configuration's build is installed; UsageError as `of`."""
        return places(self.of(config).recipe, self.store)["prefix"]

    def identity(self, config: Config) -> Hashable:
        """What is the same for configurations that run the same build in the same way; UsageError
        as `of`."""
        if self._run_is_told:
            values = config.values
            return self.of(config).id, tuple(values[name] for name in self._told)
        return self.setting(config)

    @property
    def tells_apart(self) -> bool:
        """Whether no two configurations can be the same: commands may take any value of a build to
        be another."""
        return self._run_is_told and self.card.build.program is None

    @cached_property
    def _told(self) -> tuple[str, ...]:
        return tuple(sorted(self.knobs.told_apart))

    @cached_property
    def _run_is_told(self) -> bool:
        """Whether each value of each parameter that no build depends on sets something."""
        names = {param.name for param in self.space.params}
        return names <= {*self._told, *names_in_build(self.card)}

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was worked out under this key before, or is now."""
        if key not in self._memo:
            self._memo[key] = make()
        return cast(T, self._memo[key])

    @cached_property
    def _memo(self) -> dict[Hashable, Any]:
        return {}

    @cached_property
    def _made(self) -> dict[tuple[tuple[str, str], ...], Variant | str]:
        """What was worked out already: thousands of points share a build."""
        return {}

    def _variant(self, values: tuple[tuple[str, str], ...], config: Config) -> Variant:
        said = build_of(self.card, self.knobs.all_values(config), self.knobs.facts)
        source = Source(self.plan.source["path"], "", self.plan.source["sha256"], 0, {})
        for name in said["modules"]:
            if not MODULE.match(name):
                raise UsageError(f"modules: {name!r} is not the name of a module")
        modules = modules_of([*self.plan.modules, *said["modules"]])
        launcher = ""
        if self.card.build.program is None:
            recipe = self._by_commands(said, source, modules, values)
        else:
            program = program_of(self.card, said["program"])
            if self.plan.sources:
                program = program.model_copy(update={"sources": list(self.plan.sources)})
            wanted = {name: said[name] or told for name, told in self.plan.prefers.items()}
            tools = choose_toolchain(
                self.software, program, wanted["compiler"], wanted["mpi"], wanted["blas"]
            )
            tools = dataclasses.replace(tools, modules=modules_of([*modules, *tools.modules]))
            recipe = program_recipe(program, source, tools, self._place)
            launcher = _launcher(self.card, tools)
        return Variant(values, with_files(recipe, said["files"]), None, launcher)

    def _by_commands(
        self, said: Mapping[str, Any], source: Source, modules: tuple[str, ...],
        values: tuple[tuple[str, str], ...],
    ) -> Recipe:  # fmt: skip
        """Nobody knows what the commands take of the node: with another compiler or processor,
        other modules or programs, or other lines in front of the job, it is another build."""
        machine = self.knobs.machine
        found = [f"{c.command} {c.version} {c.path}" for c in machine.compilers]
        named = [word for word, *_ in said["commands"]]
        there = [f"{name} {self.programs[name]}" for name in _asked(named) if name in self.programs]
        made_of = (
            *values,
            ("microarchitecture", machine.microarchitecture),
            ("compilers", ", ".join(found)),
            ("programs", ", ".join(there)),
            ("loaded modules", self.loaded),
            ("prologue", "; ".join(self.prologue)),
            ("makes", " ".join((*said["programs"], *said["makes"]))),
        )
        wanted = Commands(
            self.card.name, said["commands"], said["env"], said["programs"], said["makes"],
            math.ceil(self.card.build.timeout_s),
        )  # fmt: skip
        return commands_recipe(wanted, source, modules, made_of)

    @property
    def _place(self) -> Place:
        machine = self.knobs.machine
        return Place(machine.architecture, machine.microarchitecture, len(machine.cpus_allowed))


def asked_programs(card: Card) -> tuple[str, ...]:
    """The programs whose places tell one build from another: those that its commands name, and
    those that build systems call by themselves."""
    return _asked([words[0] for words in card.build.commands]) if card.build.commands else ()


def build_texts(card: Card) -> Iterator[tuple[Keys, str]]:
    """Every text of `build` that is filled, with its place."""
    if card.is_built:
        for field in _FILLED:
            yield from _texts(("build", field), getattr(card.build, field))


def names_in_build(card: Card) -> frozenset[str]:
    """The parameters that a build depends on, by themselves or by derived names."""
    return _used_in_build(card) & {dimension.name for dimension in card.space}


def _used_in_build(card: Card) -> frozenset[str]:
    used = {name for _, text in build_texts(card) for name in PLACEHOLDER.findall(text)}
    for name, text in reversed(list(card.derived.items())):
        used |= set(_NAME.findall(text)) if name in used else set()
    return frozenset(used)


def build_of(card: Card, values: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`build` with these values of all parameters filled in; UsageError for what cannot be worked
    out."""
    return filled_build(card, build_names(card, values, facts, _used_in_build(card)))


def filled_build(card: Card, names: Mapping[str, str]) -> dict[str, Any]:
    """`build` with all names filled in; a word of a list that comes out empty is left out, and so
    is a command without words."""
    said = {field: _filled(getattr(card.build, field), names) for field in _FILLED}
    return {**said, "commands": [words for words in said["commands"] if words]}


def program_of(card: Card, told: Mapping[str, Any]) -> Program:
    """The program of a filled `build`; UsageError, in one line, where it is none."""
    return checked({"name": card.name, **told}, lambda *keys: "build.program", {})


def needs_mpi(card: Card) -> bool:
    """Whether what is built knows its own launcher."""
    return card.is_built and str((card.build.program or {}).get("mpi", "none")) != "none"


def _asked(commands: Sequence[str]) -> tuple[str, ...]:
    named = [word for word in commands if "/" not in word and "{" not in word]
    return tuple(sorted({*named, *_CALLED}))


def _launcher(card: Card, tools: Toolchain) -> str:
    """What starts programs of the MPI of a build."""
    found = tools.mpi.launcher if tools.mpi is not None else ""
    used = {name for word in card.command.launcher for name in PLACEHOLDER.findall(word)}
    if not found and tools.mpi is not None and MPIRUN in used:
        mpi = f"{tools.mpi.family} {tools.mpi.version}"
        raise UsageError(f"{mpi} has no mpirun beside its wrappers: name a launcher in the card")
    return found


def _texts(keys: Keys, value: Any) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _texts((*keys, name), part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _texts((*keys, index), part)


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, names)
    if isinstance(value, Mapping):
        return {name: _filled(part, names) for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [(part, _filled(part, names)) for part in value]
        return [new for old, new in parts if new != "" or old == ""]
    return value
