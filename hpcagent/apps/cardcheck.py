"""What cannot work in a user's card, told before anything runs: where, what, and the cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpcagent.errors import UsageError
from hpcagent.expressions import compile_expression, number

if TYPE_CHECKING:
    from hpcagent.apps.card import Card
    from hpcagent.yamlfile import Document

Keys = tuple[str | int, ...]

_PLACEHOLDER = re.compile(r"(?<!\$)\{[A-Za-z_]*\}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COMMAND = ("{driver}", "{workload}", "{seed}")
_ALIKE = 0.8  # {valeu}, not {valid}


def check_driver(document: Document) -> None:
    """UsageError for a card that is for something else than OpenBLAS's driver."""
    data: Any = document.data
    if isinstance(data, Mapping) and data.get("kind") == "application":
        raise UsageError(
            f"{document.where('kind')}: kind: applications cannot be tuned so far: a card is one "
            "for OpenBLAS (kind: library, build: {template: openblas ...}). "
            "`hpcagent build --app FILE.yaml` builds programs, `hpcagent codegen` tunes kernels"
        )


def check_words(document: Document, card: Card) -> None:
    """UsageError for the first text of the card that no job could use."""
    for keys, problem in (*_patterns(card), *_settings(card), *_request(card)):
        raise UsageError(f"{document.where(*keys)}: {'.'.join(map(str, keys))}: {problem}")


def check_values(document: Document, card: Card) -> None:
    """UsageError for a default, or a hint that would say nothing, which is none of its values.

    Where these depend on the machine it is not told: there a default joins the values.
    """
    for index, dimension in enumerate(card.space):
        values = _constant(dimension.values)
        if not isinstance(values, tuple) or not values:
            continue  # values that are no list are refused where the space is made
        texts = [str(value) for value in values]
        for field in ("default", "hint"):
            found = _constant(getattr(dimension, field))
            if found is None or str(found) in texts:
                continue
            near = field == "hint" and dimension.kind == "ordinal"
            if near and isinstance(number(found), int | float):
                continue  # the nearest value is hinted at
            place = f"{document.where('space', index, field)}: space.{index}.{field}"
            raise UsageError(f"{place}: {found} is none of the values {', '.join(texts)}")


def _constant(text: str | None) -> Any:
    """What an expression without any name gives; None where it needs the machine."""
    if text is None:
        return None
    try:
        return compile_expression(text, ()).evaluate({})
    except UsageError:
        return None


def _patterns(card: Card) -> Iterator[tuple[Keys, str]]:
    found: list[tuple[Keys, str]] = [(("success", i), x) for i, x in enumerate(card.success)]
    found += [(("readback", name), text) for name, text in card.readback.items()]
    residual: Keys = ("check", "residual", "pattern")
    for keys, text in (*found, (residual, card.check.residual.pattern)):
        try:
            pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            yield keys, f"{text!r} is not a regular expression: {error}"
            continue
        if keys == residual and not {"key", "value"} <= set(pattern.groupindex):
            yield keys, f"{text!r} lacks the group 'key' or 'value': (?P<key>...) (?P<value>...)"
        if keys[0] == "readback" and not pattern.groups:
            yield keys, f"{text!r} has no group: put what is to be read between ( and )"


def _settings(card: Card) -> Iterator[tuple[Keys, str]]:
    for index, dimension in enumerate(card.space):
        texts: list[tuple[Keys, str]] = [
            *((("space", index, "env", name), text) for name, text in dimension.env.items()),
            *((("space", index, "argv", i), word) for i, word in enumerate(dimension.argv)),
        ]
        for keys, text in texts:
            for word in _PLACEHOLDER.findall(text):  # braces of awk or bash are none of ours
                if word != "{value}" and _mistaken(word):
                    yield keys, f"{word} stands for nothing: only {{value}} is replaced"
        if dimension.probe is not None and dimension.probe not in card.readback:
            known = ", ".join(card.readback) or "none"
            yield ("space", index, "probe"), f"readback has no {dimension.probe}, but: {known}"
    for index, word in enumerate(card.command.argv):
        if _PLACEHOLDER.fullmatch(word) and word not in _COMMAND:
            words = ", ".join(_COMMAND)
            yield ("command", "argv", index), f"{word} stands for nothing; there are {words}"
    for index, name in enumerate(card.unset):
        if not VARIABLE.match(name):
            yield ("unset", index), f"{name!r} is not the name of an environment variable"


def _mistaken(word: str) -> bool:
    return word in _COMMAND or bool(difflib.get_close_matches(word, ("{value}",), cutoff=_ALIKE))


def _request(card: Card) -> Iterator[tuple[Keys, str]]:
    """What a job asks for beside these is the user's (`--mem`, `--shared` ...)."""
    asked = card.resources
    for name in ("nodes", "tasks_per_node"):
        if getattr(asked, name) != 1:
            yield ("resources", name), "only 1 is possible: OpenBLAS's driver is one process"
    cpus, keys = asked.cpus_per_task, ("resources", "cpus_per_task")
    if isinstance(cpus, int):
        if cpus < 1:
            yield keys, f"{cpus} CPUs run nothing: give a number from 1, or an expression of cores"
        return
    try:
        compile_expression(cpus, ("cores", "cpus"))
    except UsageError as error:
        yield keys, str(error)
