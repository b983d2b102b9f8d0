"""What a report says of the builds that a search made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hpcagent.report import goal_words, wording
from hpcagent.report.document import Code, Inline, Line, Section, paragraph, table
from hpcagent.study.summary import BuildTried, RunSummary

_SHORT_S = 60
_SAID = {"built": "made", "found": "found", "failed": "failed", "open": "not ended"}


def builds(summary: RunSummary) -> tuple[Section, ...]:
    """A section, where anything was built."""
    if not summary.builds:
        return ()
    numeric = ("No.", "Took", goal_words.gain_noun(summary).capitalize())
    columns = ("No.", "Changed", "State", *numeric[1:], "Where, or why not", "Unit")
    rows = [_row(number, build) for number, build in enumerate(summary.builds, start=1)]
    note = (
        "Found: it was in the folder of builds already. As another: it is the same program. The "
        "gain is that of the fastest configuration with this build, as estimated in the search. "
        "The log of what was made or failed is in ",
        Code("work/<unit>/logs/"),
        ", what a build was made from in its ",
        Code("manifest.json"),
        ".",
    )
    many = wording.plural(len(summary.builds), "build")
    told = paragraph(f"{many}: {counted(summary.builds)}.")
    return (Section("Builds", (told, table(columns, rows, numeric), paragraph(*note))),)


def counted(tried: Sequence[BuildTried]) -> str:
    """ "9 made in 2 min 3 s, 2 found, 1 failed"."""
    states = Counter(build.state for build in tried)
    made_s = sum(build.seconds for build in tried if build.state == "built")
    took = wording.seconds(made_s) if made_s < _SHORT_S else wording.duration(made_s)
    return ", ".join(
        f"{states[state]} {word}" + (f" in {took}" if state == "built" else "")
        for state, word in _SAID.items()
        if states[state]
    )


def _row(number: int, build: BuildTried) -> Line:
    changed = " ".join(f"{name}={value}" for name, value in build.changed) or "the default"
    where: Inline = Code(build.prefix) if build.prefix else wording.NONE
    if build.failure is not None:
        where = Code(wording.said(build.failure))
    return (
        str(number),
        Code(wording.shorten(changed, 300)),
        _SAID[build.state] + (f", as No. {build.alike}" if build.alike else ""),
        wording.seconds(build.seconds),
        wording.ratio(build.speedup),
        where,
        Code(build.unit),
    )
