"""What the builds of an application have shown so far: values that cannot be built, and builds that
are the same program.

Both leave the space: a value that fails whatever it is combined with is not proposed again, and of
configurations that run the same program in the same way one is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from hpcagent.apps.application_builds import ApplicationBuilds
from hpcagent.errors import UsageError
from hpcagent.records import Config, Failure
from hpcagent.search.space import Space
from hpcagent.study.building import failure_of_build, variant_purpose
from hpcagent.study.feasibility import Probed
from hpcagent.study.state import TuneState
from hpcagent.toolchain.publish import CONTENTS

Value = tuple[str, str]
_CONTENTS = re.compile(rf"^{CONTENTS} ([0-9a-f]{{64}})$", re.MULTILINE)
# As many builds with it failed, and all else of one of them has been seen to work.
_FAILED = 2


@dataclass(frozen=True)
class BuildsSeen:
    """A view of a state; `space` is what could be searched before anything was built."""

    state: TuneState
    builds: ApplicationBuilds
    space: Space

    @cached_property
    def suspects(self) -> tuple[Config, ...]:
        """What to build to find out which value of a failed build is to blame: the default with one
        of them, for each that no build has shown to work."""
        found: dict[str, Config] = {}
        blamed = {(p.param, p.value) for p in self.unbuildable}
        for config in self._failed.values():
            for name, value in sorted(self._doubtful(config) - blamed):
                alone = Config.of({**self.space.default.values, name: value})
                if self.space.contains(alone) and not self._ended(alone):
                    found.setdefault(alone.id, alone)
        return tuple(found.values())

    @cached_property
    def unbuildable(self) -> tuple[Probed, ...]:
        """Values that no build can have, with the first reason why."""
        found = {(p.param, p.value): p for p in self._impossible}
        failed = list(self._failed.values())
        for config in failed:
            doubtful = self._doubtful(config)
            for one in doubtful if len(doubtful) == 1 else ():
                if sum(one in self._values(other) for other in failed) >= _FAILED:
                    found.setdefault(one, Probed(*one, self._failure(config)))
        return tuple(found.values())

    @cached_property
    def same(self) -> Mapping[str, Config]:
        """Of what was proposed, each that runs what an earlier one runs: its id, and that one."""
        first: dict[str, Config] = {}
        found: dict[str, Config] = {}
        for config in self._proposed:
            what = self._runs(config)
            if what and first.setdefault(what, config).id != config.id:
                found[config.id] = first[what]
        return found

    def left(self, space: Space) -> Space:
        """The space without values that cannot be built, and without points that run what another
        one runs; one that is too large to enumerate keeps these."""
        for probed in self.unbuildable:
            if any(p.name == probed.param and probed.value in p.values for p in space.params):
                space = space.without(probed.param, probed.value)
        lost = frozenset({*self._refusals, *self.same, *self._repeats(space)})
        return space.excluding(lost) if lost else space

    # --- what cannot be built, told by the toolchain alone ---------------------------------------

    @cached_property
    def _refusals(self) -> Mapping[str, str]:
        """Configuration -> why its build cannot even be described here."""
        return self.builds.memo("refusals", lambda: _refused(self.builds, self.space))

    @cached_property
    def _impossible(self) -> tuple[Probed, ...]:
        """Values all of whose configurations are refused."""
        if not self._refusals:
            return ()
        able, why = set[Value](), dict[Value, str]()
        for config in self.space.points():
            reason = self._refusals.get(config.id)
            for value in self._values(config):
                if reason is None:
                    able.add(value)
                else:
                    why.setdefault(value, reason)
        return tuple(
            Probed(name, value, Failure("configure", "outside_space", why[name, value]))
            for name, value in why
            if (name, value) not in able
        )

    # --- what was built --------------------------------------------------------------------------

    @cached_property
    def _proposed(self) -> tuple[Config, ...]:
        rounds = sorted(self.state.proposed)
        rows = (p.config for index in rounds for p in self.state.proposed[index])
        return tuple({c.id: c for c in (self.space.default, *rows)}.values())

    @cached_property
    def singles(self) -> tuple[Config, ...]:
        """The default with one value changed, of all that a build depends on."""
        default = self.space.default.values
        found = (
            Config.of({**default, param.name: value})
            for param in self.builds.choices
            for value in param.values
            if value != default[param.name]
        )
        return tuple(found)

    @cached_property
    def _failed(self) -> Mapping[str, Config]:
        """By the ids of their builds."""
        found: dict[str, Config] = {}
        for config in (*self._proposed, *self.singles):
            name = self._id(config)
            if name and self._ended(config) and self._failure(config) is not None:
                found.setdefault(name, config)
        return found

    @cached_property
    def _working(self) -> frozenset[Value]:
        """The values that a finished build has."""
        default = self.space.default.values
        found = {(param.name, default[param.name]) for param in self.builds.choices}
        for config in (*self._proposed, *self.singles):
            if self._ended(config) and self._id(config) not in self._failed:
                found |= set(self._values(config))
        return frozenset(found)

    def _doubtful(self, config: Config) -> frozenset[Value]:
        return frozenset(self._values(config)) - self._working

    def _values(self, config: Config) -> list[Value]:
        """Those of its build that are not the default's."""
        default, own = self.space.default.values, config.values
        names = [param.name for param in self.builds.choices]
        return [(name, own[name]) for name in names if own[name] != default[name]]

    def _ended(self, config: Config) -> bool:
        """Whether its build was made, or failed."""
        name = self._id(config)
        if not name:
            return False
        purpose = variant_purpose(name)
        return self.state.done(purpose) is not None or self._failure(config) is not None

    def _failure(self, config: Config) -> Failure | None:
        return failure_of_build(self.state, self.builds, config)

    def _id(self, config: Config) -> str:
        try:
            return self.builds.of(config).id
        except UsageError:
            return ""

    # --- builds that are the same ----------------------------------------------------------------

    @cached_property
    def _contents(self) -> Mapping[str, str]:
        """Finished build -> a digest of what is in it."""
        found: dict[str, str] = {}
        for unit in self.state.units:
            kind, _, name = unit.purpose.partition("-")
            if kind == "variant" and self.state.done(unit.purpose) is unit:
                told = [m[1] for step in unit.steps for m in _CONTENTS.finditer(step.output)]
                found.update({name: told[-1]} if told else {})
        return found

    def _runs(self, config: Config) -> str:
        """What is run, wherever it is installed; empty while that is not known."""
        contents = self._contents.get(self._id(config))
        if contents is None:
            return ""
        try:
            setting = self.builds.setting(config)
        except UsageError:
            return ""
        return repr(setting).replace(self.builds.prefix_of(config), contents)

    def _repeats(self, space: Space) -> frozenset[str]:
        contents = list(self._contents.values())
        shared = {name for name, what in self._contents.items() if contents.count(what) > 1}
        if not shared or not space.enumerable:
            return frozenset()
        key = ("repeats", frozenset(shared), tuple(config.id for config in self._proposed))
        return self.builds.memo(key, lambda: self._found_repeats(space, shared))

    def _found_repeats(self, space: Space, shared: Iterable[str]) -> frozenset[str]:
        first = {what: c.id for c in reversed(self._proposed) if (what := self._runs(c))}
        known = {config.id for config in self._proposed}
        found = set()
        for config in space.points():
            if self._id(config) in shared and config.id not in known:
                what = self._runs(config)
                if first.setdefault(what, config.id) != config.id:
                    found.add(config.id)
        return frozenset(found)


def _refused(builds: ApplicationBuilds, space: Space) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for config in space.points() if space.enumerable else ():
        try:
            builds.of(config)
        except UsageError as error:
            found[config.id] = str(error)
    return found
