"""tune --build: which builds are made when, what a round runs, and what a failed build does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_build_task import found, openblas_like
from test_study import settings, state, step, unit

from hpcagent.apps.variants import BuildPlan
from hpcagent.cli.main import group
from hpcagent.errors import UsageError
from hpcagent.measure.results import Run
from hpcagent.records import Config, Failure, Proposal
from hpcagent.study import tune, units
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit
from hpcagent.toolchain.openblas_recipe import OpenblasSource
from hpcagent.toolchain.stepruns import StepRun

SOURCE = OpenblasSource("/src/o.tar.gz", "ab" * 32, "0.3.28", (), ())
FIXED = {"lapack": "none", "target": "HASWELL", "optimisation": "O2", "dynamic_arch": "off"}
PLAN = asdict(BuildPlan(SOURCE, FIXED, ("gcc",), (), "/sw/builds"))
FACTS = found(("gcc", "c"))
ROW = {"routine": "dgemm", "m": 100, "n": 100, "k": 100, "transa": "N", "transb": "N",
       "weight": 1.0}  # fmt: skip


def run(**changes: Any) -> TuneState:
    return state(build=PLAN, facts=FACTS, workload=(ROW,), workload_source="w.yaml", **changes)


def built(purpose: str) -> Unit:
    rows = (StepRun("build", "ok", 0), StepRun("publish", "ok", 0))
    return unit(purpose, "build", finished=True, steps=rows, name=f"u-{purpose}")


def spoilt(purpose: str) -> Unit:
    rows = (StepRun("build", "failed", 2, output="error: no"), StepRun("publish", "skipped"))
    return unit(purpose, "build", finished=True, steps=rows, name=f"u-{purpose}")


def feasible(known: Knowledge) -> Unit:
    """The three runs of the default."""
    plan = units.feasibility_plan(known, "/absent")
    ids = plan.spec["defaults"]
    assert known.workload.cases
    seconds = {case.key: 0.01 for case in known.workload.cases}
    rows = tuple(Run(name, 1, 0, "ok", seconds, objective=-4.6, exit=0) for name in ids)
    return unit("feasibility", "probe", finished=True, spec=plan.spec, runs=rows)


@pytest.fixture
def known() -> Knowledge:
    return Knowledge(run())


def names(known: Knowledge) -> tuple[str, str, Config, Config]:
    """Ids of the default build and of the OpenMP one, and a configuration of each."""
    assert known.variants is not None
    default = known.unpruned.default
    openmp = Config.of({**default.values, "build_threading": "openmp"})
    return known.variants.of(default).id, known.variants.of(openmp).id, default, openmp


def plan_of(decided: tune.Step) -> units.Plan:
    assert isinstance(decided, tune.Submit), decided
    return decided.plan


def test_the_node_is_asked_for_its_compilers_and_the_default_is_built_first(
    known: Knowledge,
) -> None:
    first = plan_of(step(replace(run(), facts=None)))
    assert (first.purpose, first.spec["parts"]) == ("probe", ["software"])
    mine, _, _, _ = names(known)
    plan = plan_of(step(run()))
    assert plan.purpose == f"variant-{mine}"
    files = units.unit_files(known, plan, "ha")
    assert "USE_OPENMP=0" in files["Makefile"]
    assert {"steps.py", "worker.py", "unpack.py", "publish.py", "spec.json"} <= set(files)
    driver = plan_of(step(run(units=(built(f"variant-{mine}"),))))
    assert driver.purpose == "build"
    files = units.unit_files(known, driver, "ha")
    assert "/sw/builds/openblas-0.3.28-" in files["Makefile"]


def ready(known: Knowledge, *more: Unit, **changes: Any) -> TuneState:
    mine, _, _, openmp = names(known)
    before = (built(f"variant-{mine}"), unit("build", "build", finished=True, name="u-build"))
    proposals = (Proposal(openmp, "why", "surrogate"),)
    return run(units=(*before, feasible(known), *more), proposed={1: proposals}, **changes)


def test_a_round_waits_for_the_builds_that_it_needs_and_runs_each_with_its_driver(
    known: Knowledge,
) -> None:
    _, other, default, openmp = names(known)
    assert plan_of(step(ready(known))).purpose == f"variant-{other}"
    driver = plan_of(step(ready(known, built(f"variant-{other}"))))
    assert driver.purpose == f"driver-{other}"
    linked = units.unit_files(known, driver, "ha")["Makefile"]
    assert known.variants is not None
    assert known.variants.of(openmp).library.path in linked
    drivers = unit(f"driver-{other}", "build", finished=True, name="u-driver")
    round_one = plan_of(step(ready(known, built(f"variant-{other}"), drivers)))
    assert round_one.purpose == "round-1"
    argv = {row["id"]: row["argv"] for row in round_one.spec["configs"]}
    assert argv[default.id] == ["/runs/x/work/u-build/driver"]
    assert argv[openmp.id] == ["/runs/x/work/u-driver/driver"]
    assert round_one.spec["command"] == ["workload.txt", "{seed}"]


def test_a_build_that_fails_costs_its_configurations_and_no_more(known: Knowledge) -> None:
    _, other, default, openmp = names(known)
    failed = ready(known, spoilt(f"variant-{other}"))
    assert isinstance(step(failed), tune.Propose), "a round of nothing would be for nothing"
    after = replace(failed, refilled={1: 5})
    plan = plan_of(step(after))
    assert plan.purpose == "round-1"
    assert [row["id"] for row in plan.spec["configs"]] == [default.id]
    later = Knowledge(replace(after, units=(*after.units, unit("round-1", finished=True,
                                                               spec=plan.spec))))  # fmt: skip
    assert later.trials[1].failure == Failure(
        "compile", "build", "step build: exit code 2: error: no"
    )
    left = [c for c in later.space.points() if c.values["build_threading"] != "pthreads"]
    assert left == [openmp], "what was tried stays for the search to judge others by"
    assert later.best.config == default


def test_without_the_default_build_there_is_no_run(known: Knowledge) -> None:
    mine, _, _, _ = names(known)
    end = step(run(units=(spoilt(f"variant-{mine}"),)))
    assert isinstance(end, tune.Close)
    assert (end.exit_code, end.text) == (
        7, "the default build failed (compile.build): step build: exit code 2: error: no",
    )  # fmt: skip


def test_what_the_node_cannot_build_ends_the_run_with_its_reason() -> None:
    end = step(replace(run(), facts=found()))
    assert isinstance(end, tune.Close)
    assert end.exit_code == 2


def test_the_settings_of_such_a_run_are_kept_and_can_be_asked_for_again() -> None:
    kept = settings(build=PLAN)
    assert TuneSettings.from_json(kept.to_json()) == kept
    words = " ".join(kept.command())
    assert "--build --source /src/o.tar.gz --sha256" in words
    assert "--set target=HASWELL" in words


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--build"], "--build needs the --source"),
        (["--source", "SRC"], "need --build"),
        (["--build", "--source", "SRC", "--openblas-prefix", "/"], "exclude each other"),
        (["--build", "--source", "SRC", "--set", "threading=x"], "choose one of serial"),
    ],
)
def test_a_bad_request_is_refused_in_one_line(tmp_path: Any, words: list[str], error: str) -> None:
    source = str(openblas_like(tmp_path / "src"))
    given = [source if word == "SRC" else word for word in words]
    result = CliRunner().invoke(group, ["tune", "--lib", "openblas", *given])
    assert isinstance(result.exception, UsageError)
    assert error in str(result.exception)


def test_a_dry_run_shows_the_space_and_the_builds_and_makes_nothing(tmp_path: Any) -> None:
    source = str(openblas_like(tmp_path / "src"))
    words = ["tune", "--lib", "openblas", "--build", "--source", source, "--set", "lapack=none",
             "--set", "target=GENERIC",
             "--store", str(tmp_path / "store"), "--dry-run"]  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    told = CliRunner().invoke(group, words, catch_exceptions=False)
    assert told.exit_code == 0
    short = told.output.replace(str(tmp_path), "").replace(str(Path.cwd()), "")
    assert max(map(len, short.splitlines())) <= 80
    assert "distinct builds" in told.output
    assert "make -C source CC=" in told.output
    assert "exec " in told.output
    rows = json.loads(CliRunner().invoke(group, [*words, "--json"]).output)
    assert rows["space"]["configurations"] > rows["space"]["builds"] > len(rows["units"]) > 1
    assert len({row["variant"] for row in rows["units"]}) == len(rows["units"])
    assert all({"job.sh", "spec.json", "Makefile"} <= set(row["files"]) for row in rows["units"])
    assert all("NO_LAPACK=1" in row["make"] for row in rows["units"])
    assert sorted(tmp_path.rglob("*")) == before
