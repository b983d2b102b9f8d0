"""Fortran sources are compiled in an order in which modules come before their users."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.toolchain.fortran_order import in_order


def test_a_program_before_its_modules() -> None:
    texts = {
        "main.f90": "program main\n  use, non_intrinsic :: solver, only: run\n  use mpi_f08\nend\n",
        "sub.F90": "submodule (grid) filling\ncontains\n  module procedure fill\n  end\nend\n",
        "deep.f90": "Submodule (Grid:Filling) deep\nend submodule\n",
        "solver.f90": "MODULE Solver  ! uses grid\n USE Grid\ncontains\nend module solver\n",
        "grid.f90": "module grid\n  use, intrinsic :: iso_c_binding\nend module grid\n",
    }
    sources = ("main.f90", "deep.f90", "helper.c", "sub.F90", "solver.f90", "grid.f90")
    assert in_order(sources, texts) == (
        *("grid.f90", "sub.F90", "helper.c", "deep.f90", "solver.f90", "main.f90"),
    )


@pytest.mark.parametrize(
    "text",
    ["! use b", "      call use_b()", "module procedure b", "  useb = 1", "print *, 'use b'", ""],
)
def test_what_only_looks_like_a_use_moves_nothing(text: str) -> None:
    texts = {"a.f90": text + "\n", "b.f90": "module b\nend module\n"}
    assert in_order(("a.f90", "b.f90"), texts) == ("a.f90", "b.f90")


def test_two_statements_on_a_line_and_a_circle() -> None:
    texts = {"a.f": "      use x; use b\n", "b.f": "      module b\n      end\n"}
    assert in_order(("a.f", "b.f"), texts) == ("b.f", "a.f")
    circle = {"a.f90": "module a\nuse b\nend", "b.f90": "module b\nuse a\nend"}
    assert in_order(("a.f90", "b.f90"), circle) == ("a.f90", "b.f90")


@given(st.lists(st.sets(st.integers(0, 11), max_size=3), max_size=12), st.randoms())
def test_makers_come_before_users(uses: list[set[int]], chance: random.Random) -> None:
    """Each module uses some of those before it; the list is given in any order."""
    known = [{x for x in used if x < place} for place, used in enumerate(uses)]
    texts = {
        f"m{place}.f90": f"module m{place}\n"
        + "".join(f"use m{x}\n" for x in used)
        + "end module\n"
        for place, used in enumerate(known)
    }
    right = tuple(texts)
    assert in_order(right, texts) == right
    mixed = list(right)
    chance.shuffle(mixed)
    found = in_order(mixed, texts)
    assert sorted(found) == sorted(right)
    for place, used in enumerate(known):
        assert all(found.index(f"m{x}.f90") < found.index(f"m{place}.f90") for x in used)
