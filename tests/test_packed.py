"""Packed runs are the same runs, and a run's state is small beside its journal."""

from __future__ import annotations

import gc
import string
import tracemalloc
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab import counted_tune
from lab.slurm_counting import Simulated

from hpcagent.measure.packed import Runs
from hpcagent.measure.results import Run, failure_of
from hpcagent.study.durable import json_bytes
from hpcagent.study.journal import VERSION, read_journal
from hpcagent.study.knowledge import failure_in
from hpcagent.study.rundir import unit_name
from hpcagent.study.state import fold

words = st.text(string.printable, max_size=8)
times = st.floats(min_value=1e-9, max_value=1e9)
runs = st.builds(
    Run,
    config=st.sampled_from(["a", "b", "c"]),
    pair=st.integers(-1, 3),
    order=st.integers(-1, 9),
    status=st.sampled_from(["ok", "dropped", "failed", "timeout", "wrong"]),
    medians=st.dictionaries(words, times, max_size=3),
    objective=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    readback=st.dictionaries(words, words, max_size=3),
    exit=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    message=words,
    max_residual=st.none() | times,
    maxrss_bytes=st.none() | st.integers(0, 2**80),
    t_utc=words,
    wall_s=st.none() | times,
    steal=st.none() | times,
    mhz=st.none() | times,
    celsius=st.none() | times,
    joules=st.none() | times,
    cpu_s=st.none() | times,
    load1=st.none() | times,
    note=words,
    further=st.dictionaries(words, times, max_size=2),
)


def test_every_field_of_a_run_is_drawn() -> None:
    assert [field.name for field in fields(Run) if f"{field.name}=" not in str(runs)] == []


@given(st.lists(runs, max_size=8))
def test_packed_runs_are_the_same_runs(given: list[Run]) -> None:
    packed = Runs(given)
    assert list(packed) == given
    assert packed == tuple(given)
    assert packed == Runs(given)
    assert len(packed) == len(given)
    assert packed[1:] == tuple(given[1:])
    assert [(t.config, t.pair, t.status, t.objective, t.ok) for t in packed.timings()] == [
        (run.config, run.pair, run.status, run.objective, run.ok) for run in given
    ]


@given(st.lists(runs, max_size=8), st.sampled_from("abcd"))
def test_the_first_failure_of_a_configuration_is_found(given: list[Run], config: str) -> None:
    mine = [failure_of(run) for run in given if run.config == config]
    assert failure_in(Runs(given), config) == next((f for f in mine if f is not None), None)
    assert Runs(given).of(config) == [run for run in given if run.config == config]


def test_a_state_is_small_beside_its_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of three rounds with its last round repeated, as a long search would."""
    cluster = Simulated(tmp_path / "slurm", counted_tune.end, counted_tune.begin)
    monkeypatch.setenv("PATH", cluster.path)
    cluster.plan(10.0, 60.0)
    clock = counted_tune.clock_of(cluster)
    run = counted_tune.new_run(tmp_path, clock, counted_tune.settings(challengers=4, repeat_s=1.0))
    with counted_tune.agent_of(run, clock) as agent:
        agent.run(lambda state, turn: None, until_waiting=False)
    events = list(read_journal(run.journal))
    last = [e for e in events if e.data.get("unit") == agent.state.rounds[-1].name]
    with run.journal.open("ab") as stream:
        seq = len(events)
        for number in range(200):
            for event in last:
                seq += 1
                data = {**event.data, "unit": unit_name("more", number)}
                line = {"v": VERSION, "seq": seq, "t_utc": event.t_utc, "type": event.type}
                stream.write(json_bytes({**line, "data": data}))
    del events, last, agent
    gc.collect()
    tracemalloc.start()
    try:
        state = fold(read_journal(run.journal))
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = run.journal.stat().st_size
    assert len(state.rounds) == 203
    assert held < 0.6 * size, "everything that was measured"
    assert peak < 0.8 * size, "and no second copy while it is read"
