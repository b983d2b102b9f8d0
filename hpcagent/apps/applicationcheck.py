"""What cannot work in the card of an application: the place of it, and what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hpcagent.apps.application_builds import build_texts, needs_mpi
from hpcagent.apps.buildcheck import build_problems
from hpcagent.apps.cardcheck import VARIABLE, Keys, probes
from hpcagent.apps.filling import GIVEN, IN_BUILD, MPIRUN, PLACEHOLDER, RANKS, SEED
from hpcagent.apps.placement import POLICIES
from hpcagent.errors import UsageError
from hpcagent.expressions import compile_expression
from hpcagent.measure.objectives import TIME
from hpcagent.measure.worker import ANSWER

if TYPE_CHECKING:
    from hpcagent.apps.card import Card

Problem = tuple[Keys, str]

_KEY = "key"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Beside these, one line, words of a command and files can hold what they like.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ODD_IN_WORDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ODD_IN_FILES = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")
# Beyond a letter or two it is another word, of a format of the application's own.
_ALIKE = 0.8


def problems(card: Card, facts: frozenset[str], folder: Path) -> Iterator[Problem]:
    """All of them, the likeliest cause first. `facts` are the names that expressions may use beside
    parameters, `folder` is the card's."""
    yield from _figures(card)
    yield from build_problems(card)
    yield from _structure(card)
    yield from _names(card, facts)
    yield from _expressions(card, facts)
    yield from _controls(card)
    yield from _placeholders(card)
    yield from _files(card, folder)


def _figures(card: Card) -> Iterator[Problem]:
    for index, figure in enumerate(card.figures_of_merit):
        keys: Keys = ("figures_of_merit", index, "regex")
        if not figure.regex and index:
            yield keys, "is missing"
        elif not figure.regex and card.cases:
            yield ("cases",), "each needs a figure of its own: give figures_of_merit"
        elif not figure.regex and figure.name != TIME:
            yield keys, "only a figure called time may lack it"
        elif card.cases and _KEY not in re.compile(figure.regex).groupindex:
            yield keys, f"{figure.regex!r} lacks the group 'key', by which it names one of `cases`"
        elif not card.cases and _KEY in re.compile(figure.regex).groupindex:
            yield keys, f"{figure.regex!r}: the group 'key' is for an application with `cases`"
    check = card.check
    for name, part in (("answer", check.answer), ("residual", check.residual)):
        if part is not None and not card.cases and _KEY in re.compile(part.pattern).groupindex:
            yield ("check", name, "pattern"), "the group 'key' is for an application with `cases`"
    told = check.answer is not None and check.answer.value is not None
    if told and check.answer and _KEY in re.compile(check.answer.pattern).groupindex:
        yield ("check", "answer", "value"), "each case has its own: leave it out"
    if ANSWER in card.readback:
        yield ("readback", ANSWER), "is what check.answer reads: take another name"
    if check.answer is not None and check.answer.value is None:
        for keys, text, _ in texts(card):
            if SEED in PLACEHOLDER.findall(text):
                yield keys, "{seed} differs from pair to pair: tell the value of check.answer"


def _structure(card: Card) -> Iterator[Problem]:
    mpi, names = card.command.launch == "mpi", {dimension.name for dimension in card.space}
    if not card.space:
        yield ("space",), "it is empty: there is nothing to tune"
    if not card.command.argv[0]:
        yield ("command", "argv", 0), "the program has no name"
    if mpi and not card.command.ranks and RANKS not in {*names, *card.derived}:
        yield ("command",), "ranks is missing: an expression, or a parameter of that name"
    if card.command.ranks and not mpi:
        yield ("command", "ranks"), "is for launch: mpi"
    for index, dimension in enumerate(card.space):
        odd = [value for value in dimension.listed if value not in POLICIES]
        if dimension.binding and mpi:
            yield ("space", index, "binding"), "is for one process; give the launcher's words"
        elif dimension.binding and odd:
            yield ("space", index, "values"), f"{odd[0]}: there are {', '.join(POLICIES)}"
    yield from probes(card)


def _names(card: Card, facts: frozenset[str]) -> Iterator[Problem]:
    names, given = {dimension.name for dimension in card.space}, _given(card)
    for index, dimension in enumerate(card.space):
        if dimension.name in given and dimension.name != RANKS:
            yield ("space", index, "name"), f"{dimension.name} has a meaning of its own"
    for name in card.derived:
        if name in names or name in facts or (name in given and name != RANKS):
            yield ("derived", name), "has a meaning already"
        if not _NAME.fullmatch(name):
            yield ("derived", name), "is no name: small letters, digits and _"
    for index, name in enumerate(card.unset):
        if not VARIABLE.match(name):
            yield ("unset", index), f"{name!r} is not the name of an environment variable"
    for name in card.env:
        if not VARIABLE.match(name):
            yield ("env", name), "is not the name of an environment variable"


