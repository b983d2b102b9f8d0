"""Why units of a run failed: the journal's failures, and the causes that their logs show."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.measure.results import Run, failure_of
from hpcagent.records import Failure
from hpcagent.study.plan import KIND
from hpcagent.study.plan_steps import begun_runs
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state
from hpcagent.study.state import TuneState, Unit
from hpcagent.toolchain.diagnosis import UNKNOWN, Diagnosis, Found, diagnose
from hpcagent.toolchain.logfilter import filter_log
from hpcagent.toolchain.recipe import ABSENT, THERE
from hpcagent.toolchain.signatures import catalogue
from hpcagent.toolchain.stepruns import StepRun

_MAX_RUNS = 3  # failed processes of one unit that are looked at; more of a kind say the same

_FINE = ("ok", "skipped")


@dataclass(frozen=True)
class Explained:
    """One failed unit, step or process of a run."""

    unit: str
    purpose: str
    failure: str
    causes: tuple[Found, ...]
    filtered: str

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "purpose": self.purpose,
            "failure": self.failure,
            "causes": [cause.to_json() for cause in self.causes],
            "filtered": self.filtered,
        }


def explain_run(run: RunDir, state: TuneState, tokens: int) -> tuple[Explained, ...]:
    """Each failed unit of a run that no later attempt made good, and each failed step, in order;
    of a plan those of all its runs."""
    found: list[Explained] = []
    if run.kind == KIND:
        for step, below in begun_runs(run, state):
            if step.taken is not None:
                continue
            for one in explain_run(below, read_state(below), tokens):
                found.append(replace(one, purpose=f"{step.name}, {one.purpose}"))
    for unit in state.units:
        bad = unit.failure is not None or any(_failed(s) for s in unit.steps)
        if bad and state.done(unit.purpose) in (None, unit):
            found += _of_unit(run.unit(unit.name), unit, tokens)
    return tuple(found)


def _of_unit(folder: Path, unit: Unit, tokens: int) -> Iterator[Explained]:
    for step in unit.steps:
        if _failed(step):
            yield _of_step(folder, unit, step, tokens)
    failed = [(r, f) for r in unit.runs if (f := failure_of(r)) is not None]
    kinds: dict[str, tuple[Run, Failure]] = {}
    for process, failure in failed:
        kinds.setdefault(failure.id, (process, failure))
    for process, failure in list(kinds.values())[:_MAX_RUNS]:
        yield _explained(unit, failure, _of_text(process.message, process.exit or 1), tokens)
    if unit.failure is not None and not any(f == unit.failure for _, f in kinds.values()):
        yield _explained(unit, unit.failure, _of_files(folder), tokens)


def _failed(step: StepRun) -> bool:
    """One that found the build in its place already has not."""
    there = step.step == ABSENT and step.exit == THERE
    return step.status not in _FINE and not there


def _of_step(folder: Path, unit: Unit, step: StepRun, tokens: int) -> Explained:
    code = step.exit if step.exit else 128 + step.signal if step.signal else 1
    words = f"step {step.step} {step.status}" + (f", exit code {step.exit}" if step.exit else "")
    words += f", signal {step.signal}" if step.signal else ""
    words += f": {step.message}" if step.message else ""
    diagnosis = _of_file(folder / step.log, 124 if step.status == "timeout" else code)
    if diagnosis is None:
        diagnosis = _of_text(step.output, code)
    return _told(unit, words, diagnosis, step.log, tokens)


def _explained(
    unit: Unit, failure: Failure, found: tuple[Diagnosis, str] | Diagnosis, tokens: int
) -> Explained:
    diagnosis, name = found if isinstance(found, tuple) else (found, "")
    words = f"{failure.id}: {failure.evidence}"
    told = _told(unit, words, diagnosis, name, tokens)
    sure = [c for c in told.causes if c.confidence > 0.3]
    if sure or (own := _by_id(failure)) is None:
        return told
    others = tuple(cause for cause in told.causes if cause.id != UNKNOWN)  # it may not have run
    return replace(told, causes=(own, *others))


def _told(unit: Unit, words: str, diagnosis: Diagnosis, name: str, tokens: int) -> Explained:
    causes = tuple(replace(cause, file=name) for cause in diagnosis.causes)
    text = filter_log(diagnosis, tokens).text
    return Explained(unit.name, unit.purpose, words, causes, text)


def _by_id(failure: Failure) -> Found | None:
    """What the list says of a failure that the journal names."""
    entry = catalogue().get(failure.id)
    if entry is None:
        return None
    return Found(
        entry.id, entry.stage, entry.kind, 0.5, 0, failure.evidence[:300], entry.meaning,
        entry.cure, entry.repair,
    )  # fmt: skip


def _of_files(folder: Path) -> tuple[Diagnosis, str]:
    """The first of a unit's files that shows a cause, errors before output."""
    best: tuple[Diagnosis, str] | None = None
    for path in (folder / "err", folder / "out", *sorted((folder / "logs").glob("*.log"))):
        diagnosis = _of_file(path, 1)
        if diagnosis is None or not diagnosis.scan.lines:
            continue
        name = str(path.relative_to(folder))
        sure = diagnosis.causes[0].confidence if diagnosis.causes else 0.0
        so_far = best[0].causes[0].confidence if best and best[0].causes else -1.0
        if sure > so_far:
            best = (diagnosis, name)
    return best or (_of_text("", 1), "")


def _of_file(path: Path, exit_code: int) -> Diagnosis | None:
    try:
        with path.open("rb") as stream:
            return diagnose(stream, exit_code, name=str(path))
    except (OSError, UsageError):
        return None


def _of_text(text: str, exit_code: int) -> Diagnosis:
    return diagnose(io.BytesIO(text.encode("utf-8", "replace")), exit_code)
