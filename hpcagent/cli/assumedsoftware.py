"""What a dry run takes for granted where it matters for builds: this machine's processor, and the
software that PATH has here, by the names that it usually has."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from hpcagent.probe import procfs
from hpcagent.probe.microarch import Processor, identify, power_generation
from hpcagent.probe.software import CompilerFound, ModuleSystem, MpiFound, Software
from hpcagent.records import Machine

_COMMANDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "gcc": {"c": "gcc", "c++": "g++", "fortran": "gfortran"},
        "clang": {"c": "clang", "c++": "clang++", "fortran": "flang"},
        "intel": {"c": "icx", "c++": "icpx", "fortran": "ifx"},
        "nvhpc": {"c": "nvc", "c++": "nvc++", "fortran": "nvfortran"},
    }
)
FAMILIES = tuple(_COMMANDS)
_WRAPPERS: Mapping[str, str] = MappingProxyType(
    {"c": "mpicc", "c++": "mpicxx", "fortran": "mpifort"}
)


def on_path(families: Iterable[str], mpis: Iterable[str] = ()) -> Software:
    """Compilers of these families; the wrappers that are there, as if each of these MPIs had
    them."""
    found = []
    for family in dict.fromkeys(families):
        for language, command in _COMMANDS.get(family, {"c": family}).items():
            path = shutil.which(command)
            if path is not None:
                found.append(CompilerFound(family, language, command, path, "assumed"))
    wrappers = {language: path for language, name in _WRAPPERS.items() if (path := _which(name))}
    launcher = _which("mpirun")
    rows = [MpiFound(name, "assumed", "unknown", wrappers, {}, launcher) for name in mpis]
    nothing = ModuleSystem("none", why_not="not looked for")
    return Software(nothing, (), tuple(found), tuple(rows), (), (), {})


def of_this_processor(machine: Machine) -> Machine:
    """The machine with this one's processor."""
    processor = _processor()
    return replace(
        machine,
        microarchitecture=identify(processor).name,
        features=tuple(sorted(processor.features)),
    )


def _processor() -> Processor:
    blocks = procfs.parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    block = blocks[0] if blocks else {}
    vendor = block.get("vendor_id") or block.get("CPU implementer") or ""
    features = frozenset((block.get("flags") or block.get("Features") or "").split())
    parts = (block["CPU part"],) if "CPU part" in block else ()
    generation = power_generation(block.get("cpu", ""))
    return Processor(platform.machine(), vendor, features, parts, generation)


def _which(name: str) -> str:
    """Its path; empty where PATH has none."""
    return shutil.which(name) or ""
