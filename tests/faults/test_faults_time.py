"""A job that reaches its time limit is asked for anew, with twice the time.

Slurm's limits are whole minutes: too long a wait for the usual tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lab.slurm_lab import Cluster
from mainjob import make_bench

pytestmark = [pytest.mark.slurm, pytest.mark.toolchain, pytest.mark.timeout(900)]

# The second job (the build, after the probe) stands still until its time is over.
SITE = """\
prologue = [
  "count=$(cat {folder}/count 2>/dev/null || echo 0); echo $((count + 1)) > {folder}/count",
  "[ $count != 1 ] || sleep 200",
]
"""


def test_a_job_that_ran_out_of_time_gets_more(tmp_path: Path, slurm: Cluster) -> None:
    bench = make_bench(tmp_path)
    (tmp_path / "site.toml").write_text(SITE.format(folder=tmp_path))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "app.yaml").write_text("name: quick\nsources: [a.c]\ncheck: {}\n")
    words = ["build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run),
             "--store", str(tmp_path / "builds"), "--time", "1m", "--partition", "both",
             "--account", "proj", "--shared", "--json"]  # fmt: skip
    env = {**bench.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3",
           "HPCAGENT_SITE_CONFIG": str(tmp_path / "site.toml")}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "hpcagent", *words],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["targets"][0]["build"]["state"] == "built"
    asked = [
        e["data"]["resources"]["walltime_s"]
        for e in bench.events("unit_intent")
        if e["data"]["purpose"].startswith("build")
    ]
    assert asked == [60, 120]
    reasons = [e["data"]["reason"] for e in bench.events("decision")]
    assert reasons == ["scheduler.time_limit: walltime_s x 2"]
