"""With what a task's programs are built on a node: compilers, flags, MPI, from the node's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hpcagent.codegen.taskfile import PYTHON, TaskFile, judge_language
from hpcagent.errors import UsageError
from hpcagent.probe.software import CompilerFound, MpiFound, Software
from hpcagent.records import Machine
from hpcagent.toolchain.choose import choose_compilers, choose_mpi, modules_of
from hpcagent.toolchain.flags import microarchitecture_flags, openmp_flags
from hpcagent.toolchain.linkline import wrapper_environment

# GCC and Clang manuals, "Instrumentation Options"; both stop at the first finding.
_SANITIZERS = (
    "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)  # fmt: skip
# What tells which loops were vectorised and why others were not (remarks.py): GCC's "Developer
# Options", Clang's "Options to Emit Optimization Reports".
_OF_LLVM = ("-Rpass=loop-vectorize", "-Rpass-analysis=loop-vectorize")
_REMARKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"gcc": ("-fopt-info-vec-optimized-missed",), "clang": _OF_LLVM, "aocc": _OF_LLVM}
)
_WITH_SANITIZERS = ("gcc", "clang", "aocc")
_GNU_LIKE: Mapping[str, str] = MappingProxyType(
    {
        "fast-math": "-ffast-math",
        "unroll-loops": "-funroll-loops",
        "wide-vectors": "-mprefer-vector-width=512",
    }
)
_OF_X86 = ("wide-vectors",)
_EXTRA: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "gcc": _GNU_LIKE,
        "clang": _GNU_LIKE,
        "aocc": _GNU_LIKE,
        "intel": {"fast-math": "-fp-model=fast", "unroll-loops": "-unroll"},
    }
)


@dataclass(frozen=True)
class Tools:
    """One compiler a language, the MPI where the task has one, and the modules that bring them."""

    compilers: Mapping[str, CompilerFound]
    mpi: MpiFound | None
    modules: tuple[str, ...]
    machine: Machine

    def driver(self, language: str) -> str:
        """What compiles and links this language: the MPI's wrapper, where there is an MPI."""
        if self.mpi is None:
            return self.compilers[language].path
        return self.mpi.wrappers[language]

    def environment(self, language: str) -> dict[str, str]:
        """What makes the wrapper call this compiler."""
        if self.mpi is None or language == "fortran":
            return {}
        return dict(wrapper_environment(self.mpi, {language: self.compilers[language]}))

    @property
    def words(self) -> str:
        """For people and prompts: "gcc 12.2.0, openmpi 4.1.4"."""
        parts = [f"{c.command} {c.version}" for c in self.compilers.values()]
        parts += [f"{self.mpi.family} {self.mpi.version}"] if self.mpi else []
        return ", ".join(dict.fromkeys(parts))


def choose_tools(task: TaskFile, software: Software, machine: Machine, said: str) -> Tools:
    """UsageError where a compiler or an MPI is missing, and what there is.

    `said` is the compiler that the configuration names; the task's own comes first.
    """
    judge = judge_language(task)
    languages = dict.fromkeys(("c", task.language, *((judge,) if judge != PYTHON else ())))
    compilers = choose_compilers(software, tuple(languages), task.toolchain.compiler or said)
    mpi = None
    if task.parallel == "mpi":
        mpi = choose_mpi(software, task.toolchain.mpi)
        missing = [name for name in languages if name not in mpi.wrappers]
        if missing:
            raise UsageError(f"{mpi.family} {mpi.version} has no wrapper for {missing[0]}")
    parts = [c.module for c in compilers.values()] + ([mpi.module] if mpi else [])
    return Tools(compilers, mpi, modules_of(parts), machine)


def kernel_flags(
    task: TaskFile, tools: Tools, language: str, chosen: Mapping[str, str]
) -> list[str]:
    """What a source of this language is compiled with; `chosen` are declared build parameters."""
    compiler = tools.compilers[language]
    words = [f"-{chosen['optimisation']}"]
    if chosen["march"] == "native":
        words += microarchitecture_flags(tools.machine.microarchitecture, compiler).flags
    words += _extra(chosen["flags"], compiler.family, tools.machine)
    if task.parallel == "openmp":
        words += openmp_flags(compiler)
    return [*words, *_REMARKS.get(compiler.family, ())]


def _extra(name: str, family: str, machine: Machine) -> list[str]:
    """The flag of a declared name; none where the compiler or the processor has none."""
    if name in _OF_X86 and "sse2" not in machine.features:
        return []
    extra = _EXTRA.get(family, {}).get(name)
    return [extra] if extra else []


def checked_flags(tools: Tools, language: str) -> list[str]:
    """What instruments a program; none where the family is not known to have it."""
    return list(_SANITIZERS) if tools.compilers[language].family in _WITH_SANITIZERS else []


def harness_flags(tools: Tools) -> list[str]:
    """With what a harness is compiled that marks what may not be touched; it is ours, so it is not
    itself looked at for undefined behaviour."""
    return ["-O1", "-fsanitize=address"] if checked_flags(tools, "c") else []


def stirred_flags(task: TaskFile, tools: Tools, language: str) -> list[str]:
    """What has a source call a function in front of each access of memory (stir.c), so that threads
    wait where data races are; none where there are no threads, or no such flags."""
    known = tools.compilers[language].family in _WITH_SANITIZERS
    return ["-O1", "-g", "-fsanitize=thread"] if known and task.parallel == "openmp" else []


def link_flags(task: TaskFile, tools: Tools, language: str) -> list[str]:
    return list(openmp_flags(tools.compilers[language])) if task.parallel == "openmp" else []


def launcher(tools: Tools) -> list[str]:
    """The MPI's own launcher, behind the script that starts ranks on this node (launch.sh)."""
    if tools.mpi is None:
        return []
    return [tools.mpi.launcher or str(Path(tools.mpi.wrappers["c"]).with_name("mpirun"))]
