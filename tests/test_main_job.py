"""The main job on a real OpenBLAS, with a tiny workload; what is asserted is in the journal."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import subprocess
from pathlib import Path

import pytest
from mainjob import Bench, Inside, make_bench

from hpcagent.measure.results import parse_results
from hpcagent.probe.embedded import embedded_library_path
from hpcagent.study import tune
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.proposing import Proposer
from hpcagent.study.rundir import open_run
from hpcagent.study.state import fold, proposal_to

pytestmark = pytest.mark.openblas


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = make_bench(tmp_path_factory.mktemp("main job"))
    done = bench.tune("--budget", "rounds=2", "--seed", "3")
    assert done.returncode == 0, done.stderr
    return Inside(bench.folder, bench.env)  # what is asked of it is asked here


def test_the_run_goes_through_all_its_phases_once(bench: Bench) -> None:
    purposes = [event["data"]["purpose"] for event in bench.events("unit_intent")]
    assert purposes[:5] == ["probe", "build", "feasibility", "round-1", "round-2"]
    assert purposes[5:] in ([], ["confirm"], ["confirm", "confirm-2"])
    names = [event["data"]["unit"] for event in bench.events("unit_submitted")]
    assert len(set(names)) == len(purposes)
    assert {name: len(jobs) for name, jobs in bench.jobs().items()} == dict.fromkeys(names, 1)
    assert bench.events()[-1]["type"] == "run_closed"


def test_intent_comes_before_submission_and_result_after(bench: Bench) -> None:
    order: dict[str, list[str]] = {}
    for event in bench.events():
        if event["type"] in ("unit_intent", "unit_submitted", "unit_result"):
            order.setdefault(event["data"]["unit"], []).append(event["type"])
    assert set(map(tuple, order.values())) == {("unit_intent", "unit_submitted", "unit_result")}


def test_what_ran_was_read_back(bench: Bench) -> None:
    state = fold(read_journal(bench.run / "journal.jsonl"))
    known = Knowledge(state)
    library = known.needed_library()
    for unit in state.rounds:
        specs = {config["id"]: config for config in unit.spec["configs"]}
        good = [run for run in unit.runs if run.ok]
        assert good
        for run in good:
            assert Path(run.readback["library"]) == Path(library.path).resolve()
            core = specs[run.config]["env"].get("OPENBLAS_CORETYPE", library.core)
            assert run.readback["core"].casefold() == core.casefold()
            threads = specs[run.config]["env"].get("OPENBLAS_NUM_THREADS")
            assert run.readback["threads"] == (threads or str(library.default_threads))


def test_the_feasibility_probe_prunes_the_space(bench: Bench) -> None:
    known = Knowledge(fold(read_journal(bench.run / "journal.jsonl")))
    probed = known.probed
    assert {p.param for p in probed} == {"core"}
    left = next(p.values for p in known.space.params if p.name == "core")
    assert set(left) == {p.value for p in probed if p.kept} | {known.needed_library().core}
    for value in probed:
        if value.alias_of is not None:
            assert value.alias_of != value.value


def test_rounds_interleave_reference_and_challengers(bench: Bench) -> None:
    state = fold(read_journal(bench.run / "journal.jsonl"))
    for unit in state.rounds:
        reference = unit.spec["reference"]
        cycles: dict[int, list[str]] = {}
        for run in unit.runs:
            if run.pair > 0 and run.order >= 0:
                cycles.setdefault(run.pair, []).append(run.config)
        assert cycles
        for configs in cycles.values():
            assert configs.count(reference) == 1
            assert len(set(configs)) == len(configs)


def test_the_journal_has_what_the_worker_wrote(bench: Bench) -> None:
    state = fold(read_journal(bench.run / "journal.jsonl"))
    for unit in state.units:
        if unit.kind == "round":
            text = (bench.run / "work" / unit.name / "result.jsonl").read_text()
            assert unit.runs == parse_results(text, unit.spec["weights"])


def test_every_prefix_of_the_journal_leads_to_the_next_event(bench: Bench) -> None:
    """Resuming anywhere decides, and proposes, what the uninterrupted run did."""
    events = tuple(read_journal(bench.run / "journal.jsonl"))
    run = open_run(bench.run)
    checked = set()
    for end, event in enumerate(events):
        if event.type not in ("unit_intent", "decision", "proposed", "run_closed"):
            continue
        known = Knowledge(fold(events[:end]))
        packaged = embedded_library_path()
        step = tune.next_step(
            known,
            event.t_utc,
            str(packaged) if packaged else None,
            lambda unit: str(run.unit(unit.name)),
        )
        checked.add(type(step).__name__)
        if isinstance(step, tune.Submit):
            assert event.data["purpose"] == step.plan.purpose
            assert event.data["spec"] == json.loads(json.dumps(step.plan.spec))
        elif isinstance(step, tune.Decide):
            assert event.data == {"what": step.what, **step.data}
        elif isinstance(step, tune.Propose):
            proposer = Proposer(known.state.settings, run.llm_log)
            proposals, _ = proposer.propose(known, step.round, lambda call: None)
            assert event.data["proposals"] == [proposal_to(p) for p in proposals]
        else:
            assert isinstance(step, tune.Close)
            ended_utc = event.data["closed_utc"]
            assert events[end - 1].t_utc <= ended_utc <= event.t_utc
            assert event.data == {
                "outcome": step.outcome, "text": step.text, "exit_code": step.exit_code,
                "closed_utc": ended_utc,
            }  # fmt: skip
    assert {"Submit", "Decide", "Propose", "Close"} <= checked


def test_a_claim_rests_on_its_own_pairs(bench: Bench) -> None:
    summary = summarise(
        open_run(bench.run), Knowledge(fold(read_journal(bench.run / "journal.jsonl")))
    )
    if summary.claim is None:
        assert summary.outcome == "nothing better"
        return
    assert summary.claim.pairs == 9
    assert summary.claim.low <= summary.claim.speedup <= summary.claim.high
    assert summary.claim.coverage >= 0.995
    assert summary.claim.improved == (summary.claim.low > 1.01)
    shown = summary.claim.improved and len(summary.claim.jobs) == 2
    assert (summary.outcome == "improved") == shown
    for case in summary.cases:
        assert len(case.ratios) == 9 * len(summary.claim.jobs)
        middle = statistics.median(math.log(ratio) for ratio in case.ratios)
        assert math.isclose(case.speedup, math.exp(middle))


def test_result_files_are_there_and_can_be_used(bench: Bench) -> None:
    result = bench.run / "result"
    assert {"best.env", "snippet.sh", "report.md", "report.html", "figures"} <= {
        path.name for path in result.iterdir()
    }
    summary = json.loads(bench.hpcagent("status", str(bench.run), "--json").stdout)
    script = f"set -a; . '{result}/best.env'; set +a; env"
    shown = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}
    ).stdout.splitlines()
    for name, value in summary["best_environment"]:
        assert f"{name}={value}" in shown


def test_report_status_and_resume_of_a_finished_run(bench: Bench) -> None:
    before = (bench.run / "journal.jsonl").read_bytes()
    for words in (["report"], ["status"], ["resume"], ["step"], ["cancel"]):
        done = bench.hpcagent(*words, str(bench.run))
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 80 or words == ["status"]
    assert (bench.run / "journal.jsonl").read_bytes() == before
    listed = bench.hpcagent("status")
    assert "no runs" in listed.stdout


def test_json_output_is_json_alone(bench: Bench) -> None:
    done = bench.hpcagent("report", str(bench.run), "--json")
    data = json.loads(done.stdout)
    assert data["outcome"] in ("improved", "nothing better")
    assert data["seed"] == 3


def test_a_run_of_a_newer_version_is_read_but_not_written(bench: Bench, tmp_path: Path) -> None:
    copy = tmp_path / "newer"
    subprocess.run(["cp", "-r", str(bench.run), str(copy)], check=True)
    lines = (copy / "journal.jsonl").read_text().splitlines()[:-1]
    newer = {"v": 99, "seq": len(lines) + 1, "t_utc": "2030-01-01T00:00:00Z",
             "type": "decision", "data": {"what": "x"}}  # fmt: skip
    text = "\n".join([*lines, json.dumps(newer)]) + "\n"
    (copy / "journal.jsonl").write_text(text)
    done = bench.hpcagent("resume", str(copy))
    assert done.returncode == 3
    assert "newer" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (copy / "journal.jsonl").read_text() == text
    assert bench.hpcagent("status", str(copy)).returncode == 0


def test_settings_survive_the_journal(bench: Bench) -> None:
    settings = fold(read_journal(bench.run / "journal.jsonl")).settings
    assert settings.confirm_pairs == 9
    assert type(settings).from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert dataclasses.asdict(settings)["seed"] == 3
