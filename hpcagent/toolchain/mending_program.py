"""Repairs that change a user's description: flags, libraries, integers, how it is checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hpcagent.toolchain.mending_scene import Scene
from hpcagent.toolchain.program import EXTRA_FLAGS, TUNING_FLAGS
from hpcagent.toolchain.providers import folders_of
from hpcagent.toolchain.repairs import Repair

# Fields of the description that a repair sets to its value.
_FIELDS = frozenset({"microarchitecture", "openmp", "mpi", "link_group", "pie"})
_CHECK = frozenset({"stack", "open_files", "oversubscribe", "bind"})
_DSO = re.compile(r"/?lib([A-Za-z0-9_+-]+(?:\.[A-Za-z][A-Za-z0-9_+-]*)*)\.so[.0-9]*: error adding")
_LOADED = re.compile(r"libraries: ([A-Za-z0-9_+.-]+): cannot open|^[^:]*?(lib[^ :/]+\.so[.0-9]*):")
_FLAG = re.compile(r"(-[A-Za-z][A-Za-z0-9=+-]*)")
# The ends of names in an ILP64 library, as {undefined} names of failures.yaml have them.
_SUFFIX = re.compile(r"[`'](?:[a-z]+_)?[a-z0-9]+?(_64_|64_|_64)['`\"]?")

Changes = Mapping[str, Any]


def changes_of(program: Mapping[str, Any], repair: Repair, scene: Scene) -> Changes | str:
    """Fields of the description (and `blas`: which BLAS to take) after a repair, or why it cannot
    be made."""
    name, value, quote = repair.name, repair.value, scene.quote
    if name in _FIELDS and repair.action == "set":
        return {name: value}
    if name in _CHECK:
        check = program.get("check")
        return {"check": {**check, name: value}} if check else "nothing is run by the build"
    if name == "flags":
        return _flags(program, repair, quote)
    if name == "standard":
        return {"standards": {**program.get("standards", {}), "c++": value}}
    if name == "libraries":
        return _libraries(program, value, quote)
    if name == "run_path":
        return _run_path(program, scene)
    if name == "integers":
        return _integers(program, value, scene)
    if name == "lapack":
        kept = program.get("integers", "none")
        return {"lapack": value, "integers": "lp64" if kept == "none" else kept}
    return f"the description has nothing for it ({repair.words()})"


def _flags(program: Mapping[str, Any], repair: Repair, quote: str) -> Changes | str:
    flags = list(program.get("flags", ()))
    if repair.action == "add" and repair.value in set(EXTRA_FLAGS) - TUNING_FLAGS:
        return {"flags": flags if repair.value in flags else [*flags, repair.value]}
    refused = [flag for flag in _FLAG.findall(quote) if flag in flags]
    if repair.action != "remove" or not refused:
        return "the description names no flag of those in the log"
    return {"flags": [flag for flag in flags if flag not in refused]}


def _libraries(program: Mapping[str, Any], value: str, quote: str) -> Changes | str:
    match = _DSO.search(quote)
    name = value or (match.group(1) if match else "")
    if not name:
        return "the log does not name the library"
    libraries = list(program.get("libraries", ()))
    return {"libraries": libraries if name in libraries else [*libraries, name]}


def _run_path(program: Mapping[str, Any], scene: Scene) -> Changes | str:
    match = _LOADED.search(scene.quote)
    library = (match.group(1) or match.group(2)) if match else ""
    if not library:
        return "the log does not name the library"
    folders = folders_of(scene.software, library, scene.modules)
    if len(folders) != 1:
        there = ", ".join(folders) or "none"
        return f"one folder of the build's modules has to hold {library}; such are: {there}"
    path = list(program.get("run_path", ()))
    return {"run_path": path if folders[0] in path else [*path, *folders]}


def _integers(program: Mapping[str, Any], value: str, scene: Scene) -> Changes | str:
    """The BLAS has to have the names that are called: many of 64-bit integers have a suffix."""
    if value != "ilp64":
        kept = program.get("integers", "none")
        return {"integers": value if kept == "none" else kept}
    match = _SUFFIX.search(scene.quote)
    suffix = match.group(1).lstrip("_") if match else ""
    fitting = {
        blas.path: blas
        for blas in scene.software.blas
        if blas.interface == "ilp64" and blas.symbol_suffix == suffix
    }
    shared = [path for path, blas in fitting.items() if blas.kind == "shared"] or list(fitting)
    if len(shared) != 1:
        there = ", ".join(shared) or "none"
        return f"it takes the one BLAS whose names end in {suffix or '_'}; such are: {there}"
    return {"integers": "ilp64", "blas": shared[0]}
