"""The decisions of a run that the real main job does not come to: outages, failures, budgets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hpcagent.errors import RunFailed
from hpcagent.measure.packed import Runs
from hpcagent.measure.results import Run
from hpcagent.records import (
    Event,
    Failure,
    JobState,
    JobStatus,
    Pace,
    Param,
    Resources,
    Submitted,
)
from hpcagent.search.space import Space
from hpcagent.study import budget, tune, units
from hpcagent.study.attempts import given_up
from hpcagent.study.desk import Desk, Patience, Seen, Settling
from hpcagent.study.feasibility import judge_feasibility
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.progress import Progress, waiting
from hpcagent.study.rundir import create_run, unit_name
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit, fold

FACTS = json.loads(
    (Path(__file__).parent / "fixtures/probe/recorded-debian12-node1-icelake.json").read_text()
)
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def settings(**changes: Any) -> TuneSettings:
    values: dict[str, Any] = {
        "app": "openblas", "seed": 1, "scheduler": "local", "strategy": "surrogate",
        "rounds": 3, "challengers": 2, "cores": 2,
    }  # fmt: skip
    return TuneSettings(**{**values, **changes})


def state(**changes: Any) -> TuneState:
    wanted = {k: changes.pop(k) for k in list(changes) if k in TuneSettings.__dataclass_fields__}
    base = TuneState(settings(**wanted), created_utc=at(0), version="1", last_utc=at(0))
    return replace(base, **changes)


def unit(purpose: str, kind: str = "round", **changes: Any) -> Unit:
    base = Unit(
        unit_name("run", len(purpose)), kind, purpose, 1, Resources(60), {}, at(0),
        job_id="7", submitted_utc=at(0),
    )  # fmt: skip
    return replace(base, **changes)


def failed(purpose: str, stage: str = "scheduler", kind: str = "timeout", **changes: Any) -> Unit:
    return unit(purpose, finished=True, failure=Failure(stage, kind, "why"), **changes)


def step(of: TuneState, embedded: str | None = None) -> tune.Step:
    return tune.next_step(Knowledge(of), at(10), embedded, lambda u: f"/runs/x/work/{u.name}")


# --- what comes next ------------------------------------------------------------------------------


def test_what_befalls_a_job_from_outside_is_no_fault_of_the_unit() -> None:
    lost = tuple(failed("probe", kind="node_fail") for _ in range(3))
    assert isinstance(step(state(units=lost)), tune.Submit)
    assert isinstance(step(state(units=(*lost, lost[0]))), tune.Close)
    never = state(units=(failed("probe", kind="never_started"),))
    assert isinstance(step(never), tune.Close)


def test_the_probe_comes_first_and_is_tried_twice() -> None:
    first = step(state(), embedded="/pkg/lib.so")
    assert isinstance(first, tune.Submit)
    assert first.plan.purpose == "probe"
    assert first.plan.spec["extra_libraries"] == ["/pkg/lib.so"]
    mend = step(state(units=(failed("probe"),)))
    assert isinstance(mend, tune.Decide)
    again = step(state(units=(failed("probe"),), decisions={mend.what: mend.data}))
    assert isinstance(again, tune.Submit)
    assert again.plan.resources.walltime_s == 2 * first.plan.resources.walltime_s
    end = step(state(units=(failed("probe"), failed("probe"))))
    assert isinstance(end, tune.Close)
    assert (end.outcome, end.exit_code) == ("failed", 7)
    assert "scheduler.timeout" in end.text


def test_a_build_that_fails_is_not_tried_again() -> None:
    end = step(state(facts=FACTS, units=(failed("build", "compile", "driver"),)))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 7
    assert "compile.driver" in end.text


def no_libraries() -> dict[str, Any]:
    return {**FACTS, "libraries": []}


def test_without_an_openblas_the_packaged_one_is_fetched_once() -> None:
    assert isinstance(step(state(facts=no_libraries())), tune.InstallEmbedded)
    fetched = {"embedded": {"what": "embedded", "path": "/pkg/libscipy_openblas.so"}}
    probe = step(state(facts=no_libraries(), decisions=fetched))
    assert isinstance(probe, tune.Submit)
    assert probe.plan.purpose == "probe-embedded"
    assert probe.plan.spec["extra_libraries"] == ["/pkg/libscipy_openblas.so"]
    done = (unit("probe-embedded", "probe", finished=True),)
    end = step(state(facts=no_libraries(), decisions=fetched, units=done))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"prefix": "/opt/blas"}, "/opt/blas"), ({"scheduler": "slurm"}, "--openblas-prefix")],
)
def test_a_library_must_be_named_where_none_may_be_packaged(
    changes: dict[str, str], words: str
) -> None:
    end = step(state(facts=no_libraries(), **changes))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 3
    assert words in end.text


def test_no_compiler_on_the_node() -> None:
    end = step(state(facts={**FACTS, "compilers": []}))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 3
    assert "no C compiler" in end.text


def test_a_workload_larger_than_the_memory_is_refused_before_anything_is_built() -> None:
    row = {"routine": "dgemm", "m": 10**6, "n": 10**6, "k": 1, "transa": "N", "transb": "N",
           "weight": 1.0}  # fmt: skip
    end = step(state(facts=FACTS, workload=(row,), workload_source="big.yaml"))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 2
    assert end.text.startswith("big.yaml: dgemm_1000000x1000000x1 needs")


def test_a_build_plan_is_the_same_every_time() -> None:
    known, again = Knowledge(state(facts=FACTS)), Knowledge(state(facts=FACTS))
    assert units.build_plan(known) == units.build_plan(again)


# --- feasibility ----------------------------------------------------------------------------------


def core_run(name: str, core: str, seconds: float = 1.0, **changes: Any) -> Run:
    medians = {"a": 0.5 * seconds, "b": seconds, "c": 2.0 * seconds}
    base = Run(name, 1, 0, "ok", medians, 0.0, {"core": core}, 0)
    return replace(base, **changes)


def judged(*runs: Run) -> dict[str, tuple[str | None, str | None]]:
    values = ("Haswell", "Zen", "SkylakeX", "Nano")
    space = Space((Param("core", "categorical", values, "Haswell"),))
    probes = {v: {"param": "core", "value": v, "readback": "core"} for v in values[1:]}
    spec = {"probes": probes, "defaults": ["Haswell", "Haswell-2", "Haswell-3"]}
    found = judge_feasibility(unit("feasibility", "probe", spec=spec, runs=Runs(runs)), space)
    return {p.value: (p.failure.id if p.failure else None, p.alias_of) for p in found}


def test_feasibility_tells_crashes_aliases_and_slow_ones_apart() -> None:
    found = judged(
        core_run("Haswell", "Haswell"),
        core_run("Zen", "Haswell"),
        core_run("SkylakeX", "", status="failed", objective=None, signal=4, exit=None),
        core_run("Nano", "Nano", 2.6),
    )
    assert found["Zen"] == (None, "Haswell")
    assert found["SkylakeX"] == ("run.illegal_instruction", None)
    assert found["Nano"] == ("run.clearly_slower", None)


def test_a_value_within_a_factor_of_two_and_a_half_stays() -> None:
    found = judged(core_run("Haswell", "haswell"), core_run("Zen", "ZEN", 2.4))
    assert found["Zen"] == (None, None)
    assert found["Nano"] == ("run.not_measured", None)


def test_one_disturbed_run_or_call_takes_no_value_out() -> None:
    disturbed = core_run("Zen", "Zen", medians={"a": 400.0, "b": 1.1, "c": 2.2})
    found = judged(
        core_run("Haswell", "Haswell", 0.1),
        core_run("Haswell-2", "Haswell"),
        disturbed,
        core_run("Nano", "Nano", 2.4),
        core_run("Haswell-3", "Haswell"),
    )
    assert found["Zen"] == (None, None)
    assert found["Nano"] == (None, None)


def test_two_names_for_the_same_unlisted_core_are_one() -> None:
    found = judged(
        core_run("Haswell", "Haswell"), core_run("Zen", "Generic"), core_run("Nano", "generic")
    )
    assert found["Zen"] == (None, None)
    assert found["Nano"] == (None, "Zen")


# --- budget ---------------------------------------------------------------------------------------


def test_core_hours_are_reserved_and_then_settled() -> None:
    asked = Resources(3600, cpus_per_task=4)
    out = unit("round-1", resources=asked)
    assert budget.core_hours(out) == 4.0
    assert budget.core_hours(replace(out, finished=True, job_seconds=900)) == 1.0
    assert budget.core_hours(replace(out, finished=True, job_seconds=90000)) == 4.0


def test_a_clock_that_is_set_back_gives_no_time_back() -> None:
    opened = {"settings": settings(wall_s=600.0).to_json(), "version": "1"}
    events = [Event(1, at(0), "run_opened", opened)]
    for seq, seconds in enumerate((300, -3300, -3000), start=2):  # back by an hour after the second
        events.append(Event(seq, at(seconds), "decision", {"what": f"d{seq}"}))
    state = fold(events)
    assert budget.elapsed_s(state, at(-3000)) == 600.0
    assert budget.elapsed_s(state, at(-2900)) == 700.0
    assert budget.refused(state, budget.Need(0.0, 1.0), at(-3000)) is not None


def test_the_next_unit_must_leave_room_for_the_confirmation() -> None:
    spent = unit("x", resources=Resources(3600), finished=True, job_seconds=1800)
    with_limit = state(core_hours=1.0, units=(spent,))
    quarter = budget.Need(0.25, 900)
    assert budget.refused(with_limit, quarter + quarter, at(0)) is None
    words = budget.refused(with_limit, quarter + budget.Need(0.26, 900), at(0))
    assert words is not None
    assert "0.5 core-hours are left" in words


def test_wall_time_counts_from_the_start() -> None:
    limited = state(wall_s=100.0)
    both = budget.Need(0, 50) + budget.Need(0, 50)
    assert budget.refused(limited, both, at(0)) is None
    assert "minutes are left" in (budget.refused(limited, both, at(1)) or "")
    assert budget.refused(limited, both, at(-50)) is None, "a clock that stepped back"


def test_a_budget_that_would_do_is_told_with_its_parts() -> None:
    spent = unit("x", resources=Resources(3600), finished=True, job_seconds=360)
    small = state(core_hours=0.4, wall_s=240.0, units=(spent,))
    first, confirmation = budget.Need(0.25, 120), budget.Need(0.15, 60)
    words = budget.enough(small, first, confirmation, at(120))
    assert words == (
        "0.5 core-hours (0.1 so far, 0.25 for the round, 0.15 for the confirmation) and "
        "5 minutes (2 so far, 2 for the round, 1 for the confirmation) would have done: "
        "try --budget core-hours=0.6 --budget wall=6m"
    )
    bounded = replace(small, settings=replace(small.settings, wall_s=0.0, site_core_hours=0.55))
    for jobs, advice in ((1, "try fewer confirm_pairs"), (2, "try --confirm-jobs 1, fewer")):
        shared = replace(bounded, settings=replace(bounded.settings, confirm_jobs=jobs))
        words = budget.enough(shared, first, confirmation, at(120))
        assert advice in words and words.endswith("(the site allows 0.55)")
        assert "--budget" not in words
    short = state(core_hours=0.4, wall_s=600.0, units=(spent,))
    assert "wall=" not in budget.enough(short, first, confirmation, at(120)), "that one is enough"


def test_the_progress_line_fits_a_terminal() -> None:
    long = Progress("round-12", 11, 99, 145, "default", 359999.4, 359999.4)
    assert len(long.text()) <= 78, "two columns are the spinner's"
    assert "99:59:59" in long.text()
    assert Progress("probe", 0, 6, 0, "", 45.0, None).text() == "probe | 0:45"
    assert Progress("probe", 0, 6, 0, "", 9.0, None, "queued").text() == "probe (queued) | 0:09"


def test_a_run_tells_that_nothing_of_it_runs() -> None:
    queued = unit("build-here", job_state=JobState.QUEUED)
    assert waiting(state(units=(queued,))) == "queued"
    runs = unit("build-there", job_state=JobState.RUNNING)
    assert waiting(state(units=(queued, runs))) == ""
    assert waiting(state(units=(failed("probe", job_state=JobState.HELD),))) == "", "it is over"


# --- the desk: what the scheduler says, and when it says nothing ----------------------------------


class Telling:
    """A scheduler that tells what the test put in; the outages of real ones."""

    def __init__(
        self, *statuses: JobStatus, names: Sequence[str] = (), pace: Pace | None = None
    ) -> None:
        self.statuses = {status.id: status for status in statuses}
        self.names = list(names)
        self.cancelled: list[str] = []
        self.polled: list[tuple[str, ...]] = []
        self.pace = pace or Pace()

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        self.polled.append(tuple(ids))
        return {i: self.statuses[i] for i in ids if i in self.statuses}

    def find(self, name: str, since_utc: str = "") -> list[str]:
        return self.names

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids


@pytest.fixture
def run(tmp_path: Path):
    return create_run("tune", "1", tmp_path)


def counter(run, scheduler: Telling, **changes: float) -> Desk:
    patience = Patience.of(settings(**changes), scheduler.pace)
    return Desk(scheduler, run, patience)  # type: ignore[arg-type]


def look(run, scheduler: Telling, of: Unit, seconds: float, **changes: float) -> Seen:
    desk = counter(run, scheduler, **changes)
    return desk.look([of], NOW + timedelta(seconds=seconds))[of.name]


def test_absent_is_not_finished(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    first = look(run, Telling(), out, 0)
    assert (first.state, first.collected) == (JobState.UNKNOWN, None)
    recorded = replace(out, job_state=JobState.UNKNOWN, word=first.word, state_utc=at(0))
    assert look(run, Telling(), recorded, 299).collected is None
    lost = look(run, Telling(), recorded, 301)
    assert lost.state is JobState.LOST
    assert lost.collected is not None
    assert lost.collected.failure is not None
    assert lost.collected.failure.id == "scheduler.lost"


def test_an_id_that_was_given_out_again_is_another_s_job(run) -> None:
    """A controller that lost its state gives ids out again: the end of that job is not ours."""
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    for state in (JobState.RUNNING, JobState.FAILED):
        strange = Telling(JobStatus("7", state, state.value, exit_code=None, name="elsewhere"))
        first = look(run, strange, out, 0)
        assert (first.state, first.collected) == (JobState.UNKNOWN, None)
        assert "elsewhere" in first.reason
        counter(run, strange).cancel([out])
        assert strange.cancelled == []
    recorded = replace(out, job_state=JobState.UNKNOWN, word=first.word, state_utc=at(0))
    lost = look(run, strange, recorded, 301)
    assert lost.collected is not None and lost.collected.failure is not None
    assert lost.collected.failure.id == "scheduler.lost"
    for name in (out.name, ""):
        ours = Telling(JobStatus("7", JobState.RUNNING, "R", name=name))
        assert look(run, ours, out, 0).state is JobState.RUNNING
        counter(run, ours).cancel([out])
        assert ours.cancelled == ["7"]
    packed = replace(out, pack="halead")
    led = Telling(JobStatus("7", JobState.RUNNING, "R", name="halead"))
    assert look(run, led, packed, 0).state is JobState.RUNNING


def test_what_a_node_cannot_see_is_named_with_the_cure(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    folder = run.make_unit(out.name)
    said = Telling(JobStatus("7", JobState.FAILED, "FAILED", exit_code=127))
    unseen = look(run, said, out, 0).collected
    assert unseen is not None
    assert unseen.failure is not None
    assert unseen.failure.id == "environment.unseen_folder"
    assert "--run-dir" in unseen.failure.evidence
    (folder / "err").write_text("job.sh: line 9: /opt/python3: No such file or directory")
    no_python = look(run, said, out, 0).collected
    assert no_python is not None
    assert no_python.failure is not None
    assert no_python.failure.id == "environment.python"
    assert "/opt/python3" in no_python.failure.evidence
    # A job that was taken out of the queue wrote nothing either.
    gone = look(run, Telling(JobStatus("7", JobState.CANCELLED, "CANCELLED")), out, 0).collected
    assert gone is not None
    assert gone.failure is not None
    assert gone.failure.id == "scheduler.cancelled"


def test_an_outage_is_no_absence_however_long_it_lasts(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    said = Telling(JobStatus("7", JobState.UNKNOWN, "", missing="sacct: the database is down"))
    first = look(run, said, out, 0)
    assert "sacct" in first.reason
    recorded = replace(out, job_state=first.state, word=first.word, state_utc=at(0))
    assert look(run, said, recorded, 1e6).collected is None


def test_completed_without_its_marker_gets_a_grace(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    said = Telling(JobStatus("7", JobState.COMPLETED, "COMPLETED"))
    assert look(run, said, out, 0).collected is None
    recorded = replace(out, job_state=JobState.COMPLETED, word="COMPLETED", state_utc=at(0))
    assert look(run, said, recorded, 89).collected is None
    late = look(run, said, recorded, 91)
    assert late.collected is not None
    assert late.collected.failure is not None


def test_a_failed_job_of_another_host_may_have_left_a_marker_that_is_seen_late(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    said = Telling(JobStatus("7", JobState.FAILED, "FAILED"), pace=Pace(30, 120))
    assert look(run, said, out, 0).collected is None
    recorded = replace(out, job_state=JobState.FAILED, word="FAILED", state_utc=at(0))
    assert look(run, said, recorded, 89).collected is None
    done = {"exit": 4, "finished_utc": at(60), "host": "n", "boot_id": "b", "node": "n7",
            "claimed_utc": at(10)}  # fmt: skip
    (run.make_unit(out.name) / "done.json").write_text(json.dumps(done))
    late = look(run, said, recorded, 89).collected
    assert late is not None
    assert late.failure is not None
    assert late.failure.id == "run.worker"
    assert (late.node, late.ran_s) == ("n7", 50.0)
    busy = {**done, "exit": 7, "elapsed_s": 49.5}
    (run.make_unit(out.name) / "done.json").write_text(json.dumps(busy))
    late = look(run, said, recorded, 89).collected
    assert late is not None
    assert late.failure is not None
    assert late.failure.id == "scheduler.node_in_use"
    assert late.ran_s == 49.5, "by a clock that nobody sets"


def test_a_node_in_use_is_waited_for_by_time_and_not_by_tries() -> None:
    """Short units wait for seconds: four of them are no reason to give a run up."""
    busy = Failure("scheduler", "node_in_use", "a worker is in use")

    def after(tries: int, seconds: float) -> object:
        lost = [
            replace(unit("round-1", spec={}, finished=True, name=f"u{n}"), failure=busy,
                    job_seconds=seconds)
            for n in range(tries)
        ]  # fmt: skip
        return given_up(state(units=tuple(lost)), "round-1")

    assert after(30, 8.0) is None
    assert after(3, 300.0) is None
    assert after(4, 300.0) is not None
    assert after(60, 8.0) is not None
    elsewhere = Failure("scheduler", "node_fail", "n1 is down")
    lost = [
        replace(unit("round-1", spec={}, finished=True, name=f"u{n}"), failure=why, job_seconds=8.0)
        for n, why in enumerate([busy] * 5 + [elsewhere])
    ]
    assert given_up(state(units=tuple(lost)), "round-1") is None, "each kind counts for itself"


def test_one_query_for_all_and_none_before_its_time(run) -> None:
    pair = [unit("round-1", spec={}), replace(unit("round-22", spec={}), job_id="8")]
    said = Telling(pace=Pace(1000, 0))
    desk = counter(run, said)
    assert set(desk.look(pair, NOW)) == {u.name for u in pair}
    assert said.polled == [("7", "8")]
    assert desk.look(pair, NOW) == {}
    assert said.polled == [("7", "8")]


def test_a_job_that_can_never_start_is_taken_back_and_named(run) -> None:
    out = replace(unit("round-1", spec={}), job_state=JobState.QUEUED, word="PENDING",
                  state_utc=at(0))  # fmt: skip
    said = Telling(
        JobStatus("7", JobState.QUEUED, "PENDING", reason="DependencyNeverSatisfied", hopeless=True)
    )
    seen = look(run, said, out, 60).collected
    assert seen is not None
    assert seen.failure is not None
    assert seen.failure.id == "scheduler.never_started"
    assert "DependencyNeverSatisfied" in seen.failure.evidence
    assert said.cancelled == ["7"]
    assert seen.to_json(out, NOW + timedelta(hours=1))["job_seconds"] == 0


def test_a_job_is_waited_for_until_the_longest_wait(run) -> None:
    out = replace(unit("round-1", spec={}), job_state=JobState.QUEUED, word="PENDING",
                  state_utc=at(0))  # fmt: skip
    said = Telling(JobStatus("7", JobState.QUEUED, "PENDING", reason="Priority"))
    assert look(run, said, out, 3000).collected is None
    assert look(run, said, out, 3000, max_wait_s=7200.0).collected is None
    assert look(run, said, out, 7201, max_wait_s=7200.0).collected is not None
    assert said.cancelled == ["7"]


def test_a_job_that_timed_out_keeps_what_it_measured(run) -> None:
    out = unit("round-1", spec={"weights": {"k": 1.0}, "reference": "a"})
    folder = run.make_unit(out.name)
    line = {"config": "a", "pair": 1, "order": 0, "t_utc": at(1), "samples": {"k": [0.5]},
            "check": {"passed": True, "residuals": {}, "message": ""}, "readback": {},
            "exit": 0, "signal": None, "load": {}, "status": "ok"}  # fmt: skip
    (folder / "result.jsonl").write_text(json.dumps(line) + "\n" + '{"config": "a", "pa')
    (folder / "err").write_text("slurmstepd: killed\n")
    seen = look(run, Telling(JobStatus("7", JobState.TIMEOUT, "TIMEOUT")), out, 0)
    assert seen.collected is not None
    assert [r.medians for r in seen.collected.runs] == [{"k": 0.5}]
    assert seen.collected.failure is not None
    assert seen.collected.failure.id == "scheduler.timeout"
    assert "slurmstepd: killed" in seen.collected.failure.evidence


def test_the_marker_is_believed_before_the_scheduler(run) -> None:
    out = unit("probe", "probe", spec={})
    folder = run.make_unit(out.name)
    (folder / "facts.json").write_text(json.dumps({"schema": 1}))
    done = {"exit": 0, "finished_utc": at(1), "host": "n", "boot_id": "b"}
    (folder / "done.json").write_text(json.dumps(done))
    seen = look(run, Telling(JobStatus("7", JobState.RUNNING, "R")), out, 0)
    assert seen.collected is not None
    assert seen.collected.facts == {"schema": 1}
    (folder / "facts.json").write_text("{")
    spoilt = look(run, Telling(), out, 0).collected
    assert spoilt is not None
    assert spoilt.failure is not None


def test_one_job_of_the_name_is_adopted_and_surplus_ones_are_cancelled(run) -> None:
    scheduler = Telling(names=["9", "11"])
    answer = counter(run, scheduler).adopt(unit("round-1"), NOW)
    assert answer == Submitted("9")
    assert scheduler.cancelled == ["11"]


def test_the_job_that_has_claimed_the_unit_is_the_one_to_adopt(run) -> None:
    out = unit("round-1")
    claim = run.make_unit(out.name) / "claim"
    claim.mkdir()
    (claim / "owner.json").write_text(json.dumps({"job": "11", "pid": 1}))
    scheduler = Telling(names=["9", "11"])
    assert counter(run, scheduler).adopt(out, NOW) == Submitted("11")
    assert scheduler.cancelled == ["9"]
    # Nothing but the claim knows a job that ended long ago where accounting is off.
    assert counter(run, Telling()).adopt(out, NOW) == Submitted("11")


def test_an_unanswered_submission_is_looked_for_until_it_has_settled(run) -> None:
    out = replace(unit("round-1"), job_id="", job_state=JobState.SUBMITTING, word="try 1",
                  state_utc=at(0))  # fmt: skip
    pace = Pace(0, 120)
    before = counter(run, Telling(pace=pace)).adopt(out, NOW + timedelta(seconds=119))
    assert isinstance(before, Settling)
    late = Telling(names=["7"], pace=pace)
    assert counter(run, late).adopt(out, NOW + timedelta(seconds=119)) == Submitted("7")
    assert counter(run, Telling(pace=pace)).adopt(out, NOW + timedelta(seconds=121)) is None
    # Journaled as prepared only: the call was never made.
    prepared = replace(out, job_state=JobState.PREPARED)
    assert counter(run, Telling(pace=pace)).adopt(prepared, NOW) is None


# --- the fold -------------------------------------------------------------------------------------


def test_a_journal_that_does_not_open_a_run_is_refused() -> None:
    with pytest.raises(RunFailed, match="run_opened"):
        fold([])
    with pytest.raises(RunFailed, match="run_opened"):
        fold([Event(1, at(0), "facts", {"raw": {}})])


def test_settings_of_another_version_are_refused_by_name() -> None:
    with pytest.raises(RunFailed, match="colour"):
        TuneSettings.from_json({**settings().to_json(), "colour": "red"})


def test_why_a_job_waits_is_passed_on(run) -> None:
    out = unit("round-1", spec={"weights": {}, "reference": "a"})
    said = Telling(JobStatus("7", JobState.QUEUED, "PENDING", None, "the queue does not run"))
    assert look(run, said, out, 0).reason == "the queue does not run"


def test_a_damaged_event_is_named() -> None:
    opened = {"kind": "tune", "version": "1", "settings": settings().to_json()}
    with pytest.raises(RunFailed, match=r"event 2 \(unit_intent\).*'unit'"):
        fold([Event(1, at(0), "run_opened", opened), Event(2, at(1), "unit_intent", {})])
    with pytest.raises(RunFailed, match=r"event 1 \(run_opened\)"):
        fold([Event(1, at(0), "run_opened", {})])


def test_facts_that_no_journal_can_hold_are_a_failed_probe(run) -> None:
    out = unit("probe", "probe", spec={})
    folder = run.make_unit(out.name)
    done = {"exit": 0, "finished_utc": at(1), "host": "n", "boot_id": "b"}
    (folder / "done.json").write_text(json.dumps(done))
    for spoilt in ('{"schema": NaN}', "[" * 100_000):
        (folder / "facts.json").write_text(spoilt)
        seen = look(run, Telling(), out, 0).collected
        assert seen is not None
        assert seen.failure is not None
        assert seen.failure.id == "environment.probe"
