"""The one door to re2: patterns whose matching time is linear in the text, whatever the pattern.

Patterns and texts are bytes, so that a log of any encoding can be searched as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcagent.errors import UsageError

if TYPE_CHECKING:
    import re2

# The compiled form of hundreds of patterns does not fit into re2's default of 8 MiB.
_MEMORY_BYTES = 256 << 20


def compiled(pattern: str, what: str) -> Any:
    """A compiled pattern for bytes (RE2 syntax); UsageError names `what` where it is none."""
    import re2

    try:
        return re2.compile(pattern.encode("utf-8"), _options())
    except re2.error as error:
        raise UsageError(f"{what}: not a pattern of RE2: {pattern!r}: {_words(error)}") from None


def finder(pattern: Any) -> Callable[[bytes, int, int], int]:
    """Where a compiled pattern first matches within text[begin:end], else -1.

    Goes to the binding itself where it has the shape that is known (google-re2 1.1): the public
    `search` makes a generator, spans and a match for each, which costs more than the search.
    """
    import re2

    match = getattr(getattr(pattern, "_regexp", None), "Match", None)
    anchor = getattr(getattr(re2, "_Anchor", None), "UNANCHORED", None)
    if match is None or anchor is None:
        return lambda text, begin, end: _searched(pattern, text, begin, end)
    return lambda text, begin, end: int(match(anchor, text, begin, end)[0][0])


def _searched(pattern: Any, text: bytes, begin: int, end: int) -> int:
    found = pattern.search(text, begin, end)
    return -1 if found is None else int(found.start())


def any_of(patterns: Sequence[str], names: Mapping[int, str]) -> re2.Set:
    """All patterns as one automaton: `Match(data)` gives the indices of those that match.

    `names[i]` is what an error calls the i-th pattern.
    """
    import re2

    found = re2.Set.SearchSet(_options())
    for index, pattern in enumerate(patterns):
        try:
            found.Add(pattern.encode("utf-8"))
        except re2.error as error:
            what = names.get(index, f"pattern {index}")
            raise UsageError(
                f"{what}: not a pattern of RE2: {pattern!r}: {_words(error)}"
            ) from None
    found.Compile()
    return found


def _options() -> re2.Options:
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes as they are
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    return options


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