def _given(card: Card) -> tuple[str, ...]:
    """The names that have a value without the card's doing."""
    there = {RANKS: card.command.launch == "mpi", MPIRUN: needs_mpi(card)}
    return tuple(name for name in GIVEN if there.get(name, True))


def _expressions(card: Card, facts: frozenset[str]) -> Iterator[Problem]:
    known = facts | {dimension.name for dimension in card.space}
    found: list[tuple[Keys, str, frozenset[str]]] = []
    for name, text in card.derived.items():
        found.append((("derived", name), text, known))
        known = known | {name}
    if card.command.ranks:
        found.append((("command", "ranks"), card.command.ranks, known))
    for field in ("tasks_per_node", "cpus_per_task"):
        asked = getattr(card.resources, field)
        if isinstance(asked, str):
            found.append((("resources", field), asked, frozenset(("cores", "cpus"))))
        elif asked < 1:
            yield ("resources", field), f"{asked}: give a number from 1"
    if card.resources.nodes < 1:
        yield ("resources", "nodes"), f"{card.resources.nodes}: give a number from 1"
    for keys, text, names in found:
        try:
            compile_expression(text, names)
        except UsageError as error:
            yield keys, str(error)


def texts(card: Card) -> Iterator[tuple[Keys, str, bool]]:
    """Every text that is filled: its place, and whether other braces in it are the application's
    own."""
    command = card.command
    yield from ((("command", "argv", n), word, False) for n, word in enumerate(command.argv))
    if command.launch == "mpi":
        words = enumerate(command.launcher)
        yield from ((("command", "launcher", n), word, False) for n, word in words)
    yield from ((("env", name), text, False) for name, text in card.env.items())
    yield from ((("files", name), text, True) for name, text in card.files.items())
    for index, dimension in enumerate(card.space):
        for name, text in dimension.env.items():
            yield ("space", index, "env", name), text, False
        for place, word in enumerate(dimension.argv):
            yield ("space", index, "argv", place), word, False
    yield from ((keys, text, keys[1] == "files") for keys, text in build_texts(card))


def _controls(card: Card) -> Iterator[Problem]:
    if _ODD.search(card.title):
        yield ("title",), "must be one line of text"
    for keys, text, foreign in texts(card):
        words = _ODD if "env" in keys else _ODD_IN_WORDS
        if (_ODD_IN_FILES if foreign else words).search(text):
            yield keys, f"a control character: {text[:200]!r}"


def _placeholders(card: Card) -> Iterator[Problem]:
    names = [dimension.name for dimension in card.space]
    known = list(dict.fromkeys([*names, *card.derived, *_given(card)]))
    others = {"space": [*known, "value"], "build": [*names, *card.derived, *IN_BUILD]}
    used: set[str] = set()
    for keys, text, foreign in texts(card):
        own = others.get(str(keys[0]), known)
        for found in PLACEHOLDER.finditer(text):
            name = found[1]
            used.add(name)
            near = difflib.get_close_matches(name, own, 1, _ALIKE)
            if name not in own and (near or not foreign):
                also = f"did you mean {{{near[0]}}}?" if near else f"there are {', '.join(own)}"
                yield keys, f"{found[0]} stands for nothing; {also}"
    read = " ".join((card.command.ranks, *card.derived.values()))
    used |= set(re.findall(r"[a-z][a-z0-9_]*", read))
    used |= {RANKS} if card.command.launch == "mpi" and not card.command.ranks else set()
    for index, dimension in enumerate(card.space):
        if not dimension.acts and dimension.name not in used:
            words = f"{dimension.name}: nothing sets this parameter: put {{{dimension.name}}} "
            yield ("space", index), words + "into the command, env or files, or give env or argv"


def _files(card: Card, folder: Path) -> Iterator[Problem]:
    rows: list[tuple[Keys, str]] = [(("inputs", n), name) for n, name in enumerate(card.inputs)]
    rows += [(("files", name), name) for name in card.files]
    rows += [(("outputs", n), name) for n, name in enumerate(card.outputs)]
    taken: list[str] = []
    for keys, name in rows:
        path = PurePosixPath(name)
        if path.is_absolute() or {"..", "."} & {*path.parts, name} or str(path) != name:
            yield keys, f"{name!r}: must be the plain path of a file below the folder it runs in"
        elif _ODD.search(name):
            yield keys, f"a control character: {name!r}"
        elif any(_within(name, other) or _within(other, name) for other in taken):
            yield keys, f"{name}: is one of the inputs or files already, or lies in one"
        elif keys[0] == "inputs" and not (folder / name).exists():
            yield keys, f"{folder / name} is not there"
        if keys[0] != "outputs":
            taken.append(name)


def _within(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}/")
