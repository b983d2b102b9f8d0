"""What is kept of a tune run for later ones: one record, and its form as JSON.

It holds the kind of machine, the library, the workload, the space and the trials; no host, user,
path or time of day beyond the run's own id and the moment of each trial (docs/history.md lists the
fields). Records come from other clusters as well, so each is checked before it is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpcagent.apps.workload import Case, one_program
from hpcagent.errors import UsageError
from hpcagent.records import Library, Machine, Param, Trial
from hpcagent.study import history_card
from hpcagent.study.knowledge import round_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hpcagent.study.knowledge import Knowledge

SCHEMA = 1
MOST_TRIALS = 400
RUN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
# What says nothing of a configuration: it was not run, or the cluster was at fault.
_NO_VERDICT = ("not_measured", "clearly_slower")
_NOT_ITS_FAULT = ("scheduler", "environment")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a control character")
    return text


Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
MOST_RATIO = math.log(1e6)  # as fast or as slow as the default: what says more was not measured
Ratio = Annotated[float, Field(allow_inf_nan=False, ge=-MOST_RATIO, le=MOST_RATIO)]
Count = Annotated[int, Field(ge=0, le=2**40)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Place(_Row):
    """The kind of machine: nothing that tells one of that kind from another.

    `caches` are (level, kind, KiB of one, how many); `memory_gib` the next power of two.
    """

    architecture: Text
    microarchitecture: Text
    cores: Annotated[int, Field(ge=1, le=2**40)]
    threads_per_core: Count
    sockets: Count
    numa_nodes: Count
    caches: Annotated[list[tuple[Count, Text, Count, Count]], Field(max_length=20)]
    memory_gib: Count | None


class Tuned(_Row):
    name: Text
    version: Text
    threading: Text
    interface: Text
    dynamic_arch: bool
    core: Text


class Work(_Row):
    routine: Text
    m: Count
    n: Count
    k: Count
    transa: Text
    transb: Text
    weight: Annotated[float, Field(gt=0, le=1.0, allow_inf_nan=False)]

    @property
    def case(self) -> Case:
        return Case(**self.model_dump())


class Dimension(_Row):
    """`sets` marks what a value does (history_card.py); empty where that is not known."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,79}$")]
    kind: Literal["ordinal", "categorical"]
    values: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    default: Text
    sets: Text = ""

    @model_validator(mode="after")
    def _default_is_a_value(self) -> Dimension:
        if self.default not in self.values:
            raise ValueError("the default is none of the values")
        return self

    @property
    def param(self) -> Param:
        return Param(self.name, self.kind, tuple(self.values), self.default)


class Tried(_Row):
    """`log_ratio` is the natural log of the time over the default's; `failure` an id."""

    values: dict[str, Text]
    log_ratio: Ratio | None
    spread: Annotated[float, Field(ge=0, le=100.0)] | None
    failure: Text
    pairs: Count
    t_utc: Text


class Record(_Row):
    """One run, searched for `objective`, which the log ratios are of.

    `outcome` is empty where it had not ended. `folded` names runs merged into it. `measures` marks
    what was measured (history_card.py); empty in records of older versions.
    """

    schema_: Literal[1] = Field(alias="schema", serialization_alias="schema")
    run: Annotated[str, Field(pattern=RUN_PATTERN)]
    t_utc: Text
    hpcagent: Text
    outcome: Text
    machine: Place
    library: Tuned
    workload: Annotated[list[Work], Field(min_length=1, max_length=400)]
    space: Annotated[list[Dimension], Field(min_length=1, max_length=100)]
    trials: Annotated[list[Tried], Field(max_length=MOST_TRIALS)]
    objective: Text = "time"
    measures: Text = ""
    folded: Annotated[list[Text], Field(max_length=10_000)] = []

    @model_validator(mode="after")
    def _values_are_of_the_space(self) -> Record:
        known = {row.name: set(row.values) for row in self.space}
        if len(known) < len(self.space):
            raise ValueError("a parameter is given twice")
        for trial in self.trials:
            if trial.values.keys() != known.keys():
                raise ValueError("a trial has other parameters than the space")
            if any(value not in known[name] for name, value in trial.values.items()):
                raise ValueError("a trial has a value that is not in the space")
        return self

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True)

    @property
    def params(self) -> tuple[Param, ...]:
        return tuple(row.param for row in self.space)

    @property
    def best(self) -> float | None:
        """The greatest speed-up over the default that the search saw; None where it saw none."""
        found = [t.log_ratio for t in self.trials if t.log_ratio is not None]
        return math.exp(-min(found)) if found else None


def record_from(row: Mapping[str, Any]) -> Record:
    """The record of a JSON object; ValueError names the first field that is wrong."""
    try:
        return Record.model_validate({**row, "workload": _cases(row), "machine": _tuples(row)})
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(key) for key in problem["loc"]) or "record"
        raise ValueError(f"{field}: {problem['msg']}") from None


