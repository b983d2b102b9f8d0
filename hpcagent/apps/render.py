"""From validated values to the text of files: the driver's sources, job scripts, results.

Pure functions: the same inputs give the same bytes. A value that a file could not carry safely is
refused with a UsageError before any text is made.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from hpcagent.apps.cardcheck import VARIABLE
from hpcagent.errors import UsageError
from hpcagent.records import Compiler, Library
from hpcagent.templates import clean, quote_sh, render, share

# Routine family -> whether m, n and k are used, and how many transposition letters.
FAMILIES: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {
        "gemm": (1, 1, 1, 2),
        "syrk": (0, 1, 1, 0),
        "trsm": (1, 1, 0, 0),
        "getrf": (1, 1, 0, 0),
        "potrf": (0, 1, 0, 0),
        "gemv": (1, 1, 0, 1),
    }
)
PRECISIONS: tuple[tuple[str, str], ...] = (("d", "double"), ("s", "float"))

# `make` on its own would read these from the environment before the Makefile.
BUILD_COMMAND: tuple[str, ...] = (
    "env",
    *(word for name in ("MAKEFLAGS", "GNUMAKEFLAGS", "MAKEFILES") for word in ("-u", name)),
    "make",
    "-f",
    "Makefile",
    "driver",
)

# What every module system and shell passes on unchanged: printable ASCII, no blank at an end.
_ENVIRONMENT_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?\Z")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_SYMBOL_PREFIX = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]{0,63})?\Z")
_SYMBOL_SUFFIX = re.compile(r"[A-Za-z0-9_]{0,64}\Z")
# ';', '\\' and '|' do not survive CMake and its generators; '$' is make's, CMake's and the dynamic
# linker's; ':' parts the linker's search path and ',' the words of -Wl; CMake writes the compiler's
# path between '"' without escaping it.
_NOT_IN_FLAG = re.compile(r"[;\\|$]")
_NOT_IN_PATH = re.compile(r'[;\\|$:,"]')


def driver_files(library: Library, compiler: Compiler, flags: tuple[str, ...]) -> dict[str, str]:
    """The benchmark driver's sources: driver.c, Makefile and CMakeLists.txt.

    `library.path` and `compiler.path` are absolute; each flag starts with '-'.
    """
    folder = share("buildtemplates") / "openblas"
    build = {
        "compiler": _build_path(compiler.path, "compiler"),
        "library": _build_path(library.path, "library"),
        "folder": str(PurePosixPath(library.path).parent),
        "flags": [_build_flag(flag) for flag in flags],
    }
    return {
        "driver.c": render(folder / "driver.c.j2", _driver_values(library)),
        "Makefile": render(folder / "make" / "Makefile.j2", build),
        "CMakeLists.txt": render(folder / "cmake" / "CMakeLists.txt.j2", build),
    }


def job_script(
    directives: Sequence[str], prologue: Sequence[str], folder: str, argv: Sequence[str]
) -> str:
    """A bash script: the scheduler's directives, the site's prologue, `cd`, `exec`.

    `prologue` lines are the site's own shell code and stand as they are, under `set -u`; a site
    whose start-up files use unset variables begins its prologue with `set +u`.
    """
    _check_script(directives, prologue, [folder], argv)
    values = {"directives": directives, "prologue": prologue, "folder": folder, "argv": argv}
    return render(share("jobscripts") / "job.sh.j2", values)


def pack_script(
    directives: Sequence[str], prologue: Sequence[str], folders: Sequence[str], argv: Sequence[str]
) -> str:
    """The same for several folders: `argv` runs in each, in their order, whatever the others do."""
    _check_script(directives, prologue, folders, argv)
    values = {"directives": directives, "prologue": prologue, "folders": folders, "argv": argv}
    return render(share("jobscripts") / "pack.sh.j2", values)


def _check_script(
    directives: Sequence[str], prologue: Sequence[str], folders: Sequence[str], argv: Sequence[str]
) -> None:
    for line in directives:
        if not clean(line, "directive").startswith("#"):
            raise UsageError(f"directive: must start with '#': {line!r}")
    for line in prologue:
        clean(line, "prologue line")
    for folder in folders:
        if not folder.startswith("/"):
            raise UsageError(f"job folder: must be an absolute path: {folder!r}")
    if not argv or not argv[0]:
        raise UsageError("job command: it is empty")


def result_files(
    run_id: str,
    date_utc: str,
    library_path: str,
    headline: str,
    environment: Sequence[tuple[str, str]],
    prefix: Sequence[str],
    binding: Sequence[int],
) -> dict[str, str]:
    """best.env, snippet.sh and the modulefiles that set the tuned environment.

    `module use` takes the folder modulefiles-lua (Lmod) or modulefiles-tcl (Environment Modules
    and Lmod). `headline` is one line that says what was gained; `prefix` the words before the
    user's program; `binding` the CPUs it is bound to (empty: not bound).
    """
    cpus = cpu_list(binding)
    words = [*prefix, *(("taskset", "-c", cpus) if cpus else ())]
    values = {
        "run_id": _run_id(run_id),
        "date_utc": clean(date_utc, "date"),
        "what": "OpenBLAS",
        "library": clean(library_path, "library path"),
        "headline": clean(headline, "headline"),
        "environment": _environment(environment),
        "start": " ".join([*(quote_sh(word) for word in words), "your_program"]),
    }
    scripts, modules = share("jobscripts"), share("modulefiles")
    return {
        "best.env": render(scripts / "best.env.j2", values),
        "snippet.sh": render(scripts / "snippet.sh.j2", values),
        f"modulefiles-lua/hpcagent-openblas/{run_id}.lua": render(modules / "tuned.lua.j2", values),
        f"modulefiles-tcl/hpcagent-openblas/{run_id}": render(modules / "tuned.tcl.j2", values),
    }


def application_files(
    run_id: str,
    date_utc: str,
    title: str,
    headline: str,
    environment: Sequence[tuple[str, str]],
    command: Sequence[str],
    files: Sequence[tuple[str, str]],
    inputs: Sequence[str],
    unset: Sequence[str],
    modules: Sequence[str] = (),
    module_init: str = "",
) -> dict[str, str]:
    """best.env, run.sh, which starts the application as it was tuned, and its input files below
    files/.

    `inputs` are those that it reads beside them, `unset` variables that it must not inherit;
    `modules` are loaded by what the file `module_init` makes known. Words of the command may have
    several lines; nothing else may.
    """
    beside = ["all of files/"] if files else []
    values = {
        "run_id": _run_id(run_id),
        "date_utc": clean(date_utc, "date"),
        "what": "",
        "library": "",
        "title": clean(title, "title"),
        "headline": clean(headline, "headline"),
        "environment": [(name, clean(value, name)) for name, value in environment],
        "unset": unset,
        "modules": modules,
        "module_init": clean(module_init, "module_init"),
        "command": shlex.join(command),
        "needed": " and ".join([*beside, *(clean(name, "input") for name in inputs)]),
    }
    scripts = share("jobscripts")
    made = {name: render(scripts / f"{name}.j2", values) for name in ("best.env", "run.sh")}
    return made | {f"files/{name}": text for name, text in files}


def cpu_list(cpus: Iterable[int]) -> str:
    """CPUs as taskset reads them: `0-3,8`."""
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(set(cpus)):
        if cpu < 0:
            raise UsageError(f"binding: a CPU number cannot be negative: {cpu}")
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], cpu)
        else:
            ranges.append((cpu, cpu))
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _driver_values(library: Library) -> dict[str, object]:
    if library.interface not in ("lp64", "ilp64"):
        raise UsageError(f"library interface: must be lp64 or ilp64: {library.interface!r}")
    for what, pattern, text in (
        ("symbol prefix", _SYMBOL_PREFIX, library.symbol_prefix),
        ("symbol suffix", _SYMBOL_SUFFIX, library.symbol_suffix),
    ):
        if not pattern.match(text):
            raise UsageError(f"library {what}: cannot be part of a C name: {text!r}")
    table = [
        (p + family, uses)
        for p, _ in PRECISIONS
        for family, uses in FAMILIES.items()
        if p + family in library.routines
    ]
    if not table:
        raise UsageError(f"{library.path}: has none of the routines that the driver can time")
    names = {name for name, _ in table}
    return {
        "prefix": library.symbol_prefix,
        "suffix": library.symbol_suffix,
        "interface": library.interface,
        "routines": names,
        "precisions": [(p, real) for p, real in PRECISIONS if any(n[0] == p for n in names)],
        "table": table,
    }


def _build_word(text: str, what: str, refused: re.Pattern[str]) -> str:
    found = refused.search(clean(text, what))
    if found:
        raise UsageError(
            f"{what}: make, CMake and the linker cannot all take the character "
            f"{found.group()!r}: {text!r}; use another name, for a path a symbolic link"
        )
    return text


def _build_path(text: str, what: str) -> str:
    path = PurePosixPath(_build_word(text, what, _NOT_IN_PATH))
    if not path.is_absolute() or not path.name:
        raise UsageError(f"{what}: must be the absolute path of a file: {text!r}")
    return text


def _build_flag(flag: str) -> str:
    if not re.match("-[A-Za-z]", _build_word(flag, "compiler flag", _NOT_IN_FLAG)):
        raise UsageError(f"compiler flag: must start with '-' and a letter: {flag!r}")
    return flag


def _run_id(run_id: str) -> str:
    # Both module systems would read a Tcl modulefile of this name as Lua.
    if not _RUN_ID.match(run_id) or run_id.endswith(".lua"):
        raise UsageError(f"run id: letters, digits, '.', '_' and '-' only, not .lua: {run_id!r}")
    return run_id


def _environment(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    for name, value in pairs:
        if not VARIABLE.match(name):
            raise UsageError(f"environment variable: not a name: {name!r}")
        if not _ENVIRONMENT_VALUE.match(value):
            raise UsageError(
                f"environment variable {name}: printable ASCII without blanks at the ends only: "
                f"{value!r}"
            )
    return list(pairs)
