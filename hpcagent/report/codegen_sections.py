"""The sections of the report of a code generation, the same for every form of it."""

from __future__ import annotations

from collections.abc import Mapping

from hpcagent.codegen.attempt import STAGES
from hpcagent.report import codegen_words as words
from hpcagent.report import wording
from hpcagent.report.codegen_text import tree_lines
from hpcagent.report.document import (
    Block,
    Code,
    Details,
    Figure,
    Inline,
    Line,
    Listing,
    Paragraph,
    Section,
    Source,
    paragraph,
    table,
)
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary

_COLUMNS = 80
_EVIDENCE = 6000  # characters; the journal has all of it
_LANGUAGES: Mapping[str, str] = {"f90": "fortran", "F90": "fortran", "cpp": "cpp", "cc": "cpp"}


def box(summary: CodegenSummary, outcome: str) -> dict[str, str]:
    """What stands at the top of a page: only a confirmation puts a number there."""
    claim = summary.claim
    if claim is None or summary.best is None:
        number = outcome or "running"
        return {"tone": "plain", "number": number, "note": "no confirmed improvement"}
    note = (
        f"{wording.coverage(claim.coverage)} interval {wording.interval(claim.low, claim.high)}, "
        f"{wording.plural(claim.pairs, 'fresh pair')}"
    )
    label = summary.attempts[summary.best].label
    good = f"the reference's speed, by {label}: {note}"
    return {
        "tone": "good" if claim.improved else "plain",
        "number": wording.ratio(claim.speedup),
        "note": good if claim.improved else f"not an improvement: {note}",
    }


def sections(summary: CodegenSummary, headline: str) -> tuple[Section, ...]:
    return (
        _result(summary, headline),
        _tree(summary),
        Section("Attempts", tuple(_attempt(summary, one) for one in summary.attempts)),
        _cost(summary),
        _walls(summary),
    )


def _result(summary: CodegenSummary, headline: str) -> Section:
    what = f"{summary.function} in {summary.language}, {summary.parallel}"
    blocks: list[Block] = [
        paragraph(headline),
        paragraph("Task ", Code(summary.task), f": {what}. Built with {summary.tools or '-'}."),
    ]
    claim = summary.claim
    if claim is not None and claim.note:
        blocks.append(paragraph(claim.note))
    if summary.best is not None:
        best = summary.attempts[summary.best]
        files = ", ".join(f"result/best/{name}" for name in sorted(best.files))
        blocks.append(paragraph("The fastest that passed: ", Code(files), "."))
    counters = words.counters(summary)
    if counters:
        blocks.append(paragraph(f"Profile: {counters}; times, rates and shares of the peak stand "
                                "in their place."))  # fmt: skip
    return Section("Result", tuple(blocks))


def _tree(summary: CodegenSummary) -> Section:
    legend = (
        "Below each attempt stands what came from it. * marks the way to the best. +- is the "
        "standard error of the ratio in the measurement that chose it, which is no claim."
    )
    return Section(
        "The tree of attempts",
        (
            Figure("tree", "Attempts, each joined to the one that it came from."),
            Figure(
                "speed", f"Speed of the attempts against {summary.baseline or 'the reference'}."
            ),
            paragraph(legend),
            Listing(tuple(tree_lines(summary, _COLUMNS, evidence=False))),
        ),
    )


# --- one attempt ----------------------------------------------------------------------------------


def _attempt(summary: CodegenSummary, one: AttemptSummary) -> Details:
    title = f"{one.number}: {words.name(one)}" + (" (the best)" if one.number == summary.best
                                                  else "")  # fmt: skip
    line: Line = (title, " - ", words.verdict(one))
    blocks: list[Block] = []
    came = [f"from attempt {one.parent}"] if one.parent is not None else []
    came += [one.reason] if one.reason else []
    blocks += [paragraph(f"Asked for: {'; '.join(came)}.")] if came else []
    blocks += _checks(one)
    blocks += _figures(summary, one)
    if one.failure is not None:
        shown = one.evidence or one.failure.evidence
        blocks += [paragraph("Evidence:"), Source(wording.shorten(shown, _EVIDENCE))]
    if one.remarks:
        blocks += [paragraph("The compiler on its loops:"), Listing(one.remarks)]
    for name, text in sorted(one.files.items()):
        ending = name.rpartition(".")[2]
        language = _LANGUAGES.get(ending, "c" if ending == "c" else "text")
        blocks.append(Details((Code(name),), (Source(text, language),)))
    return Details(line, tuple(blocks))


