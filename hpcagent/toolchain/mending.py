"""Which declared repairs a build can make by itself, and what it is afterwards. Pure.

Only declared parameters change, within their values, and only modules are loaded that are the one
way to what is missing; what a person has to decide is left to a person, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from hpcagent.toolchain.mending_modules import mended_modules, missing_word
from hpcagent.toolchain.mending_program import changes_of
from hpcagent.toolchain.mending_scene import Scene
from hpcagent.toolchain.repairs import Repair

_LEVELS = ("O3", "O2", "O1", "O0")
_LEAST_OF_LIBRARY = "O1"
_HEADERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"mpi": ("mpi", "wrapper"), "mpif": ("mpi", "wrapper"), "cblas": ("integers", "lp64")}
)


@dataclass(frozen=True)
class Setting:
    """What can be changed: `values` are a library's parameters, `program` a user's description
    (empty for a library), `modules` those that are named, `purge` unloads the job's own first.
    `memory_bytes` None: the job asks for no memory of its own; `had_bytes` is what it was given."""

    values: Mapping[str, str]
    program: Mapping[str, Any]
    memory_bytes: int | None
    compiler: str = ""
    modules: tuple[str, ...] = ()
    purge: bool = False
    blas: str = ""
    had_bytes: int | None = None


def mended(setting: Setting, repair: Repair, scene: Scene) -> Setting | str:
    """The setting after a repair, or why it cannot be made here."""
    if repair.change == "resource":
        return _resource(setting, repair)
    if repair.change == "module":
        known = _own_header(setting, repair, scene)
        return known or _modules(setting, repair, scene)
    if repair.name == "optimisation" and repair.action == "next":
        return _less_optimised(setting)
    if not setting.program:
        return "no declared parameter of the library does that"
    changes = changes_of(setting.program, repair, scene)
    if isinstance(changes, str):
        return changes
    blas = str(changes.get("blas", setting.blas))
    own = {name: value for name, value in changes.items() if name != "blas"}
    if blas == setting.blas and all(setting.program.get(k) == new for k, new in own.items()):
        return f"it is so already ({repair.words()})"
    return replace(setting, program={**setting.program, **own}, blas=blas)


def what_changed(before: Setting, after: Setting) -> str:
    """In words, for the journal: `libraries: [fftw3]`, `module fftw/3.3`."""
    words = []
    gained = [name for name in after.modules if name not in before.modules]
    lost = [name for name in before.modules if name not in after.modules]
    words += [f"module {' '.join(gained)} is loaded"] if gained else []
    words += [f"module {' '.join(lost)} is not named any more"] if lost else []
    words += ["the job's own modules are unloaded first"] if after.purge > before.purge else []
    pairs = {"compiler": after.compiler, "BLAS": after.blas, "memory": after.memory_bytes}
    had = {"compiler": before.compiler, "BLAS": before.blas, "memory": before.memory_bytes}
    words += [f"{name} is {value}" for name, value in pairs.items() if value != had[name]]
    for old, new in ((before.values, after.values), (before.program, after.program)):
        words += [f"{k} is {_shown(v, old.get(k))}" for k, v in new.items() if old.get(k) != v]
    return ", ".join(words)


def _shown(value: Any, old: Any) -> str:
    """Of a mapping only what is new in it."""
    if isinstance(value, Mapping):
        before = old if isinstance(old, Mapping) else {}
        return " ".join(f"{k}={v}" for k, v in value.items() if before.get(k) != v)
    return " ".join(map(str, value)) or "empty" if isinstance(value, list) else str(value)


def _resource(setting: Setting, repair: Repair) -> Setting | str:
    factor = int(repair.value) if repair.value.isdigit() else 0
    if repair.action != "multiply" or factor < 2 or repair.name != "memory":
        return f"a build's job has no {repair.name} to {repair.action}"
    had = setting.memory_bytes or setting.had_bytes
    if had is None:
        return "the job asks for no memory of its own: say how much with --mem"
    return replace(setting, memory_bytes=had * factor)


def _own_header(setting: Setting, repair: Repair, scene: Scene) -> Setting | None:
    """A header of MPI or BLAS comes with what the description says of these."""
    header = missing_word("header", scene.quote) if repair.name == "header" else ""
    field, value = _HEADERS.get(header.removesuffix(".h"), ("", ""))
    if not field or setting.program.get(field) != "none":
        return None
    return replace(setting, program={**setting.program, field: value})


def _modules(setting: Setting, repair: Repair, scene: Scene) -> Setting | str:
    if repair.action == "purge":
        return "it is so already" if setting.purge else replace(setting, purge=True)
    found = mended_modules(setting.modules, repair, scene)
    if isinstance(found, str):
        return found
    return replace(setting, modules=found.modules, compiler=found.compiler or setting.compiler)


def _less_optimised(setting: Setting) -> Setting | str:
    """One level down; the makefiles of OpenBLAS have no O0."""
    own = setting.program or setting.values
    level = str(own.get("optimisation", "O2"))
    lower = _LEVELS[_LEVELS.index(level) + 1 :] if level in _LEVELS else ()
    if not lower or (not setting.program and level == _LEAST_OF_LIBRARY):
        return f"there is no level below {level}"
    changed = {**own, "optimisation": lower[0]}
    if setting.program:
        return replace(setting, program=changed)
    return replace(setting, values={name: str(value) for name, value in changed.items()})
