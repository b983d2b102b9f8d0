"""Reading what a program printed, piece by piece; lines that say nothing are looked at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.measure import worker

CHECK = worker.Check(
    {
        "keys": ["a"],
        "figure": r"time (?P<key>\w+) (?P<value>\S+)",
        "success": [r"all done"],
        "readback": {"core": r"core (\w+)"},
        "residual": {"pattern": r"residual (?P<key>\w+) (?P<value>\S+)", "max": 1e-6},
        "further": {"energy": {"pattern": r"energy (?P<key>\w+) (?P<value>\S+)"}},
    }
)
ALL = ("time a 2.5", "residual a 0", "energy a 7", "core Haswell", "all done")


@settings(deadline=None)
@given(st.text("ab\r\n", max_size=40), st.integers(1, 9))
def test_lines_are_the_same_whatever_the_pieces(text: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "PIECE", piece)
        assert list(worker.lines_of(text)) == [line.rstrip("\r") for line in text.split("\n")]


@pytest.mark.parametrize("remembered", [0, 1, 4096])
def test_a_flood_of_dull_lines_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    monkeypatch.setattr(worker, "DULL_LINES", remembered)
    flood = [str(number % 7) for number in range(500)]
    printed = worker.Printed("\n".join(word for line in ALL for word in (*flood, line)), CHECK)
    assert printed.verdict() == ("ok", "")
    assert printed.samples == {"a": [2.5]}
    assert printed.readback == {"core": "Haswell"}
    assert printed.further == {"energy": {"a": [7.0]}}


def test_a_line_that_tells_is_read_every_time() -> None:
    assert worker.Printed("\n".join([*ALL, "time a 3", "time a 3"]), CHECK).samples == {
        "a": [2.5, 3.0, 3.0]
    }
