"""The result as plain text: one headline, and a page for a terminal of up to 80 columns."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from hpcagent.records import Failure
from hpcagent.report import goal_text, goal_words, wording
from hpcagent.report.builds import counted
from hpcagent.report.columns import Column, fit, labelled, laid_out, wrapped
from hpcagent.study.summary import CaseSummary, ClaimSummary, ModelSummary, RunSummary

_WIDEST = 80
_NARROWEST = 40
_KEY_COLUMNS = 22


def headline(summary: RunSummary) -> str:
    """One or two sentences that claim no more than the confirmation shows."""
    if summary.outcome == "":
        return f"Not finished (phase: {_phase(summary)}). {_so_far(summary)}"
    if summary.outcome == "failed":
        return f"The run failed: {_why_failed(summary)}"
    if summary.outcome == "cancelled":
        return f"The run was cancelled (phase: {_phase(summary)}). {_so_far(summary)}"
    claim = summary.claim
    if claim is not None and wording.proven(summary):
        return _proven(summary, claim)
    if summary.outcome == "improved":
        return "An improvement was seen but not confirmed, so none is claimed."
    return f"Nothing is better than the default here: {_best_candidate(summary)}"


def terminal(summary: RunSummary, width: int, folder: str = "") -> str:
    """The result for a terminal: lines of at most `width` columns, and never more than 80.

    `folder` is the run directory, named once; the paths below are relative to it.
    """
    columns = max(_NARROWEST, min(width, _WIDEST))
    parts = [
        wrapped(headline(summary), columns),
        _configuration(summary, columns),
        goal_text.goals(summary, columns),
        goal_text.trade_off(summary, columns),
        _table(summary, columns),
        _facts(summary, columns),
        _next(summary, columns, folder),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


# --- the headline ---------------------------------------------------------------------------------


def _certainty(claim: ClaimSummary) -> str:
    return (
        f"{wording.coverage(claim.coverage)} interval {wording.interval(claim.low, claim.high)}, "
        f"{fresh_pairs(claim)}"
    )


def fresh_pairs(claim: ClaimSummary) -> str:
    """ "20 fresh pairs", or "20 fresh pairs in each of 2 jobs"."""
    return wording.plural(claim.pairs, "fresh pair") + in_jobs(claim)


def in_jobs(claim: ClaimSummary) -> str:
    return f" in each of {len(claim.jobs)} jobs" if len(claim.jobs) > 1 else ""


def _proven(summary: RunSummary, claim: ClaimSummary) -> str:
    goals = summary.goals
    if goals is not None and goals.rescued:
        return f"{goal_words.rescued(summary, goals)} ({_certainty(claim)})."
    if goals is not None and not claim.improved:
        others = [c for c in goals.claims if c.improved]
        gains = ", ".join(f"{wording.ratio(c.gain)} better in {c.name}" for c in others)
        first = goal_words.first_objective(summary)
        words = f"{gains} than the default; no difference in {first} is proven"
        return f"{wording.visible(words)} ({_certainty(claim)}).{goal_words.kept(goals)}"
    words = f"{goal_words.better(summary, claim.speedup)} ({_certainty(claim)})."
    return words if goals is None else words + goal_words.besides(goals) + goal_words.kept(goals)


def _best_candidate(summary: RunSummary) -> str:
    claim, goals = summary.claim, summary.goals
    if claim is not None:
        kept = goals is None or goals.kept
        if claim.improved and goals is not None and not kept:
            gain = goal_words.better(summary, claim.speedup)
            return (
                f"the candidate is {gain} ({_certainty(claim)}), but {goal_words.not_kept(goals)}."
            )
        words = (
            f"the best candidate reached {goal_words.reached(summary, claim.speedup)} "
            f"({_certainty(claim)}), which does not prove an improvement of "
            f"{wording.stated(claim.minimum_effect)}"
        )
        return words + ("." if kept or goals is None else f", and {goal_words.not_kept(goals)}.")
    best = wording.best_trial(summary)
    if best is None and summary.goals is not None and any(t.broken for t in summary.trials):
        return f"{wording.visible(summary.outcome_text)}."
    if best is None and len(summary.trials) < 2:
        why = (summary.stop_reason or summary.outcome_text).strip()
        why = wording.shorten(wording.visible(why), 300)
        return f"no other configuration was tried{f' ({why})' if why else ''}."
    if best is None:
        return f"no other configuration gave a valid measurement{_failures(summary)}."
    reached = f"the best of {_count(summary)} reached {wording.ratio(best.speedup)} in the search, "
    if wording.within_error(best):
        word = "faster" if summary.goals is None else "better"
        return reached + f"not clearly {word} than the default, so there was nothing to confirm."
    why = wording.shorten(wording.visible(summary.outcome_text.strip()), 200)
    return reached + ("but it was not confirmed" + (f": {why}" if why else "."))


def _failures(summary: RunSummary) -> str:
    """How many candidates failed, by kind, the commonest first."""
    kinds = Counter(trial.failure.id for trial in summary.trials if trial.failure is not None)
    if not kinds:
        return ""
    told = ", ".join(f"{name} {many}" for name, many in kinds.most_common(3))
    return f": {sum(kinds.values())} of {_count(summary)} failed ({told}), see the report"


def _so_far(summary: RunSummary) -> str:
    best = wording.best_trial(summary)
    if best is None:
        return (
            "Nothing is measured yet besides the default."
            if summary.trials
            else ("Nothing is measured yet.")
        )
    return (
        f"Best of {_count(summary)} so far {wording.ratio(best.speedup)}, "
        "not confirmed: nothing is claimed."
    )


def _count(summary: RunSummary) -> str:
    """The default is the first trial, and no candidate."""
    return wording.plural(len(summary.trials) - 1, "candidate")


def _why_failed(summary: RunSummary) -> str:
    told = wording.shorten(wording.visible(summary.outcome_text.strip()), 500)
    if told:
        return told
    if summary.failures:
        where, failure = summary.failures[-1]
        return f"{_brief(failure)} ({wording.visible(where)})."
    return "no reason was recorded; see journal.jsonl."


def _brief(failure: Failure) -> str:
    return wording.shorten(wording.said(failure), 200)


def _phase(summary: RunSummary) -> str:
    return wording.visible(summary.phase) or "not started"


# --- the table of routines ------------------------------------------------------------------------


def _table(summary: RunSummary, columns: int) -> list[str]:
    if not summary.cases:
        return []
    other = "best" if wording.proven(summary) else "candidate"
    shown = _columns(summary.cases, wording.case_word(summary), other)
    if not summary.weighs:  # one program, whose weight is all there is
        shown = [each for each in shown if each.title not in (wording.case_word(summary), "weight")]
    lines = laid_out(shown, columns)
    if summary.claim is None:
        lines.append(fit("(from the last round of the search, not confirmed)", columns))
    return lines


def _columns(cases: Sequence[CaseSummary], word: str, other: str) -> list[Column]:
    def column(title: str, rank: int, cells: Sequence[str]) -> Column:
        return Column(title, tuple(fit(cell, _KEY_COLUMNS) for cell in cells), rank)

    keys = [wording.middle(wording.visible(case.key), _KEY_COLUMNS) for case in cases]
    return [
        column(word, 0, keys),
        column("weight", 6, [wording.percent(case.weight, 2) for case in cases]),
        column("default", 4, [wording.seconds(case.default_s) for case in cases]),
        column(other, 3, [wording.seconds(case.best_s) for case in cases]),
        column("speed-up", 1, [wording.ratio(case.speedup) for case in cases]),
        column("interval", 2, [_short_interval(case) for case in cases]),
        column("CV %", 5, [_short_change(case) for case in cases]),
    ]


def _short_interval(case: CaseSummary) -> str:
    return wording.interval(case.low, case.high).replace(" to ", "-")


def _short_change(case: CaseSummary) -> str:
    before, after = (wording.percent(cv, 2) for cv in (case.default_cv, case.best_cv))
    return f"{before}->{after}".replace(" %", "")


# --- the rest of the page -------------------------------------------------------------------------


def _configuration(summary: RunSummary, columns: int) -> list[str]:
    if not wording.proven(summary):
        return []
    words = [f"{name}={value}" for name, value in summary.best_environment]
    lines = labelled("Environment", " ".join(words) or "nothing to set", columns)
    if summary.application is not None and summary.best is not None:
        changed = wording.differences(summary.best, summary)
        lines = labelled("Settings", changed, columns) + (lines if words else [])
    if summary.best_build and summary.library is not None:
        build = " ".join(f"{name}={value}" for name, value in summary.best_build)
        lines += labelled("Build", build, columns)
        lines += labelled("Library", summary.library.path, columns)
    if summary.application is not None:
        if summary.best_build:
            lines += labelled("Built in", summary.application.prefix, columns)
        lines += labelled("Run as", shlex.join(summary.application.command), columns)
    elif summary.best_prefix:
        lines += labelled("Run with", " ".join(summary.best_prefix), columns)
    if summary.best_binding:
        lines += labelled("Bound to", "CPUs " + ",".join(map(str, summary.best_binding)), columns)
    return lines


def _facts(summary: RunSummary, columns: int) -> list[str]:
    spent = summary.spent
    budget = (
        f"{wording.plural(spent.rounds, 'round')}, {wording.plural(spent.jobs, 'job')}, "
        f"{spent.core_hours:.3g} core-hours, {wording.duration(spent.wall_s)}"
    )
    lines = _variability(summary, columns)
    lines += labelled("Model", model_words(summary), columns)
    if summary.words:
        lines += labelled("Model says", summary.words, columns)
    if summary.history:
        lines += labelled("History", summary.history, columns)
    lines += labelled("Spent", budget, columns)
    if summary.builds:
        lines += labelled("Builds", counted(summary.builds), columns)
    if summary.application is not None:
        out = ", ".join(f"{value.param}={value.value}" for value in summary.infeasible)
        lines += labelled("Left out", wording.shorten(out, 300), columns) if out else []
    if summary.stop_reason:
        lines += labelled("Stopped", summary.stop_reason, columns)
    for warning in summary.warnings:
        lines += labelled("Warning", wording.shorten(warning, 300), columns)
    return lines


def _variability(summary: RunSummary, columns: int) -> list[str]:
    if summary.claim is None:
        return []
    change = wording.change(summary.claim.default_cv, summary.claim.best_cv)
    what = "of the whole workload" if summary.weighs else "of its processes"
    return labelled("Variability", f"run-to-run CV {what}: {change}", columns)


def _model_time(summary: RunSummary) -> str:
    """What its calls took, what of it made the run longer, what its cache saved."""
    model, wall_s = summary.model, summary.spent.wall_s
    words = wording.seconds(model.seconds)
    if model.cached_share:
        words += f" with {100 * model.cached_share:.0f} % of the prompts' tokens from the cache"
    if model.waited_s and wall_s:
        share = f"{100 * model.waited_s / wall_s:.2g} % of the run"
        whole = model.waited_s >= 0.995 * model.seconds
        part = "in all of which" if whole else f"in {wording.seconds(model.waited_s)} of which"
        words += f", {part} ({share}) nothing was measured"
    return words


def model_words(summary: RunSummary) -> str:
    """What the model contributed, in one sentence."""
    model = summary.model
    if model.small:
        return _small_words(summary)
    note = f" ({model.note})" if model.note else ""
    if not model.used:
        return f"none was used; the search ran without it{note}"
    owner = "is" if model.best_is_models else "is not"
    menus = f", {wording.plural(model.ranked, 'choice')} from a menu" if model.ranked else ""
    words = (
        f"{model.name}: {wording.plural(model.calls, 'call')} "
        f"({model.valid} valid, {model.invalid} invalid{menus}), "
        f"{wording.plural(model.picks_measured, 'pick')} measured, "
        f"{_model_time(summary)}; the best configuration {owner} its pick"
    )
    if model.shortened:
        times = wording.plural(model.shortened, "time")
        words += f"; {times} a prompt was too long for it and was shortened"
    words += f"; {model.earned}" if model.earned else ""
    words += f"; it was not loaded as asked for: {'; '.join(model.notes)}" if model.notes else ""
    return words + note


def _small_words(summary: RunSummary) -> str:
    model = summary.model
    words = f"{model.name} ({model.chosen_by})" if model.chosen_by == "default" else model.name
    if not model.calls:
        return f"{words}: took no part: {model.note or 'there was nothing to ask it'}"
    failed = f" ({wording.plural(model.invalid, 'failure')})" if model.invalid else ""
    return (
        f"{words}: asked {wording.plural(model.calls, 'time')}{failed}, {_model_time(summary)}; it "
        f"changed {_choices(model)}" + (f" ({model.note})" if model.note else "")
    )


def _choices(model: ModelSummary) -> str:
    """How many proposals became others by the small model's word, and whether the best is one."""
    if not model.picks_measured:
        return "no choice"
    owner = "is" if model.best_is_models else "is not"
    which = "that" if model.picks_measured == 1 else "one of them"
    choices = wording.plural(model.picks_measured, "choice")
    return f"{choices}, and the best configuration {owner} {which}"