def _cases(row: Mapping[str, Any]) -> Any:
    """JSON writes 1.0 as it is, but others' writers may say 1."""
    rows = row.get("workload")
    if not isinstance(rows, list):
        return rows
    return [{**r, "weight": float(r["weight"])} if _whole(r) else r for r in rows]


def _whole(row: Any) -> bool:
    return isinstance(row, dict) and type(row.get("weight")) is int


def _tuples(row: Mapping[str, Any]) -> Any:
    machine = row.get("machine")
    if not isinstance(machine, dict) or not isinstance(machine.get("caches"), list):
        return machine
    caches = [tuple(c) if isinstance(c, list) else c for c in machine["caches"]]
    return {**machine, "caches": caches}


def place_of(machine: Machine) -> Place:
    memory = machine.memory_bytes
    return Place(
        architecture=machine.architecture,
        microarchitecture=machine.microarchitecture,
        cores=machine.usable_cores,
        threads_per_core=machine.threads_per_core,
        sockets=machine.sockets,
        numa_nodes=machine.numa_nodes,
        caches=[(c.level, c.kind, c.size_bytes // 1024, c.instances) for c in machine.caches],
        memory_gib=None
        if memory is None
        else 1 << max(0, math.ceil(memory / 2**30) - 1).bit_length(),
    )


def tuned_of(name: str, library: Library | None) -> Tuned:
    """Of an application (without a library) its name alone."""
    if library is None:
        return Tuned(name=name, version="", threading="", interface="", dynamic_arch=False, core="")
    return Tuned(
        name=name,
        version=library.version,
        threading=library.threading,
        interface=library.interface,
        dynamic_arch=library.dynamic_arch,
        core=library.core,
    )


def record_of(run_id: str, known: Knowledge, outcome: str) -> Record | None:
    """What is worth keeping of a run; None before its first round has been measured.

    Neither is a run kept that was for something else than speed: its ratios are not those of times.
    UsageError for what no record can hold (a value of 200 characters).
    """
    state = known.state
    if not state.rounds or not known.tunable or not state.settings.speed_alone:
        return None
    try:
        return _record(run_id, known, outcome)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(key) for key in problem["loc"])
        raise UsageError(f"the history cannot hold it: {field}: {problem['msg']}") from None


def _record(run_id: str, known: Knowledge, outcome: str) -> Record:
    state = known.state
    return Record(
        schema=1,
        run=run_id,
        t_utc=state.created_utc,
        hpcagent=state.version,
        outcome=outcome,
        objective=state.settings.objectives[0],
        machine=place_of(known.machine),
        library=tuned_of(state.settings.app, known.library),
        workload=_work(known),
        measures=history_card.measures(
            known.card, state.settings.objectives[0], state.settings.subject_sha256
        ),
        space=_space(known),
        trials=_tried(known)[:MOST_TRIALS],
    )


def _work(known: Knowledge) -> list[Work]:
    """Of an application one row: its cases are among the marks of its card."""
    whole = one_program("") if known.card.is_application else known.workload
    return [Work(**{k: v for k, v in vars(case).items() if k != "name"}) for case in whole.cases]


def _space(known: Knowledge) -> list[Dimension]:
    marks = history_card.sets(known.card)
    return [
        Dimension(
            name=p.name, kind=p.kind, values=list(p.values), default=p.default,  # type: ignore[arg-type]
            sets=marks.get(p.name, ""),
        )
        for p in known.unpruned.params
    ]  # fmt: skip


def _tried(known: Knowledge) -> list[Tried]:
    when = {round_index(unit): unit.result_utc for unit in known.state.rounds}
    first = min(when.values())
    rows = []
    for trial in known.trials:
        if not _verdict(trial) or abs(trial.log_ratio or 0.0) > MOST_RATIO:
            continue
        effect = known.effects.get(trial.config.id)
        rows.append(
            Tried(
                values=trial.config.values,
                log_ratio=trial.log_ratio,
                spread=trial.spread,
                failure=trial.failure.id if trial.failure else "",
                pairs=effect.pairs if effect else 0,
                t_utc=when.get(trial.round, first),
            )
        )
    return rows + _refused(known, first)


def _verdict(trial: Trial) -> bool:
    failure = trial.failure
    if failure is None:
        return True
    return failure.kind not in _NO_VERDICT and failure.stage not in _NOT_ITS_FAULT


def _refused(known: Knowledge, when: str) -> list[Tried]:
    """The default with each value that failed in the feasibility probe."""
    rows = []
    for probed in known.probed:
        trial = Trial(known.unpruned.default, None, None, probed.failure, 0, "")
        if probed.failure is not None and _verdict(trial):
            values = {**known.unpruned.default.values, probed.param: probed.value}
            rows.append(
                Tried(values=values, log_ratio=None, spread=None, failure=probed.failure.id,
                      pairs=0, t_utc=when)
            )  # fmt: skip
    return rows
