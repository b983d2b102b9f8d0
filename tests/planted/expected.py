"""Which ids of failures.yaml name what was planted.

Most kinds of the planted failures are ids. The others are here with all ids whose stated meaning
is right; written from the meanings alone, before the first diagnosis of the logs.
"""

from __future__ import annotations

from collections.abc import Mapping

OTHER: Mapping[str, tuple[str, ...]] = {
    "compile.unknown-standard": ("compile.unknown-option", "compile.language-standard"),
    "link.undefined-symbol": ("link.undefined",),
    "link.bitcode": ("link.lto", "link.damaged-object"),
    "link.no-linker": ("compile.incomplete-compiler", "compile.unknown-option"),
    # Without a debugger an overflow of the stack is a segmentation fault like others.
    "run.stack": ("run.stack", "run.segfault"),
    "run.fortran": ("run.fortran-error",),
    "run.numa": ("run.affinity", "mpi.binding"),
    "run.affinity": ("run.affinity", "mpi.binding"),
    "run.missing-file": ("run.missing-file", "environment.missing-path"),
    "configure.compiler-flags": ("configure.compiler-broken", "compile.unknown-march"),
    "configure.cmake-fatal": ("configure.cmake-script", "configure.in-source"),
    "configure.cmake-old-package": ("configure.dependency-version", "configure.cmake-package"),
    "configure.make-include": ("configure.make-no-rule", "configure.make-error"),
    "configure.patch": ("environment.patch",),
    "mpi.communicator": ("mpi.invalid-communicator",),
    "mpi.host": ("mpi.host-unknown",),
    "mpi.rank-failed": ("mpi.rank-failed", "mpi.no-finalize", "run.exit-nonzero"),
    "environment.modulefile": ("environment.module-error",),
    "environment.crlf": ("environment.shell-syntax",),
    "environment.damaged-archive": ("environment.archive",),
    "scheduler.no-right": ("scheduler.no-program", "environment.permission"),
    "scheduler.mpi-plugin": ("mpi.no-pmi", "scheduler.option"),
    "scheduler.no-job": ("scheduler.unknown", "scheduler.no-job"),
}


def right(kind: str) -> frozenset[str]:
    """The ids that name a planted failure; none for what went well."""
    return frozenset(OTHER.get(kind, (kind,))) if kind else frozenset()
