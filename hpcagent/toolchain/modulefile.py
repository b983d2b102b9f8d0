"""Modulefiles of what was built, for Lmod and for Environment Modules."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.templates import render, share

# Filled in when the place of the build is known; no module system quotes these characters.
PREFIX = "@prefix@"


def library_modulefiles(
    name: str, version: str, variable: str, libraries: str, headers: str, modules: Sequence[str],
    about: str,
) -> tuple[tuple[str, str], ...]:  # fmt: skip
    """(path below the prefix, text) of both kinds; in the text `@prefix@` stands for the prefix.

    `variable` is the stem of NAME_ROOT; `modules` are those that the build needed: a compiler's
    runtime libraries come from them.
    """
    paths = [
        ("LD_LIBRARY_PATH", libraries),
        ("LIBRARY_PATH", libraries),
        ("CPATH", headers),
        ("PKG_CONFIG_PATH", f"{libraries}/pkgconfig"),
    ]
    return _both(name, version, variable, paths, modules, about)


def program_modulefiles(
    name: str, version: str, modules: Sequence[str], about: str
) -> tuple[tuple[str, str], ...]:
    """The same for a program: its folder bin/ goes into PATH."""
    variable = name.upper().replace("-", "_")
    return _both(name, version, variable, [("PATH", "bin")], modules, about)


def _both(
    name: str, version: str, variable: str, paths: list[tuple[str, str]], modules: Sequence[str],
    about: str,
) -> tuple[tuple[str, str], ...]:  # fmt: skip
    values = {
        "name": name,
        "version": version,
        "variable": variable,
        "paths": paths,
        "modules": list(modules),
        "about": about,
        "prefix": PREFIX,
    }
    folder = share("modulefiles")
    return (
        (f"modulefiles-lua/{name}/{version}.lua", render(folder / "library.lua.j2", values)),
        (f"modulefiles-tcl/{name}/{version}", render(folder / "library.tcl.j2", values)),
    )
