"""What the small model learns from, and how its file is written; all of it without PyTorch."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.layout import NONE
from hpcagent.embedded.training.effect import WITH, WITHOUT, effect
from hpcagent.embedded.training.gguf_writer import write
from hpcagent.embedded.training.recorded import Unusable, read, surface
from hpcagent.embedded.training.sources import Sources, drawing
from hpcagent.embedded.training.surfaces import simulated
from hpcagent.embedded.training.tasks import QUERIES, batch

RECORDED = Path(__file__).parent / "benchmarks" / "surfaces" / "blocked_lu_192.json"


def test_the_lessons_of_a_step_depend_on_seed_and_step_alone() -> None:
    draw = drawing(Sources((str(RECORDED),), 0.3))
    one, again, other = (batch(draw, 5, step, 12) for step in (3, 3, 4))
    assert (one.tokens == again.tokens).all() and (one.bins == again.bins).all()
    assert one.tokens.shape != other.tokens.shape or (one.tokens != other.tokens).any()


def test_a_lesson_tells_no_more_than_a_search_would_know() -> None:
    """Results only in the history, and the question mark on every other row."""
    made = batch(simulated, 1, 2, 30)
    results = (made.tokens >= v.SEEN_AT) & (made.tokens <= v.FAILED)
    rows = np.arange(made.tokens.shape[1])
    history = rows[None] < made.seen[:, None]
    assert (results.sum(axis=2) == history).all()
    asked = made.tokens[:, made.history :]
    used = (asked != NONE).any(axis=2)
    assert ((asked == v.QUERY).any(axis=2) == used).all()
    assert (used == (made.bins >= 0)).all() and made.bins.shape[1] == QUERIES
    assert made.bins.max() <= v.PREDICTED


def test_of_a_short_run_too_only_what_was_not_seen_is_asked(tmp_path: Path) -> None:
    values = [str(n) for n in range(12)]
    trials = [{"values": {"n": x}, "log_ratio": 0.1 * int(x), "failure": ""} for x in values]
    space = [{"name": "n", "kind": "ordinal", "values": values, "default": "0"}]
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"space": space, "trials": trials, "machine": {"cores": 8}}))
    made = batch(drawing(Sources((str(path),), 1.0)), 1, 0, 6)
    marks = (v.QUERY, v.DEFAULT, NONE)
    for lesson, seen in zip(made.tokens, made.seen, strict=True):
        rows = [
            {t for t in row if t not in marks and not v.SEEN_AT <= t <= v.FAILED}
            for row in lesson.tolist()
        ]
        asked = [row for row in rows[made.history :] if row]
        assert asked and not any(row in rows[:seen] for row in asked)


def test_surfaces_are_varied() -> None:
    """Failures, surfaces whose default is the best, small and large effects: all are there."""
    rng = np.random.default_rng(3)
    spreads, fails, best = [], 0, 0
    for _ in range(120):
        made = simulated(rng)
        values = made.true(made.points(200, rng))
        works = values[np.isfinite(values)]
        fails += len(works) < len(values)
        if len(works) < 10 or not np.isfinite(made.true(made.default)[0]):
            continue
        spreads.append(float(works.std()))
        best += made.true(made.default)[0] <= works.min() + 1e-9
    assert 20 < fails < 80 and best > 8
    assert min(spreads) < 0.05 and max(spreads) > 0.8


def test_a_recorded_surface_keeps_its_values_whatever_their_order() -> None:
    (table,) = read(RECORDED)
    rng = np.random.default_rng(1)
    made = surface(table, rng)
    codes = made.points(50, rng)
    assert made.valid(codes).all()
    medians = sorted(np.median(r) for r in table.repeats if r)
    values = made.true(codes)
    scale = made.true(made.default)[0] / values[np.isfinite(values)][0]
    assert np.isfinite(scale)
    assert len(medians) == sum(bool(r) for r in table.repeats) == 600 - 114
    assert np.isinf(values).any()


def test_a_laboratorys_history_is_read_and_what_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    values = [str(n) for n in range(12)]
    trials = [
        {"values": {"n": x}, "log_ratio": 0.1 * int(x), "failure": "", "spread": 0.0}
        for x in values
    ]
    trials[3] |= {"log_ratio": None, "failure": "run.signal"}
    space = [{"name": "n", "kind": "ordinal", "values": values, "default": "0"}]
    row = {"space": space, "trials": trials, "machine": {"cores": 8}}
    path.write_text(json.dumps(row) + "\n")
    (table,) = read(path)
    assert table.cores == 8 and table.repeats[3] == () and table.default == 0
    path.write_text("{}\n")
    with pytest.raises(Unusable, match=r"history.jsonl: KeyError\('space'\)"):
        read(path)
    broken = tmp_path / "x.json"
    broken.write_text(RECORDED.read_text())
    broken.with_suffix(".csv.gz").write_bytes(gzip.compress(b"nothing\n1\n"))
    with pytest.raises(Unusable, match=r"x.json"):
        read(broken)


def test_the_file_is_what_others_read_and_the_same_every_time(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    paths = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for path in paths:
        write(path, {"general.architecture": "llama", "x.y": 1.5}, {"m": matrix, "v": matrix[0]})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    found = GGUFReader(paths[0])
    tensors = {tensor.name: tensor for tensor in found.tensors}
    assert (tensors["m"].data == matrix).all() and tensors["m"].data.dtype == np.float16
    assert (tensors["v"].data == matrix[0]).all() and tensors["v"].data.dtype == np.float32
    assert len(found.fields["tokenizer.ggml.tokens"].data) == v.SIZE


def test_the_effect_is_a_ratio_with_its_interval(tmp_path: Path) -> None:
    rows = [
        {"surface": s, "seed": n, "method": method, "quality": [q + 0.01 * (n % 3)] * 4}
        for s in ("a", "b")
        for n in range(12)
        for method, q in ((WITH, 0.9), (WITHOUT, 0.8))
    ]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(rows))
    ratio, low, high = effect("made up", path).ratios["10"]
    assert low <= ratio <= high and 1.11 < ratio < 1.13
    path.write_text(json.dumps(rows[::2]))
    with pytest.raises(ValueError, match="no run of both"):
        effect("made up", path)
