"""What cannot work in how a card says that its application is built: where, and what is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from hpcagent.apps.application_builds import (
    build_texts,
    filled_build,
    names_in_build,
    program_of,
)
from hpcagent.apps.cardcheck import VARIABLE, Keys
from hpcagent.apps.filling import HERE, JOBS, PLACEHOLDER, PREFIX, SEED
from hpcagent.errors import UsageError
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.steps import MODULE

if TYPE_CHECKING:
    from hpcagent.apps.card import Card

Problem = tuple[Keys, str]
_OF_PROGRAM = ("compiler", "mpi", "blas")
_OF_COMMANDS = ("env", "programs", "makes")
_FIELDS = tuple(Program.model_fields)
_MOST_TRIED = 200
_IN_BIN = re.compile(r"\{prefix\}/bin/([^/{}]+)")


def build_problems(card: Card) -> Iterator[Problem]:
    """All of them, the likeliest cause first."""
    build = card.build
    for field in ("template", "params"):
        if field in build.model_fields_set:
            yield ("build", field), "is for libraries"
    if not card.is_built:
        if build.model_fields_set - {"template", "params"}:
            yield ("build",), "say how it is built: by a `program`, or by `commands`"
        return
    if build.program is not None and build.commands:
        yield ("build", "commands"), "a `program` is built without commands: give one of them"
    strange, other = _OF_COMMANDS, "commands"
    if build.program is None:
        strange, other = _OF_PROGRAM, "a program"
    for field in strange:
        if getattr(build, field):
            yield ("build", field), f"is for what is built by {other}"
    yield from _commands(card)
    yield from _paths(card)
    yield from _names(card)
    yield from _use(card)
    if build.program is not None:
        yield from _program(card, build.program)


def _commands(card: Card) -> Iterator[Problem]:
    build = card.build
    for number, words in enumerate(build.commands):
        if not words or not words[0]:
            yield ("build", "commands", number), "the command has no name"
    if build.commands and not build.programs and not build.makes:
        told = "say what they leave: `programs` (files that go to {prefix}/bin), or what they "
        yield ("build",), told + "install below {prefix}: `makes`"


def _paths(card: Card) -> Iterator[Problem]:
    build = card.build
    rows: list[tuple[Keys, str]] = [(("build", "files", name), name) for name in build.files]
    for field in ("programs", "makes"):
        rows += [(("build", field, n), name) for n, name in enumerate(getattr(build, field))]
    for keys, name in rows:
        path = PurePosixPath(name)
        if path.is_absolute() or {"..", "."} & {*path.parts, name} or str(path) != name:
            yield keys, f"{name!r}: must be the plain path of a file"


def _names(card: Card) -> Iterator[Problem]:
    for name in card.build.env:
        if not VARIABLE.match(name):
            yield ("build", "env", name), "is not the name of an environment variable"
    for number, name in enumerate(card.build.modules):
        if not PLACEHOLDER.search(name) and not MODULE.match(name):
            yield ("build", "modules", number), f"{name!r} is not the name of a module"
    for name, text in card.build.files.items():
        for word in (PREFIX, JOBS):
            if word in PLACEHOLDER.findall(text):
                yield ("build", "files", name), f"{{{word}}} is known to commands only"
    for keys, text in build_texts(card):
        if HERE in PLACEHOLDER.findall(text):
            yield keys, "{here} is no part of the source: put the file into it, or into `files`"
    sources = (card.build.program or {}).get("sources")
    if sources is not None and not isinstance(sources, list):
        yield ("build", "program", "sources"), f"{sources!r} is no list: put it between [ and ]"
    for name in card.build.program or {}:
        if name not in Program.model_fields:
            near = difflib.get_close_matches(name, Program.model_fields, 1)
            words = f"did you mean {near[0]}?" if near else f"there are {', '.join(_FIELDS)}"
            yield ("build", "program", name), f"is not known; {words}"
    for number, name in enumerate(sources if isinstance(sources, list) else ()):
        if PLACEHOLDER.search(str(name)):
            words = "sources are the same in every build: let a define choose"
            yield ("build", "program", "sources", number), words


def _use(card: Card) -> Iterator[Problem]:
    """Whether it matters what is built, and that nothing in it is another in every process."""
    of_build = names_in_build(card)
    for index, dimension in enumerate(card.space):
        if dimension.probe is not None and dimension.name in of_build:
            words = "is for what is set when it runs: a build has its own checks"
            yield ("space", index, "probe"), words
        if dimension.name == JOBS:
            yield ("space", index, "name"), f"{JOBS} has a meaning of its own"
    yield from _absent_programs(card)
    run = [*card.command.argv, *card.command.launcher, *card.env.values(), *card.files.values()]
    if not any(PREFIX in PLACEHOLDER.findall(text) for text in run):
        yield ("command",), "it does not run what is built: {prefix} is where that is"
    for field in ("commands", "program"):
        if SEED in PLACEHOLDER.findall(str(getattr(card.build, field))):
            yield ("build", field), "{seed} differs from pair to pair, and a build does not"


def _absent_programs(card: Card) -> Iterator[Problem]:
    """A program of the build's that the command names, and the build does not make."""
    build = card.build
    made = {PurePosixPath(path).name for path in build.programs} | set(build.makes)
    if build.program is not None:
        made = {str(build.program.get("name", card.name))}
    for number, word in enumerate(card.command.argv):
        found = _IN_BIN.fullmatch(word)
        if found and not build.makes and found[1] not in made:
            words = f"{word}: the build makes {', '.join(sorted(made))}"
            yield ("command", "argv", number), words


def _program(card: Card, told: Mapping[str, Any]) -> Iterator[Problem]:
    """Each listed value is put into it once, where all that it depends on is listed."""
    known = {d.name: d for d in card.space if d.name in names_in_build(card)}
    derived = {name for name in card.derived if f"{{{name}}}" in str(told)}
    if derived or not all(d.listed and d.default in d.listed for d in known.values()):
        return
    default = {name: dimension.default for name, dimension in known.items()}
    tried = [default]
    for name, dimension in known.items():
        tried += [{**default, name: value} for value in dimension.listed if value != default[name]]
    for values in tried[:_MOST_TRIED]:
        try:
            program_of(card, filled_build(card, values)["program"])
        except UsageError as error:
            changed = [f"{n}={v}" for n, v in values.items() if v != default[n]]
            told_of = str(error).removeprefix("build.program: ")
            yield ("build", "program"), " ".join([*changed, told_of])
            return
