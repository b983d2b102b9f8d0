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
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PLACEHOLDER = re.compile(r"(?<!\$)\{[A-Za-z_]*\}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COMMAND = ("{driver}", "{workload}", "{seed}")
_ALIKE = 0.8  # {valeu}, not {valid}


def refused(document: Document, keys: Keys, problem: str) -> UsageError:
    """What is wrong with the value at `keys`, with file, line and field, in one line."""
    told = f"{'.'.join(map(str, keys))}: {problem}"
    return UsageError(f"{document.where(*keys)}: {_CONTROLS.sub(' ', told)}")


KINDS = ("library", "application")


def check_kind(document: Document, kind: str, cure: str) -> None:
    """UsageError, with the cure, for a card of the other kind than is asked for."""
    data: Any = document.data
    if isinstance(data, Mapping) and data.get("kind", kind) != kind:
        if data["kind"] not in KINDS:
            words = f"{data['kind']}: there are {' and '.join(KINDS)}"
            raise refused(document, ("kind",), words)
        raise refused(document, ("kind",), f"{data['kind']}: {cure}")


def check_library(document: Document, card: Card) -> None:
    """UsageError for what only an application's card may lack, or may have."""
    if card.check.residual is None:
        raise refused(document, ("check",), "residual is missing")
    for field in ("env", "derived", "files", "outputs", "cases"):
        if getattr(card, field):
            raise refused(document, (field,), "is for applications")
    for field in sorted(card.build.model_fields_set - {"template", "params", "program"}):
        raise refused(document, ("build", field), "is for applications")
    for field in ("template", "params"):
        if field not in card.build.model_fields_set:
            raise refused(document, ("build",), f"{field} is missing")
    for index, figure in enumerate(card.figures_of_merit):
        if "key" not in re.compile(figure.regex).groupindex:
            words = f"{figure.regex!r} lacks the group 'key' or 'value'"
            raise refused(document, ("figures_of_merit", index), words)
    for index, dimension in enumerate(card.space):
        if not dimension.acts:
            words = "nothing sets this parameter: give 'env', 'argv' or 'binding'"
            raise refused(document, ("space", index), words)


def check_words(document: Document, card: Card) -> None:
    """UsageError for the first text of the card that no job could use."""
    for keys, problem in (*_patterns(card), *_settings(card), *_request(card)):
        raise refused(document, keys, problem)


def check_values(document: Document, card: Card) -> None:
    """UsageError for a default, or a hint that would say nothing, which is none of its values.

    Where these depend on the machine it is not told: there a default joins the values.
    """
    for index, dimension in enumerate(card.space):
        values = dimension.listed or _constant(str(dimension.values))
        if not isinstance(values, tuple) or not values:
            continue  # values that are no list are refused where the space is made
        texts = [str(value) for value in values]
        for field in ("default", "hint"):
            text = getattr(dimension, field)
            found = text if text in dimension.listed else _constant(text)
            if found is None or str(found) in texts:
                continue
            near = field == "hint" and dimension.kind == "ordinal"
            if near and isinstance(number(found), int | float):
                continue  # the nearest value is hinted at
            words = f"{found} is none of the values {', '.join(texts)}"
            raise refused(document, ("space", index, field), words)


def _constant(text: str | None) -> Any:
    """What an expression without any name gives; None where it needs the machine."""
    if text is None:
        return None
    try:
        return compile_expression(text, ()).evaluate({})
    except UsageError:
        return None


def check_patterns(document: Document, card: Card) -> None:
    """UsageError for the first text that is no pattern, or lacks a group that it needs."""
    for keys, problem in _patterns(card):
        raise refused(document, keys, problem)


def _patterns(card: Card) -> Iterator[tuple[Keys, str]]:
    keyed = () if card.is_application else ("key",)
    found: list[tuple[Keys, str, tuple[str, ...]]] = [
        (("success", i), text, ()) for i, text in enumerate(card.success)
    ]
    found += [(("readback", name), text, ()) for name, text in card.readback.items()]
    if card.check.residual is not None:
        found.append((("check", "residual", "pattern"), card.check.residual.pattern, keyed))
    if card.check.answer is not None:
        found.append((("check", "answer", "pattern"), card.check.answer.pattern, ()))
    for keys, text, groups in found:
        try:
            pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            yield keys, f"{text!r} is not a regular expression: {error}"
            continue
        needed = (*groups, "value") if keys[0] == "check" else ()
        if not set(needed) <= set(pattern.groupindex):
            named = " or ".join(repr(name) for name in needed)
            example = " ".join(f"(?P<{name}>...)" for name in needed)
            yield keys, f"{text!r} lacks the group {named}: {example}"
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
    yield from probes(card)
    for index, word in enumerate(card.command.argv):
        if _PLACEHOLDER.fullmatch(word) and word not in _COMMAND:
            words = ", ".join(_COMMAND)
            yield ("command", "argv", index), f"{word} stands for nothing; there are {words}"
    for index, name in enumerate(card.unset):
        if not VARIABLE.match(name):
            yield ("unset", index), f"{name!r} is not the name of an environment variable"


def probes(card: Card) -> Iterator[tuple[Keys, str]]:
    """A parameter whose value is read back by a pattern that is not there."""
    for index, dimension in enumerate(card.space):
        if dimension.probe is not None and dimension.probe not in card.readback:
            known = ", ".join(card.readback) or "none"
            yield ("space", index, "probe"), f"readback has no {dimension.probe}, but: {known}"


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
