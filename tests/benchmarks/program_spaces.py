"""What record_surface.py records of loop nests: how they are compiled, scheduled and blocked.

Nothing here knows of a search. The default is what a careful user starts from: gcc, -O2, code for
any x86-64, a thread for each of two CPUs, large blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from surface_spaces import Axis, Case, Values

REPEATS = 5  # runs timed in one process, after one that is not
_COMPILER: Axis = ("compiler", "categorical", ("gcc", "clang"))
_LEVELS: Axis = ("optimisation", "ordinal", ("O1", "O2", "O3"))
_HIGH_LEVELS: Axis = ("optimisation", "ordinal", ("O2", "O3"))
_TARGETS: Axis = (
    "march", "categorical", ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "native"),
)  # fmt: skip
_MATHS: Axis = ("fast_math", "categorical", ("off", "on"))
_THREADS: Axis = ("threads", "ordinal", ("1", "2"))
_KINDS: Axis = ("schedule", "categorical", ("static", "dynamic", "guided"))
_FLAGS = (
    "-O1", "-Os", "-O2", "-O3", "-O3 -funroll-loops", "-O2 -march=native", "-O3 -march=native",
    "-O2 -ffast-math", "-O3 -ffast-math", "-O2 -march=native -ffast-math",
    "-O3 -march=x86-64-v3", "-O3 -march=x86-64-v3 -ffast-math",
    "-O3 -march=x86-64-v4 -ffast-math", "-O3 -march=native -ffast-math",
    "-Ofast -march=native -funroll-loops",
)  # fmt: skip
_CHOSEN = {
    "compiler": "gcc", "optimisation": "O2", "march": "x86-64", "fast_math": "off", "threads": "2",
    "schedule": "static", "unroll": "off", "vectorize": "off", "wait_policy": "default",
}  # fmt: skip
_SWITCHES = {
    ("fast_math", "on"): "-ffast-math",
    ("unroll", "on"): "-funroll-loops",
    ("vectorize", "off"): "-fno-tree-vectorize",
    ("vectorize", "on"): "-ftree-vectorize",
}
_IDLE = ("schedule", "chunk", "wait_policy")  # with one thread


def _flags(values: Values) -> tuple[str, ...]:
    if "flags" in values:
        return tuple(values["flags"].split())
    switches = [flag for (name, value), flag in _SWITCHES.items() if values.get(name) == value]
    return (f"-{values['optimisation']}", f"-march={values['march']}", *switches)


def _case(
    source: str, program: str, n: int, what: str, axes: tuple[Axis, ...], own: Values,
    words: tuple[str, ...], allowed: Callable[[Values], bool] = lambda values: True,
) -> Case:  # fmt: skip
    """`words` name the axes of VARIANT, A and B; or are the words themselves."""
    chosen = {**_CHOSEN, **own}

    def acts(values: Values) -> bool:
        idle = [name for name in _IDLE if name in values and values["threads"] == "1"]
        return allowed(values) and all(values[name] == chosen[name] for name in idle)

    def built(values: Values) -> tuple[str, ...]:
        return (values["compiler"], *_flags(values), "-std=gnu11", "-fopenmp", source)

    def arguments(values: Values) -> tuple[str, ...]:
        return (program, str(n), *(values.get(word, word) for word in words), str(REPEATS))

    return Case(f"{program}_{n}", what, axes, chosen, acts, arguments, built=built)


def _sliced(values: Values) -> bool:
    return values["layout"] == "sell" or values["slice"] == "4"


def _in_front(values: Values) -> bool:
    """Rows one after the other have neither blocks nor threads."""
    plain = (values["block_i"], values["block_j"], values["threads"]) == ("16", "64", "2")
    return values["order"] == "wavefront" or plain


def _diagonal(values: Values) -> bool:
    plain = (values["cells"], values["threads"], values["schedule"]) == ("384", "2", "static")
    return values["order"] == "diagonals" or plain


PROGRAMS = (
    _case(
        "programs.c", "jacobi", 512, "six sweeps of the five-point stencil, 512 x 512, in tiles",
        (
            _COMPILER, _LEVELS, _TARGETS, _THREADS,
            ("tile_i", "ordinal", ("8", "32", "128", "512")),
            ("tile_j", "ordinal", ("16", "64", "512")),
        ),
        {"tile_i": "32", "tile_j": "512"}, ("-", "tile_i", "tile_j"),
    ),
    _case(
        "programs.c", "nbody", 600, "gravity of 600 bodies on each other, sources in blocks",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS,
            ("layout", "categorical", ("aos", "soa")),
            ("block", "ordinal", ("8", "64", "600")),
        ),
        {"layout": "aos", "block": "600"}, ("layout", "block", "1"),
    ),
    _case(
        "programs.c", "spmv", 4096, "sparse matrix times vector, 4096 rows of 4 to 400 entries",
        (
            _COMPILER, _HIGH_LEVELS, _TARGETS, _THREADS, _KINDS,
            ("chunk", "ordinal", ("1", "16", "128")),
            ("layout", "categorical", ("csr", "sell")),
            ("slice", "ordinal", ("4", "8", "16", "32")),
        ),
        {"chunk": "128", "layout": "csr", "slice": "4"}, ("layout", "slice", "1"), _sliced,
    ),
    _case(
        "programs.c", "covariance", 160, "upper triangle of X X^T, 160 x 160",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS, _KINDS,
            ("chunk", "ordinal", ("1", "8", "80")),
            ("block", "ordinal", ("32", "160")),
        ),
        {"chunk": "80", "block": "160"}, ("-", "block", "1"),
    ),
    _case(
        "programs.c", "matmul", 160, "C = A B by three loops, 160 x 160, in tiles",
        (
            _COMPILER, _LEVELS, _TARGETS, _THREADS,
            ("order", "categorical", ("ijk", "ikj", "kij")),
            ("tile_i", "ordinal", ("4", "16", "80")),
            ("tile_k", "ordinal", ("8", "32", "160")),
        ),
        {"order": "ijk", "tile_i": "80", "tile_k": "160"}, ("order", "tile_i", "tile_k"),
    ),
    _case(
        "programs.c", "filter", 192, "an 11 x 11 filter over 192 x 192 pixels",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS,
            ("order", "categorical", ("taps-in", "taps-out")),
            ("rows", "ordinal", ("1", "8", "96")),
            ("tile_j", "ordinal", ("24", "192")),
        ),
        {"order": "taps-in", "rows": "96", "tile_j": "192"}, ("order", "rows", "tile_j"),
    ),
)  # fmt: skip

# Nothing of a search was chosen on these.
MORE_PROGRAMS = (
    _case(
        "more_programs.c", "heat", 64, "two steps of the seven-point stencil, 64^3, in tiles",
        (
            _COMPILER, _LEVELS, _TARGETS, ("unroll", "categorical", ("off", "on")), _THREADS,
            ("tile_i", "ordinal", ("2", "8", "62")), ("tile_j", "ordinal", ("8", "62")),
        ),
        {"tile_i": "8", "tile_j": "62"}, ("-", "tile_i", "tile_j"),
    ),
    _case(
        "more_programs.c", "paths", 160, "shortest paths between 160 nodes, Floyd and Warshall",
        (
            _COMPILER, _HIGH_LEVELS, _TARGETS, ("vectorize", "categorical", ("off", "on")),
            _THREADS, _KINDS, ("rows", "ordinal", ("1", "8", "40")),
            ("least", "categorical", ("branch", "choice")),
        ),
        {"rows": "40", "least": "branch"}, ("least", "rows", "1"),
    ),
    _case(
        "more_programs.c", "seidel", 256, "two sweeps of Gauss and Seidel, nine points, 256 x 256",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS,
            ("order", "categorical", ("rows", "wavefront")),
            ("block_i", "ordinal", ("4", "16")), ("block_j", "ordinal", ("16", "64", "254")),
        ),
        {"order": "rows", "block_i": "16", "block_j": "64"}, ("order", "block_i", "block_j"),
        _in_front,
    ),
    _case(
        "more_programs.c", "lattice", 128, "a step of a lattice Boltzmann fluid, 128 x 128 cells",
        (
            _COMPILER, _HIGH_LEVELS, _TARGETS, _MATHS, _THREADS,
            ("wait_policy", "categorical", ("default", "active", "passive")),
            ("layout", "categorical", ("aos", "soa")), ("rows", "ordinal", ("1", "8")),
        ),
        {"layout": "aos", "rows": "8"}, ("layout", "rows", "1"),
    ),
    _case(
        "more_programs.c", "options", 16384, "prices of 16384 options, Black and Scholes",
        (
            _COMPILER, ("flags", "categorical", _FLAGS), _THREADS,
            ("schedule", "categorical", ("static", "dynamic")),
            ("layout", "categorical", ("aos", "soa")),
            ("block", "ordinal", ("64", "512", "4096")),
        ),
        {"flags": "-O2", "layout": "aos", "block": "4096"}, ("layout", "block", "1"),
    ),
    _case(
        "more_programs.c", "align", 384, "scores of aligning 384 letters, Needleman and Wunsch",
        (
            _COMPILER, _LEVELS, _TARGETS, ("unroll", "categorical", ("off", "on")), _THREADS,
            ("schedule", "categorical", ("static", "dynamic")),
            ("order", "categorical", ("rows", "diagonals")),
            ("cells", "ordinal", ("16", "64", "384")),
        ),
        {"order": "rows", "cells": "384"}, ("order", "cells", "1"), _diagonal,
    ),
)  # fmt: skip
