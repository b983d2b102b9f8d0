"""How a user's program is built: compilers and their words, MPI, BLAS, the run path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.probe.software import BlasFound, CompilerFound, LapackFound, MpiFound
from hpcagent.templates import render, share
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.flags import (
    microarchitecture_flags,
    module_folder_flags,
    openmp_flags,
    standard_flag,
)
from hpcagent.toolchain.linkline import (
    NOTHING,
    LinkLine,
    blas_line,
    lapack_line,
    parse_shown,
    wrapper_environment,
)
from hpcagent.toolchain.modulefile import program_modulefiles
from hpcagent.toolchain.parameters import Place
from hpcagent.toolchain.partners import check_partners, partner_notes
from hpcagent.toolchain.program import EXTRA_FLAGS, LINK_FLAGS, Check, Program, language_of
from hpcagent.toolchain.recipe import BUILD_S, CHECK_S, Recipe, Step, check_names

# What make, CMake, its generators and the shell all take; see apps/render.py for the reasons.
_REFUSED = re.compile(r"[^A-Za-z0-9_./+,=:@%-]")
# In C++ mpi.h brings along the bindings that MPI 3 removed, where they were built; the wrappers of
# other languages do not link their library.
_NO_BINDINGS = ("-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX")
# What the launchers of Open MPI 4, Open MPI 5 (PRRTE) and MPICH read: their manuals of mpirun.
_OVERSUBSCRIBED = (
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
)
_UNBOUND = (
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ("HYDRA_BINDING", "none"),
)
_CMAKE: Mapping[str, str] = MappingProxyType({"c": "C", "c++": "CXX", "fortran": "Fortran"})
UNSET = ("MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES", "CFLAGS", "CXXFLAGS", "FFLAGS", "FCFLAGS",
         "CPPFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH",
         "CMAKE_GENERATOR", "CMAKE_TOOLCHAIN_FILE", "CMAKE_BUILD_PARALLEL_LEVEL", "DESTDIR",
         "OMPI_CC", "OMPI_CXX", "OMPI_FC", "MPICH_CC", "MPICH_CXX", "MPICH_FC")  # fmt: skip


@dataclass(frozen=True)
class Toolchain:
    """With what a program is built.

    `compilers` maps a language to its compiler; `lapack` is a LAPACK beside a BLAS without one.
    """

    compilers: Mapping[str, CompilerFound]
    mpi: MpiFound | None = None
    blas: BlasFound | None = None
    lapack: LapackFound | None = None
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Parts:
    """The words of one program, before they are put into a template."""

    drivers: Mapping[str, str]  # language -> what is called: a compiler or MPI's wrapper
    options: Mapping[str, tuple[str, ...]]
    link_first: tuple[str, ...]
    link_last: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def program_recipe(
    program: Program, source: Source, tools: Toolchain, place: Place, purge: bool = False
) -> Recipe:
    """The recipe; UsageError, one line, where program and toolchain cannot fit together."""
    check_names(program.name, program.version)
    parts = _parts(program, tools, place)
    compilers = tuple(tools.compilers[language] for language in program.languages)
    return Recipe(
        name=program.name,
        version=program.version,
        source_path=source.path,
        source_sha256=source.sha256,
        source_name=PurePosixPath(source.path).name,
        parameters=_parameters(program, tools, place),
        compilers=compilers,
        modules=tools.modules,
        files=_files(program, parts),
        build=_steps(program, tools, parts),
        unset=UNSET,
        required=(f"bin/{program.name}",),
        texts=program_modulefiles(
            program.name, program.version, tools.modules, f"{program.name}, built by hpcagent"
        ),
        notes=parts.notes,
        purge=purge,
        lines=_lines(program, parts),
    )


def _lines(program: Program, parts: _Parts) -> tuple[tuple[str, str], ...]:
    """How each language is compiled, and how all is linked."""
    compiled = [
        (language, " ".join((parts.drivers[language], *parts.options[language])))
        for language in program.languages
    ]
    words = (parts.drivers[program.links_with], *parts.link_first, *parts.link_last)
    return (*compiled, ("link", " ".join(words)))


def _parts(program: Program, tools: Toolchain, place: Place) -> _Parts:
    _check_toolchain(program, tools)
    linker = tools.compilers[program.links_with]
    libraries = _named(program) + _runtimes(program, linker) + _blas(program, tools, linker)
    environment: tuple[tuple[str, str], ...] = ()
    drivers = {language: tools.compilers[language].path for language in program.languages}
    shown: dict[str, LinkLine] = {}
    if program.mpi == "wrapper" and tools.mpi is not None:
        environment = wrapper_environment(tools.mpi, _used(program, tools))
        drivers = {language: tools.mpi.wrappers[language] for language in program.languages}
    elif program.mpi == "explicit" and tools.mpi is not None:
        shown = {lang: parse_shown(tools.mpi.shows[lang]) for lang in program.languages}
        libraries = libraries + shown[program.links_with]
    notes = [*partner_notes(program, tools.compilers), *libraries.notes]
    options: dict[str, tuple[str, ...]] = {}
    for language in program.languages:
        words, note = _options(program, tools.compilers[language], place)
        extra = shown.get(language, NOTHING).compile + libraries.compile
        options[language] = tuple(map(_plain, (*words, *dict.fromkeys(extra))))
        notes += [note] if note else []
    needs_openmp = program.openmp == "on" or libraries.openmp
    link_first = (f"-{program.optimisation}", *(openmp_flags(linker) if needs_openmp else ()))
    link_first += ("-no-pie",) if program.pie == "off" else ()
    link_first += tuple(flag for flag in program.flags if flag in LINK_FLAGS)
    # DT_RPATH, not DT_RUNPATH: LD_LIBRARY_PATH must not put another library in front.
    run_path = ["-Wl,--disable-new-dtags"] if libraries.run_path else []
    run_path += [f"-Wl,-rpath,{_run_path(folder)}" for folder in libraries.run_path]
    link_last = tuple(map(_plain, (*libraries.words, *run_path)))
    drivers = {language: _plain(path) for language, path in drivers.items()}
    return _Parts(drivers, options, link_first, link_last, environment, tuple(notes))


def _check_toolchain(program: Program, tools: Toolchain) -> None:
    for language in program.languages:
        if language not in tools.compilers:
            raise UsageError(f"{program.name}: no {language} compiler was found for it")
    if program.mpi != "none":
        if tools.mpi is None:
            raise UsageError(f"{program.name}: it needs MPI, and none was found")
        wanted = tools.mpi.wrappers if program.mpi == "wrapper" else tools.mpi.shows
        for language in program.languages:
            if language not in wanted:
                raise UsageError(
                    f"{program.name}: {tools.mpi.family} {tools.mpi.version} has no wrapper for "
                    f"{language}"
                )
        wrapper_environment(tools.mpi, _used(program, tools))  # refuses foreign Fortran modules
    check_partners(program, _used(program, tools))


def _used(program: Program, tools: Toolchain) -> dict[str, CompilerFound]:
    return {language: tools.compilers[language] for language in program.languages}


def _options(program: Program, compiler: CompilerFound, place: Place) -> tuple[list[str], str]:
    """Compiler flags for one language, and what is to be said about them."""
    wanted = program.microarchitecture
    tuned = microarchitecture_flags(
        place.microarchitecture if wanted == "node" else wanted, compiler
    )
    words = [f"-{program.optimisation}", *tuned.flags]
    if compiler.language in program.standards:
        words += standard_flag(program.standards[compiler.language], compiler)
    if program.openmp == "on":
        words += openmp_flags(compiler)
    if compiler.language == "fortran" and program.build_system == "make":
        words += module_folder_flags(compiler, "objects")
    words += [flag for flag in program.flags if compiler.language in EXTRA_FLAGS[flag]]
    if compiler.language == "c++" and program.mpi != "none" and program.links_with != "c++":
        words += _NO_BINDINGS
    words += [f"-D{define}" for define in program.defines]
    if program.build_system == "make":
        words += [f"-Isource/{folder}" for folder in program.includes]
    return words, tuned.reason


def _named(program: Program) -> LinkLine:
    """The libraries that the description names: they may use everything that stands behind them."""
    words = tuple(f"-l{name}" for name in program.libraries)
    if words and program.link_group == "on":
        words = ("-Wl,--start-group", *words, "-Wl,--end-group")
    return LinkLine(words, tuple(program.run_path))


def _runtimes(program: Program, linker: CompilerFound) -> LinkLine:
    """The runtime libraries of languages other than the linking one (GCC's)."""
    words = []
    if "fortran" in program.languages and linker.language != "fortran":
        words += ["-lgfortran", "-lm"]
    if "c++" in program.languages and linker.language != "c++":
        words.append("-lstdc++")
    return LinkLine(tuple(words))


def _blas(program: Program, tools: Toolchain, linker: CompilerFound) -> LinkLine:
    if program.integers == "none":
        return LinkLine(("-lm",))
    if tools.blas is None:
        raise UsageError(f"{program.name}: it needs BLAS ({program.integers}), and none was found")
    openmp, lapack = program.openmp == "on", program.lapack == "yes"
    line = NOTHING
    if lapack and not tools.blas.has_lapack and tools.lapack is not None:
        line, lapack = lapack_line(tools.lapack, linker), False
    return (
        line + blas_line(tools.blas, linker, program.integers, openmp, lapack) + LinkLine(("-lm",))
    )


def _parameters(program: Program, tools: Toolchain, place: Place) -> tuple[tuple[str, str], ...]:
    found = {
        "build_system": program.build_system,
        "optimisation": program.optimisation,
        "microarchitecture": program.microarchitecture.replace("node", place.microarchitecture),
        "openmp": program.openmp,
        "mpi": program.mpi,
        "linker": program.links_with,
    }
    if tools.mpi is not None and program.mpi != "none":
        found["mpi_library"] = f"{tools.mpi.family} {tools.mpi.version}"
    if tools.blas is not None and program.integers != "none":
        found["blas"] = tools.blas.path
    return tuple(found.items())


def _files(program: Program, parts: _Parts) -> tuple[tuple[str, str], ...]:
    units = []
    fortran: list[str] = []
    for index, source in enumerate(program.sources):
        language = language_of(source)
        name = f"objects/{index:04d}-{PurePosixPath(source).name}.o"
        options = parts.options[language]
        units.append({
            "source": source,
            "object": name,
            "language": _CMAKE[language],
            "after": fortran[-1:] if language == "fortran" else [],
            "driver": parts.drivers[language],
            "options": options,
        })  # fmt: skip
        fortran += [name] if language == "fortran" else []
    values = {
        "program": program.name,
        "units": units,
        "linker": parts.drivers[program.links_with],
        "linker_language": _CMAKE[program.links_with],
        "compilers": [(_CMAKE[lang], parts.drivers[lang]) for lang in program.languages],
        "includes": program.includes,
        "link_first": parts.link_first,
        "link_last": parts.link_last,
    }
    name = "Makefile" if program.build_system == "make" else "CMakeLists.txt"
    template = share("buildtemplates") / "user" / program.build_system / f"{name}.j2"
    return ((name, render(template, values)),)


def _steps(program: Program, tools: Toolchain, parts: _Parts) -> tuple[Step, ...]:
    environment = parts.environment
    if program.build_system == "make":
        make = ("make", "-f", "Makefile")
        found = [
            Step("build", (*make, "-j{jobs}", program.name), ("unpack",), BUILD_S,
                 (program.name,), environment, True),
            Step("install", (*make, "PREFIX={prefix}", "install"), ("build",), CHECK_S),
        ]  # fmt: skip
    else:
        configure = ("cmake", "-G", "Unix Makefiles", "-DCMAKE_INSTALL_PREFIX={staged}",
                     "-DCMAKE_BUILD_TYPE=", "-S", ".", "-B", "build")  # fmt: skip
        build = ("cmake", "--build", "build")
        found = [
            Step("configure", configure, ("unpack",), CHECK_S, ("build/Makefile",), environment),
            Step("build", (*build, "--", "-j{jobs}"), ("configure",), BUILD_S,
                 (f"build/{program.name}",), environment, True),
            Step("install", (*build, "--target", "install"), ("build",), CHECK_S),
        ]  # fmt: skip
    if program.check is not None:
        found.append(_check_step(program, program.check, tools))
    return tuple(found)


def _check_step(program: Program, check: Check, tools: Toolchain) -> Step:
    run = (f"./{{staged}}/bin/{program.name}", *check.arguments)
    environment: list[tuple[str, str]] = []
    if tools.mpi is not None and program.mpi != "none":
        run = (tools.mpi.launcher, "-n", str(check.ranks), *run)
        environment += _OVERSUBSCRIBED if check.oversubscribe == "yes" else ()
        environment += _UNBOUND if check.bind == "none" else ()
    limits = ["ulimit -S -s unlimited"] if check.stack == "unlimited" else []
    limits += ["ulimit -S -n hard"] if check.open_files == "maximum" else []
    if limits:
        run = ("bash", "-c", " && ".join([*limits, 'exec "$@"']), "check", *run)
    return Step("check", run, ("install",), check.timeout_s, (), tuple(environment), True)


def _run_path(folder: str) -> str:
    """',' parts the words of -Wl, ':' the folders of a run path."""
    if re.search("[,:]", folder):
        raise UsageError(f"no folder with ',' or ':' in its name can be in a run path: {folder!r}")
    return folder


def _plain(word: str) -> str:
    bad = _REFUSED.search(word)
    if bad:
        raise UsageError(
            f"make, CMake and the linker cannot all take the character {bad.group()!r}: {word!r}; "
            "use another name, for a path a symbolic link"
        )
    return word
