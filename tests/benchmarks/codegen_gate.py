"""What the gate of generated code costs an attempt, and how many attempts a node takes a minute.

The same kernel goes through `hpcagent codegen` several times (a comment differs, so none is known),
on the local queue; the stages are timed by the units themselves. Beside it stands what a person
would do: compile the kernel with the same flags and a small main, and run it once.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import ROOT, finish, options, scratch, table, tell

TASKS = ROOT / "hpcagent" / "codegen" / "tasks"
MAIN = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
void {function}(int64_t n, {arguments});
int main(void)
{{
    enum {{ N = 100000 }};
    static double x[N], y[N], z[N];
    for (int i = 0; i < N; i++)
        x[i] = rand() / (double)RAND_MAX, y[i] = rand() / (double)RAND_MAX;
    {call};
    printf("%g\\n", z[0]);
    return 0;
}}
"""
# Task -> its kernel, and how a small main calls it.
KERNELS: Mapping[str, tuple[str, str, str, str]] = {
    "dot-c": ("lanes.c", "dot", "const double *x, const double *y, double *r", "dot(N, x, y, z)"),
    "triad-c": ("openmp.c", "triad", "double s, double *a, const double *b, const double *c",
                "triad(N, 0.5, z, x, y)"),
}  # fmt: skip


def main() -> None:
    chosen = options(
        __doc__,
        ("attempts", int, 8, "attempts of each task"),
        ("lock", str, "", "a folder for the node's lock, where others measure on it anyway"),
    )
    from hpcagent.codegen.attempt import STAGES

    count = 3 if chosen.quick else chosen.extra["attempts"]
    rows: list[tuple[object, ...]] = []
    record: dict[str, Any] = {}
    with scratch() as folder:
        if chosen.extra["lock"]:
            os.environ["HPCAGENT_NODE_LOCK"] = chosen.extra["lock"]
        for name in KERNELS:
            tell(name)
            bare = [bare_s(folder, name) for _ in range(count)]
            stages, minutes = gated(folder, name, count)
            bare += [bare_s(folder, name) for _ in range(count)]
            whole = [sum(one.values()) for one in stages]
            record[name] = {"bare_s": bare, "stages_s": stages, "per_minute": minutes}
            rows += [(name, "bare compile and run", *spread(bare), 1.0)]
            for stage in [stage for stage in STAGES if stage in stages[0]]:
                seconds = [one[stage] for one in stages]
                rows.append((name, stage, *spread(seconds), share(seconds, bare)))
            rows.append((name, "all stages", *spread(whole), share(whole, bare)))
            rows.append((name, "attempts per minute", f"{minutes:.3g}", "", "", ""))
            finish(chosen, record)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load average at the end: {load}\n")
    table(("task", "stage", "median s", "min", "max", "of bare"), rows)


def spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(seconds), min(seconds), max(seconds)


def share(seconds: Sequence[float], bare: Sequence[float]) -> float:
    return statistics.median(seconds) / statistics.median(bare)


def bare_s(folder: Path, name: str) -> float:
    """Seconds from the source to the end of one run, without any check."""
    kernel, function, arguments, call = KERNELS[name]
    place = folder / "bare"
    place.mkdir(exist_ok=True)
    (place / "kernel.h").write_text("#include <stdint.h>\n")
    (place / "main.c").write_text(MAIN.format(function=function, arguments=arguments, call=call))
    source = TASKS / name / "candidates" / kernel
    words = ["gcc", "-O3", "-march=native", "-fopenmp", "-I.", str(source), "main.c", "-o", "bare"]
    began = time.monotonic()
    subprocess.run(words, cwd=place, check=True)
    subprocess.run(["./bare"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def gated(folder: Path, name: str, count: int) -> tuple[list[dict[str, float]], float]:
    """Seconds of each stage of each attempt, and attempts a minute while they were out."""
    place = folder / name
    shutil.copytree(TASKS / name, place)
    text = (place / "task.yaml").read_text()
    short = text.replace("budget: {", "budget: {max_pairs: 3, confirm_pairs: 0, ")
    (place / "task.yaml").write_text(short)
    kernel = (place / "candidates" / KERNELS[name][0]).read_text()
    mine = place / "mine"
    mine.mkdir()
    for number in range(count):
        (mine / f"{number}.c").write_text(f"{kernel}/* {number} */\n")
    words = ["codegen", "task.yaml", "--candidates", "mine", "--run-dir", str(place / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "hpcagent", *words, "--json"], cwd=place, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    attempts = json.loads(done.stdout)["targets"][0]["codegen"]["attempts"][1:]
    return [attempt["stages"] for attempt in attempts], count / minutes_of(place / "run")


def minutes_of(run: Path) -> float:
    """From the first attempt's intent to the last one's result, by the journal's stamps."""
    rows: list[Any] = [json.loads(line) for line in (run / "journal.jsonl").open()]
    mine = {
        row["data"]["unit"] for row in rows
        if row["type"] == "unit_intent" and row["data"]["purpose"].startswith("attempt-")
        and row["data"]["purpose"] != "attempt-0"
    }  # fmt: skip
    stamps = [
        datetime.fromisoformat(row["t_utc"]) for row in rows
        if row["type"] in ("unit_intent", "unit_result") and row["data"]["unit"] in mine
    ]  # fmt: skip
    return (max(stamps) - min(stamps)).total_seconds() / 60.0


if __name__ == "__main__":
    main()