def _checks(one: AttemptSummary) -> list[Block]:
    """Where it ended, what it was built with, and how near to wrong it was."""
    parts: list[Inline] = []
    if one.stage:
        end = "Ended in" if one.failure is not None else "Passed all, up to"
        parts += [f"{end} the stage ", Code(one.stage), f", after {wording.duration(one.seconds)}"]
        parts += [" (unit ", Code(one.unit), "). "] if one.unit else [". "]
    if one.worst is not None:
        how = "instrumented and as measured" if one.instrumented else "as measured"
        parts.append(f"Largest error: {one.worst:.3g} of what is allowed; checked {how}.")
    blocks: list[Block] = [Paragraph(tuple(parts))] if parts else []
    if one.parameters:
        chosen = " ".join(f"{n}={value or '(none)'}" for n, value in one.parameters.items())
        blocks.append(paragraph("Build parameters chosen: ", Code(chosen), "."))
    if one.flags:
        blocks.append(paragraph("Flags: ", Code(" ".join(one.flags))))
    return blocks


def _figures(summary: CodegenSummary, one: AttemptSummary) -> list[Block]:
    if not one.rates:
        return []
    numeric = (summary.unit, "Share of the node's peak")
    rows: list[Line] = [
        (Code(case), f"{value:.4g}",
         words.percent(one.shares[case]) if case in one.shares else "not known")
        for case, value in one.rates.items()
    ]  # fmt: skip
    return [table(("Case", *numeric), rows, numeric)]


# --- the gate -------------------------------------------------------------------------------------


def _cost(summary: CodegenSummary) -> Section:
    by_stage = {name: [a.stages[name] for a in summary.attempts if name in a.stages]
                for name in STAGES}  # fmt: skip
    total = sum(sum(seconds) for seconds in by_stage.values())
    if not total:
        return Section("What the gate cost", (paragraph("Nothing was checked yet."),))
    numeric = ("Attempts", "Median", "Altogether", "Share")
    rows: list[Line] = [
        (Code(name), str(len(seconds)), wording.seconds(sorted(seconds)[len(seconds) // 2]),
         wording.seconds(sum(seconds)), wording.percent(sum(seconds) / total))
        for name, seconds in by_stage.items() if seconds
    ]  # fmt: skip
    blocks: list[Block] = [
        Figure("cost", "Seconds of each stage of each attempt."),
        table(("Stage", *numeric), rows, numeric),
    ]
    if summary.rounds:
        columns = ("Processes", "Took")
        measured: list[Line] = [
            (Code(r.purpose), Code(r.unit), str(r.processes), wording.duration(r.seconds))
            for r in summary.rounds
        ]
        blocks += [paragraph("Measurements:"),
                   table(("For", "Unit", *columns), measured, columns)]  # fmt: skip
    return Section("What the gate cost", tuple(blocks))


def _walls(summary: CodegenSummary) -> Section:
    if not summary.walls:
        return Section("Walls", (paragraph("Nothing was run within the quarantine yet."),))
    rows: list[Line] = [
        (Code(name), "stood" if not why else "MISSING", why or wording.NONE)
        for name, why in sorted(summary.walls.items(), key=lambda row: (not row[1], row[0]))
    ]
    words_ = "Of the quarantine, as the last attempt that was checked met them; "
    return Section(
        "Walls",
        (
            paragraph(words_, Code("docs/gate.md"), " says what each does."),
            table(("Wall", "It", "Why not"), rows),
        ),
    )
