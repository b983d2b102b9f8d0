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
from hpcagent.toolchain.buildend import build_end
from hpcagent.toolchain.publish import CONTENTS
from hpcagent.toolchain.recipe import ABSENT, UNPACK

Value = tuple[str, str]
_CONTENTS = re.compile(rf"^{CONTENTS} ([0-9a-f]{{64}})$", re.MULTILINE)
# What befalls a build from outside, and no value of it is to blame for.
_OUTSIDE = frozenset(
    f"environment.{kind}"
    for kind in ("io_error", "licence", "network", "no_space", "permission", "quota", "read_only",
                 "text_busy", "time")
)  # fmt: skip
_NOT_OWN = (ABSENT, UNPACK, "publish")


@dataclass(frozen=True)
class BuildsSeen:
    """A view of a state; `space` is what could be searched before anything was built."""

    state: TuneState
    builds: ApplicationBuilds
    space: Space

    @cached_property
    def suspects(self) -> tuple[Config, ...]:
        """What to build to find out which value of a failed build is to blame: the default with one
        of them, for each that no build has shown to work; then, if that fails as well, with each
        other value of each choice, for it may need one of these."""
        found: dict[str, Config] = {}
        wanted = [self._alone[one] for one in sorted(self._doubtful)]
        for one in sorted(self._failed_alone - self._working):
            wanted += self._around(one)
        for config in wanted:
            if self.space.contains(config) and not self._ended(config):
                found.setdefault(config.id, config)
        return tuple(found.values())

    @cached_property
    def unbuildable(self) -> tuple[Probed, ...]:
        """Values that no build can have, with the reason why: the toolchain has none; or it failed
        alone, and beside every other value of every choice, and others worked after that."""
        found = {(p.param, p.value): p for p in _impossible(self.builds, self.space)}
        for one in self._failed_alone - self._working:
            if not self._unseen(one) and self._worked_since(one):
                found.setdefault(one, Probed(*one, self._failure(self._alone[one])))
        return tuple(found[one] for one in sorted(found))

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

    @property
    def alike(self) -> Mapping[str, str]:
        """Finished build -> the first that is the same program, where that is another one."""
        first: dict[str, str] = {}
        for name, what in self._contents.items():
            first.setdefault(what, name)
        return {n: first[what] for n, what in self._contents.items() if first[what] != n}

    @cached_property
    def looked_into(self) -> tuple[Config, ...]:
        """What is built to find a value to blame, if any is."""
        pairs = [config for one in self._failed_alone for config in self._around(one)]
        return tuple({c.id: c for c in (*self._alone.values(), *pairs)}.values())

    @property
    def spoilt(self) -> str:
        """Why the source cannot be built from any more; empty where it can."""
        for config in self._proposed:
            if self._bad_step(config) == UNPACK:
                failure = self._failure(config)
                return failure.evidence if failure is not None else ""
        return ""

    def left(self, space: Space) -> Space:
        """The space without values that cannot be built, and without points whose build cannot be
        had or that run what another one runs; one that is too large to enumerate keeps points. What
        was proposed stays: it is not proposed again, and tells the search of its neighbours."""
        for probed in self.unbuildable:
            if any(p.name == probed.param and probed.value in p.values for p in space.params):
                space = space.without(probed.param, probed.value)
        if not space.enumerable:
            return space
        refused = _refused(self.builds, self.space)
        found = frozenset({*refused, *self._repeats(space), *self._unbuilt(space)})
        lost = found - {config.id for config in self._proposed}
        return space.excluding(lost) if lost else space

    # --- what failed -----------------------------------------------------------------------------

    @cached_property
    def _proposed(self) -> tuple[Config, ...]:
        rounds = sorted(self.state.proposed)
        rows = (p.config for index in rounds for p in self.state.proposed[index])
        return tuple({c.id: c for c in (self.space.default, *rows)}.values())

    @cached_property
    def _alone(self) -> Mapping[Value, Config]:
        """The default with one value changed, of all that a build depends on."""
        return {
            (param.name, value): self._changed((param.name, value))
            for param in self.builds.choices
            for value in param.values
            if value != param.default
        }

    def _around(self, one: Value) -> list[Config]:
        """The default with this value and each other value of each choice."""
        others = [p for p in self.builds.choices if p.kind == "categorical" and p.name != one[0]]
        return [
            self._changed(one, (param.name, value))
            for param in others
            for value in param.values
            if value != param.default
        ]

    def _changed(self, *values: Value) -> Config:
        return Config.of({**self.space.default.values, **dict(values)})

    @cached_property
    def _failed_alone(self) -> frozenset[Value]:
        return frozenset(v for v, config in self._alone.items() if self._failed_by_itself(config))

    @cached_property
    def _failed(self) -> tuple[Config, ...]:
        tried = {c.id: c for c in (*self._proposed, *self.looked_into)}.values()
        return tuple(config for config in tried if self._failed_by_itself(config))

    @cached_property
    def _working(self) -> frozenset[Value]:
        """The values that some finished build has."""
        tried = (*self._proposed, *self.looked_into)
        return frozenset(v for c in tried if self._works(c) for v in self._values(c))

    @cached_property
    def _doubtful(self) -> frozenset[Value]:
        """The values of builds that failed, but of those with one that fails alone as well, without
        those that some finished build has."""
        rows = [set(self._values(config)) for config in self._failed]
        odd = {value for row in rows if not row & self._failed_alone for value in row}
        return frozenset(odd) - self._working

    def _worked_since(self, one: Value) -> bool:
        """Whether any build has worked since the first with this value failed: else something else
        may be amiss."""
        since = min(self._ended_utc(c) for c in self._failed if one in self._values(c))
        tried = (c for c in (*self._proposed, *self.looked_into) if self._works(c))
        return any(self._ended_utc(config) >= since for config in tried)

    def _ended_utc(self, config: Config) -> str:
        unit = self.state.done(variant_purpose(self._id(config)))
        return unit.result_utc if unit is not None else ""

    def _unseen(self, one: Value) -> list[Value]:
        """The values of choices beside which this one has not failed yet, though it could."""
        failed = [config.values for config in self._failed if one in self._values(config)]
        seen = {item for values in failed for item in values.items()}
        return [
            value
            for config in self._around(one)
            if self.space.contains(config) and self._id(config)
            for value in self._values(config)
            if value not in seen
        ]

    def _values(self, config: Config) -> list[Value]:
        """Those of its build that are not the default's."""
        default, own = self.space.default.values, config.values
        names = [param.name for param in self.builds.choices]
        return [(name, own[name]) for name in names if own[name] != default[name]]

    def _failed_by_itself(self, config: Config) -> bool:
        """Whether its own steps failed, and not its job, its source or the disk."""
        failure, step = self._failure(config), self._bad_step(config)
        outside = failure is None or failure.id in _OUTSIDE
        return not outside and step not in ("", *_NOT_OWN)

    def _bad_step(self, config: Config) -> str:
        unit = self.state.done(variant_purpose(self._id(config)))
        bad = build_end(unit.steps).step if unit is not None and unit.steps else None
        return bad.step if bad is not None else ""

    def _works(self, config: Config) -> bool:
        done = self.state.done(variant_purpose(self._id(config))) is not None
        return done and self._failure(config) is None

    def _ended(self, config: Config) -> bool:
        """Whether its build was made, or failed."""
        return not self._id(config) or self._works(config) or self._failure(config) is not None

    def _failure(self, config: Config) -> Failure | None:
        return failure_of_build(self.state, self.builds, config)

    def _id(self, config: Config) -> str:
        try:
            return self.builds.of(config).id
        except UsageError:
            return ""

    def _unbuilt(self, space: Space) -> frozenset[str]:
        """The points whose build was tried in vain, for whatever reason."""
        tried = (*self._proposed, *self.looked_into)
        bad = frozenset(
            name for c in tried if (name := self._id(c)) and self._failure(c) is not None
        )
        if not bad:
            return bad
        return self.builds.memo(
            ("unbuilt", bad), lambda: frozenset(c.id for c in space.points() if self._id(c) in bad)
        )

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
        """The points that were not proposed and run what another one runs."""
        contents = list(self._contents.values())
        shared = {name for name, what in self._contents.items() if contents.count(what) > 1}
        if not shared:
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


