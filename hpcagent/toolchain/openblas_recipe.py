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
class BuildRequest:
    """A library's build: everything that decides what comes out.

    `compilers` maps a language to the compiler; Fortran is needed where LAPACK is compiled from it.
    """

    source: Source
    values: tuple[tuple[str, str], ...]
    compilers: tuple[CompilerFound, ...]
    modules: tuple[str, ...]
    place: Place


def openblas_recipe(request: BuildRequest, parameters: Parameters) -> Recipe:
    """The recipe; UsageError, one line, where the request cannot be built from this source."""
    values = resolve(parameters, dict(request.values), request.place)
    version = source_version(request.source)
    check_names(parameters.name, version)
    _check_source(request.source, values)
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


def source_version(source: Source) -> str:
    """The version that the source's Makefile.rule states."""
    found = re.search(r"(?m)^VERSION *= *(\S+)", source.texts.get("Makefile.rule", ""))
    if found is None:
        raise UsageError(f"--source {source.path}: no OpenBLAS (no VERSION in Makefile.rule)")
    return found.group(1)


def _check_source(source: Source, values: Mapping[str, str]) -> None:
    has_fortran, has_c = (f"lapack-netlib/SRC/dgetrf.{e}" in source.texts for e in ("f", "c"))
    if values["lapack"] != "none" and not (has_fortran if values["lapack"] == "fortran" else has_c):
        other = "; lapack=c is possible" if has_c else "; lapack=fortran is" if has_fortran else ""
        raise UsageError(
            f"--source {source.path} has no LAPACK for lapack={values['lapack']} (Debian's +ds "
            f"archives leave it out): build with lapack=none{other}"
        )
    targets = source.texts.get("TargetList.txt", "")
    target = values["target"]
    generic = target in ("GENERIC", "ZARCH_GENERIC", "RISCV64_GENERIC")
    if targets and not generic and not re.search(rf"(?m)^{re.escape(target)}\s*$", targets):
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
    check = Step("check", (*make, "STAGED={staged}", "check"), ("install",), CHECK_S, ("check",))
    if system == "cmake":
        return (*_cmake_steps(), check)
    to = ("PREFIX={prefix}", "DESTDIR={staging}")
    return (
        Step("build", (*make, "-j{jobs}", "library"), ("unpack",), BUILD_S, takes_node=True),
        Step("install", (*make, *to, "install"), ("build",), CHECK_S),
        check,
    )


def _cmake_steps() -> tuple[Step, ...]:
    first = ("cmake", "-G", "Unix Makefiles", "-C", "options.cmake")
    where = ("-DCMAKE_INSTALL_PREFIX={prefix}", "-S", "source", "-B", "build")
    build = ("cmake", "--build", "build")
    staging = (("DESTDIR", "{staging}"),)
    return (
        Step("configure", (*first, *where), ("unpack",), CHECK_S, ("build/Makefile",)),
        Step("build", (*build, "--", "-j{jobs}"), ("configure",), BUILD_S, takes_node=True),
        Step("install", (*build, "--target", "install"), ("build",), CHECK_S, (), staging),
    )
