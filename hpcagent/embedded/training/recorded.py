"""Surfaces from what was really measured: recorded whole spaces, or the trials of earlier runs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcagent.embedded.layout import refusal
from hpcagent.embedded.training.surfaces import Surface
from hpcagent.records import Param

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

_FEWEST = 8  # points from which anything is learnt


class Unusable(Exception):
    """One line: the file, and what is wrong with it."""


@dataclass(frozen=True)
class Table:
    """Points (N, P) as indices of values, and the repeats of each, ln(time); none where it failed.

    `default` is a row.
    """

    params: tuple[Param, ...]
    codes: Codes
    repeats: tuple[tuple[float, ...], ...]
    default: int
    cores: int | None = None


def read(path: Path) -> list[Table]:
    """A recorded surface (NAME.json beside NAME.csv.gz), or an export of `hpcagent history`."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            found = [table for row in rows if (table := _earlier(row)) is not None]
        else:
            found = [_whole(json.loads(text), path.with_suffix(".csv.gz"))]
    except (OSError, EOFError, UnicodeError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{path}: {error!r}") from None
    return [table for table in found if not refusal(table.params) and len(table.codes) >= _FEWEST]


def surface(table: Table, rng: Generator) -> Surface:
    """A surface of a part of a table: the order of values and their scale are changed, so that
    what is learnt is a habit of such surfaces and not this one by heart."""
    scale = math.exp(rng.normal(0, 0.3))
    middles = np.array([np.median(r) if r else np.inf for r in table.repeats])
    where = {tuple(row): n for n, row in enumerate(table.codes.tolist())}
    orders = [
        rng.permutation(len(p.values)) if p.kind == "categorical" else np.arange(len(p.values))
        for p in table.params
    ]
    back = [np.argsort(order) for order in orders]

    def rows(codes: Codes) -> list[int]:
        plain = np.stack([b[codes[:, n]] for n, b in enumerate(back)], axis=1)
        return [where.get(tuple(row), -1) for row in plain.tolist()]

    def told(index: Sequence[int]) -> Codes:
        return np.stack([o[table.codes[index, n]] for n, o in enumerate(orders)], axis=1)

    def true(codes: Codes) -> Array:
        return np.asarray(scale * middles[rows(codes)])

    def measured(codes: Codes, draws: Generator) -> Array:
        chosen = [table.repeats[n] for n in rows(codes)]
        return scale * np.array([draws.choice(r) if r else np.inf for r in chosen])

    def points(count: int, draws: Generator) -> Codes:
        return told(draws.integers(len(table.codes), size=count).tolist())

    def valid(codes: Codes) -> NDArray[np.bool_]:
        return np.array(rows(codes), dtype=np.intp) >= 0

    works = np.flatnonzero(np.isfinite(middles))
    default = table.default if rng.random() < 0.5 else int(rng.choice(works))
    return Surface(table.params, table.cores, true, measured, points, valid, told([default]))


def _whole(head: Mapping[str, Any], samples: Path) -> Table:
    """What tests/benchmarks/surfaces describes."""
    params = tuple(
        Param(p["name"], p["kind"], tuple(map(str, p["values"])), str(p["values"][0]))
        for p in head["params"]
    )
    sign = -1.0 if head["objective"]["direction"] == "max" else 1.0
    codes, repeats = [], []
    text = gzip.decompress(samples.read_bytes()).decode("utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        codes.append([p.values.index(row[p.name]) for p in params])
        words = row["samples"].split(";") if row["status"] == "ok" else []
        repeats.append(tuple(sign * math.log(float(word)) for word in words))
    default = next(n for n, r in enumerate(repeats) if r)
    if head.get("default"):
        wanted = [p.values.index(str(head["default"][p.name])) for p in params]
        default = codes.index(wanted)
    return Table(params, np.array(codes, dtype=np.intp), tuple(repeats), default)


def _earlier(row: Mapping[str, Any]) -> Table | None:
    """A run; None where it has nothing of its default."""
    params = tuple(
        Param(p["name"], p["kind"], tuple(p["values"]), p["default"]) for p in row["space"]
    )
    codes, repeats = [], []
    for trial in row["trials"]:
        if trial["log_ratio"] is None and not trial["failure"]:
            continue
        codes.append([p.values.index(trial["values"][p.name]) for p in params])
        repeats.append(() if trial["failure"] else (float(trial["log_ratio"]),))
    wanted = [p.values.index(p.default) for p in params]
    if wanted not in codes or not repeats[codes.index(wanted)]:
        return None
    cores = int(row["machine"]["cores"]) or None
    default = codes.index(wanted)
    return Table(params, np.array(codes, dtype=np.intp), tuple(repeats), default, cores)
