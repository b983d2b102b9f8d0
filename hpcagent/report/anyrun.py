"""What there is to tell of a run of any kind."""

from __future__ import annotations

from hpcagent.report import compare, plan_text, task_text, text
from hpcagent.report.plan_summary import PlanSummary, summarise_plan
from hpcagent.study.compare_plan import COMPARISONS
from hpcagent.study.compare_result import CompareSummary, summarise_comparison
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.plan import KIND
from hpcagent.study.progress import progress
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState
from hpcagent.study.summary import RunSummary
from hpcagent.study.task_plan import KINDS
from hpcagent.study.task_summary import TaskSummary, summarise_task

Summary = RunSummary | CompareSummary | TaskSummary | PlanSummary


def summary_of(run: RunDir, known: Knowledge) -> Summary:
    """The summary of a run, by its kind."""
    if run.kind == KIND:
        return summarise_plan(run, known.state, told)
    if run.kind in COMPARISONS:
        return summarise_comparison(run, known.state)
    if run.kind in KINDS:
        return summarise_task(run, known.state)
    return summarise(run, known)


def headline(summary: Summary) -> str:
    """A sentence or two: how the run stands or ended."""
    match summary:
        case PlanSummary():
            return plan_text.headline(summary)
        case CompareSummary():
            return compare.headline(summary)
        case TaskSummary():
            return task_text.headline(summary)
    return text.headline(summary)


def terminal(summary: Summary, columns: int, folder: str) -> str:
    """The result in lines of at most `columns` columns."""
    match summary:
        case PlanSummary():
            return plan_text.terminal(summary, columns, folder)
        case CompareSummary():
            return compare.terminal(summary, columns, folder)
        case TaskSummary():
            return task_text.terminal(summary, columns, folder)
    return text.terminal(summary, columns, folder)


def told(run: RunDir, state: TuneState) -> str:
    """A run in a sentence: how far it is, or how it ended."""
    known = Knowledge(state)
    if state.closed is None:
        return progress(known, 0, utc_text(utc_now())).text()
    return headline(summary_of(run, known))
