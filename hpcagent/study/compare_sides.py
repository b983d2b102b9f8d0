"""From closed tune runs to the sides of a comparison; what cannot be compared is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcagent.apps.application_builds import ApplicationBuilds
from hpcagent.errors import EnvironmentProblem, Unfit
from hpcagent.measure.objectives import THROUGHPUT, TIME
from hpcagent.records import Resources
from hpcagent.study import history_card, units
from hpcagent.study.compare_plan import Comparison, Side
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState
from hpcagent.study.summary import RunSummary
from hpcagent.study.words import within

_COMPARABLE = ("improved", "nothing better")
# What the request of a job may differ in, the plainest first.
_NAMES = ("partition", "constraint", "gres", "reservation", "qos", "account")


@dataclass(frozen=True)
class Source:
    """A closed tune run that can be a side; `driver` is the folder of what it built."""

    run: RunDir
    state: TuneState
    known: Knowledge
    summary: RunSummary
    driver: Path

    @property
    def asks(self) -> Resources:
        return self.state.settings.asks


def sources(runs: Sequence[RunDir]) -> tuple[Source, ...]:
    """The runs as sides. Unfit for runs that cannot be compared, EnvironmentProblem where a
    driver is missing."""
    if len(runs) < 2:
        raise Unfit("compare: give at least two RUNs: one of each node type")
    seen: set[Path] = set()
    for run in runs:
        path = run.path.resolve()
        if path in seen:
            raise Unfit(f"compare: {run.id} is named twice; a run cannot be its own rival")
        seen.add(path)
    found = tuple(source(run) for run in runs)
    for other in found[1:]:
        _require_same(found[0], other)
    return found


def source(run: RunDir, command: str = "compare") -> Source:
    """A run whose settings `command` can measure. Unfit for one that has none,
    EnvironmentProblem where what it ran is gone."""
    said = f"{command}: {run.id}"
    if run.kind != "tune":
        raise Unfit(f"{said} is a {run.kind} run; only tune runs can be taken")
    state = read_state(run)
    outcome = str((state.closed or {}).get("outcome", ""))
    if state.closed is None:
        raise Unfit(f"{said} goes on; finish it first: hpcagent resume {run.path}")
    if outcome not in _COMPARABLE:
        raise Unfit(f"{said} ended as {outcome!r}: it has no settings to take")
    known = Knowledge(state)
    build = state.done("build")
    folder = run.unit(build.name) if build is not None else run.path / "work"
    if not state.settings.of_application and not os.access(folder / "driver", os.X_OK):
        raise EnvironmentProblem(
            f"{said} lacks the driver that it built, {folder / 'driver'}: restore that "
            "folder, or tune again"
        )
    if state.settings.objectives[0] not in (TIME, THROUGHPUT):
        raise Unfit(
            f"{said} was tuned for {_goal(state.settings)}; {command} tells what is "
            "faster: tune with --objective time"
        )
    summary = summarise(run, known)
    require_builds(known, summary, said)
    return Source(run, state, known, summary, folder)


def require_builds(known: Knowledge, summary: RunSummary, said: str) -> None:
    """EnvironmentProblem where a build of an application that its default or its best runs is gone;
    its message begins with `said`."""
    if not isinstance(known.variants, ApplicationBuilds):
        return
    default = known.unpruned.default
    for config in (default, summary.best or default):
        prefix = known.variants.prefix_of(config)
        if not Path(prefix).is_dir():
            raise EnvironmentProblem(f"{said} ran {prefix}, which is gone: tune again")


def _goal(settings: TuneSettings) -> str:
    return " and ".join(settings.objectives) + within(settings.within)


def _require_same(first: Source, other: Source) -> None:
    one, two = first.state.settings, other.state.settings
    pair = f"{first.run.id} and {other.run.id}"
    if one.app != two.app:
        raise Unfit(f"compare: {pair} tuned different things: {one.app} and {two.app}")
    if one.scheduler != two.scheduler:
        raise Unfit(
            f"compare: {pair} went to different batch systems: {one.scheduler} and {two.scheduler}"
        )
    goals, others = ((s.objectives, s.within) for s in (one, two))
    if goals != others:
        raise Unfit(
            f"compare: {pair} were tuned for different things ({_goal(one)}; {_goal(two)}): tune "
            "both with the same --objective and --within"
        )
    if one.of_application and _marks(first) != _marks(other):
        raise Unfit(
            f"compare: {pair} measured different things: tune both with the same card and inputs"
        )
    a, b = first.known.workload.weights, other.known.workload.weights
    if first.known.workload.cases == other.known.workload.cases:
        return
    odd = sorted(a.keys() ^ b.keys())
    what = f"{odd[0]} is in one of them only" if odd else "the order or the weights differ"
    raise Unfit(
        f"compare: {pair} measured different workloads ({what}): tune both with the same "
        "--workload FILE"
    )


def _marks(source: Source) -> str:
    """What decides what a run of an application measures, but for how it is built."""
    settings, card = source.state.settings, source.known.card
    plain = card.model_copy(update={"build": type(card.build)()})
    return history_card.measures(plain, settings.objectives[0], settings.inputs_sha256)


def comparison(found: Sequence[Source], blocks: int, pairs: int) -> Comparison:
    """Every side measures the workload and the repeats of the first run."""
    first = found[0]
    what, labels = _labels(found)
    settings = first.state.settings
    repeats, application = first.known.repeats, settings.of_application
    return Comparison(
        what=what,
        sides=tuple(
            side(one, {"repeats": repeats}, label, pairs)
            for one, label in zip(found, labels, strict=True)
        ),
        blocks=blocks,
        pairs=pairs,
        workload="" if application else first.known.workload.text(warmup=1, repeats=repeats),
        workload_source=first.known.workload.source,
        alpha=settings.alpha,
        minimum_effect=settings.minimum_effect,
        application=application,
    )


def settings_of(first: Source, seed: int) -> TuneSettings:
    """What the comparison's own run is driven with: as the first run was, one job at a time."""
    settings = replace(first.state.settings, objectives=(TIME,), within=(), charge=None)
    return replace(
        settings, seed=seed, rounds=0, core_hours=0.0, wall_s=0.0, model="", ahead=1, pack=1
    )


