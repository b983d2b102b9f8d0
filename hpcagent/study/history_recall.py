"""What a run takes from the history, and what it gives back to it.

What is taken goes into the journal whole, as the decision `history`, before the first proposal:
resumed or replayed, the search proposes the same, whatever the store holds by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import Config, Failure, Param, Trial
from hpcagent.search.opening import FASTEST_BEFORE
from hpcagent.search.prior import Earlier
from hpcagent.study import history, history_card
from hpcagent.study.durable import json_bytes
from hpcagent.study.history_match import Present, matching
from hpcagent.study.history_record import place_of, record_of, tuned_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.summary import TrialSummary

DECISION = "history"
MOST_BYTES = 200_000  # of the decision; four runs of sixty trials take about half


def recalled(run_id: str, known: Knowledge) -> dict[str, Any]:
    """The data of the decision: the runs used with their trials, a digest, and what was wrong.

    Never fails: a store that cannot be read is a note.
    """
    settings = known.state.settings
    folders = [Path(path) for path in (settings.history, settings.site_history) if path]
    found = history.read(folders)
    others = [record for record in found.records if record.run != run_id]
    present = Present(
        place_of(known.machine),
        tuned_of(settings.app, known.library),
        known.workload.cases,
        settings.objectives[0],
        history_card.measures(known.card, settings.objectives[0], settings.subject_sha256),
        history_card.sets(known.card),
    )
    rows = [_row(run) for run in matching(present, others) if _common(known, run)]
    while rows and len(json_bytes({"runs": rows})) > MOST_BYTES:
        rows.pop()
    return {
        "reason": _reason(known, rows, len(others), found.notes),
        "runs": rows,
        "digest": hashlib.sha256(json_bytes({"runs": rows})).hexdigest()[:16],
        "notes": list(found.notes)[:10],
    }


def earlier_in(decisions: Mapping[str, Mapping[str, Any]]) -> tuple[Earlier, ...]:
    """The earlier runs that a journal's decision holds; none where it has no such decision."""
    rows = decisions.get(DECISION, {}).get("runs", ())
    return tuple(_earlier(row) for row in rows)


def came_of(trials: Sequence[TrialSummary]) -> str:
    """What the configurations were worth that earlier runs held to be the fastest, in words."""
    led = [trial.speedup for trial in trials if trial.reason == FASTEST_BEFORE]
    ran = [speedup for speedup in led if speedup is not None]
    if not led:
        return ""
    if not ran:
        return "what they had as the fastest did not run here"
    return f"what they had as the fastest was measured at {max(ran):.4g} times the default's speed"


def kept(run_id: str, known: Knowledge, outcome: str) -> str:
    """Put the run into the store; what became of it, in words ("" where there is nothing to keep).

    Never fails: a folder that cannot be written to is told.
    """
    folder = known.state.settings.history
    if not folder:
        return ""
    try:
        record = record_of(run_id, known, outcome)
        if record is None:
            return ""
        history.add(Path(folder), record)
        history.tidy(Path(folder))
    except (EnvironmentProblem, UsageError) as error:
        return f"not kept for later runs: {error}"
    return f"kept for later runs in {folder}"


def _common(known: Knowledge, run: Earlier) -> bool:
    """Whether the spaces share a parameter at all, and something was found there."""
    now = {(param.name, param.kind) for param in known.space.params}
    return bool(run.trials) and any((param.name, param.kind) in now for param in run.params)


def _reason(
    known: Knowledge, rows: list[dict[str, Any]], others: int, notes: tuple[str, ...]
) -> str:
    if rows:
        runs = ", ".join(
            f"{row['name']} (trust {row['trust']:.2f}{_unlike(known, row)})" for row in rows
        )
        words = f"prior from {len(rows)} earlier run{'s' * (len(rows) > 1)}: {runs}"
    elif others:
        words = f"no prior: none of {others} earlier runs is like this one"
    else:
        words = "no prior: there are no earlier runs"
    return "; ".join((words, *notes[:3]))


def _unlike(known: Knowledge, row: Mapping[str, Any]) -> str:
    """Which parameters only one of the two spaces has, in words; nothing where there are none."""
    now = {param.name for param in known.space.params}
    then = {str(param["name"]) for param in row["params"]}
    told = {"lacked": now - then, "had": then - now}
    words = [f"{word} {', '.join(sorted(names))}" for word, names in told.items() if names]
    return f"; its space {' and '.join(words)}" if words else ""


def _row(run: Earlier) -> dict[str, Any]:
    return {
        "name": run.name,
        "trust": run.trust,
        "params": [
            {"name": p.name, "kind": p.kind, "values": list(p.values), "default": p.default}
            for p in run.params
        ],
        "trials": [
            {
                "values": trial.config.values,
                "log_ratio": trial.log_ratio,
                "spread": trial.spread,
                "failure": trial.failure.id if trial.failure else "",
            }
            for trial in run.trials
        ],
    }


def _earlier(row: Mapping[str, Any]) -> Earlier:
    params = tuple(
        Param(p["name"], p["kind"], tuple(p["values"]), p["default"]) for p in row["params"]
    )
    return Earlier(row["name"], row["trust"], params, tuple(_trial(t) for t in row["trials"]))


def _trial(row: Mapping[str, Any]) -> Trial:
    stage, _, kind = row["failure"].partition(".")
    failure = Failure(stage, kind, "in an earlier run") if row["failure"] else None
    return Trial(Config.of(row["values"]), row["log_ratio"], row["spread"], failure, 0, "")
