"""The score card of a model for a terminal of up to 80 columns."""

from __future__ import annotations

from hpcagent.llm.qualify.card import NOT_RUN, Card, Score
from hpcagent.llm.qualify.kernel import NAME
from hpcagent.report import wording
from hpcagent.report.columns import Column, labelled, laid_out, wrapped

_WIDEST, _NARROWEST = 80, 40


def terminal(card: Card, width: int) -> str:
    """The card in lines of at most `width` columns, and never more than 80."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    blocks = [wrapped(_head(card), columns)]
    done = [score for score in card.scores if score.verdict != NOT_RUN]
    if done:
        blocks.append(laid_out(_table(done), columns))
    blocks.append(
        [line for score in card.scores for line in labelled(score.role, score.words, columns)]
    )
    blocks.append([line for score in done for line in _notes(score, columns)])
    blocks.append([line for note in card.notes for line in wrapped(note, columns)])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _head(card: Card) -> str:
    digest = str(card.model.get("sha256", ""))[:12]
    named = str(card.model.get("name"))
    if card.model.get("endpoint"):
        named += f" at {card.model['endpoint']}"
    return f"Qualification {card.qualification} of {named}{f' ({digest})' if digest else ''}"


def _table(scores: list[Score]) -> list[Column]:
    return [
        Column("task", tuple(score.title for score in scores), 0),
        Column("cases", tuple(str(score.cases) for score in scores), 3),
        Column("valid", tuple(_percent(score.valid / score.cases) for score in scores), 2),
        Column("score", tuple(_percent(score.mean) for score in scores), 0),
        Column("95 %", tuple(_interval(score) for score in scores), 1),
        Column("chance", tuple(_percent(score.chance) for score in scores), 1),
        Column("tokens", tuple(str(s.tokens_in + s.tokens_out or "?") for s in scores), 4),
        Column("seconds", tuple(f"{score.seconds:.1f}" for score in scores), 2),
    ]


def _notes(score: Score, columns: int) -> list[str]:
    """What the table does not say: chance in words, parts of the family, failed calls."""
    words = f"{score.title}: by chance {_percent(score.chance)} ({score.chance_words})"
    if score.groups:
        parts = (f"{name} {_percent(mean)}" for name, mean in score.groups.items())
        words += f"; {', '.join(parts)}"
    for kind, count in score.failures.items():
        words += f"; {wording.plural(count, 'call')} failed with {kind}"
    lines = wrapped(words, columns - 2)
    lines = [line if place == 0 else f"  {line}" for place, line in enumerate(lines)]
    return lines + (_misses(score, columns) if score.family == NAME else [])


def _misses(score: Score, columns: int) -> list[str]:
    """Why answers were worth nothing; those with the same reason share a line."""
    reasons: dict[str, list[str]] = {}
    for one in score.outcomes:
        if one.score < 1.0:
            reasons.setdefault(one.words, []).append(one.case)
    lines: list[str] = []
    for words, cases in reasons.items():
        first, *more = wrapped(f"{', '.join(cases)}: {words}", columns - 4)
        lines += [f"  {first}", *(f"    {line}" for line in more)]
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(score: Score) -> str:
    return f"{100 * score.low:.0f}-{100 * score.high:.0f}"
