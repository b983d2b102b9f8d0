"""Several rounds out at once, and several in one job."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mainjob import Bench, Inside, make_bench

from hpcagent.records import JobState, Resources
from hpcagent.study import packs
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Inside(tmp_path, make_bench(tmp_path).env)


def rounds_by_job(bench: Bench) -> dict[str, list[str]]:
    """Job id -> purposes of the rounds it measured, from the journal."""
    purpose = {e["data"]["unit"]: e["data"]["purpose"] for e in bench.events("unit_intent")}
    found: dict[str, list[str]] = {}
    for event in bench.events("unit_submitted"):
        if purpose[event["data"]["unit"]].startswith("round-"):
            found.setdefault(event["data"]["job_id"], []).append(purpose[event["data"]["unit"]])
    return found


def configurations_asked_twice(bench: Bench) -> set[str]:
    rows = [
        json.dumps(p["config"]) for e in bench.events("proposed") for p in e["data"]["proposals"]
    ]
    return {row for row, count in Counter(rows).items() if count > 1}


@pytest.mark.openblas
def test_a_job_measures_several_rounds(bench: Bench) -> None:
    done = bench.tune("--budget", "rounds=3", "--pack", "2")
    assert done.returncode == 0, done.stderr
    assert list(rounds_by_job(bench).values()) == [["round-1", "round-2"], ["round-3"]]
    assert not configurations_asked_twice(bench)
    ended = [e["data"] for e in bench.events("unit_result")]
    assert all(row["failure"] is None for row in ended)
    folders = [f.name for f in (bench.run / "work").iterdir() if (f / "job.sh").exists()]
    assert len(folders) == len({e["data"]["job_id"] for e in bench.events("unit_submitted")})
    assert len(bench.jobs()) == len(folders)


@pytest.mark.openblas
def test_rounds_that_are_out_at_once_ask_for_different_things(bench: Bench) -> None:
    done = bench.tune("--budget", "rounds=3", "--ahead", "2")
    assert done.returncode == 0, done.stderr
    assert len(rounds_by_job(bench)) == 3
    assert not configurations_asked_twice(bench)
    seen, overlapped = set(), False
    for event in bench.events():
        purpose = event["data"].get("purpose", "")
        if event["type"] == "unit_intent" and purpose.startswith("round-"):
            seen.add(event["data"]["unit"])
            overlapped = overlapped or len(seen) > 1
        elif event["type"] == "unit_result":
            seen.discard(event["data"]["unit"])
    assert overlapped


def member(number: int, pack: str, **changes: object) -> Unit:
    name = f"ha{number:012d}"
    base = Unit(
        name, "round", f"round-{number}", 1, Resources(600, cpus_per_task=number), {}, "", pack
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def state(*units: Unit, pack: int = 3) -> TuneState:
    settings = TuneSettings("openblas", 1, "local", "surrogate", 9, 2, pack=pack)
    return TuneState(settings, "", "1", units)


def test_a_pack_grows_until_it_is_full_or_was_sent() -> None:
    first = member(1, "ha000000000001")
    second = member(2, "ha000000000001")
    grown = packs.growing(state(first, second))
    assert grown is not None
    assert grown.members == (first, second)
    assert grown.resources.walltime_s == 1200
    assert grown.resources.cpus_per_task == 2
    assert packs.growing(state(first, second, pack=2)) is None
    tried = replace(first, job_state=JobState.SUBMITTING)
    assert packs.growing(state(tried, second)) is None


def test_members_follow_a_lead_that_was_submitted_before_the_agent_died() -> None:
    lead = member(1, "ha000000000001", job_id="17")
    rest = packs.unsubmitted(state(lead, member(2, "ha000000000001")))
    assert [packs.job_of(state(lead), pack) for pack in rest] == ["17"]
    assert packs.growing(state(lead, *rest[0].members)) is None
