"""The builds of an application: the parameters that they depend on, and the recipe of each.

`build` in its card says how one is made; a configuration's follows from the values of those
parameters that `{name}` puts into it. Nothing is built to find out.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from hpcagent.apps.card import Card
from hpcagent.apps.filling import PLACEHOLDER, build_names, fill
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
from hpcagent.toolchain.program_recipe import program_recipe
from hpcagent.toolchain.recipe import Recipe, places
from hpcagent.toolchain.steps import WITH_MODULES

T = TypeVar("T")
Keys = tuple[str | int, ...]
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# What of `build` is filled in.
_FILLED = ("program", "compiler", "mpi", "blas", "modules", "commands", "env", "files", "programs",
           "makes")  # fmt: skip


@dataclass(frozen=True)
class ApplicationPlan:
    """From what an application is built: a verified `source` {path, sha256}, with the `sources` of
    a program in the order in which they can be compiled; further modules; the folder of builds.

    It `prefers` this compiler, mpi and blas where its card does not say; `looks` is whether a node
    has to tell what software it has.
    """

    source: Mapping[str, str]
    sources: tuple[str, ...]
    modules: tuple[str, ...]
    store: str
    prefers: Mapping[str, str]
    looks: bool

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ApplicationPlan:
        """From what `dataclasses.asdict` and JSON make of it."""
        lists = {name: tuple(data[name]) for name in ("sources", "modules")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class ApplicationBuilds:
    """Those of a card at one node. `prologue` are the lines of shell in front of every job."""

    knobs: Knobs
    plan: ApplicationPlan
    software: Software
    prologue: tuple[str, ...] = ()

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
                self._made[key] = UsageError(f"build{f' with {told}' if told else ''}: {error}")
        found = self._made[key]
        if isinstance(found, UsageError):
            raise found
        return found

    def setting(self, config: Config) -> Setting:
        """What runs, from the folder of the configuration's build and with its modules."""
        variant = self.of(config)
        there = dataclasses.replace(
            self.knobs.places, prefix=self.prefix_of(config), mpirun=variant.launcher
        )
        setting = dataclasses.replace(self.knobs, places=there).setting(config)
        words = self._loading(variant.recipe.modules)
        return dataclasses.replace(setting, prefix=(*words, *setting.prefix)) if words else setting

    def run_knobs(self, config: Config) -> Knobs:
        return self.knobs

    def prefix_of(self, config: Config) -> str:
        """Where the configuration's build is installed; UsageError as `of`."""
        return places(self.of(config).recipe, self.store)["prefix"]

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was worked out under this key before, or is now."""
        if key not in self._memo:
            self._memo[key] = make()
        return cast(T, self._memo[key])

    @cached_property
    def _memo(self) -> dict[Hashable, Any]:
        return {}

    @cached_property
    def _made(self) -> dict[tuple[tuple[str, str], ...], Variant | UsageError]:
        """What was worked out already: thousands of points share a build."""
        return {}

    def _loading(self, modules: tuple[str, ...]) -> tuple[str, ...]:
        if not modules:
            return ()
        shell = ("bash", "--noprofile", "--norc", "-c", WITH_MODULES, "steps", self.module_init)
        return (*shell, "keep", *modules, "--")

    def _variant(self, values: tuple[tuple[str, str], ...], config: Config) -> Variant:
        names = build_names(
            self.card, self.knobs.all_values(config), self.knobs.facts, self.knobs.places.folder
        )
        said = filled_build(self.card, names)
        source = Source(self.plan.source["path"], "", self.plan.source["sha256"], 0, {})
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
            launcher = tools.mpi.launcher if tools.mpi is not None else ""
        return Variant(values, with_files(recipe, said["files"]), None, launcher)

    def _by_commands(
        self, said: Mapping[str, Any], source: Source, modules: tuple[str, ...],
        values: tuple[tuple[str, str], ...],
    ) -> Recipe:  # fmt: skip
        """Nobody knows what the commands take of the node: with another compiler or processor, or
        other lines in front of the job, it is another build."""
        machine = self.knobs.machine
        found = [f"{c.command} {c.version} {c.path}" for c in machine.compilers]
        made_of = (
            *values,
            ("microarchitecture", machine.microarchitecture),
            ("compilers", ", ".join(found)),
            ("prologue", "; ".join(self.prologue)),
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


def build_texts(card: Card) -> Iterator[tuple[Keys, str]]:
    """Every text of `build` that is filled, with its place."""
    if card.is_built:
        for field in _FILLED:
            yield from _texts(("build", field), getattr(card.build, field))


def names_in_build(card: Card) -> frozenset[str]:
    """The parameters that a build depends on, by themselves or by derived names."""
    used = {name for _, text in build_texts(card) for name in PLACEHOLDER.findall(text)}
    for name, text in reversed(list(card.derived.items())):
        used |= set(_NAME.findall(text)) if name in used else set()
    return frozenset(used) & {dimension.name for dimension in card.space}


def filled_build(card: Card, names: Mapping[str, str]) -> dict[str, Any]:
    """`build` with all names filled in; a word of a list that comes out empty is left out."""
    return {field: _filled(getattr(card.build, field), names) for field in _FILLED}


def program_of(card: Card, told: Mapping[str, Any]) -> Program:
    """The program of a filled `build`; UsageError, in one line, where it is none."""
    return checked({"name": card.name, **told}, lambda *keys: "build.program", {})


def needs_mpi(card: Card) -> bool:
    """Whether what is built knows its own launcher."""
    return card.is_built and str((card.build.program or {}).get("mpi", "none")) != "none"


def missing_sources(card: Card, there: Collection[str]) -> list[str]:
    """The program's sources that neither its folder holds nor the card writes."""
    told = (card.build.program or {}).get("sources", ())
    return [str(path) for path in told if path not in there and path not in card.build.files]


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
