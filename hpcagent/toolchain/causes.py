"""Why a step of a cell failed, from its result: a short table of what compilers, linkers and
loaders say of the doctor's own tiny programs; logs of real builds need a diagnosis."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.records import Failure

_QUOTE = 300


@dataclass(frozen=True)
class Finding:
    """A trouble of a cell: `grave` ones fail it, others leave it usable with care."""

    failure: Failure
    grave: bool
    cure: str


@dataclass(frozen=True)
class _Cause:
    id: str
    pattern: re.Pattern[str]
    cure: str


def _causes(*rows: tuple[str, str, str]) -> tuple[_Cause, ...]:
    return tuple(_Cause(id_, re.compile(pattern), cure) for id_, pattern, cure in rows)


# Of what matches, the first in this order is told.
_CAUSES = _causes(
    ("environment.module_failed", r"module\(s\) are unknown|Unable to locate a modulefile|"
     r"cannot be loaded as requested|a module of .* could not be loaded",
     "load it by hand in a new shell and read what it says; module spider NAME helps"),
    ("environment.no_module_system", r"the node has no module system",
     "the node lacks the module system that another node has: ask the site, or use its own tools"),
    ("environment.missing_program", r"cannot start: .*No such file|command not found|"
     r"No such file or directory: '",
     "the node lacks this program: install it there or load its module in the job"),
    ("compile.missing_header", r"fatal error: .*(No such file|file not found)|"
     r"Can't open include file|could not open source file|cannot open source file",
     "add the folder of the header with -I, or load the module that has it"),
    ("compile.missing_module_file", r"Cannot (open|read) module file|is not a GNU Fortran module|"
     r"Unable to open MODULE file|created by a different version",
     "only the compiler that wrote a .mod file reads it: take the MPI built with this compiler"),
    ("compile.unknown_option", r"unrecognized command.line option|unknown argument|"
     r"bad value .* for .-m(arch|tune|cpu)|unsupported option|unknown target CPU",
     "leave the flag out, or take a compiler that is new enough for it"),
    ("link.openmp", r"undefined reference to .(omp_|GOMP_|__kmpc)",
     "link with the same OpenMP flag that it was compiled with"),
    ("link.blas", r"undefined reference to .\w*(gemm|potrf|ddot|cblas)",
     "name the BLAS after the objects on the link line; mind its prefix and suffix of symbols"),
    ("link.missing_library", r"cannot find -l|cannot find [^ ]+\.(so|a)\b|unable to find library",
     "add the folder of the library with -L, or install its development files"),
    ("link.wrong_architecture", r"skipping incompatible|file in wrong format|"
     r"error adding symbols",
     "the library is for another architecture or compiler: take one built for this one"),
    ("load.missing_library", r"error while loading shared libraries: .*cannot open shared object",
     "put the folder of the library into the program with -Wl,-rpath, or into LD_LIBRARY_PATH"),
    ("load.undefined_symbol", r"symbol lookup error|undefined symbol",
     "another version of the library is loaded than was linked: see LD_LIBRARY_PATH and rpath"),
    ("load.glibc_version", r"version .(GLIBC|GLIBCXX|GFORTRAN|OMP)_[0-9.]+' not found",
     "it was built for a newer system: build on the kind of node that runs it"),
    ("run.illegal_instruction", r"Illegal instruction|SIGILL",
     "compile for the CPU that runs it"),
    ("mpi.init", r"MPI_Init|orte_init|PMIx?_Init|pmix_init|ompi_mpi_init",
     "start it with the launcher of the same MPI; see what it says above"),
    ("mpi.slots", r"not enough slots", "ask for as many tasks as ranks are started"),
    ("mpi.root", r"mpirun has detected an attempt to run as root", "run it as a user"),
)  # fmt: skip
_STAGE_CURE = {
    "compile": "see the compiler's words",
    "link": "see the linker's words",
    "load": "see the loader's words",
    "run": "see what it printed",
    "mpi": "see what the launcher printed",
}


def step_failure(stage: str, result: Mapping[str, Any]) -> Finding:
    """What a step that did not end well ran into; `stage` is used where nothing is known better."""
    text = _text(result)
    for cause in _CAUSES:
        match = cause.pattern.search(text)
        if match:
            stage_, _, kind = cause.id.partition(".")
            evidence = line_at(text, match.start())
            message = str(result.get("message") or "")
            if kind == "module-failed" and message and message != evidence:
                evidence = f"{message}: {evidence}"  # Lmod names it on another line
            return Finding(Failure(stage_, kind, evidence), True, cause.cure)
    kind, evidence = _by_status(result, text)
    return Finding(Failure(stage, kind, evidence), True, _STAGE_CURE.get(stage, ""))


def _text(result: Mapping[str, Any]) -> str:
    return f"{result.get('output') or ''}\n{result.get('message') or ''}"


def _by_status(result: Mapping[str, Any], text: str) -> tuple[str, str]:
    status, last = str(result.get("status")), last_line(str(result.get("output") or ""))
    if status == "timeout":
        limit = str(result.get("message") or "its time was over")
        return "timeout", f"{limit}; last line: {last}" if last else limit
    if status == "unstartable":
        return "unstartable", last_line(text)
    number = signal_of(result)
    if number:
        return "signal", f"killed by {signal_name(number)}" + (
            f"; last line: {last}" if last else ""
        )
    code = result.get("exit")
    return "failed", error_line(text) or f"exit code {code}"


def signal_of(result: Mapping[str, Any]) -> int:
    """The signal that ended a step, or that its shell or launcher tells of (128 + n); 0: none."""
    if result.get("signal"):
        return int(result["signal"])
    code = result.get("exit")
    return code - 128 if isinstance(code, int) and 128 < code < 160 else 0


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def line_at(text: str, place: int) -> str:
    """The line around a place, without its blanks at the ends, shortened."""
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[begin : end if end >= 0 else len(text)].strip()[:_QUOTE]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_QUOTE] if lines else ""


def error_line(text: str) -> str:
    """The first line that speaks of an error, else the last one."""
    match = re.search(r"(?i)\b(error|fatal|cannot|undefined)\b", text)
    return line_at(text, match.start()) if match else last_line(text)
