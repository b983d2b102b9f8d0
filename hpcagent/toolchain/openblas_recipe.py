"""How OpenBLAS is built from its source, with its own makefiles or with its CMake files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from hpcagent.errors import UsageError
from hpcagent.probe.software import CompilerFound
from hpcagent.templates import render, share
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.flags import openmp_flags
from hpcagent.toolchain.modulefile import library_modulefiles
from hpcagent.toolchain.parameters import Parameters, Place, rendered, resolve, unset_names
from hpcagent.toolchain.recipe import BUILD_S, CHECK_S, Recipe, Step, check_names, check_path

# What is looked for in the source: its version, the targets it knows, whether LAPACK is in it.
LOOKED_FOR = frozenset({"Makefile.rule", "TargetList.txt", "lapack-netlib/SRC/dgetrf.f",
                        "lapack-netlib/SRC/dgetrf.c"})  # fmt: skip


@dataclass(frozen=True)
class OpenblasSource:
    """What the recipe needs to know of a source; `lapack` are the languages that it has LAPACK in.

    No `targets`: the source does not list them.
    """

    path: str
    sha256: str
    version: str
    targets: tuple[str, ...]
    lapack: tuple[str, ...]


@dataclass(frozen=True)
class BuildRequest:
    """A library's build: everything that decides what comes out.

    `compilers` has one for C, and one for Fortran where LAPACK is compiled from it.
    """

    source: OpenblasSource
    values: tuple[tuple[str, str], ...]
    compilers: tuple[CompilerFound, ...]
    modules: tuple[str, ...]
    place: Place


def openblas_recipe(request: BuildRequest, parameters: Parameters) -> Recipe:
    """The recipe; UsageError, one line, where the request cannot be built from this source."""
    values = resolve(parameters, dict(request.values), request.place)
    version = request.source.version
    check_names(parameters.name, version)
    check_source(request.source, values)
    compiler = _compiler(request, "c")
    fortran = _compiler(request, "fortran") if values["lapack"] == "fortran" else None
    context = _context(parameters, values, compiler, fortran)
    used = (compiler,) if fortran is None else (compiler, fortran)
    headers = "include"
    if values["build_system"] == "cmake":
        headers += "/openblas64" if values["interface"] == "ilp64" else "/openblas"
    library = str(context["library"])
    return Recipe(
        name=parameters.name,
        version=version,
        source_path=request.source.path,
        source_sha256=request.source.sha256,
        source_name=PurePosixPath(request.source.path).name,
        parameters=tuple(values.items()),
        compilers=used,
        modules=request.modules,
        files=_files(values["build_system"], context),
        build=_steps(values["build_system"]),
        unset=unset_names(parameters),
        required=(f"lib/{library}", f"{headers}/cblas.h"),
        texts=library_modulefiles(
            parameters.name, version, "OPENBLAS", "lib", headers, request.modules,
            f"OpenBLAS {version} built by hpcagent: " + " ".join(values.values()),
        ),
    )  # fmt: skip


def describe(source: Source) -> OpenblasSource:
    """What a verified source (inspected for LOOKED_FOR) is; UsageError where it is no OpenBLAS."""
    found = re.search(r"(?m)^VERSION *= *(\S+)", source.texts.get("Makefile.rule", ""))
    if found is None:
        raise UsageError(f"--source {source.path}: no OpenBLAS (no VERSION in Makefile.rule)")
    listed = re.findall(r"(?m)^([A-Z][A-Z0-9_]+)\s*$", source.texts.get("TargetList.txt", ""))
    lapack = {"fortran": "lapack-netlib/SRC/dgetrf.f", "c": "lapack-netlib/SRC/dgetrf.c"}
    has = tuple(language for language, name in lapack.items() if name in source.texts)
    return OpenblasSource(source.path, source.sha256, found.group(1), tuple(listed), has)


def check_source(source: OpenblasSource, values: Mapping[str, str]) -> None:
    """UsageError where the source cannot give these values; a target may be left open."""
    wanted, target = values["lapack"], values.get("target", "GENERIC")
    if wanted not in ("none", *source.lapack):
        other = "".join(f"; lapack={language} is possible" for language in source.lapack)
        raise UsageError(
            f"--source {source.path} has no LAPACK for lapack={wanted} (Debian's +ds archives "
            f"leave it out): build with lapack=none{other}"
        )
    if source.targets and not target.endswith("GENERIC") and target not in source.targets:
        raise UsageError(f"--source {source.path} does not know target={target}; name an older one")


def _compiler(request: BuildRequest, language: str) -> CompilerFound:
    for compiler in request.compilers:
        if compiler.language == language:
            check_path(compiler.path, f"{language} compiler")
            return compiler
    cure = "; name one, or build with lapack=none or lapack=c" if language == "fortran" else ""
    raise UsageError(f"no {language} compiler for this build{cure}")


def _context(
    parameters: Parameters, values: Mapping[str, str], compiler: CompilerFound,
    fortran: CompilerFound | None,
) -> dict[str, object]:  # fmt: skip
    suffix = "" if values["symbol_suffix"] == "none" else values["symbol_suffix"]
    shared = values["libraries"] != "static"
    stem = "openblas" + suffix
    if values["build_system"] == "cmake":
        stem = "openblas_64" if values["interface"] == "ilp64" else "openblas"
    behind = ["-lpthread", "-lm"]
    if fortran is not None and not shared:
        behind.insert(0, "-lgfortran")
    flags = ["-O2", "-std=gnu11"]
    if values["threading"] == "openmp":
        flags += openmp_flags(compiler)
    return {
        "compiler": compiler.path,
        "fortran": fortran.path if fortran else "",
        "options": rendered(parameters, values, values["build_system"]),
        "lapack": values["lapack"] != "none",
        "shared": shared,
        "library": f"lib{stem}.so" if shared else f"lib{stem}.a",
        "flags": flags,
        "behind": behind,
        "interface": values["interface"],
        "suffix": suffix,
    }


def _files(system: str, context: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    folder = share("buildtemplates") / "openblas-source"
    files = {
        "Makefile": render(folder / system / "Makefile.j2", context),
        "check.c": render(folder / "check.c.j2", context),
    }
    if system == "cmake":
        files["options.cmake"] = render(folder / "cmake" / "options.cmake.j2", context)
    return tuple(sorted(files.items()))


def _steps(system: str) -> tuple[Step, ...]:
    make = ("make", "-f", "Makefile")
    put = (*make, "PREFIX={prefix}", "install")
    end = (
        Step("install", put, ("build",), CHECK_S),
        Step("check", (*make, "PREFIX={prefix}", "check"), ("install",), CHECK_S, ("check",)),
    )
    if system == "make":
        build = (*make, "-j{jobs}", "library")
        return (Step("build", build, ("unpack",), BUILD_S, takes_node=True), *end)
    first = ("cmake", "-G", "Unix Makefiles", "-C", "options.cmake")
    where = ("-DCMAKE_INSTALL_PREFIX={prefix}", "-S", "source", "-B", "build")
    build = ("cmake", "--build", "build", "--", "-j{jobs}")
    return (
        Step("configure", (*first, *where), ("unpack",), CHECK_S, ("build/Makefile",)),
        Step("build", build, ("configure",), BUILD_S, takes_node=True),
        *end,
    )
