"""Which modules of a site provide a command, a library, a header or a compiler. Pure.

What a module provides is what the probe saw: it loaded the module in a process of its own and noted
the folders that this added, and the files in them. Where several modules would do, nobody guesses:
the answer is a sentence that names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hpcagent.probe.modules import package_of
from hpcagent.probe.software import CompilerFound, ModuleEffect, Software
from hpcagent.toolchain.candidates import compiler_modules

# Where each sort of file is found: by the shell, the linker, the loader, the compiler.
_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "command": ("PATH",),
        "library": ("LIBRARY_PATH", "LD_LIBRARY_PATH"),
        "runtime": ("LD_LIBRARY_PATH",),
        "header": ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"),
    }
)
_SHOWN = 6


@dataclass(frozen=True)
class Load:
    """Modules to load, in their order."""

    modules: tuple[str, ...]


def provider(
    software: Software, sort: str, names: Sequence[str], in_use: Sequence[str]
) -> Load | str:
    """The one way to modules that provide a file of this sort under any of these names.

    `in_use` are the modules that the build loads already. A string says why there is none, or why
    a person has to choose.
    """
    effects = [e for e in software.effects if not e.problem and _held(e, sort, names)]
    told = f"the {'library' if sort == 'runtime' else sort} {names[0]}"
    return _only(software, [e.modules for e in effects], told, in_use)


def other_compiler(
    software: Software, current: Sequence[CompilerFound], in_use: Sequence[str]
) -> tuple[CompilerFound, Load] | str:
    """The same compilers in the one module that has all of them, and what to load for it."""
    used = {compiler.module for compiler in current}
    family = current[0].family
    found: dict[str, dict[str, CompilerFound]] = {}
    for compiler in software.compilers:
        if compiler.family == family and compiler.module and compiler.module not in used:
            found.setdefault(compiler.module, {}).setdefault(compiler.language, compiler)
    needed = {compiler.language for compiler in current}
    ways = [tuple(m.split()) for m, languages in found.items() if needed <= set(languages)]
    told = f"another complete {family} ({', '.join(sorted(needed))})"
    answer = _only(software, ways, told, in_use)
    if isinstance(answer, str):
        return answer
    languages = found[" ".join(answer.modules)]
    return languages[current[0].language], answer


def way_to(software: Software, name: str) -> Load | str:
    """How a module can be loaded that is not known as it is named: behind the one way to it, or by
    the one version that its name is the beginning of."""
    system = software.modules
    known = {*system.available, *system.ways}
    if name not in known:
        longer = sorted(x for x in known if x.startswith((f"{name}/", f"{name}.")))
        if len(longer) != 1:
            there = sorted(x for x in known if package_of(x) == package_of(name))
            return _several(f"module {name}", longer or there) if there else (
                f"there is no module {name} here, nor another version of it"
            )  # fmt: skip
        name = longer[0]
    ways = [] if name in system.available else list(system.ways.get(name, ()))
    if len(ways) > 1:
        shown = [" ".join(way) for way in ways]
        return _several(f"module {name} can be reached in several ways", shown)
    return Load((*(ways[0] if ways else ()), name))


def folders_of(software: Software, library: str, in_use: Iterable[str]) -> list[str]:
    """Where a library lies that the modules in use brought, or that a compiler or BLAS is in."""
    loaded = set(in_use)
    found = [
        folder
        for effect in software.effects
        if not effect.problem and set(effect.modules) <= loaded
        for folder, files in effect.holds.items()
        if library in files
    ]
    return list(dict.fromkeys(found))


def _held(effect: ModuleEffect, sort: str, names: Sequence[str]) -> bool:
    folders = [x for variable in _VARIABLES[sort] for x in effect.added.get(variable, ())]
    return any(name in effect.holds.get(folder, ()) for folder in folders for name in names)


def _only(
    software: Software, ways: Sequence[tuple[str, ...]], told: str, in_use: Sequence[str]
) -> Load | str:
    """One of these ways, where there is no choice."""
    first = _minimal([way for way in ways if not set(way) <= set(in_use)])
    if not first:
        unseen = len(software.not_looked_at)
        more = f" ({unseen} modules were not looked at)" if unseen else ""
        return f"no module is known that provides {told}{more}"
    fitting = [way for way in first if _fits(software, way, in_use)]
    if not fitting:
        return (
            f"{_names(first)} would bring another compiler than the build has: a person has to "
            "choose (--compiler, --module)"
        )
    reachable = [way for way in fitting if set(way[:-1]) <= set(in_use)]
    narrowed = _by_default(software, reachable or fitting)
    if len(narrowed) > 1:
        return _several(told, [" ".join(way) for way in narrowed])
    return Load(narrowed[0])


def _minimal(ways: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without those that only pass through another one of them."""
    distinct = sorted(set(ways), key=lambda way: (len(way), way))

    def passes(way: tuple[str, ...]) -> bool:
        return any(other != way and set(other) <= set(way) for other in distinct)

    return [way for way in distinct if not passes(way)]


def _fits(software: Software, way: tuple[str, ...], in_use: Sequence[str]) -> bool:
    """Whether a way brings no other compiler than the one that the modules in use bring."""
    compilers = compiler_modules(software)
    mine = {name for name in in_use if name in compilers}
    return not mine or {name for name in way[:-1] if name in compilers} <= mine


def _by_default(software: Software, ways: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Of the versions of one package the one that the site marks: `module load` takes it, too."""
    marked = [way for way in ways if way[-1] in software.modules.defaults]
    packages = {(way[:-1], package_of(way[-1])) for way in ways}
    return marked if len(packages) == 1 and len(marked) == 1 else ways


def _several(told: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{told}: several would do ({shown}); which one is for a person to say: --module"


def _names(ways: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(" ".join(way) for way in ways[:_SHOWN])
