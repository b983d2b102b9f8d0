"""Short patterns that find at least the lines that long ones match.

One automaton of hundreds of long patterns has so many states that they leave the caches. Of each
pattern a part that has to be there, and says enough, finds the candidates; the whole pattern is
matched against these only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Fixed characters that make a part telling, and those at which it is cut off as it says enough.
_TELLING, _ENOUGH = 10, 15
# A quote that a pattern has, or leaves open with a dot, may be a typographic one: three bytes.
_QUOTE = {"'": r"(?:'|\xe2\x80.)", "`": r"(?:`|\xe2\x80.)", ".": r"(?:\xe2\x80)?."}


@dataclass(frozen=True)
class _Token:
    """One element of a pattern with its quantifier.

    `letters` is the least number of fixed characters in what it matches, `open` whether it may
    match anything of any length.
    """

    text: str
    letters: int
    open: bool


def telling_parts(pattern: str) -> tuple[str, ...]:
    """Patterns of which one is found in every line that `pattern` (RE2, one line) is found in.

    A pattern without a telling part, or for words in any case, stands for itself.
    """
    if pattern.startswith("(?"):
        flags = pattern[: pattern.index(")") + 1]
        if ":" not in flags:
            return (flags + "".join(token.text for token in _tokens(pattern[len(flags) :])),)
    return tuple(_part(alternative) for alternative in _alternatives(pattern))


def _part(pattern: str) -> str:
    tokens = list(_tokens(pattern))
    for run in _runs(tokens):
        if sum(token.letters for token in run) >= _TELLING:
            return "".join(token.text for token in _enough(run))
    return "".join(token.text for token in tokens)


def _runs(tokens: Sequence[_Token]) -> Iterator[list[_Token]]:
    """What stands between elements that may match anything."""
    run: list[_Token] = []
    for token in tokens:
        if token.open:
            yield run
            run = []
        else:
            run.append(token)
    yield run


def _enough(run: Sequence[_Token]) -> Iterator[_Token]:
    letters = 0
    for token in run:
        if letters >= _ENOUGH:
            return
        letters += token.letters
        yield token


def _alternatives(pattern: str) -> list[str]:
    """The pattern split at each `|` that is in no group or class."""
    parts = [""]
    for text in _elements(pattern):
        if text == "|":
            parts.append("")
        else:
            parts[-1] += text
    return parts


def _tokens(pattern: str) -> Iterator[_Token]:
    elements = list(_elements(pattern))
    at = 0
    while at < len(elements):
        text, quantifier = elements[at], ""
        at += 1
        while at < len(elements) and (elements[at] in "*+?" or elements[at].startswith("{")):
            quantifier += elements[at]
            at += 1
        yield _token(text, quantifier)


def _token(text: str, quantifier: str) -> _Token:
    optional = quantifier.startswith(("*", "?", "{0"))
    if text.startswith("("):
        inner = [list(_tokens(part)) for part in _alternatives(_inside(text))]
        letters = min(sum(token.letters for token in part) for part in inner)
        wide = any(token.open for part in inner for token in part)
        body = "|".join("".join(token.text for token in part) for part in inner)
        return _Token(_head(text) + body + ")" + quantifier, 0 if optional else letters, wide)
    # A class that leaves out a few characters, and \S and \w, go on for as long as they like.
    wide = text == "." or text.startswith("[^") or text in (r"\S", r"\w", r"\W", r"\D")
    fixed = (len(text) == 1 and text not in ".^$") or (text[0] == "\\" and not text[1].isalnum())
    if text in _QUOTE and not quantifier:
        return _Token(_QUOTE[text], int(fixed), False)
    return _Token(
        text + quantifier, int(fixed and not optional), wide and quantifier[:1] in ("*", "+")
    )


def _head(group: str) -> str:
    """The beginning of a group: its parenthesis and flags."""
    return group[: group.index(":") + 1] if group.startswith("(?") else "("


def _inside(group: str) -> str:
    """What a group holds, without its parentheses and flags."""
    inner = group[1:-1]
    if not inner.startswith("?"):
        return inner
    return inner[inner.index(":") + 1 :] if ":" in inner else ""


def _elements(pattern: str) -> Iterator[str]:
    """Characters, escapes, classes, groups and counted quantifiers, one after another."""
    at = 0
    while at < len(pattern):
        end = _element_end(pattern, at)
        yield pattern[at:end]
        at = end


def _element_end(pattern: str, at: int) -> int:
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] == "[":
        return _class_end(pattern, at)
    if pattern[at] == "(":
        return _group_end(pattern, at)
    if pattern[at] == "{" and "}" in pattern[at:] and pattern[at + 1 : at + 2].isdigit():
        return pattern.index("}", at) + 1
    return at + 1


def _group_end(pattern: str, begin: int) -> int:
    at = begin + 1
    while at < len(pattern) and pattern[at] != ")":
        at = _element_end(pattern, at)
    return at + 1


def _class_end(pattern: str, begin: int) -> int:
    """Behind the bracket that closes a class; one right after its beginning is a member."""
    at = begin + 1
    at += pattern[at : at + 1] == "^"
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