def _next(summary: RunSummary, columns: int, folder: str) -> list[str]:
    lines = labelled("In", folder, columns) if folder else []
    application = summary.application is not None
    if wording.proven(summary):
        files = "result/snippet.sh, result/best.env or the modulefiles there"
        lines += labelled("Use it", "result/run.sh" if application else files, columns)
    elif summary.outcome == "nothing better":
        what = "run it as it is" if application else "leave the library as it is"
        lines += labelled("Next", what + _or_again(summary), columns)
    elif summary.outcome == "":
        again = shlex.quote(folder or wording.visible(summary.run_id))
        lines += labelled("Next", f"hpcagent status {again}; hpcagent resume {again}", columns)
    elif summary.outcome == "failed":
        lines += labelled("Look at", "journal.jsonl" + _where(summary), columns)
    return lines + labelled("Report", "result/report.html, result/report.md", columns)


def _or_again(summary: RunSummary) -> str:
    """Where the interval is too wide to tell, a quieter machine or more pairs may."""
    claim, goals = summary.claim, summary.goals
    if claim is None or claim.speedup <= 1.0 + claim.minimum_effect:
        return ""
    if goals is not None and not goals.kept:
        return ", or loosen the constraint"
    return (
        "; the candidate looks faster, but the interval is too wide to say so: tune again on a "
        "quieter machine, or with a larger confirm_pairs in hpcagent.toml"
    )


def _where(summary: RunSummary) -> str:
    units = [(where, failure) for where, failure in summary.failures if unit_like(where)]
    if not units:
        return ""
    name, failure = units[-1]
    file = "job.sh" if failure.id == "scheduler.refused" else "err"  # it never ran
    if summary.application is not None and failure.stage in ("run", "numerics"):
        file = "failed.out and failed.err"
    elif summary.application is not None and failure.stage != "scheduler":
        file = "logs/"
    return f", and {file} in work/{name}/"


def unit_like(name: str) -> bool:
    """Whether this is a unit's name: `ha` and 12 base32 characters."""
    return len(name) == 14 and name.startswith("ha") and name.isascii() and name.isalnum()
