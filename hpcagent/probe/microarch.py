"""The one door to archspec: a microarchitecture's name from what was collected on the node.

The agent may run on another machine than the measurements, so nothing here looks at this host's
CPU: only archspec's database is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processor:
    """What identifies a CPU, as the kernel spells it.

    `vendor` is vendor_id on x86, the hexadecimal implementer on AArch64, the name of the core on
    RISC-V; `parts` the distinct
    AArch64 part numbers (several on big.LITTLE); `generation` the number in POWER9.
    """

    architecture: str
    vendor: str
    features: frozenset[str]
    parts: tuple[str, ...] = ()
    generation: int = 0


@dataclass(frozen=True)
class Identified:
    """The best name in the database; `reason` says why it is only a generic or a related one."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class NotIt:
    """A microarchitecture that the processor is not, and the features it lacks for it."""

    name: str
    lacks: tuple[str, ...]
    other: str = ""  # a reason that is no feature: another vendor's part number, a generation


def identify(processor: Processor) -> Identified:
    """The most specific microarchitecture whose features this processor has.

    As archspec itself does: among the compatible ones the deepest in the family tree, but never a
    vendor's that is below the best generic level (a feature that the firmware or a hypervisor
    masks must not turn a new processor into a very old one).
    """
    from archspec.cpu import TARGETS

    family = TARGETS.get(processor.architecture)
    if family is None:
        reason = f"archspec does not know the architecture {processor.architecture!r}"
        return Identified(processor.architecture or "unknown", reason)
    vendor = _vendor_name(processor)
    fitting = [t for t in TARGETS.values() if _in_family(t, family) and _fits(t, processor, vendor)]
    level = max((t for t in fitting if t.vendor == "generic"), key=_depth, default=family)
    specific = [t for t in fitting if t > level]
    if len(processor.parts) == 1:
        same_part = [t for t in specific if t.cpu_part == processor.parts[0]]
        specific = same_part or specific
    if specific:
        nearest = max(specific, key=_depth)
        return Identified(str(nearest.name), _why_nearest(nearest, processor))
    return Identified(str(level.name), _why_generic(processor, vendor))


def known(name: str) -> bool:
    """Whether the database has a microarchitecture of this name."""
    from archspec.cpu import TARGETS

    return name in TARGETS


def lineage(name: str) -> tuple[str, ...]:
    """A microarchitecture and its ancestors, the nearest first; itself alone where not known."""
    from archspec.cpu import TARGETS

    target = TARGETS.get(name)
    if target is None:
        return (name,)
    nearest = sorted(target.ancestors, key=lambda t: (-_depth(t)[0], -_depth(t)[1], str(t.name)))
    return (name, *(str(ancestor.name) for ancestor in nearest))


@dataclass(frozen=True)
class Optimised:
    """Flags that make code for `name`; `reason` says why that is not the one asked for."""

    flags: tuple[str, ...]
    name: str
    reason: str = ""


def optimisation_flags(name: str, compiler: str, version: str) -> Optimised:
    """Flags for a microarchitecture or, where the compiler is too old, its nearest ancestor.

    `compiler` is archspec's word (gcc, clang, oneapi, nvhpc ...), `version` dotted digits. There
    are no flags where the database knows nothing of the compiler.
    """
    from archspec.cpu import TARGETS
    from archspec.cpu.microarchitecture import UnsupportedMicroarchitecture

    reason = ""
    for candidate in lineage(name) if name in TARGETS else ():
        try:
            text = TARGETS[candidate].optimization_flags(compiler, version)
        except UnsupportedMicroarchitecture:
            reason = reason or f"{compiler} {version} has no flags for {name}"
            continue
        if text:
            used = f"{reason}; those of {candidate} are used" if reason else ""
            return Optimised(tuple(text.split()), candidate, used)
        return Optimised((), "", f"nothing is known of the flags of {compiler} for {candidate}")
    return Optimised((), "", reason or f"archspec knows no microarchitecture {name!r}")


