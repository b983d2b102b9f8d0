"""How a build ended, by the steps of its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hpcagent.records import Failure
from hpcagent.toolchain.diagnosis import Found, diagnose
from hpcagent.toolchain.recipe import ABSENT, THERE
from hpcagent.toolchain.signatures import catalogue
from hpcagent.toolchain.stepruns import StepRun

# The stage of a failure by the step; all others are compilation.
_STAGES = (
    ("configure", "configure"),
    ("unpack", "configure"),
    ("check", "run"),
    ("absent", "environment"),
    ("publish", "environment"),
)

# What the end of a built program proves, whatever it printed: SIGILL and SIGKILL of signal(7).
_SIGNALS: Mapping[int, str] = MappingProxyType({4: "run.illegal_instruction", 9: "run.killed"})
# steps.py hands on what the system says.
_NO_COMMAND = re.compile(r"No such file or directory: b?'[^'/]+'")
# Below this the words of the log are a guess, and the exit code is told instead.
_SURE = 0.5
_PROVEN = 0.9


@dataclass(frozen=True)
class BuildEnd:
    """`state` is built, found (it was there) or failed; then `failure` and the `step` tell why."""

    state: str
    failure: Failure | None = None
    step: StepRun | None = None
    cause: Found | None = None


def build_end(steps: tuple[StepRun, ...]) -> BuildEnd:
    """The verdict over a finished unit's steps."""
    bad = next((run for run in steps if not run.ok and run.status != "skipped"), None)
    if bad is None and any(run.step == "publish" and run.ok for run in steps):
        return BuildEnd("built")
    if bad is not None and bad.step == ABSENT and bad.exit == THERE:
        return BuildEnd("found")
    if bad is None:
        words = "the unit's time was over before it was built"
        return BuildEnd("failed", Failure("environment", "time", words))
    cause = _cause(bad)
    if cause is not None:
        words = f"step {bad.step}: {cause.quote}"
        return BuildEnd("failed", Failure(cause.stage, cause.kind, words), bad, cause)
    why = bad.message or (f"signal {bad.signal}" if bad.signal else f"exit code {bad.exit}")
    tail = bad.output.strip().splitlines()
    words = f"step {bad.step}: {why}" + (f": {tail[-1][:300]}" if tail else "")
    stage = dict(_STAGES).get(bad.step, "compile")
    return BuildEnd("failed", Failure(stage, bad.step.replace("-", "_"), words), bad)


def _known(name: str, quote: str) -> Found:
    known = catalogue().failures[name]
    return Found(
        known.id, known.stage, known.kind, _PROVEN, 1, quote, known.meaning, known.cure,
        known.repair,
    )  # fmt: skip


def _cause(bad: StepRun) -> Found | None:
    """What the step's output says of it, where that is more than its exit code."""
    if bad.status == "unstartable" and _NO_COMMAND.search(bad.message):
        return _known("environment.command_not_found", bad.message)
    proven = _SIGNALS.get(bad.signal or 0)
    if bad.step == "check" and bad.status == "signal" and proven:
        return _known(proven, f"signal {bad.signal}")
    code = bad.exit if bad.signal is None else 128 + bad.signal
    causes = diagnose(bad.output.encode("utf-8"), code or 1).causes
    return causes[0] if causes and causes[0].line and causes[0].confidence >= _SURE else None
