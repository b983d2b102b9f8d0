"""Many old records of one kind become one, so that a store stays small."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hpcagent.study.history_record import MOST_TRIALS, Record, Tried

_NEWEST = 2  # of a kind, kept as they are
_LEAST_SPREAD = 1e-3  # of a log ratio: no measurement counts for more than this makes it


def folded_to(records: Sequence[Record]) -> tuple[Record | None, list[str]]:
    """The record that stands for the oldest ones of the greatest kind, and the runs it replaces.

    A kind is a machine type with a library, of the same workload where enough runs are. Where none
    has more than two runs, the oldest run gives way to nothing.
    """
    for kind in (_narrow, _wide):
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(kind(record), []).append(record)
        largest = max(groups.values(), key=len)
        if len(largest) > _NEWEST + 1:
            old = sorted(largest, key=lambda r: (r.t_utc, r.run))[:-_NEWEST]
            return merged(old), [record.run for record in old]
    oldest = min(records, key=lambda r: (r.t_utc, r.run))
    return None, [oldest.run]


def merged(records: Sequence[Record]) -> Record:
    """One record of all trials; of a configuration that several tried, the weighted mean.

    Space, version and outcome are the newest one's; what does not fit its space is left out.
    """
    newest = max(records, key=lambda r: (r.t_utc, r.run))
    runs = sorted({run for record in records for run in (record.run, *record.folded)})
    known = {row.name: set(row.values) for row in newest.space}
    found: dict[str, list[Tried]] = {}
    for record in sorted(records, key=lambda r: (r.t_utc, r.run)):
        for trial in record.trials:
            fits = trial.values.keys() == known.keys() and all(
                value in known[name] for name, value in trial.values.items()
            )
            if fits:
                found.setdefault(repr(sorted(trial.values.items())), []).append(trial)
    trials = sorted((_mean(rows) for rows in found.values()), key=_fastest)
    name = hashlib.sha256("\n".join(runs).encode()).hexdigest()[:16]
    largest = max(records, key=lambda r: len(r.workload))
    return newest.model_copy(
        update={
            "run": f"folded-{name}",
            "workload": largest.workload,
            "trials": trials[:MOST_TRIALS],
            "folded": runs,
        }
    )


def _mean(rows: Sequence[Tried]) -> Tried:
    """Weighted by what is known of each; the last one's where none ran."""
    ran = [row for row in rows if row.log_ratio is not None]
    if not ran:
        return rows[-1]
    weights = [max(row.spread or 0.0, _LEAST_SPREAD) ** -2 for row in ran]
    total = sum(weights)
    mean = sum(w * (row.log_ratio or 0.0) for w, row in zip(weights, ran, strict=True)) / total
    pairs = sum(row.pairs for row in ran)
    return ran[-1].model_copy(update={"log_ratio": mean, "spread": total**-0.5, "pairs": pairs})


def _fastest(trial: Tried) -> tuple[bool, float]:
    return trial.log_ratio is None, trial.log_ratio or 0.0


def _narrow(record: Record) -> str:
    return f"{_wide(record)} {record.workload}"


def _wide(record: Record) -> str:
    names = [(row.name, row.kind, row.sets) for row in record.space]
    library = f"{record.library.name} {record.library.threading}"
    return f"{record.machine} {library} {record.objective} {record.measures} {names}"