def why_not(processor: Processor, name: str) -> tuple[NotIt, ...]:
    """Why the next more specific microarchitectures are not it, nearest first.

    Those of the same vendor whose parent in the family tree is `name` (what identify said); for a
    generic level also the next level. Empty where the database has nothing more specific.
    """
    from archspec.cpu import TARGETS

    found = TARGETS.get(name)
    if found is None:
        return ()
    vendors = (_vendor_name(processor), "generic")
    power = processor.architecture.startswith("ppc")  # where the kernel names no vendor
    above = [target for target in TARGETS.values() if found in target.parents]
    next_ones = [target for target in above if power or target.vendor in vendors]
    reasons = [_lacking(target, processor) for target in next_ones]
    return tuple(sorted(reasons, key=lambda item: (len(item.lacks), item.name)))


def power_generation(cpu: str) -> int:
    """9 for "POWER9, altivec supported"; 0 where there is none (an emulator says otherwise).

    The kernel spells the eleventh "Power11".
    """
    found = re.search(r"\bPOWER([0-9]{1,3})", cpu, re.IGNORECASE)
    return int(found.group(1)) if found else 0


def _vendor_name(processor: Processor) -> str:
    from archspec.cpu.schema import TARGETS_JSON

    if processor.architecture != "aarch64":
        return processor.vendor
    return str(TARGETS_JSON["conversions"]["arm_vendors"].get(processor.vendor, processor.vendor))


def _in_family(target: Any, family: Any) -> bool:
    return bool(target == family or family in target.ancestors)


def _fits(target: Any, processor: Processor, vendor: str) -> bool:
    if processor.architecture.startswith("ppc"):
        return bool(target.generation <= processor.generation)
    if processor.architecture == "aarch64" and target.vendor == "generic" and target.ancestors:
        return False  # the features do not tell the version of the architecture
    if processor.architecture == "riscv64":
        return target.name in ("riscv64", vendor)
    return target.vendor in (vendor, "generic") and _has(processor.features, target.features)


def _has(available: Collection[str], needed: Collection[str]) -> bool:
    """Linux does not list sse3 (its name there is pni); ssse3 implies it."""
    implied = {"sse3"} if "ssse3" in available else set()
    return set(needed) <= set(available) | implied


def _lacking(target: Any, processor: Processor) -> NotIt:
    if processor.architecture.startswith("ppc"):
        return NotIt(target.name, (), f"it is of generation {processor.generation}")
    lacks = tuple(sorted(x for x in target.features if not _has(processor.features, (x,))))
    if lacks:
        return NotIt(target.name, lacks)
    part = getattr(target, "cpu_part", "")
    if part and len(processor.parts) == 1 and part != processor.parts[0]:
        return NotIt(target.name, (), f"its part number is {part}, not {processor.parts[0]}")
    if processor.architecture == "aarch64" and target.vendor == "generic":
        return NotIt(target.name, (), "features do not tell the version of the architecture")
    return NotIt(target.name, (), "another one that fits as well is nearer")


def _depth(target: Any) -> tuple[int, int]:
    return len(target.ancestors), len(target.features)


def _why_nearest(target: Any, processor: Processor) -> str:
    """Empty where the part number is the target's; a newer Arm core has its features as well."""
    part = getattr(target, "cpu_part", "")
    if not part.startswith("0x") or not processor.parts or part in processor.parts:
        return ""
    parts = ", ".join(processor.parts)
    return f"archspec knows no part {parts}; it has all the features of {target.name}"


def _why_generic(processor: Processor, vendor: str) -> str:
    if processor.architecture.startswith("ppc"):
        return "the processor's name has no POWER generation that archspec knows"
    if not processor.features:
        return "the processor's features are not known"
    parts = f", part {', '.join(processor.parts)}" if processor.parts else ""
    return f"archspec knows no processor of {vendor or 'unknown vendor'}{parts} with these features"
