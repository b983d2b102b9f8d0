"""The third held-out set: its logs as they were made once, and their causes named first."""

from __future__ import annotations

import re
from pathlib import Path

from planted import blind_expected, fresh_recorded, sets, successes
from planted.score import figures, score
from test_planted import missed, wrongly_repaired

import hpcagent.toolchain

RECALL, PRECISION = 0.97, 0.97


def test_it_is_whole_and_new() -> None:
    everything = (*fresh_recorded.FAILURES, *fresh_recorded.SUCCESSES)
    names = [case.name for case in everything]
    assert len(set(names)) == len(names)
    assert set(fresh_recorded.recorded()) == set(names)
    earlier = (*sets.FIRST, *sets.OTHERS, *sets.BLIND, *sets.BLIND_SLURM, *successes.CASES)
    assert not {case.name for case in earlier} & set(names)
    assert not {case.kind for case in sets.BLIND} & {case.kind for case in fresh_recorded.FAILURES}


def test_every_kind_has_ids_that_exist() -> None:
    chosen = blind_expected.ids(blind_expected.FRESH)
    assert set(chosen) == {case.kind for case in fresh_recorded.FAILURES}
    data = Path(hpcagent.toolchain.__path__[0], "failures.yaml").read_text()
    known = set(re.findall(r"(?m)^\s*(?:- )?id: (\S+)", data))
    assert {name for names in chosen.values() for name in names} <= {*known, "|"}


def test_the_planted_cause_is_named_first_with_and_without_the_exit_code() -> None:
    logs = fresh_recorded.recorded()
    for codes in (False, True):
        rows = score(fresh_recorded.FAILURES, logs, codes)
        quiet = score(fresh_recorded.SUCCESSES, logs, codes)
        assert [row.told() for row in quiet if row.named] == []
        assert wrongly_repaired(rows) == []
        assert figures(rows).recall >= RECALL, missed(rows)
        assert figures([*rows, *quiet]).precision >= PRECISION, missed(rows)
