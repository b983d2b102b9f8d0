"""The held-out set of failures: complete, each named once, each log with its origin.

What the diagnosis makes of it is measured by benchmarks/diagnosis_score.py --set blind.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from planted import blind_expected, blind_recorded, blind_successes, sets, successes

import hpcagent.toolchain

FAILURES = (*sets.BLIND, *sets.BLIND_SLURM)
ORIGINS = ("# Recorded on the machine of the tests with ", "# Written from ")


def test_no_name_is_used_twice() -> None:
    others = (*sets.FIRST, *sets.OTHERS, *sets.FIRST_SLURM, *sets.OTHERS_SLURM)
    everything = (*FAILURES, *others, *successes.CASES, *blind_successes.CASES)
    counted = Counter(case.name for case in everything)
    assert [name for name, count in counted.items() if count > 1] == []


def test_it_is_large_and_of_many_kinds() -> None:
    assert len(FAILURES) >= 100
    assert len({case.kind for case in FAILURES}) >= 100
    assert len(blind_successes.CASES) >= 12


def test_every_recorded_log_says_where_it_comes_from() -> None:
    named = {case.env["BLIND_LOG"] for case in blind_recorded.CASES + blind_recorded.SUCCESSES}
    there = sorted(blind_recorded.FOLDER.glob("*.log"))
    assert {str(file) for file in there} == named
    for file in there:
        first, _, rest = file.read_text().partition("\n")
        documented = file.name.startswith("doc-")
        assert first.startswith(ORIGINS[documented]), file.name
        assert rest.strip(), file.name


def test_every_kind_has_ids_that_exist() -> None:
    """No kind is an id by accident, and none is left over."""
    chosen = blind_expected.ids()
    assert set(chosen) == {case.kind for case in FAILURES}
    data = Path(hpcagent.toolchain.__path__[0], "failures.yaml").read_text()
    known = set(re.findall(r"(?m)^\s*(?:- )?id: (\S+)", data))
    named = {name for names in chosen.values() for name in names}
    assert named <= known
    assert all(names for names in chosen.values())
