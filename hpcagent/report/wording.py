"""Numbers and outside text as words: units, honest rounding, nothing that could hide or escape."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from hpcagent.records import Config, Failure
from hpcagent.study.summary import RunSummary, TrialSummary

NONE = "-"
_LARGE = 1e4
_ROUNDING = 1e-12  # what sums of equal figures differ by


def visible(text: str) -> str:
    """The text on one line with every character that is not printable shown as its escape.

    Besides controls these are line separators, lone surrogates and invisible format characters
    (zero width, direction overrides), which could make a report read differently from its bytes.
    """
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def shorten(text: str, length: int) -> str:
    """At most `length` characters; says how many were left out."""
    if len(text) <= length:
        return text
    note = f" ... ({len(text) - length} characters more)"
    return text[:length] + note


def middle(text: str, length: int) -> str:
    """At most `length` characters, the middle replaced by dots: both ends tell keys apart."""
    if len(text) <= length:
        return text
    if length < 5:
        return text[: max(0, length)]
    head = (length - 2) // 2
    return text[:head] + ".." + text[len(text) - (length - 2 - head) :]


def said(failure: Failure) -> str:
    """The failure's id and what was seen, on one line."""
    evidence = shorten(visible(failure.evidence.strip()), 400)
    return f"{visible(failure.id)}: {evidence}" if evidence else visible(failure.id)


def ratio(value: float | None) -> str:
    """A speed-up, "1.173x"; "-" where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.3f}x" if abs(value) < _LARGE else f"{value:.3g}x"


def interval(low: float, high: float) -> str:
    """Rounded outwards, so that the text never promises more than the numbers."""
    return f"{_outwards(low, ROUND_FLOOR)} to {_outwards(high, ROUND_CEILING)}"


def percent(share: float | None, digits: int = 3) -> str:
    """A measured share of one, "1.20 %"; "-" where there is none."""
    if share is None or not math.isfinite(share):
        return NONE
    if abs(share) < _ROUNDING:
        return "0 %"
    return f"{_significant(100.0 * share, digits)} %"


def stated(share: float) -> str:
    """A share of one that was chosen, not measured: "1 %"."""
    return f"{100.0 * share:.6g} %" if math.isfinite(share) else NONE


def coverage(share: float) -> str:
    """A probability in percent, rounded down to two decimals."""
    if not math.isfinite(share):
        return NONE
    exact = Decimal(repr(share * 100.0)) if abs(share) < _LARGE else Decimal(0)
    # The product of 0.995 and 100 may fall short of 99.5 by a rounding error.
    floor = (exact + Decimal("1e-9")).quantize(Decimal("0.01"), ROUND_FLOOR)
    return f"{floor.normalize():f} %"


def seconds(value: float | None) -> str:
    """A time with three significant digits in s, ms, us or ns."""
    if value is None or not math.isfinite(value):
        return NONE
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(value) >= factor:
            return f"{_significant(value / factor, 3)} {unit}"
    return "0 s" if value == 0 else f"{_significant(value / 1e-9, 3)} ns"


def duration(value: float) -> str:
    """A wall time, "42 s", "12 min 5 s", "3 h 20 min"."""
    if not math.isfinite(value) or value < 0:
        return NONE
    whole = round(min(value, 1e12))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(value: int | None) -> str:
    """A memory size in binary units."""
    if value is None:
        return NONE
    for exponent, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**exponent:
            return f"{value / 1024**exponent:.4g} {unit}"
    return f"{value} B"


def change(before: float, after: float) -> str:
    """How a coefficient of variation changed, "1.2 % to 0.8 %"."""
    return f"{percent(before, 2)} to {percent(after, 2)}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def case_word(summary: RunSummary) -> str:
    """What the figures of a run are of."""
    return "routine" if summary.application is None else "case"


def differences(config: Config, summary: RunSummary) -> str:
    """The settings that differ from the defaults of the space; "the default" where none does."""
    defaults = {name: default for name, _, default in summary.space}
    changed = [f"{name}={value}" for name, value in config.items if defaults.get(name) != value]
    return " ".join(changed) or "the default"


def by_model(trial: TrialSummary, summary: RunSummary) -> bool:
    """Whether the language model asked for this trial."""
    who = trial.proposed_by
    named = summary.model.used and who == summary.model.name
    return named or who in ("model", "embedded") or who.startswith("model:")


def measured(trial: TrialSummary) -> bool:
    """Whether the trial has a speed-up that can be compared."""
    value = trial.speedup
    return trial.failure is None and value is not None and math.isfinite(value) and value > 0


def within_error(trial: TrialSummary) -> bool:
    """Whether the trial's speed-up is no further above one than its standard error."""
    gain = math.log(trial.speedup) if trial.speedup and trial.speedup > 0 else 0.0
    return gain <= (trial.spread or 0.0)


def best_trial(summary: RunSummary) -> TrialSummary | None:
    """The best candidate so far that breaks no constraint; the default itself is none."""
    candidates = [t for t in summary.trials if measured(t) and t.evaluation != 1 and not t.broken]
    return max(candidates, key=lambda t: t.speedup or 0.0, default=None)


def failures_beside_trials(summary: RunSummary) -> tuple[tuple[str, Failure], ...]:
    """The failures that no trial carries already, with the unit or configuration they hit."""
    told = {
        (name, trial.failure.id)
        for trial in summary.trials
        if trial.failure is not None
        for name in (trial.unit, trial.config.id)
    }
    return tuple((name, f) for name, f in summary.failures if (name, f.id) not in told)


def proven(summary: RunSummary) -> bool:
    """Whether the run may claim an improvement: only its confirmation can say so."""
    claim, goals = summary.claim, summary.goals
    shown = claim is not None and (claim.improved if goals is None else goals.improved)
    return summary.outcome == "improved" and shown


def _significant(value: float, digits: int) -> str:
    """So many significant digits without an exponent; very large and small numbers with one."""
    size = abs(value)
    if size != 0.0 and not 1e-3 <= size < 1e6:
        return f"{value:.{digits}g}"
    places = digits - 1 - (math.floor(math.log10(size)) if size else 0)
    return f"{value:.{max(0, places)}f}"


def _outwards(value: float, rounding: str) -> str:
    if not math.isfinite(value):
        return NONE
    if abs(value) >= _LARGE:
        return f"{value:.3g}"
    return str(Decimal(repr(value)).quantize(Decimal("0.001"), rounding))


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
