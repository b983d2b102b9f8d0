"""Puts a configuration into an application's command line, environment and input files.

`{name}` stands for a parameter, a derived name, `{ranks}`, `{prefix}` (where the application is
installed), `{mpirun}` (the launcher of the MPI that it was built with) or `{here}` (the folder of
its card). Braces around anything else are the application's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, compile_expression, number

if TYPE_CHECKING:
    from hpcagent.apps.card import Card

RANKS, PREFIX, HERE, SEED, MPIRUN = "ranks", "prefix", "here", "seed", "mpirun"
# The worker fills in the seed: it differs from pair to pair.
GIVEN = (RANKS, PREFIX, HERE, SEED, MPIRUN)
JOBS = "jobs"
# What stands for something while an application is built, beside parameters.
IN_BUILD = (PREFIX, JOBS)
# `${name}` is the shell's, make's or LAMMPS's own.
PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z][a-z0-9_]*)\}")


@dataclass(frozen=True)
class Places:
    """Absolute paths: the folder of the card, and where the application is installed (or empty);
    what starts programs of the MPI that it was built with."""

    folder: str = ""
    prefix: str = ""
    mpirun: str = ""


NOWHERE = Places()


@dataclass(frozen=True)
class Filled:
    """`prefix` are the launcher's words; `files` are (name, text)."""

    env: tuple[tuple[str, str], ...]
    prefix: tuple[str, ...]
    command: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    names: Mapping[str, str]


def filled(
    card: Card, values: Mapping[str, str], facts: Mapping[str, Any], places: Places
) -> Filled:
    """What runs with these values of all parameters. UsageError for what cannot be worked out."""
    names = _names(card, values, facts, places)
    launcher: tuple[str, ...] = ()
    if card.command.launch == "mpi":
        program, *words = (fill(word, names) for word in card.command.launcher)
        launcher = (_program(program, places), *words, "-n", names[RANKS])
    first, *others = (fill(word, names) for word in card.command.argv)
    return Filled(
        tuple(sorted((name, fill(text, names)) for name, text in card.env.items())),
        launcher,
        (_program(first, places), *others),
        tuple(sorted((name, fill(text, names)) for name, text in card.files.items())),
        names,
    )


def fill(text: str, names: Mapping[str, str]) -> str:
    """Names that are not known stay as they are."""
    return PLACEHOLDER.sub(lambda found: names.get(found[1], found[0]), text)


def _names(
    card: Card, values: Mapping[str, str], facts: Mapping[str, Any], places: Places
) -> dict[str, str]:
    known: dict[str, Any] = {**facts, **values}
    names = {**values, HERE: places.folder, PREFIX: places.prefix}
    names |= {MPIRUN: places.mpirun} if places.mpirun else {}
    _derive(card, known, names, card.derived)
    if card.command.launch == "mpi":
        names[RANKS] = str(count(_value(card.command.ranks or RANKS, known), "command: ranks"))
    return names


def build_names(
    card: Card, values: Mapping[str, str], facts: Mapping[str, Any], derived: Collection[str]
) -> dict[str, str]:
    """What names stand for in what an application is built from, which depends on these `derived`
    ones; UsageError as above.

    `{prefix}` and `{jobs}` are left to the build itself.
    """
    known: dict[str, Any] = {**facts, **values}
    names = dict(values)
    _derive(card, known, names, derived)
    return names


def _derive(
    card: Card, known: dict[str, Any], names: dict[str, str], only: Collection[str]
) -> None:
    for name, text in card.derived.items():
        if name in only:
            known[name] = _plain(_value(text, known), name)
            names[name] = str(known[name])


def _value(text: str, known: Mapping[str, Any]) -> Any:
    return _compiled(text, frozenset(known)).evaluate(known)


@lru_cache(maxsize=256)  # the same few for every point of a space
def _compiled(text: str, names: frozenset[str]) -> Expression:
    return compile_expression(text, names)


def _plain(value: Any, name: str) -> Any:
    """4.0 is written as 4: what counts something is no fraction."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"derived: {name}: {value!r} is neither a number nor text")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def count(value: Any, what: str) -> int:
    """A whole number from 1; UsageError where the value of an expression is none."""
    found = number(value)
    if isinstance(found, bool) or not isinstance(found, int | float) or found != found // 1:
        raise UsageError(f"{what}: {value!r} is no whole number")
    if found < 1:
        raise UsageError(f"{what}: {value!r} is less than 1")
    return int(found)


def _program(word: str, places: Places) -> str:
    """One with a folder that is not absolute lies beside the card; a name alone is in PATH."""
    if "/" not in word or word.startswith("/"):
        return word
    return str(PurePosixPath(places.folder, word))
