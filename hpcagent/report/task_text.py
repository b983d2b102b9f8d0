"""The result of a probe, a doctor's visit or a build: for a terminal, and as files of its run."""

from __future__ import annotations

import os
import shlex
import socket
from contextlib import suppress

from hpcagent.errors import EnvironmentProblem
from hpcagent.report import wording
from hpcagent.report.build_text import build_lines
from hpcagent.report.codegen_text import codegen_lines
from hpcagent.report.codegen_write import write_codegen
from hpcagent.report.columns import labelled, wrapped
from hpcagent.report.doctor_text import doctor_text
from hpcagent.report.probe_text import page_lines, probe_sections
from hpcagent.report.queues_text import catalogue_text
from hpcagent.report.software_text import catalogue
from hpcagent.report.write import write_text
from hpcagent.study.facts_cache import cache_folder, keep
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState
from hpcagent.study.task_summary import TargetSummary, TaskSummary, kept_facts, summarise_task

_WIDEST, _NARROWEST = 80, 40


def publish_task(run: RunDir, state: TuneState) -> None:
    """Write result/report.txt, and keep a probe's facts; EnvironmentProblem where the disk is full.

    Facts that cannot be kept are no loss: the next one asks again.
    """
    summary = summarise_task(run, state)
    write_text(run.result / "report.txt", terminal(summary, _WIDEST, str(run.path)))
    for target in summary.targets:
        if target.codegen is not None:
            write_codegen(run, target.codegen, summary.outcome, headline(summary))
    if summary.kind == "probe":
        folder = cache_folder(os.environ)
        for kept in kept_facts(run, state, socket.gethostname()):
            with suppress(EnvironmentProblem):
                keep(folder, kept)


def headline(summary: TaskSummary) -> str:
    """One sentence: how it stands or ended."""
    if not summary.outcome:
        return f"{summary.kind}: not finished"
    return f"{summary.outcome}: {summary.outcome_text}"


def terminal(summary: TaskSummary, width: int, folder: str) -> str:
    """The result in lines of at most `width` columns, and never more than 80."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    blocks = ["\n".join(_target(summary, target, columns, folder)) for target in summary.targets]
    if summary.catalogue is not None:
        blocks.insert(0, "== what can be asked for\n" + catalogue_text(summary.catalogue, columns))
    return "\n\n".join([*blocks, "\n".join(_end(summary, columns, folder))]) + "\n"


def _target(summary: TaskSummary, target: TargetSummary, columns: int, folder: str) -> list[str]:
    lines = wrapped(_title(summary, target), columns)
    if target.build is not None:
        return lines + build_lines(target.build, columns, folder)
    if target.codegen is not None:
        return lines + codegen_lines(target.codegen, columns)
    if target.failure is not None:
        lines += labelled("Failed", wording.said(target.failure), columns)
    if target.doctor is not None:
        return [*lines, *doctor_text(target.doctor, columns).splitlines()]
    if target.hardware is not None:
        lines += page_lines(probe_sections(target.hardware), columns)
    elif target.machine is not None:
        lines += labelled("Processor", target.machine.cpu_model, columns)
    if target.software is not None:
        lines += ["", *catalogue(target.software, columns).splitlines()]
    return lines


def _title(summary: TaskSummary, target: TargetSummary) -> str:
    place = f"partition {target.label}" if summary.scheduler != "local" else "this machine"
    node = f", node {target.node}" if target.node else ""
    when = f", {target.probed_utc[:16].replace('T', ' ')} UTC" if target.probed_utc else ""
    digest = f", digest {target.digest}" if target.digest else ""
    return f"== {place}{node}{when}{digest}"


def _end(summary: TaskSummary, columns: int, folder: str) -> list[str]:
    lines = labelled("In", folder, columns)
    if not summary.outcome:
        lines += labelled("Next", f"hpcagent resume {shlex.quote(folder)}", columns)
    return lines
