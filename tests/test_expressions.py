from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.expressions import compile_expression, ladder

NAMES = ("threads", "core", "library.dynamic_arch", "cores")
VALUES = {"threads": "8", "core": "ZEN", "library.dynamic_arch": True, "cores": (0, 1, 2, 3)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads <= 4", False),
        ("threads == '8' and threads > 7.5", True),
        ("core in ('ZEN', 'HASWELL') and not threads == 1", True),
        ("library.dynamic_arch", True),
        ("core == 'ZEN' if library.dynamic_arch else threads < 2", True),
        ("2 <= threads < 10 <= 10", True),
        ("max(threads, len(cores)) % 3 + abs(-2) * 3 // 4", 3),
        ("threads in ladder(len(cores) * 2)", True),
        ("core not in []", True),
        ("threads / 16 == 0.5 or missing_is_not_evaluated", None),
    ],
)
def test_expressions_mean_what_python_means(text: str, expected: object) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="missing_is_not_evaluated"):
            compile_expression(text, NAMES)
        return
    assert compile_expression(text, NAMES).evaluate(VALUES) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("threads.__class__", "threads.__class__"),
        ("core.upper()", "core.upper"),
        ("9 ** 9 ** 9", "9 ** 9"),
        ("[x for x in cores]", "for x in cores"),
        ("lambda: 1", "lambda"),
        ("cores[0]", "cores[0]"),
        ("threads << 40", "<<"),
        ("min(threads, key=core)", "min"),
        ("(threads).real.imag or ('a').b", "threads.real.imag"),
        ("b'x' == core", "b'x'"),
        ("threads is 4", "is"),
        ("f'{core}' == 'ZEN'", "f'"),
        ("(threads := 4)", ":="),
        ("1e400 > threads", "1e400"),
        ("thread <= 4", "did you mean 'threads'"),
        ("threads <=", "threads <="),
        ("", "empty"),
        ("+".join(["1"] * 300), "parts"),
        ("(" * 150 + "1" + ")" * 151, "unmatched"),
        ("1" * 2000, "longer"),
        ("threads == 1 \x00", "threads == 1"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_part(text: str, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_expression(text, NAMES)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("threads < core", "not supported"),
        ("threads // 0", "zero"),
        ("core * 100000000", "'ZEN' is not a number"),
        (" * ".join(["1e18"] * 20), "not a finite number"),
        ("threads in 4", "not a list"),
        ("threads in ladder(core)", "ladder"),
        ("len(4) == threads", "len"),
    ],
)
def test_values_that_do_not_fit_are_told(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compile_expression(text, NAMES).evaluate(VALUES)


def test_a_missing_value_is_told() -> None:
    with pytest.raises(UsageError, match="no value for 'threads'"):
        compile_expression("threads > 1", NAMES).evaluate({})


def test_names_are_reported() -> None:
    used = compile_expression("threads > 1 or library.dynamic_arch", NAMES).names
    assert used == {"threads", "library.dynamic_arch"}


@given(st.text(max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        expression = compile_expression(text, NAMES)
    except UsageError:
        return
    assert expression.names <= set(NAMES)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_texts_that_look_like_numbers_compare_as_numbers(a: int, b: int) -> None:
    expression = compile_expression("threads < cores", NAMES)
    assert expression.evaluate({"threads": str(a), "cores": str(b)}) == (a < b)


def test_ladder_of_a_real_node() -> None:
    assert ladder(1) == (1,)
    assert ladder(2) == (1, 2)
    assert ladder(64) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert ladder(96)[-3:] == (48, 64, 96)
    assert ladder(52)[-3:] == (32, 48, 52)


@given(st.integers(1, 1 << 20))
def test_ladder_rises_to_n_in_small_steps(n: int) -> None:
    steps = ladder(n)
    assert steps[0] == 1 and steps[-1] == n
    assert all(a < b <= 2 * a for a, b in itertools.pairwise(steps))


@pytest.mark.parametrize("n", [0, -1, 1 << 21, True, 2.0, "4"])
def test_ladder_refuses_what_is_no_count(n: object) -> None:
    with pytest.raises(UsageError, match="ladder"):
        ladder(n)
