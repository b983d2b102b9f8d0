"""The declared interface as text: prototypes for C and Fortran, and the harness that calls it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hpcagent.codegen.taskfields import INTEGERS, Argument
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.templates import render, share

_C: Mapping[str, str] = MappingProxyType(
    {"int": "int32_t", "long": "int64_t", "float": "float", "double": "double"}
)
_FORTRAN: Mapping[str, str] = MappingProxyType(
    {
        "int": "integer(c_int32_t)",
        "long": "integer(c_int64_t)",
        "float": "real(c_float)",
        "double": "real(c_double)",
    }
)
HARNESS, COMPARE, STIR, HEADER = "harness.c", "compare.c", "stir.c", "kernel.h"
STARTUP = "startup.c"
# What the harness calls the function, whose own name may be one that the harness uses itself.
_CALLED = "hpcagent_candidate"


def c_prototype(task: TaskFile, language: str, name: str = "") -> str:
    """What a function in this language looks like from C; Fortran gets communicators as numbers."""
    words = [_c_argument(argument) for argument in task.arguments]
    if task.parallel == "mpi":
        words.insert(0, "MPI_Fint comm" if language == "fortran" else "MPI_Comm comm")
    return f"void {name or task.function}({', '.join(words)})"


def _c_argument(argument: Argument) -> str:
    base = _C[argument.type]
    if not argument.shape:
        return f"{base} {argument.name}"
    return f"{'const ' if argument.intent == 'in' else ''}{base} *{argument.name}"


def header(task: TaskFile) -> str:
    """kernel.h, which C and C++ sources may include."""
    lines = ["#ifndef KERNEL_H", "#define KERNEL_H", "#include <stdint.h>"]
    lines += ["#include <mpi.h>"] if task.parallel == "mpi" else []
    lines += ["#ifdef __cplusplus", 'extern "C"', "#endif", f"{c_prototype(task, 'c')};", "#endif"]
    return "\n".join(lines) + "\n"


def fortran_interface(task: TaskFile) -> str:
    """The head of a subroutine in Fortran, with its declarations."""
    names = [argument.name for argument in task.arguments]
    first = ["comm"] if task.parallel == "mpi" else []
    lines = [
        f'subroutine {task.function}({", ".join(first + names)}) bind(C, name="{task.function}")',
        "  use, intrinsic :: iso_c_binding",
        "  implicit none",
    ]
    lines += ["  integer(c_int), value :: comm"] if first else []
    for argument in task.arguments:
        kind = _FORTRAN[argument.type]
        if argument.shape:
            shape = ", ".join(str(part) for part in reversed(argument.shape))
            lines.append(f"  {kind}, intent({argument.intent}) :: {argument.name}({shape})")
        else:
            lines.append(f"  {kind}, intent(in), value :: {argument.name}")
    return "\n".join([*lines, "  ...", f"end subroutine {task.function}"]) + "\n"


def harness(task: TaskFile, language: str) -> str:
    """harness.c for functions in this language; the same task gives the same bytes."""
    index = {argument.name: i for i, argument in enumerate(task.arrays)}
    numbers = iter(range(len(task.sizes)))
    words, scalars = [], []
    if task.parallel == "mpi":
        theirs = "given->theirs"
        words.append(f"MPI_Comm_c2f({theirs})" if language == "fortran" else theirs)
    for position, argument in enumerate(task.arguments):
        if argument.shape:
            words.append(f"({_C[argument.type]} *)given->data[{index[argument.name]}]")
        elif argument.is_size:
            words.append(f"({_C[argument.type]})given->sizes[{next(numbers)}]")
        else:
            words.append(f"given->number_{argument.name}")
            scalars.append(_scalar(argument, len(task.arrays) + position))
    values: dict[str, Any] = {
        "function": task.function,
        "prototype": f'{c_prototype(task, language, _CALLED)} __asm__("{task.function}");',
        "serial": task.parallel == "serial",
        "openmp": task.parallel == "openmp",
        "mpi": task.parallel == "mpi",
        "arrays": [_row(argument, index) for argument in task.arrays],
        "sizes": len(task.sizes),
        "aliases": [(index[a], index[b]) for a, b in task.contract.aliases],
        "scalars": scalars,
        "call": f"{_CALLED}({', '.join(words)})",
    }
    return render(share("buildtemplates") / "codegen" / "harness.c.j2", values)


def own_source(name: str) -> str:
    """COMPARE, the program that compares outputs; STIR, which makes threads wait; STARTUP, which
    does nothing."""
    return (share("buildtemplates") / "codegen" / name).read_text(encoding="utf-8")


def _row(argument: Argument, index: Mapping[str, int]) -> dict[str, Any]:
    values = argument.values
    return {
        "name": argument.name,
        "type": f"T_{argument.type.upper()}",
        "intent": argument.intent.upper(),
        "kind": values.kind.upper(),
        "offsets": index.get(values.offsets, -1),
        "low": repr(values.low),
        "high": repr(values.high),
    }


def _scalar(argument: Argument, index: int) -> dict[str, Any]:
    assert argument.type not in INTEGERS
    values = argument.values
    high = values.low if values.kind == "constant" else values.high
    return {"name": argument.name, "ctype": _C[argument.type], "index": index,
            "low": repr(values.low), "high": repr(high)}  # fmt: skip