# --- what cannot be built, told by the toolchain alone --------------------------------------------


def _refused(builds: ApplicationBuilds, space: Space) -> Mapping[str, str]:
    """Configuration -> why its build cannot even be described here."""

    def found() -> dict[str, str]:
        refused: dict[str, str] = {}
        for config in space.points() if space.enumerable else ():
            reason = _reason(builds, config)
            refused.update({config.id: reason} if reason else {})
        return refused

    return builds.memo("refused", found)


def _reason(builds: ApplicationBuilds, config: Config) -> str:
    try:
        builds.of(config)
    except UsageError as error:
        return str(error)
    return ""


def _impossible(builds: ApplicationBuilds, space: Space) -> tuple[Probed, ...]:
    """Values all of whose configurations are refused; of a space that is too large to go through
    those that are refused with the defaults of the others."""
    return builds.memo("impossible", lambda: _found_impossible(builds, space))


def _found_impossible(builds: ApplicationBuilds, space: Space) -> tuple[Probed, ...]:
    default, refused = space.default.values, _refused(builds, space)
    if space.enumerable and not refused:
        return ()
    names = {param.name for param in builds.choices}
    points: Iterable[Config] = space.points() if space.enumerable else _each_alone(builds, space)
    able, why = set[Value](), dict[Value, str]()
    for config in points:
        reason = refused.get(config.id, "") if space.enumerable else _reason(builds, config)
        for value in config.values.items():
            if value[0] in names and value[1] != default[value[0]]:
                if reason:
                    why.setdefault(value, reason)
                else:
                    able.add(value)
    return tuple(
        Probed(*value, Failure("configure", "outside_space", reason))
        for value, reason in why.items()
        if value not in able
    )


def _each_alone(builds: ApplicationBuilds, space: Space) -> list[Config]:
    return [
        Config.of({**space.default.values, param.name: value})
        for param in builds.choices
        for value in param.values
    ]
