"""The small model in a run, end to end, where nobody named one."""

from __future__ import annotations

import json

import pytest
from mainjob import WITH_DEFAULT_MODEL, make_bench

from hpcagent.embedded import card

pytestmark = [pytest.mark.openblas, pytest.mark.llama]


def test_the_small_model_takes_part_and_the_result_says_what_it_did(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    bench = make_bench(tmp_path_factory.mktemp("embedded"))
    (bench.folder / "hpcagent.toml").write_text(WITH_DEFAULT_MODEL)
    done = bench.tune("--budget", "rounds=2", "--challengers", "8", "--no-history")
    assert done.returncode == 0, done.stderr
    calls = [event["data"] for event in bench.events("llm_call")]
    assert calls and {call["verdict"] for call in calls} == {"accepted"}
    assert {call["model_sha256"] for call in calls} == {card.read(card.SHIPPED).sha256}
    picks = [
        proposal
        for event in bench.events("proposed")
        for proposal in event["data"]["proposals"]
        if proposal["proposed_by"] == "embedded"
    ]
    assert all("tipped the choice" in pick["reason"] for pick in picks)
    summary = json.loads(bench.hpcagent("status", str(bench.run), "--json").stdout)["model"]
    assert (summary["used"], summary["calls"]) == (True, len(calls))
    assert summary["picks_measured"] <= len(picks)
    words = " ".join(bench.hpcagent("report", str(bench.run)).stdout.split())
    assert f"embedded (default): asked {len(calls)} times" in words
    assert f"it changed {summary['picks_measured'] or 'no'} choice" in words
