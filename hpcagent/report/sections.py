"""What a report says, part one: the result, its certainty, the routines, what was tried."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.measure.statistics.multiple import VERDICT_LEVEL
from hpcagent.report import application, goal_words, noise, wording
from hpcagent.report.document import (
    Block,
    Code,
    Figure,
    Inline,
    Line,
    Listing,
    Section,
    paragraph,
    table,
)
from hpcagent.report.text import headline, in_jobs, unit_like
from hpcagent.study.summary import (
    CaseSummary,
    ClaimSummary,
    InfeasibleValue,
    JobClaim,
    RunSummary,
    TrialSummary,
)


def result(summary: RunSummary) -> Section:
    blocks: list[Block] = [paragraph(headline(summary))]
    claim = summary.claim
    if claim is not None:
        blocks.append(paragraph("Measured in ", *_source(_claim_units(claim))))
    if summary.outcome_text and summary.outcome != "failed":
        blocks.append(paragraph(wording.shorten(summary.outcome_text, 600)))
    if summary.words:
        said = f"In the words of {summary.words_by}, with the figures of this run: "
        blocks.append(paragraph(said, summary.words))
    if wording.proven(summary):
        blocks += _how_to_set(summary)
    blocks += [paragraph("Warning: ", warning) for warning in summary.warnings]
    noun = goal_words.gain_noun(summary).capitalize()
    blocks.append(Figure("convergence", f"{noun} over the default of each evaluation, in order."))
    return Section("Result", tuple(blocks))


def certainty(summary: RunSummary) -> Section:
    claim = summary.claim
    if claim is None:
        return Section(
            "How sure is it",
            (
                paragraph(
                    "There is no confirmation, so no improvement is claimed. Figures of the search "
                    "below are estimates: the best of many is usually too good."
                ),
            ),
        )
    rule = (
        f"An improvement is claimed only where the whole interval lies above "
        f"{wording.ratio(1.0 + claim.minimum_effect)} (a minimum effect of "
        f"{wording.stated(claim.minimum_effect)}); a false claim has a probability of at most "
        f"{wording.stated(claim.alpha)}."
    )
    rows: list[Line] = [
        ("Verdict", goal_words.verdict_on(summary, claim)),
        (_gain(summary), wording.ratio(claim.speedup)),
        ("Interval", wording.interval(claim.low, claim.high)),
        ("The interval covers with", wording.coverage(claim.coverage)),
        ("Fresh pairs, fixed beforehand", str(claim.pairs) + in_jobs(claim)),
        ("Unit", Code(claim.unit)),
    ]
    if claim.jobs_asked > 1:
        rows[-1:] = [_job(number, job) for number, job in enumerate(claim.jobs, start=1)]
        rule += (
            " All pairs together have to show it and each job by itself with 95 %, or each job by "
            "itself as surely as all together: what disturbed one of them is not taken for a gain."
        )
    limits = (
        "The default and the candidate ran in turns, each time in a fresh process, in an "
        "allocation that the search had not used. The result holds for this machine, this "
        f"{'application and its input' if summary.application else 'library and this workload'}."
    )
    return Section(
        "How sure is it",
        (table(("Confirmation", "Value"), rows), paragraph(rule), paragraph(limits)),
    )


def _job(number: int, job: JobClaim) -> Line:
    words = f"{wording.ratio(job.speedup)}, {wording.interval(job.low, job.high)}, "
    words += "improved" if job.improved else "not improved"
    where = wording.visible(job.node) or "an unknown node"
    return (f"Job {number} on {where}", f"{words} ({job.unit})")


def _gain(summary: RunSummary) -> str:
    if goal_words.first_objective(summary) == goal_words.TIME:
        return "Speed-up (weighted geometric mean)" if summary.weighs else "Speed-up"
    return goal_words.gain_noun(summary).capitalize()


def routines(summary: RunSummary) -> Section:
    origin = paragraph(_origin(summary), *_source(_case_units(summary)))
    if summary.application is not None and not summary.weighs:
        return application.times(summary, _other(summary), origin)
    word = wording.case_word(summary)
    if not summary.cases:
        nothing = f"No {word} was measured to the end."
        if summary.claim is not None:
            nothing = f"What is printed is no time: the gain above is of every {word} together."
        return Section(f"Per {word}", (paragraph(nothing),))
    rated = ("GFLOP/s",) if summary.application is None else ()
    numeric = ("Weight", "Default", _other(summary), "Speed-up", "Interval", *rated, "Pairs")
    rows = [_routine(case, bool(rated)) for case in summary.cases]
    note = (
        "Median and interval of the paired ratios (time of the default over time of the "
        f"{_other(summary).lower()}). Each interval covers with "
        f"{wording.coverage(min(case.coverage for case in summary.cases))} for its {word} alone; "
        "they are not adjusted for looking at several."
    )
    return Section(
        f"Per {word}",
        (
            origin,
            table((word.capitalize(), *numeric), rows, numeric),
            paragraph(note),
            Figure("pairs", f"Speed-up of every pair, median and interval, per {word}."),
        ),
    )


def variability(summary: RunSummary) -> Section:
    if not summary.cases and (summary.application is None or summary.claim is None):
        nothing = paragraph("No repeated measurement to take it from.")
        return Section("Variability", (nothing, *noise.disturbances(summary)))
    numeric = ("CV default", f"CV {_other(summary).lower()}")
    several = summary.weighs
    rows: list[Line] = [
        (Code(case.key), wording.percent(case.default_cv), wording.percent(case.best_cv))
        for case in summary.cases
        if several
    ]
    claim = summary.claim
    if claim is not None:
        cvs = (wording.percent(claim.default_cv), wording.percent(claim.best_cv))
        rows.insert(0, ("the whole workload" if several else "a process", *cvs))
    return Section(
        "Variability",
        (
            paragraph(
                "Coefficient of variation (standard deviation over mean) of the times of the "
                "processes, from ",
                *_source(_case_units(summary)),
            ),
            table(
                (wording.case_word(summary).capitalize() if several else "Of", *numeric),
                rows,
                numeric,
            ),
            Figure("variability", "Run-to-run variability, default against candidate."),
            *noise.variation(summary),
            *noise.disturbances(summary),
        ),
    )


def tried(summary: RunSummary) -> Section:
    if not summary.trials:
        return Section("What was tried", (paragraph("No configuration was measured."),))
    noun = goal_words.gain_noun(summary).capitalize()
    better, worse = goal_words.verdict(summary, "faster"), goal_words.verdict(summary, "slower")
    numeric = ("No.", "Round", noun, "Std. error", "Pairs")
    columns = (*numeric, "Verdict", "Status", "Proposed by", "Settings changed", "Why", "Unit")
    note = (
        f"{noun} over the default as estimated in the search; the standard error is that of its "
        f"logarithm. Verdict: {better} or {worse} than the default by the search's own runs, at a "
        f"level of {wording.stated(VERDICT_LEVEL)} for all trials together; it is no claim. "
        "Settings not named are at their defaults. Each trial's samples are in ",
        Code("work/<unit>/result.jsonl"),
        ", the decisions in ",
        Code("journal.jsonl"),
        ".",
    )
    return Section(
        "What was tried",
        (
            table(columns, [_trial(trial, summary) for trial in summary.trials], numeric),
            paragraph(*note),
            Figure("effects", f"{noun} of the trials by value of each parameter."),
        ),
    )


def failed(summary: RunSummary) -> Section:
    blocks: list[Block] = []
    refused = [_refused(value) for value in summary.infeasible]
    if refused:
        blocks.append(paragraph("Values that were taken out of the space:"))
        blocks.append(table(("Parameter", "Value", "Why"), refused))
    trials: list[Line] = [
        (str(t.evaluation), Code(t.unit), Code(wording.said(t.failure)))
        for t in summary.trials
        if t.failure is not None
    ]
    if trials:
        blocks.append(paragraph("Trials that failed:"))
        blocks.append(table(("No.", "Unit", "Failure and evidence"), trials, ("No.",)))
    if summary.repeated:
        same: list[Line] = [(Code(str(a)), Code(str(b))) for a, b in summary.repeated]
        words = "Not measured, for it is built to the same program and runs as another does:"
        blocks += [paragraph(words), table(("Configuration", "As"), same)]
    others: list[Line] = [
        (_where(w), Code(wording.said(f))) for w, f in wording.failures_beside_trials(summary)
    ]
    if others:
        blocks.append(paragraph("Other failures in the journal:"))
        blocks.append(table(("Where", "Failure and evidence"), others))
    if not blocks:
        blocks.append(paragraph("Nothing failed."))
    blocks.append(Figure("failures", "What failed, by kind of failure."))
    return Section("What failed and why", tuple(blocks))


def _how_to_set(summary: RunSummary) -> list[Block]:
    if summary.application is not None:
        return application.how_to_run(summary, summary.application)
    settings = [f"{name}={value}" for name, value in summary.best_environment]
    blocks: list[Block] = [
        paragraph("The confirmed configuration, set by ", Code("result/best.env"), ":"),
        Listing(tuple(settings) or ("(no environment variable to set)",)),
    ]
    if summary.best_build and summary.library is not None:
        build = tuple(f"{name}={value}" for name, value in summary.best_build)
        blocks += [paragraph("The build, ", Code(summary.library.path), ":"), Listing(build)]
    if summary.best_prefix:
        blocks += [paragraph("Put before the command:"), Listing((" ".join(summary.best_prefix),))]
    if summary.best_binding:
        cpus = ",".join(str(cpu) for cpu in summary.best_binding)
        blocks.append(paragraph("Bound to the CPUs ", Code(cpus), "."))
    return blocks


def _other(summary: RunSummary) -> str:
    return "Best" if wording.proven(summary) else "Candidate"


def _origin(summary: RunSummary) -> str:
    return "From the confirmation, " if summary.claim else "From the last round, not confirmed, "


def _case_units(summary: RunSummary) -> tuple[str, ...]:
    if summary.claim is not None:
        return _claim_units(summary.claim)
    return (summary.trials[-1].unit,) if summary.trials else ("",)


def _claim_units(claim: ClaimSummary) -> tuple[str, ...]:
    return tuple(job.unit for job in claim.jobs) or (claim.unit,)


def _source(units: Sequence[str]) -> tuple[Inline, ...]:
    if not all(units):
        return ("the unit that ", Code("journal.jsonl"), " names.")
    names: list[Inline] = []
    files: list[Inline] = []
    for unit in units:
        names += [" and unit " if names else "unit ", Code(unit)]
        files += [Code(f"work/{unit}/result.jsonl"), ", "]
    return (*names, " (", *files, "recorded in ", Code("journal.jsonl"), ").")


def _refused(value: InfeasibleValue) -> Line:
    why: Inline = "it failed"
    if value.failure is not None:
        why = Code(wording.said(value.failure))
    elif value.alias_of is not None:
        why = f"runs the same as {value.alias_of}"
    return (Code(value.param), Code(value.value), why)


def _where(name: str) -> Inline:
    return Code(f"work/{name}/") if unit_like(name) else Code(name)


def _routine(case: CaseSummary, rated: bool) -> Line:
    rate = (wording.NONE if case.gflops is None else f"{case.gflops:.4g}",) if rated else ()
    return (
        Code(case.key),
        wording.percent(case.weight),
        wording.seconds(case.default_s),
        wording.seconds(case.best_s),
        wording.ratio(case.speedup),
        wording.interval(case.low, case.high),
        *rate,
        str(len(case.ratios)),
    )


def _trial(trial: TrialSummary, summary: RunSummary) -> Line:
    return (
        str(trial.evaluation),
        str(trial.round),
        wording.ratio(trial.speedup),
        wording.percent(trial.spread, 2),
        str(trial.pairs),
        _verdict(trial, summary),
        f"{trial.status}, breaks {', '.join(trial.broken)}" if trial.broken else trial.status,
        trial.proposed_by,
        Code(wording.shorten(wording.differences(trial.config, summary), 300)),
        wording.shorten(trial.reason, 300),
        Code(trial.unit),
    )


def _verdict(trial: TrialSummary, summary: RunSummary) -> str:
    if trial.evaluation == 1 or trial.speedup is None:
        return wording.NONE
    return goal_words.verdict(summary, trial.verdict)
