"""`hpcagent codegen new NAME`: a task that works, to be changed."""

from __future__ import annotations

import re
from pathlib import Path

from hpcagent.errors import EnvironmentProblem, UsageError

_TASK = """\
# A task of code generation; docs/codegen.md explains every field. Try it as it is:
#   hpcagent codegen {name}/task.yaml --candidates {name}/candidates
schema: 1
name: {name}
text: |
  y[i] = a * x[i] + y[i] for all i. (Say here what the function does, and what matters.)
language: c            # c, c++ or fortran
parallel: serial       # serial, openmp or mpi (then also: ranks: [1, 2, 3, 4])
function: {function}
arguments:             # in the order of the function; without a shape: a number, by value
  - {{name: n, type: long, meaning: number of elements}}
  - {{name: a, type: double, values: {{low: 0.5, high: 2.0}}}}
  - {{name: x, type: double, shape: [n]}}
  - {{name: y, type: double, intent: inout, shape: [n]}}
reference: reference.c # beside this file: plain, and right
cases:
  check: [{{n: 0}}, {{n: 1}}, {{n: 7}}, {{n: 1001}}]
  vary: {{n: [2, 5000]}} # sizes that are drawn when it is checked
  measure:
    large: {{n: 2000000}}
tolerance: {{relative: 1.0e-14, absolute: 1.0e-14}}
metric: {{unit: GB/s, count: 24*n}}
contract: {{nan: true, subnormals: true}}
parameters: {{optimisation: [O3, O2]}}
budget: {{attempts: 12, seconds: 60}}
"""
_SOURCE = """\
#include "kernel.h"

void {function}(int64_t n, double a, const double *x, double *y)
{{
    for (int64_t i = 0; i < n; i++)
        y[i] = a * x[i] + y[i];
}}
"""
_CANDIDATE = """\
#include "kernel.h"

/* x and y do not overlap, and both start at a multiple of 64 bytes. */
void {function}(int64_t n, double a, const double *restrict x, double *restrict y)
{{
    const double *xs = __builtin_assume_aligned(x, 64);
    double *ys = __builtin_assume_aligned(y, 64);
    for (int64_t i = 0; i < n; i++)
        ys[i] += a * xs[i];
}}
"""


def scaffold(parent: Path, name: str) -> tuple[Path, ...]:
    """Write the folder NAME with a task, its reference and a candidate; the files' paths.

    UsageError for a bad name or a folder that is there; EnvironmentProblem where it cannot be
    written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise UsageError(f"codegen new {name!r}: a name is made of a-z, 0-9 and -")
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} is there already")
    function = name.replace("-", "_")
    function += "" if function.endswith("kernel") else "_kernel"
    values = {"name": name, "function": function}
    texts = {"task.yaml": _TASK, "reference.c": _SOURCE, "candidates/aligned.c": _CANDIDATE}
    written = []
    try:
        for file, text in texts.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(**values), encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise EnvironmentProblem(f"cannot write below {folder}: {error.strerror}") from None
    return tuple(written)
