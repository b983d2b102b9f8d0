"""Which declared repairs a build can make by itself, and what it is afterwards. Pure.

Only declared parameters change, within their values; what a person has to decide (a module to load,
a library to find) is left to a person, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from hpcagent.toolchain.program import EXTRA_FLAGS
from hpcagent.toolchain.repairs import Repair

_LEVELS = ("O3", "O2", "O1", "O0")
_LEAST_OF_LIBRARY = "O1"
# What a program needs, by the library whose symbols were not found.
_LIBRARIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"blas": {"integers": "lp64"}, "lapack": {"integers": "lp64", "lapack": "yes"}}
)


@dataclass(frozen=True)
class Setting:
    """What can be changed: `values` are a library's parameters, `program` a user's description
    (empty for a library). `memory_bytes` None: the job asks for no memory of its own."""

    values: Mapping[str, str]
    program: Mapping[str, Any]
    walltime_s: int
    memory_bytes: int | None


def mended(setting: Setting, repair: Repair) -> Setting | str:
    """The setting after a repair, or why it cannot be made here."""
    if repair.change == "resource":
        return _resource(setting, repair)
    if repair.change != "parameter":
        return "which module to load is for a person to say: --module"
    if repair.name == "optimisation" and repair.action == "next":
        return _less_optimised(setting)
    if not setting.program:
        return "no declared parameter of the library does that"
    return _of_program(setting, repair)


def _resource(setting: Setting, repair: Repair) -> Setting | str:
    factor = int(repair.value) if repair.value.isdigit() else 0
    if repair.action != "multiply" or factor < 2:
        return f"a build's job has no {repair.name} to {repair.action}"
    if repair.name == "walltime":
        return replace(setting, walltime_s=setting.walltime_s * factor)
    if repair.name != "memory":
        return f"a build's job has no {repair.name}"
    if setting.memory_bytes is None:
        return "the job asks for no memory of its own: say how much with --mem"
    return replace(setting, memory_bytes=setting.memory_bytes * factor)


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


def _of_program(setting: Setting, repair: Repair) -> Setting | str:
    program, name, value = setting.program, repair.name, repair.value
    changes: dict[str, Any] | str = f"the description has nothing for it ({repair.words()})"
    if name == "flags" and repair.action == "add" and value in EXTRA_FLAGS:
        changes = {"flags": [*program.get("flags", ()), value]}
    elif name == "flags" and value.startswith("-std=c++"):
        changes = {
            "standards": {**program.get("standards", {}), "c++": value.removeprefix("-std=")}
        }
    elif name == "march":
        wanted = "node" if repair.action == "set" else "portable"
        changes = {"microarchitecture": wanted}
    elif name == "libraries" and value in _LIBRARIES:
        needed = _LIBRARIES[value]
        kept = program.get("integers", "none")
        changes = {**needed, "integers": needed["integers"] if kept == "none" else kept}
    elif name == "link_flags" and value == "openmp":
        changes = {"openmp": "on"}
    elif name == "mpi_wrapper":
        changes = {"mpi": "wrapper"}
    elif name == "interface64":
        changes = {"integers": "ilp64"}
    if isinstance(changes, str):
        return changes
    if all(program.get(key) == new for key, new in changes.items()):
        return f"it is so already ({repair.words()})"
    return replace(setting, program={**program, **changes})
