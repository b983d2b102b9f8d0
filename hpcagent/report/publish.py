"""Everything a finished run leaves in result/: settings to use, modulefiles, reports, figures."""

from __future__ import annotations

from hpcagent.apps.render import application_files, cpu_list, result_files
from hpcagent.report.anyrun import told
from hpcagent.report.compare import publish_comparison
from hpcagent.report.plan_summary import summarise_plan
from hpcagent.report.plan_text import publish_plan
from hpcagent.report.task_text import publish_task
from hpcagent.report.text import headline
from hpcagent.report.write import write_report, write_text
from hpcagent.study.compare_plan import COMPARISONS
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.plan import KIND
from hpcagent.study.rundir import RunDir
from hpcagent.study.summary import ApplicationSummary, RunSummary
from hpcagent.study.task_plan import KINDS


def publish(run: RunDir, known: Knowledge) -> None:
    """Write the result files; EnvironmentProblem where the disk is full."""
    if run.kind == KIND:
        publish_plan(summarise_plan(run, known.state, told), run.result)
        return
    if run.kind in COMPARISONS:
        publish_comparison(run, known.state)
        return
    if run.kind in KINDS:
        publish_task(run, known.state)
        return
    summary = summarise(run, known)
    write_report(summary, run.result)
    for name, text in sorted(_settings(summary).items()):
        write_text(run.result / name, text)


def _settings(summary: RunSummary) -> dict[str, str]:
    """What sets the result: best.env, for a library a job-script snippet and modulefiles, for an
    application a script that runs it. Nothing where neither was found."""
    if summary.outcome not in ("improved", "nothing better"):
        return {}
    if summary.application is not None and summary.application.command:
        return _application(summary, summary.application)
    if summary.library is None:
        return {}
    return result_files(
        summary.run_id,
        summary.closed_utc,
        summary.library.path,
        headline(summary).replace("\n", " "),
        summary.best_environment,
        summary.best_prefix,
        summary.best_binding,
    )


def _application(summary: RunSummary, application: ApplicationSummary) -> dict[str, str]:
    cpus = cpu_list(summary.best_binding)
    return application_files(
        summary.run_id,
        summary.closed_utc,
        application.title,
        headline(summary).replace("\n", " "),
        summary.best_environment,
        [*(("taskset", "-c", cpus) if cpus else ()), *application.command],
        application.files,
        application.inputs,
        application.unset,
        application.modules,
        application.module_init,
    )
