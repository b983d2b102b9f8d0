"""A job on a real Slurm that runs out of what it asked for, and is asked for anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from lab import builds
from lab.slurm_lab import Cluster
from mainjob import Inside, make_bench

from hpcagent.probe import collect, collect_rates

pytestmark = [pytest.mark.slurm, pytest.mark.toolchain]

# It holds what it fills until the batch system has seen it.
HOG = """\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
    size_t size = 600UL << 20;
    char *volatile all = malloc(size);
    memset(all, 1, size);
    sleep(4);
    return all[size - 1] != 1;
}
"""


def test_a_build_that_was_out_of_memory_gets_more(tmp_path: Path, slurm: Cluster) -> None:
    """More than the site's default, where nothing was asked for."""
    if builds.missing("gcc"):
        pytest.skip("no gcc here")
    bench = make_bench(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "hog.c").write_text(HOG)
    (tmp_path / "app.yaml").write_text("name: hog\nsources: [hog.c]\ncheck: {}\n")
    words = ["build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run),
             "--store", str(tmp_path / "builds"), "--time", "30m", "--cores", "1",
             "--partition", "both", "--account", "proj", "--shared", "--json"]  # fmt: skip
    done = _inside(tmp_path, slurm, bench.env).hpcagent(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["targets"][0]["build"]["state"] == "built"
    asked = [
        e["data"]["resources"]["memory_bytes"]
        for e in bench.events("unit_intent")
        if e["data"]["purpose"].startswith("build")
    ]
    assert asked == [None, 800 << 20]
    decided = [e["data"] for e in bench.events("decision")]
    assert [row["reason"] for row in decided] == ["scheduler.out_of_memory: memory_bytes x 2"]


def test_a_probe_measures_within_what_the_site_gives(tmp_path: Path, slurm: Cluster) -> None:
    """The lab's default of 400 MB a CPU, beyond which a job is killed, is told to the job."""
    for source in (collect, collect_rates):
        shutil.copy(source.__file__, tmp_path)
    (tmp_path / "request.json").write_text('{"schema": 1, "timeout_s": 1, "budget_s": 0.001}')
    look = "import collect_rates as c; print(c.memory_rooms({})[0])"
    lines = ("#!/bin/bash", f"cd {tmp_path}", f"python3 -c '{look}'",
             "python3 collect.py request.json facts.json", "")  # fmt: skip
    (tmp_path / "job.sh").write_text("\n".join(lines))
    words = ("sbatch", "--wait", "-A", "proj", "-p", "both", "-n1", "-o", f"{tmp_path}/out")
    slurm.ask(*words, str(tmp_path / "job.sh"), timeout_s=120)
    assert (tmp_path / "out").read_text() == f"({200 << 20}, 'SLURM_MEM_PER_CPU')\n"
    assert json.loads((tmp_path / "begun.json").read_text()) == {"memory_bytes": 400 << 20}


def _inside(folder: Path, slurm: Cluster, env: Mapping[str, str]) -> Inside:
    pace = {"HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    return Inside(folder, {**env, **slurm.env, **pace})
