"""What record_surface.py records of programs.c: how it is compiled, scheduled and blocked.

Nothing here knows of a search. The default is what a careful user starts from: gcc, -O2, code for
any x86-64, a thread for each of two CPUs, large blocks.
"""

from __future__ import annotations

from surface_spaces import Axis, Case, Values

REPEATS = 5  # runs timed in one process, after one that is not
_COMPILER: Axis = ("compiler", "categorical", ("gcc", "clang"))
_LEVELS: Axis = ("optimisation", "ordinal", ("O1", "O2", "O3"))
_TARGETS: Axis = (
    "march", "categorical", ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "native"),
)  # fmt: skip
_MATHS: Axis = ("fast_math", "categorical", ("off", "on"))
_THREADS: Axis = ("threads", "ordinal", ("1", "2"))
_KINDS: Axis = ("schedule", "categorical", ("static", "dynamic", "guided"))
_CHOSEN = {
    "compiler": "gcc", "optimisation": "O2", "march": "x86-64", "fast_math": "off", "threads": "2",
    "schedule": "static",
}  # fmt: skip


def _built(values: Values) -> tuple[str, ...]:
    """The words that compile programs.c, but for its name and that of the program."""
    fast = ("-ffast-math",) if values.get("fast_math") == "on" else ()
    level, target = f"-{values['optimisation']}", f"-march={values['march']}"
    return (values["compiler"], level, target, *fast, "-std=gnu11", "-fopenmp")


def _without_idle(axes: tuple[Axis, ...], chosen: Values) -> tuple[str, ...]:
    """What does nothing with one thread."""
    return tuple(name for name, _, _ in axes if name in ("schedule", "chunk") and name in chosen)


def _case(
    program: str,
    n: int,
    what: str,
    axes: tuple[Axis, ...],
    own: Values,
    words: tuple[str, str, str],
) -> Case:
    """`words` name the axes of VARIANT, A and B; or are the words themselves."""
    chosen = {**_CHOSEN, **own}
    idle = _without_idle(axes, chosen)

    def allowed(values: Values) -> bool:
        waits = values["threads"] != "1" or all(values[name] == chosen[name] for name in idle)
        return waits and (values.get("layout") != "csr" or values["slice"] == chosen["slice"])

    def arguments(values: Values) -> tuple[str, ...]:
        return (program, str(n), *(values.get(word, word) for word in words), str(REPEATS))

    return Case(f"{program}_{n}", what, axes, chosen, allowed, arguments, built=_built)


PROGRAMS = (
    _case(
        "jacobi", 512, "six sweeps of the five-point stencil over 512 x 512, in tiles",
        (
            _COMPILER, _LEVELS, _TARGETS, _THREADS,
            ("tile_i", "ordinal", ("8", "32", "128", "512")),
            ("tile_j", "ordinal", ("16", "64", "512")),
        ),
        {"tile_i": "32", "tile_j": "512"}, ("-", "tile_i", "tile_j"),
    ),
    _case(
        "nbody", 600, "gravity of 600 bodies on each other, sources in blocks",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS,
            ("layout", "categorical", ("aos", "soa")),
            ("block", "ordinal", ("8", "64", "600")),
        ),
        {"layout": "aos", "block": "600"}, ("layout", "block", "1"),
    ),
    _case(
        "spmv", 4096, "sparse matrix times vector, 4096 rows of 4 to 400 entries",
        (
            _COMPILER, ("optimisation", "ordinal", ("O2", "O3")), _TARGETS, _THREADS, _KINDS,
            ("chunk", "ordinal", ("1", "16", "128")),
            ("layout", "categorical", ("csr", "sell")),
            ("slice", "ordinal", ("4", "8", "16", "32")),
        ),
        {"chunk": "128", "layout": "csr", "slice": "4"}, ("layout", "slice", "1"),
    ),
    _case(
        "covariance", 160, "upper triangle of X X^T, 160 x 160",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS, _KINDS,
            ("chunk", "ordinal", ("1", "8", "80")),
            ("block", "ordinal", ("32", "160")),
        ),
        {"chunk": "80", "block": "160"}, ("-", "block", "1"),
    ),
    _case(
        "matmul", 160, "C = A B by three loops, 160 x 160, in tiles",
        (
            _COMPILER, _LEVELS, _TARGETS, _THREADS,
            ("order", "categorical", ("ijk", "ikj", "kij")),
            ("tile_i", "ordinal", ("4", "16", "80")),
            ("tile_k", "ordinal", ("8", "32", "160")),
        ),
        {"order": "ijk", "tile_i": "80", "tile_k": "160"}, ("order", "tile_i", "tile_k"),
    ),
    _case(
        "filter", 192, "an 11 x 11 filter over 192 x 192 pixels",
        (
            _COMPILER, _LEVELS, _TARGETS, _MATHS, _THREADS,
            ("order", "categorical", ("taps-in", "taps-out")),
            ("rows", "ordinal", ("1", "8", "96")),
            ("tile_j", "ordinal", ("24", "192")),
        ),
        {"order": "taps-in", "rows": "96", "tile_j": "192"}, ("order", "rows", "tile_j"),
    ),
)  # fmt: skip
