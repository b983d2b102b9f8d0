"""Which ids of failures.yaml name what was planted.

Most kinds of the planted failures are ids. The others are here with all ids whose stated meaning
is right; written from the meanings alone, before the first diagnosis of the logs.
"""

from __future__ import annotations

from collections.abc import Mapping

from planted import blind_expected

OTHER: Mapping[str, tuple[str, ...]] = {
    "compile.unknown-standard": ("compile.unknown_option", "compile.language_standard"),
    "link.undefined_symbol": ("link.undefined",),
    "link.bitcode": ("link.lto", "link.damaged_object"),
    "link.no-linker": ("compile.incomplete_compiler", "compile.unknown_option"),
    # Without a debugger an overflow of the stack is a segmentation fault like others.
    "run.stack": ("run.stack", "run.segfault"),
    "run.fortran": ("run.fortran_error",),
    "run.numa": ("run.affinity", "mpi.binding"),
    "run.affinity": ("run.affinity", "mpi.binding"),
    "run.missing_file": ("run.missing_file", "environment.missing_path"),
    "configure.compiler-flags": ("configure.compiler_broken", "compile.unknown_march"),
    "configure.cmake-fatal": ("configure.cmake_script", "configure.in_source"),
    "configure.cmake-old-package": ("configure.dependency_version", "configure.cmake_package"),
    "configure.make-include": ("configure.make_no_rule", "configure.make_error"),
    "configure.patch": ("environment.patch",),
    "mpi.communicator": ("mpi.invalid_communicator",),
    "mpi.host": ("mpi.host_unknown",),
    "mpi.rank_failed": ("mpi.rank_failed", "mpi.no_finalize", "run.exit_nonzero"),
    "environment.modulefile": ("environment.module_error",),
    "environment.crlf": ("environment.shell_syntax",),
    "environment.damaged-archive": ("environment.archive",),
    "scheduler.no-right": ("scheduler.no_program", "environment.permission"),
    "scheduler.mpi-plugin": ("mpi.no_pmi", "scheduler.option"),
    "scheduler.no-job": ("scheduler.unknown", "scheduler.no_job"),
}


def right(kind: str) -> frozenset[str]:
    """The ids that name a planted failure; none for what went well."""
    if not kind:
        return frozenset()
    held_out = blind_expected.ids() | blind_expected.ids(blind_expected.FRESH)
    return frozenset(held_out.get(kind) or OTHER.get(kind, (kind,)))
