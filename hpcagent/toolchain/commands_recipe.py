"""How an application is built by its own build system: commands, run in a copy of its source."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hpcagent.errors import UsageError
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.modulefile import program_modulefiles
from hpcagent.toolchain.program_recipe import UNSET
from hpcagent.toolchain.recipe import CHECK_S, UNPACK, Recipe, Step, check_names

_VERSION = "1"
_SHORT = 200
# `make install`, `cmake --install` and meson put what they install below DESTDIR.
_IN_SOURCE = 'DESTDIR=$PWD/stage; export DESTDIR; cd source && exec "$@"'
# An existing file keeps its mode.
_WRITE = 'mkdir -p "${2%/*}" && cat "$1" > "$2"'
_PATH = re.compile(r"[^\0-\x1f\x7f]+\Z")


@dataclass(frozen=True)
class Commands:
    """What is run, in turn, each for `timeout_s` at most; `programs` lie then in the source's
    folder and go to bin/, `makes` is installed below the prefix."""

    name: str
    commands: Sequence[Sequence[str]]
    env: Mapping[str, str]
    programs: Sequence[str]
    makes: Sequence[str]
    timeout_s: int


def commands_recipe(
    wanted: Commands, source: Source, modules: Sequence[str], made_of: Sequence[tuple[str, str]]
) -> Recipe:
    """The recipe; `made_of` is whatever else tells one build from another: parameters, the node's
    processor and compilers. UsageError for a name that cannot be one of a build."""
    check_names(wanted.name, _VERSION)
    steps: list[Step] = []
    last = UNPACK
    for number, words in enumerate(wanted.commands, start=1):
        argv = ("sh", "-c", _IN_SOURCE, "sh", *words)
        env = tuple(sorted(wanted.env.items()))
        steps.append(Step(f"command-{number}", argv, (last,), wanted.timeout_s, (), env, True))
        last = steps[-1].id
    if wanted.programs:
        made = [f"source/{path}" for path in wanted.programs]
        put = ("install", "-D", "-t", "{staged}/bin", "--", *made)
        steps.append(Step("programs", put, (last,), CHECK_S))
    required = (*(f"bin/{PurePosixPath(path).name}" for path in wanted.programs), *wanted.makes)
    about = f"{wanted.name}, built by hpcagent"
    return Recipe(
        name=wanted.name,
        version=_VERSION,
        source_path=source.path,
        source_sha256=source.sha256,
        source_name=PurePosixPath(source.path).name,
        parameters=tuple(made_of),
        compilers=(),
        modules=tuple(modules),
        files=(),
        build=tuple(steps),
        unset=(*UNSET, "DESTDIR"),
        required=required,
        texts=program_modulefiles(wanted.name, _VERSION, modules, about),
        lines=tuple(
            (f"command {number}", _line(wanted.env, words))
            for number, words in enumerate(wanted.commands, start=1)
        ),
    )


def _line(env: Mapping[str, str], words: Sequence[str]) -> str:
    return shlex.join([*(f"{name}={value}" for name, value in sorted(env.items())), *words])


def with_files(recipe: Recipe, files: Mapping[str, str]) -> Recipe:
    """The recipe that writes these files (name -> text) into the source before it is built."""
    if not files:
        return recipe
    written: list[tuple[str, str]] = []
    steps: list[Step] = []
    last = UNPACK
    for number, (name, text) in enumerate(sorted(files.items()), start=1):
        if not _PATH.match(name):
            raise UsageError(f"{name!r} cannot be the name of a file")
        own = f"file-{number}"
        written.append((own, text))
        argv = ("sh", "-c", _WRITE, "sh", own, f"source/{name}")
        steps.append(Step(own, argv, (last,), CHECK_S))
        last = own
    after = [
        replace(step, needs=tuple(last if need == UNPACK else need for need in step.needs))
        for step in recipe.build
    ]
    told = [(f"file {name}", _shown(text)) for name, text in sorted(files.items())]
    return replace(
        recipe,
        files=(*recipe.files, *written),
        build=(*steps, *after),
        lines=(*told, *recipe.lines),
    )


def _shown(text: str) -> str:
    """A short file itself, on one line."""
    words = text.strip()
    return words if len(words) <= _SHORT and "\n" not in words else f"{len(text)} characters"
