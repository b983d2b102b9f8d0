"""The held-out set of failures: complete, each log with its origin, and its causes named first.

Its logs are kept as they were made once; every twelfth failure is made anew here.
benchmarks/diagnosis_score.py --set blind makes them all.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from planted import blind_expected, blind_recorded, blind_successes, sets, successes
from planted.case import Made, make
from planted.score import Scored, figures, score
from test_planted import missed, modules, plantable, required, wrongly_repaired

import hpcagent.toolchain

FAILURES = (*sets.BLIND, *sets.BLIND_SLURM)
LOGS = blind_recorded.FOLDER / "logs.json.gz"
RECALL, RECALL_WITH_CODES, PRECISION = 0.95, 0.97, 0.97
__all__ = ["modules"]  # a fixture of the other sets
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


@cache
def recorded() -> dict[str, Made]:
    """The logs of all cases as they were made once, a character of Latin-1 for each byte."""
    rows = json.loads(gzip.decompress(LOGS.read_bytes()))
    return {name: Made(text.encode("latin-1"), code) for name, (code, text) in rows.items()}


def test_there_is_a_log_of_every_case() -> None:
    assert set(recorded()) == {case.name for case in (*FAILURES, *blind_successes.CASES)}


@pytest.mark.parametrize(("codes", "recall"), [(False, RECALL), (True, RECALL_WITH_CODES)])
def test_the_planted_cause_is_named_first_in_what_was_recorded(codes: bool, recall: float) -> None:
    rows: list[Scored] = score(FAILURES, recorded(), codes)
    quiet = score(blind_successes.CASES, recorded(), codes)
    assert [row.told() for row in quiet if row.named] == []
    assert wrongly_repaired(rows) == []
    assert figures(rows).recall >= recall, missed(rows)
    assert figures([*rows, *quiet]).precision >= PRECISION, missed(rows)


@pytest.mark.toolchain
def test_the_planted_cause_is_named_first_in_what_is_made_anew(modules: dict[str, str]) -> None:
    required()
    cases = plantable(sets.BLIND)[::12]
    rows = score(cases, sets.collect(cases, make, modules))
    assert len(rows) == len(cases) > 20
    assert figures(rows).recall >= RECALL, missed(rows)
