"""hpcagent build on a real Slurm: the node is asked, builds, checks and publishes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from lab import builds
from lab.slurm_lab import Cluster
from mainjob import Inside, make_bench

pytestmark = [pytest.mark.slurm, pytest.mark.toolchain]

PROGRAMS = Path(__file__).parent / "fixtures" / "programs"
APP = """\
name: length
version: "2.0"
sources: [length.f08, main.c]
linker: fortran
integers: lp64
check: {}
"""


def test_a_program_is_built_on_a_compute_node(tmp_path: Path, slurm: Cluster) -> None:
    if builds.missing("gfortran"):
        pytest.skip("no gfortran here")
    bench = make_bench(tmp_path)
    (tmp_path / "app.yaml").write_text(APP)
    words = ["build", "--app", "app.yaml", "--source", str(PROGRAMS / "mixed"),
             "--store", str(tmp_path / "builds"), "--set", "optimisation=O1", "--time", "30m",
             "--partition", "both", "--account", "proj", "--shared", "--json"]  # fmt: skip
    env = {**bench.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    done = Inside(tmp_path, env).hpcagent(*words)
    assert done.returncode == 0, done.stderr
    target = json.loads(done.stdout)["targets"][0]
    assert target["build"]["state"] == "built"
    prefix = Path(target["build"]["prefix"])
    manifest = json.loads((prefix / "manifest.json").read_text())
    assert manifest["environment"]["SLURM_JOB_ID"] in slurm.jobs()
    assert manifest["parameters"]["optimisation"] == "O1"
    assert target["node"]
    out = subprocess.run([prefix / "bin" / "length"], capture_output=True, text=True, check=True)
    assert out.stdout == "length 5\n"
