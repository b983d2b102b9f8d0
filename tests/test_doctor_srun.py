"""MPI programs that srun starts inside a job, beside those that their own launcher does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from doctor_scene import BARE, compiler, mpi, software
from lab import builds
from lab.builds import write_unit
from lab.slurm_lab import Cluster

from hpcagent.study.doctor_task import srun_types
from hpcagent.toolchain.cellspec import DoctorPlan, doctor_plan
from hpcagent.toolchain.recipe import Unit
from hpcagent.toolchain.verdict import DOUBTFUL, FAILED, OK, judge_cells

FACTS = software(compiler("gcc", "c"), mpi("openmpi"))


def judged(plan: DoctorPlan, **ranks: str) -> dict[str, tuple[str, str]]:
    """Status and cure by the type of srun (own: the MPI's launcher); `ranks` is what each saw."""
    lines = []
    for cell in plan.matrix.cells:
        steps = plan.steps[cell.id]
        lines += [{"step": x, "status": "ok"} for x in (steps.compile, steps.link)]
        size = ranks.get(cell.srun or "own", "2")
        said = "".join(f"cell rank {n} of {size}\n" for n in range(int(size)))
        said += "cell rank 0 of 1\n" if size == "1" else "cell answer right\n"
        lines.append({"step": steps.run, "status": "ok", "output": said})
    found = judge_cells(plan, BARE, lines)
    return {
        cell.srun or "own": (verdict.status, verdict.findings[0].cure if verdict.findings else "")
        for cell, verdict in zip(plan.matrix.cells, found, strict=True)
        if cell.mpi is not None
    }


def test_each_type_is_a_cell_of_its_own_in_no_row() -> None:
    plan = doctor_plan(FACTS, BARE, srun_types=("pmi2", "pmix"))
    cells = [cell for cell in plan.matrix.cells if cell.srun]
    assert [cell.launcher for cell in cells] == [("srun", "--mpi=pmi2"), ("srun", "--mpi=pmix")]
    assert cells[0].label.endswith("+ srun --mpi=pmi2")
    in_rows = {id_ for row in plan.matrix.rows for ids in row.cells.values() for id_ in ids}
    assert not in_rows & {cell.id for cell in cells}
    step = next(row for row in plan.spec["steps"] if row["id"] == plan.steps[cells[0].id].run)
    assert step["argv"][2:6] == ["srun", "--mpi=pmi2", "-n", "2"]
    assert step["env"]["SLURM_OVERLAP"] == "1"
    assert not [c for c in doctor_plan(FACTS, BARE).matrix.cells if c.srun]


def test_what_starts_it_in_one_way_is_the_cure_where_another_does_not() -> None:
    plan = doctor_plan(FACTS, BARE, srun_types=("pmi2", "pmix"))
    good = judged(plan)
    assert {status for status, _ in good.values()} == {OK}
    mixed = judged(plan, pmi2="1")
    assert mixed["pmi2"][0] == DOUBTFUL
    assert "srun --mpi=pmix, which was tried here and works" in mixed["pmi2"][1]
    own = judged(plan, pmi2="1", pmix="1")
    assert own["pmix"][0] == DOUBTFUL
    assert "mpirun.openmpi, which was tried here" in own["pmix"][1]
    assert {status for status, _ in judged(plan, pmi2="1", pmix="1", own="1").values()} == {FAILED}


@pytest.mark.slurm
@pytest.mark.toolchain
def test_srun_starts_each_mpi_with_its_own_type(slurm: Cluster, tmp_path: Path) -> None:
    if builds.missing("mpicc.openmpi") or builds.missing("mpicc.mpich"):
        pytest.skip("Open MPI and MPICH are needed")
    listed = slurm.run("srun", "--mpi=list")
    command = {"exit": 0, "stdout": listed.stdout, "stderr": listed.stderr}
    types = srun_types({"parts": {"node": {"commands": {"srun_mpi": command}}}})
    if not {"pmi2", "pmix"} <= set(types):
        pytest.skip(f"this Slurm has {types} only")
    mpis = (builds.mpi("openmpi"), builds.mpi("mpich"))
    plan = doctor_plan(software(builds.compiler(), *mpis), BARE, srun_types=("pmi2", "pmix"))
    write_unit(tmp_path, Unit(plan.files, plan.spec, ""))
    words = f"{sys.executable} steps.py spec.json"
    asked = ("-p", "both", "-A", "proj", "-n", "1", "-c", "2", "-D", str(tmp_path))
    slurm.run("sbatch", "--wait", *asked, "--wrap", words, timeout_s=600)
    lines = (tmp_path / "result.jsonl").read_text().splitlines()
    found = judge_cells(plan, BARE, map(json.loads, lines))
    verdicts = {
        (cell.mpi.family, cell.srun): verdict
        for cell, verdict in zip(plan.matrix.cells, found, strict=True)
        if cell.mpi is not None and cell.srun
    }
    assert {key for key, verdict in verdicts.items() if verdict.status == OK} == {
        ("openmpi", "pmix"), ("mpich", "pmi2"),
    }, verdicts  # fmt: skip
    other = verdicts["openmpi", "pmi2"]
    assert other.findings[0].failure.id == "mpi.no_pmi"
    assert "start its programs with srun --mpi=pmix" in other.findings[0].cure
    assert verdicts["mpich", "pmix"].findings[0].failure.id == "mpi.mixed_launcher"
