"""Requests to the agent of a run: cancel, stop, approve, advise."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hpcagent.cli.place import find_run
from hpcagent.cli.runs import again, run_argument
from hpcagent.errors import RunInUse, SchedulerUnreachable, UsageError
from hpcagent.records import Failure
from hpcagent.report.publish import publish
from hpcagent.study import inbox
from hpcagent.study.budget import awaits_approval
from hpcagent.study.chain import chain_folder, drop, read_chain
from hpcagent.study.compare_plan import COMPARISONS
from hpcagent.study.driven import driven
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import Lease, is_driven
from hpcagent.study.plan import KIND
from hpcagent.study.plan_steps import plan_above
from hpcagent.study.proposing import WITH_MODEL
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import make_scheduler, opened, read_state
from hpcagent.study.state import TuneState
from hpcagent.study.turn import Turn

_LEAVING_S = 5.0  # in which an agent that has nothing more to do lets go of its run


@click.command()
@run_argument
def cancel(run: str) -> int:
    """Cancel RUN: its job is cancelled and the run is closed. What was measured is kept."""
    found = find_run(run)
    state = read_state(found)
    if state.closed is not None:
        click.echo(f"{found.path.name} is closed already: nothing to cancel")
        return 0
    request = inbox.post(found.path, {"type": "cancel"})
    turn = _served(found, request)
    if turn is None:
        click.echo(f"{found.path.name}: its agent has been asked to cancel")
        return 0
    if not turn.closed:
        raise SchedulerUnreachable(
            f"{found.path.name} is not cancelled yet: {turn.words}; try again"
        )
    click.echo(f"{found.path.name}: cancelled")
    folder = chain_folder(found.path)
    drop(make_scheduler(read_chain(folder).system or state.settings.scheduler), folder)
    return 0


def _served(run: RunDir, request: Path) -> Turn | None:
    """The turn that served a request; None where the agent that works on the run does.

    One that is about to leave does not look for requests any more, and the next may come in hours.
    """
    limit = time.monotonic() + _LEAVING_S
    while True:
        try:
            with opened(run, publish) as agent:
                return agent.turn()
        except RunInUse:
            if not request.exists() or time.monotonic() > limit:
                return None
        time.sleep(0.2)


@click.command()
@run_argument
def stop(run: str) -> int:
    """Ask the agent of RUN to stop. A job that is out is left alone; `resume` takes it up again."""
    found = find_run(run)
    if read_state(found).closed is not None:
        click.echo(f"{found.path.name} is closed already: nothing to stop")
        return 0
    above = plan_above(found)
    if above is not None and is_driven(above.path):
        raise UsageError(
            f"{found.path} is driven by its plan: stop that: hpcagent stop {above.path}"
        )
    try:
        with Lease.acquire(found.path):
            click.echo(f"{found.path.name}: no agent works on it; continue with: {again(found)}")
    except RunInUse:
        inbox.post(found.path, {"type": "stop"})
        click.echo(f"{found.path.name}: asked to stop; continue with: {again(found)}")
    return 0


@click.command()
@run_argument
def approve(run: str) -> int:
    """Let RUN reserve more core-hours than `approve_core_hours` of the configuration."""
    found = find_run(run)
    state = read_state(found)
    if state.closed is not None:
        raise UsageError(f"{found.path.name} is closed: nothing to approve")
    if found.kind == KIND:
        waiting = [str(b.path) for b, its in driven(found, state) if awaits_approval(its)]
        also = f"; now waits: {', '.join(waiting)}" if waiting else "; now none waits for it"
        raise UsageError(f"{found.path.name} is a plan: approve a step of it by its path{also}")
    inbox.post(found.path, {"type": "approve"})
    click.echo(f"{found.path.name}: approved; its agent goes on, or continue with: {again(found)}")
    return 0


@click.command()
@run_argument
@click.argument("text", required=False, default="")
@click.option("--config", metavar="NAME=VALUE,...",
              help="Measure it in the next round; what is not named is the default's.")  # fmt: skip
def advise(run: str, text: str, config: str | None) -> int:
    """Give the agent of RUN a hint: words for its model, or a configuration to measure.

    \b
    Examples:
      hpcagent advise RUN "the nodes have two sockets; try one thread a core"
      hpcagent advise RUN --config threads=4,core=Haswell
    """
    found = find_run(run)
    state = read_state(found)
    if found.kind == KIND:
        raise UsageError(f"{found.path.name} is a plan: give advice to a step, by its path")
    if found.kind in COMPARISONS:
        raise UsageError(f"{found.path.name} is a comparison: it measures what its RUNs found")
    if state.closed is not None:
        raise UsageError(f"{found.path.name} is closed: advice comes too late")
    if not text and config is None:
        raise UsageError("advise: give TEXT or --config NAME=VALUE")
    _heeded(found, state, words_alone=config is None)
    request: dict[str, object] = {"type": "advise", "text": text}
    if config is not None:
        request["config"] = _configuration(Knowledge(state), config)
    inbox.post(found.path, request)
    click.echo(f"{found.path.name}: noted for the next round")
    return 0


def _heeded(run: RunDir, state: TuneState, words_alone: bool) -> None:
    """UsageError for advice that nothing would come of."""
    name, settings = run.path.name, state.settings
    if run.kind != "tune":
        raise UsageError(f"{name} is a {run.kind} run: advice is for runs of `hpcagent tune`")
    if "search_ended" in state.decisions or settings.rounds in state.proposed:
        raise UsageError(f"{name} has proposed its last round: advice comes too late")
    if words_alone and settings.strategy not in WITH_MODEL:
        raise UsageError(
            f"{name} has no language model that could read words; give settings that are to be "
            "measured: --config NAME=VALUE"
        )


def _configuration(known: Knowledge, text: str) -> dict[str, str]:
    if known.state.done("feasibility") is None:
        raise UsageError("--config: the space is not known yet; try again after the preparation")
    values = dict(known.space.default.values)
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or name not in values:
            names = ", ".join(values)
            raise UsageError(f"--config {item!r}: write NAME=VALUE; the names are {names}")
        values[name] = value
    checked = known.space.validate(values)
    if isinstance(checked, Failure):
        raise UsageError(f"--config {text!r}: {checked.evidence}")
    return values
