"""Steps of a plan that are written once and done for each of several values."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.yamlfile import Document

FOR = "for"
Place = tuple[str | int, ...]
Turn = Mapping[str, Any]
# A name in braces: it has no dot, and so cannot be taken for a reference to another step.
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ALL = re.compile(r"\{([A-Za-z0-9_-]*\*[A-Za-z0-9_*-]*)\.([a-z_]+)\}")
_SCALARS = (str, int, float)
_WORDS = (
    "for: must be a mapping of lists like {size: [small, large]}, of which every combination is "
    "taken, or a list of mappings like [{size: small, nodes: 1}]"
)


def turns(document: Document, at: Place, row: Mapping[str, Any], most: int) -> list[Turn]:
    """The values of each turn of a step's `for`, the last name's changing fastest; one turn without
    any for a step that has none. UsageError with file and line."""
    if FOR not in row:
        return [{}]
    told, at = row[FOR], (*at, FOR)
    if isinstance(told, dict) and told:
        found = _combined(document, at, told, most)
    elif isinstance(told, list) and told and all(isinstance(one, dict) and one for one in told):
        found = [dict(one) for one in told]
    else:
        raise UsageError(f"{document.where(*at)}: {_WORDS}")
    for place, turn in enumerate(found):
        _check(document, (*at, place) if isinstance(told, list) else at, turn, found[0])
    return found


def put(value: Any, turn: Turn) -> Any:
    """The value with a turn's put in for `{name}`; a text that is nothing else becomes what that
    is."""
    if isinstance(value, str):
        whole = _VARIABLE.fullmatch(value)
        if whole is not None and whole[1] in turn:
            return turn[whole[1]]
        return _VARIABLE.sub(lambda found: str(turn.get(found[1], found[0])), value)
    if isinstance(value, list):
        return [put(one, turn) for one in value]
    if isinstance(value, dict):
        return {key: put(one, turn) for key, one in value.items()}
    return value


def misspelt(value: Any, turn: Turn) -> str:
    """A name in braces that is nearly one of the turn's, with that one; empty where none is."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return next((found for one in value if (found := misspelt(one, turn))), "")
    for name in _VARIABLE.findall(value) if isinstance(value, str) else ():
        near = difflib.get_close_matches(name, [one for one in turn if one != name], 1)
        if name not in turn and near:
            return f"{{{name}}}: for has no such name; did you mean {{{near[0]}}}?"
    return ""


def unused(name: str, turn: Turn) -> list[str]:
    """The names of a turn's values that a step's name, as it is written, does not tell apart."""
    return [one for one in turn if one not in _VARIABLE.findall(name)]


def gathered(options: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Options in which `{name-*.field}`, alone or in a list, is replaced by a reference to each of
    these steps whose name is of that kind, in the order of the steps."""
    found: dict[str, Any] = {}
    for option, value in options.items():
        several = isinstance(value, list) or (isinstance(value, str) and _ALL.fullmatch(value))
        rows = value if isinstance(value, list) else [value]
        found[option] = [one for row in rows for one in _each(row, names)] if several else value
    return found


def unfit(text: str, names: Sequence[str]) -> str:
    """What is wrong with a text that has such a reference; empty where nothing is."""
    found = _ALL.search(text)
    if found is None:
        return ""
    if found[0] != text:
        return f"{found[0]} means several steps: it stands alone, as a value or in a list"
    return "" if fnmatch.filter(names, found[1]) else "no step of that kind is above this one"


def fitting(need: object, names: Sequence[str]) -> list[object]:
    """The steps that a need with a `*` names; any other as it is."""
    found = fnmatch.filter(names, str(need)) if "*" in str(need) else []
    return [*found] or [need]


def _each(row: Any, names: Sequence[str]) -> list[Any]:
    whole = _ALL.fullmatch(row) if isinstance(row, str) else None
    if whole is None:
        return [row]
    return [f"{{{name}.{whole[2]}}}" for name in fnmatch.filter(names, whole[1])]


def _combined(document: Document, at: Place, told: Mapping[str, Any], most: int) -> list[Turn]:
    for name, values in told.items():
        if not isinstance(values, list) or not values:
            where = document.where(*at, name)
            raise UsageError(f"{where}: {name}: must be a list of values, as in [small, large]")
    rows = itertools.product(*told.values())
    return [dict(zip(told, row, strict=True)) for row in itertools.islice(rows, most + 1)]


def _check(document: Document, at: Place, turn: Turn, first: Turn) -> None:
    if set(turn) != set(first):
        words = f"every entry has the same names: {', '.join(map(str, first))}"
        raise UsageError(f"{document.where(*at)}: for: {words}")
    for name, value in turn.items():
        where = f"{document.where(*at, name)}: for: "
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(f"{where}{name!r}: a name is lower-case letters, digits and _")
        if isinstance(value, bool) or not isinstance(value, _SCALARS):
            raise UsageError(
                f"{where}{name}: must be texts or numbers (true and null between quotes)"
            )
