"""Failures of configure, CMake and make."""

from __future__ import annotations

from planted.case import Case


def lists(body: str, version: str = "3.10", languages: str = "C") -> dict[str, str]:
    head = f"cmake_minimum_required(VERSION {version})\nproject(wave {languages})\n"
    return {"CMakeLists.txt": head + body, "main.c": "int main(void) { return 0; }\n"}


def configure(body: str) -> dict[str, str]:
    head = "AC_INIT([wave], [1.0])\nAC_PROG_CC\n"
    return {"configure.ac": head + body + "\nAC_OUTPUT\n", "main.c": "int main(void) { return 0; }"}


CMAKE = "cmake -S . -B build"
MOVED = """
mkdir first
cp CMakeLists.txt main.c first/
cmake -S first -B first/build
mv first second
"""
CASES = (
    Case(
        "cmake-no-config",
        "configure.cmake_package",
        "a package without a find module",
        CMAKE,
        files=lists("find_package(SuperLU_DIST REQUIRED)\n"),
    ),
    Case(
        "cmake-not-found",
        "configure.cmake_package",
        "GSL is not installed",
        CMAKE,
        files=lists("find_package(GSL REQUIRED)\n"),
    ),
    Case(
        "cmake-moved",
        "configure.cmake_cache",
        "a build folder that was moved",
        "cmake -S second -B second/build",
        MOVED,
        lists("add_executable(w main.c)\n"),
    ),
    Case(
        "cmake-too-old",
        "configure.cmake_version",
        "a project for a newer CMake",
        CMAKE,
        files=lists("", version="9.1"),
    ),
    Case(
        "cmake-generator",
        "configure.cmake_generator",
        "configured for make, then for ninja",
        CMAKE + " -G Ninja",
        CMAKE + " -G 'Unix Makefiles'",
        lists(""),
    ),
    Case(
        "cmake-compiler-fails",
        "configure.compiler-flags",
        "CFLAGS with an unknown -march",
        f"CFLAGS=-march=znver9 {CMAKE}",
        files=lists(""),
    ),
    Case(
        "cmake-no-compiler",
        "configure.no_compiler",
        "FC names nothing",
        f"FC=ifx-2024 {CMAKE}",
        files=lists("", languages="C Fortran"),
    ),
    Case("cmake-no-lists", "configure.cmake_no_project", "no CMakeLists.txt", CMAKE),
    Case(
        "cmake-unknown-command",
        "configure.cmake_script",
        "a command that CMake lacks",
        CMAKE,
        files=lists("wave_add_solver(main.c)\n"),
    ),
    Case(
        "make-no-rule",
        "configure.make_no_rule",
        "a source that is not there",
        "make",
        files={"Makefile": "wave: main.o grid.o\n\tcc -o $@ $^\n", "main.c": "int x;\n"},
    ),
    Case(
        "make-separator",
        "configure.make_syntax",
        "spaces in the place of a tab",
        "make",
        files={"Makefile": "all:\n        echo ready\n"},
    ),
    Case("make-no-makefile", "configure.make_no_makefile", "no makefile", "make"),
    Case(
        "configure-no-executables",
        "configure.compiler_broken",
        "CFLAGS with an unknown option",
        "./configure CFLAGS=-fast-and-wrong",
        "autoconf",
        configure(""),
    ),
    Case(
        "configure-cannot-run",
        "configure.cannot_run",
        "a program of the compiler cannot start",
        "./configure LDFLAGS=-Wl,--dynamic-linker=/lib/nothing.so",
        "autoconf",
        configure(""),
    ),
    Case(
        "configure-library",
        "configure.missing_library",
        "a library is not there",
        "./configure",
        "autoconf",
        configure(
            "AC_CHECK_LIB([z3wave], [z3_open], [],\n  [AC_MSG_ERROR([libz3wave is required"
            " but was not found])])"
        ),
    ),
    Case(
        "configure-header",
        "configure.missing_header",
        "a header is not there",
        "./configure",
        "autoconf",
        configure(
            "AC_CHECK_HEADER([fftw3.h], [],\n  [AC_MSG_ERROR([fftw3.h not found, install FFTW])])"
        ),
    ),
    Case("pkg-config", "configure.pkg_config", "no .pc file", "pkg-config --cflags --libs fftw3"),
)
