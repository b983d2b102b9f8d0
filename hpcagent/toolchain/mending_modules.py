"""Repairs that load modules: what a log says is missing, and the one module that has it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpcagent.probe.modules import is_name
from hpcagent.toolchain.mending_scene import Scene
from hpcagent.toolchain.providers import Load, other_compiler, provider, way_to
from hpcagent.toolchain.repairs import Repair

# How shells, make, env and Python's subprocess name a command, and compilers a header.
_COMMAND = (
    r"(?:exec: )?([A-Za-z0-9_.+-]+): (?:command )?not found$",
    r"make(?:\[[0-9]+\])?: ([A-Za-z0-9_.+-]+): (?:No such file|[Cc]ommand not found)",
    r"make(?:\[[0-9]+\])?: exec\(([A-Za-z0-9_.+-]+)\)",
    r"env: .([A-Za-z0-9_.+-]+).: No such file",
    r"No such file or directory: b?'([A-Za-z0-9_.+-]+)'",
)
_HEADER = (
    r"error: ['\"]?([A-Za-z0-9_.+/-]+)['\"]?: No such file",
    r"error: .?([A-Za-z0-9_.+/-]+).? file not found",
    r"cannot open source file \"([^\"]+)\"",
    r"[Cc]an.t open included file .([A-Za-z0-9_.+/-]+).",
)
_LIBRARY = (r"(?:cannot|unable to) find (?:library )?-l([A-Za-z0-9_+.-]+)",)
_RUNTIME = (r"/?([A-Za-z0-9_+-]+\.so[.0-9]*): version .",)
_MODULE = r"[\"'`]([A-Za-z0-9_.+@/-]+)[\"'`]"
# The names behind these words, on the same line or the next ones, have to be loaded first.
_FIRST = re.compile(
    r"(?:without\s+these\s+module\(s\)\s+loaded|must be loaded first|needs? to be loaded"
    r"|must be loaded|requires? one of|[Rr]equirement)[:,]?\s*"
    r"(?P<names>[^\n]*(?:\n(?!\s*\n)[^\n]+){0,4})"
)


@dataclass(frozen=True)
class Loaded:
    """The modules to name now, and the compiler where it is another one."""

    modules: tuple[str, ...]
    compiler: str = ""


def mended_modules(named: tuple[str, ...], repair: Repair, scene: Scene) -> Loaded | str:
    """The modules that a build names after this repair, or why a person has to decide.

    `named` are those of its request.
    """
    software = scene.software
    if software.modules.kind == "none":
        return f"there are no modules here: {software.modules.why_not}"
    if repair.name == "compiler":
        other = other_compiler(software, scene.compilers, scene.modules)
        if isinstance(other, str):
            return other
        return Loaded(_with(named, other[1].modules), other[0].path)
    if repair.name == "named":
        return _reached(named, scene)
    if repair.name == "prerequisite":
        return _preceded(named, scene)
    found = _found(repair, scene)
    return found if isinstance(found, str) else Loaded(_with(named, found.modules))


def _found(repair: Repair, scene: Scene) -> Load | str:
    sort, word = repair.name, repair.value or missing_word(repair.name, scene.quote)
    if not word:
        return f"the log does not name the {sort}"
    names = (f"lib{word}.so", f"lib{word}.a") if sort == "library" else (word.split("/")[0],)
    return provider(scene.software, sort, names, scene.modules)


def missing_word(sort: str, quote: str) -> str:
    """What a line says is missing: a command, a header, a library by its name or its file's."""
    patterns = {"command": _COMMAND, "header": _HEADER, "library": _LIBRARY, "runtime": _RUNTIME}
    for pattern in patterns.get(sort, ()):
        match = re.search(pattern, quote.strip())
        if match:
            return match.group(1)
    return ""


def _reached(named: tuple[str, ...], scene: Scene) -> Loaded | str:
    """A named module, as it can be loaded here."""
    said = re.findall(_MODULE, scene.quote) or re.findall(_MODULE, _after(scene))
    wanted = next((name for name in said if name in named), "")
    if not wanted:
        return "the log names no module that was asked for"
    way = way_to(scene.software, wanted)
    if isinstance(way, str):
        return way
    at = named.index(wanted)
    return Loaded(tuple(dict.fromkeys((*named[:at], *way.modules, *named[at + 1 :]))))


def _preceded(named: tuple[str, ...], scene: Scene) -> Loaded | str:
    """What the module system says has to be loaded first, in front."""
    match = _FIRST.search(_after(scene)) or _FIRST.search(scene.text)
    words = re.findall(r"[A-Za-z0-9_.+@/-]+", match["names"]) if match else []
    known = {*scene.software.modules.available, *scene.software.modules.ways}
    # A name without a version stands for the package; what Lmod prints around is no module.
    wanted = [word for word in words if is_name(word) and any(_is_of(x, word) for x in known)]
    wanted = list(dict.fromkeys(word for word in wanted if word not in named))
    if not wanted:
        return "the log does not name what has to be loaded first"
    if len(wanted) > 1:
        return f"one of {', '.join(wanted)} is needed first: which is for a person to say: --module"
    way = way_to(scene.software, wanted[0])
    return way if isinstance(way, str) else Loaded(tuple(dict.fromkeys((*way.modules, *named))))


def _is_of(module: str, word: str) -> bool:
    return module == word or module.startswith(f"{word}/")


def _after(scene: Scene) -> str:
    """What follows the quoted line, with it."""
    at = scene.text.find(scene.quote)
    return scene.text[max(at, 0) :]


def _with(named: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*named, *more)))
