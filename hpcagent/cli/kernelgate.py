"""The gate of code generation for kernels of a qualification: a run of its own, in jobs only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from hpcagent import __version__
from hpcagent.cli.asks import asked
from hpcagent.cli.interrupt import interruptible
from hpcagent.cli.live import live
from hpcagent.cli.place import runs_folder
from hpcagent.cli.targets import Place, job_settings
from hpcagent.config import Settings
from hpcagent.errors import HpcagentError
from hpcagent.llm.qualify.answers import Answers
from hpcagent.llm.qualify.kernel import NAME, PASSED, kernels, source_in
from hpcagent.records import Failure
from hpcagent.report.publish import publish
from hpcagent.study.kernels_task import JUDGED, KIND, Asked, entry_of, unfit, verdicts
from hpcagent.study.rundir import RunDir, create_run, open_run
from hpcagent.study.session import open_tune, opened, read_state
from hpcagent.study.state import TuneState
from hpcagent.study.task_plan import Task
from hpcagent.study.turn import Turn

_WORDS = 300


@dataclass(frozen=True)
class Gate:
    """Where kernels are built and run."""

    there: Place
    configured: Settings

    def judge(self, answers: Answers) -> str:
        """Have all kernels among the answers judged that are not yet; why that was not possible,
        empty where it was.

        KeyboardInterrupt leaves the run: the next call goes on with it.
        """
        sources = _unjudged(answers)
        if not sources:
            return ""
        try:
            run = self._run(sources, answers)
            click.echo(f"kernels are built and run in {run.path}", err=True)
            state = _driven(run)
        except HpcagentError as error:
            return str(error)
        closed = state.closed or {}
        if closed.get("outcome") != JUDGED:
            return str(closed.get("text", ""))
        found = verdicts(Task.of(state), state)
        for name, failure in found.items():
            if failure is None or failure.stage != "environment":
                answers.judge(f"{NAME}/{name}", _words(failure))
        broken = next((f for f in found.values() if f and f.stage == "environment"), None)
        if broken is not None:
            return _words(broken)
        return "" if len(found) == len(sources) else "not all of them were reached in time"

    def _run(self, sources: Mapping[str, str], answers: Answers) -> RunDir:
        """The run that was begun for these very sources and has not ended, or a new one."""
        text = json.dumps(
            [sorted(sources.items()), [target.label for target in self.there.targets]]
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = answers.run_of(digest)
        if path and Path(path).is_dir():
            begun = open_run(Path(path))
            if read_state(begun).closed is None:
                return begun
        rows = {row.name: row for row in kernels()}
        entries = tuple(entry_of(rows[name], source) for name, source in sources.items())
        asks = Asked(entries, self.configured.compiler, str(runs_folder()))
        task = Task(KIND, self.there.targets, asks.to_json())
        run = create_run(KIND, __version__, runs_folder(), None)
        settings = job_settings(self.configured, self.there.scheduler, asked())
        open_tune(run, settings, __version__, task=task.to_json())
        answers.note_run(digest, str(run.path))
        return run


def _unjudged(answers: Answers) -> dict[str, str]:
    """The sources among the answers, by the names of their cases; what is none is judged here."""
    found = {}
    for row in kernels():
        name = f"{NAME}/{row.name}"
        answer = answers.known.get(name)
        source = source_in(answer.text) if answer is not None and not answer.failure else ""
        if not source or name in answers.verdicts:
            continue
        failure = unfit(source)
        if failure is None:
            found[row.name] = source
        else:
            answers.judge(name, _words(failure))
    return found


def _driven(run: RunDir) -> TuneState:
    with (
        interruptible() as check,
        opened(run, publish) as agent,
        live(run, agent, quiet=False) as display,
    ):

        def turned(state: TuneState, turn: Turn) -> None:
            display(state, turn)
            check()

        agent.run(turned, False)
        return agent.state


def _words(failure: Failure | None) -> str:
    if failure is None:
        return PASSED
    text = " ".join("".join(c if c.isprintable() else " " for c in failure.evidence).split())
    return f"{failure.id}: {text[:_WORDS]}"
