"""A job on a real Slurm that runs out of what it asked for, and is asked for anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import builds
from lab.slurm_lab import Cluster
from mainjob import Inside, make_bench

pytestmark = [pytest.mark.slurm, pytest.mark.toolchain]

# It holds what it fills until the batch system has seen it.
HOG = """\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void)
{
    size_t size = 500UL << 20;
    char *volatile all = malloc(size);
    memset(all, 1, size);
    sleep(4);
    return all[size - 1] != 1;
}
"""


def test_a_build_that_was_out_of_memory_gets_more(tmp_path: Path, slurm: Cluster) -> None:
    if builds.missing("gcc"):
        pytest.skip("no gcc here")
    bench = make_bench(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "hog.c").write_text(HOG)
    (tmp_path / "app.yaml").write_text("name: hog\nsources: [hog.c]\ncheck: {}\n")
    words = ["build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run),
             "--store", str(tmp_path / "builds"), "--time", "30m", "--mem", "350M",
             "--partition", "both", "--account", "proj", "--shared", "--json"]  # fmt: skip
    env = {**bench.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    done = Inside(tmp_path, env).hpcagent(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["targets"][0]["build"]["state"] == "built"
    asked = [
        e["data"]["resources"]["memory_bytes"]
        for e in bench.events("unit_intent")
        if e["data"]["purpose"].startswith("build")
    ]
    assert asked == [350 << 20, 700 << 20]
    decided = [e["data"] for e in bench.events("decision")]
    assert [row["reason"] for row in decided] == ["scheduler.out_of_memory: memory_bytes x 2"]