def _labels(found: Sequence[Source]) -> tuple[str, list[str]]:
    """What tells the sides apart, and its value for each."""
    for name in _NAMES:
        values = [getattr(source.asks, name) for source in found]
        if all(values) and len(set(values)) == len(values):
            return name, [str(value) for value in values]
    names = [source.run.path.name for source in found]
    return "run", names if len(set(names)) == len(names) else [str(s.run.path) for s in found]


def side(source: Source, better: Mapping[str, Any], label: str, pairs: int) -> Side:
    """Its default and its best; `better` is what is known better than what the run would tell, by
    the names of the knowledge."""
    known = _knowing(source, better, pairs)
    default = known.unpruned.default
    best = source.summary.best or default
    plan = units.confirmation_plan(known, best, str(source.driver))
    configs = plan.spec["configs"]
    settings = source.state.settings
    return Side(
        label=label,
        run_id=source.run.id,
        path=str(source.run.path),
        resources=replace(plan.resources, avoid_nodes=()),
        spec={**plan.spec, "configs": configs[:1] if best == default else configs},
        expected_s=plan.expected_s,
        python=settings.python,
        prologue=settings.prologue,
        cpu=f"{known.machine.cpu_model} ({known.machine.microarchitecture})",
        library=_subject(source),
        best=source.summary.outcome_text if best != default else "",
    )


def _subject(source: Source) -> str:
    """What is measured, in words."""
    if source.summary.application is not None:
        application = source.summary.application
        return " ".join(word for word in (application.title, application.prefix) if word)
    library = source.known.needed_library()
    return f"{library.version} {library.path}"


def _knowing(source: Source, better: Mapping[str, Any], pairs: int) -> Knowledge:
    settings = replace(source.state.settings, confirm_pairs=pairs, within=())
    known = Knowledge(replace(source.state, settings=settings))
    vars(known).update(better)  # cached properties: what they would work out is not wanted
    return known
