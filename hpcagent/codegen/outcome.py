"""What the stages of an attempt, and the processes of a measurement, told. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcagent.codegen.attempt import STAGES
from hpcagent.codegen.remarks import remarks
from hpcagent.measure.results import Run, failure_of
from hpcagent.records import Failure
from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.logfilter import filter_log
from hpcagent.toolchain.stepruns import StepRun

_EVIDENCE_TOKENS = 400
_SURE = 0.5
_MARK = "drive: {"


@dataclass(frozen=True)
class Checked:
    """An attempt's unit, judged: `stage` is where it ended, `failure` why (None: it is good).

    `told` has what each stage printed, by its name.
    """

    stage: str
    failure: Failure | None
    told: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        return {str(k): str(v) for k, v in self.told.get("link", {}).get("sha256", {}).items()}

    @property
    def said(self) -> str:
        """What the compiler said of a source that it took."""
        return str(self.told.get("compile", {}).get("said", ""))

    @property
    def remarks(self) -> tuple[str, ...]:
        """The same, of loops: which became vectors, and why others did not."""
        return remarks(self.said)


def checked(steps: Sequence[StepRun]) -> Checked:
    """The verdict over the steps of a unit that has ended."""
    by_name = {step.step: step for step in steps}
    told: dict[str, Mapping[str, Any]] = {}
    for name in STAGES:
        step = by_name.get(name)
        if step is None:
            return Checked(name, Failure("environment", "time", f"{name} was not reached"), told)
        line = _last_line(step.output)
        if step.ok and line is not None and line.get("ok") is True:
            told[name] = line
            continue
        return Checked(name, _failure(step, line), told)
    return Checked(STAGES[-1], None, told)


def problem_of(run: Run) -> Failure | None:
    """Why a measured process failed, in the driver's own words where it had any."""
    failure = failure_of(run)
    place = run.message.find(_MARK)
    if failure is None or place < 0:
        return failure
    try:
        line, _ = json.JSONDecoder().raw_decode(run.message[place + len(_MARK) - 1 :])
        return _named(str(line["kind"]), str(line["evidence"]))
    except (ValueError, KeyError, TypeError):
        return failure


def evidence_for_model(failure: Failure) -> str:
    """What matters of a failure's evidence, in few tokens."""
    text = failure.evidence.encode("utf-8")
    return filter_log(diagnose(text, 1), _EVIDENCE_TOKENS).text or failure.evidence[:1500]


def _failure(step: StepRun, line: Mapping[str, Any] | None) -> Failure:
    if step.status == "timeout":
        return Failure("run", "timeout", f"{step.step}: {step.message}")
    if line is None or "kind" not in line:
        words = step.message or step.output.strip()[-1000:] or f"exit code {step.exit}"
        return Failure("environment", "driver", f"{step.step}: {words}")
    return _named(str(line["kind"]), str(line.get("evidence", "")))


def _named(kind: str, evidence: str) -> Failure:
    """What a compiler or linker said is named by its cause, where one is known."""
    stage, _, name = kind.partition(".")
    if kind in ("compile.failed", "link.failed"):
        causes = diagnose(evidence.encode("utf-8"), 1).causes
        if causes and causes[0].line and causes[0].confidence >= _SURE:
            return Failure(causes[0].stage, causes[0].kind, evidence)
    return Failure(stage, name or "unknown", evidence)


def _last_line(output: str) -> Mapping[str, Any] | None:
    lines = output.strip().splitlines()
    try:
        line = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
