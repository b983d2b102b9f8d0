"""How a build ended, by the steps of its unit."""

from __future__ import annotations

from dataclasses import dataclass

from hpcagent.records import Failure
from hpcagent.toolchain.recipe import ABSENT, THERE
from hpcagent.toolchain.stepruns import StepRun

# The stage of a failure by the step; all others are compilation.
_STAGES = (("configure", "configure"), ("check", "run"))


@dataclass(frozen=True)
class BuildEnd:
    """`state` is built, found (it was there) or failed; then `failure` and the `step` tell why."""

    state: str
    failure: Failure | None = None
    step: StepRun | None = None


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
    why = bad.message or (f"signal {bad.signal}" if bad.signal else f"exit code {bad.exit}")
    tail = bad.output.strip().splitlines()
    words = f"step {bad.step}: {why}" + (f": {tail[-1][:300]}" if tail else "")
    stage = dict(_STAGES).get(bad.step, "compile")
    return BuildEnd("failed", Failure(stage, bad.step.replace("-", "_"), words), bad)
