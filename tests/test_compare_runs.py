"""`hpcagent compare` with real tune runs: on the local queue, and on two partitions of Slurm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.slurm_lab import Cluster, until
from mainjob import Bench, Inside, make_bench

pytestmark = pytest.mark.openblas
TUNE = ["tune", "--lib", "openblas", "--workload", "mix.yaml", "--challengers", "2",
        "--budget", "rounds=1"]  # fmt: skip
QUICK = ["--pairs", "3"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed tune run, to be copied: a copy is a run of its own with its own driver.

    Nothing in it can have won, however fast it was.
    """
    folder = tmp_path_factory.mktemp("tuned")
    bench = Inside(folder, make_bench(folder).env)
    bench.env["HPCAGENT_MINIMUM_EFFECT"] = "1000"
    done = bench.hpcagent(*TUNE, "--run-dir", str(bench.run))
    assert done.returncode == 0, done.stderr
    return bench.run


@pytest.fixture
def bench(tmp_path: Path, tuned: Path) -> Bench:
    for name in ("a", "b"):
        shutil.copytree(tuned, tmp_path / name)
    return Inside(tmp_path, make_bench(tmp_path).env)


def change(folder: Path, kind: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the data of the events of this type in a journal; an emptied event is left out."""
    journal = folder / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    for event in events:
        if event["type"] == kind:
            edit(event["data"])
    kept = [event for event in events if event["data"]]
    journal.write_text("".join(json.dumps(event) + "\n" for event in kept))


def with_a_winner(folder: Path) -> str:
    """As if the first configuration that was proposed had won; its id."""
    proposed: list[dict[str, Any]] = []
    change(folder, "proposed", lambda data: proposed.extend(data["proposals"]))

    def win(data: dict[str, Any]) -> None:
        if data["what"] == "winner":
            data["config"] = proposed[0]["config"]

    change(folder, "decision", win)
    change(folder, "run_closed", lambda data: data.update(outcome="improved"))
    rounds: list[str] = []
    change(
        folder, "unit_intent",
        lambda data: rounds.extend(c["id"] for c in data["spec"].get("configs", ())
                                   if c.get("values") == proposed[0]["config"]),
    )  # fmt: skip
    return rounds[0]


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return [e["data"] for e in map(json.loads, lines) if e["type"] == kind]


def results(folder: Path) -> list[dict[str, Any]]:
    """What each unit ran, in the order of the blocks; each was submitted and recorded once."""
    intents = {data["unit"]: data for data in events(folder, "unit_intent")}
    ended = events(folder, "unit_result")
    submitted = [data["unit"] for data in events(folder, "unit_submitted")]
    assert Counter(submitted) == Counter(list(intents))
    assert Counter(data["unit"] for data in ended) == Counter(list(intents))
    return [{**intents[data["unit"]], **data} for data in ended]


def test_two_runs_with_their_settings_in_blocks(bench: Bench) -> None:
    winner = with_a_winner(bench.folder / "b")
    done = bench.hpcagent("compare", "a", "b", "--run-dir", "c", *QUICK)
    assert done.returncode == 0, done.stderr
    units = results(bench.folder / "c")
    spec_of = {unit["unit"]: unit["spec"] for unit in units}
    assert sorted((s["block"], s["side"]) for s in spec_of.values()) == [
        (block, index) for block in (1, 2, 3) for index in (0, 1)
    ]
    workloads = set()
    for name, spec in spec_of.items():
        workloads.add((bench.folder / "c/work" / name / "workload.txt").read_bytes())
        built = (bench.folder / "ab"[spec["side"]]).resolve()
        assert Path(spec["command"][0]).is_relative_to(built)
    assert len(workloads) == 1
    for unit in units:
        ids = {row["config"] for row in unit["runs"]}
        wanted = {spec_of[unit["unit"]]["reference"]}
        assert ids == wanted | ({winner} if unit["spec"]["side"] == 1 else set())
        counts = Counter(row["config"] for row in unit["runs"] if row["pair"] > 0)
        assert set(counts.values()) == {3}
    page = done.stdout
    assert all(len(line) <= 80 for line in page.splitlines())
    assert "run a" in page
    assert "run b" in page
    assert (bench.folder / "c/result/report.md").read_text().startswith("# openblas: comparison")
    again = bench.hpcagent("report", "./c", "--json")
    told = json.loads(again.stdout)
    assert told["outcome"] == "compared"
    assert [side["tuned"] for side in told["sides"]] == [False, True]
    assert told["results"][0]["best"]["coverage"] == pytest.approx(0.995)
    shown = bench.hpcagent("status", "./c")
    assert "3 allocations a side" in shown.stdout


def test_a_killed_comparison_goes_on(bench: Bench) -> None:
    argv = bench.argv("compare", "a", "b", "--run-dir", "c", *QUICK)
    with subprocess.Popen(argv, cwd=bench.folder, env=bench.env, stderr=subprocess.DEVNULL) as one:
        limit = time.monotonic() + 300
        journal = bench.folder / "c/journal.jsonl"
        while not (journal.exists() and journal.read_text().count("unit_result") >= 2):
            assert one.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        os.kill(one.pid, signal.SIGKILL)
    assert not events(bench.folder / "c", "run_closed")
    listed = bench.hpcagent("status", "./c")
    assert "preparation" in listed.stdout or "block-" in listed.stdout
    done = bench.hpcagent("resume", "./c")
    assert done.returncode == 0, done.stderr
    assert len(results(bench.folder / "c")) == 6


def test_it_is_stepped_and_cancelled_like_every_run(bench: Bench) -> None:
    began = bench.hpcagent("compare", "a", "b", "--run-dir", "c", "--no-wait")
    assert began.returncode == 0, began.stderr
    assert "continue with: hpcagent resume" in began.stdout
    refused = bench.hpcagent("advise", "./c", "be quick")
    assert refused.returncode == 2
    assert "is a comparison" in refused.stderr
    cancelled = bench.hpcagent("cancel", "./c")
    assert cancelled.returncode == 0, cancelled.stderr
    shown = bench.hpcagent("watch", "./c")
    assert shown.returncode == 0
    assert "was cancelled" in shown.stdout
    assert "as fast" not in shown.stdout


def test_a_dry_run_shows_all_jobs_and_writes_nothing(bench: Bench) -> None:
    before = sorted(path.name for path in bench.folder.iterdir())
    done = bench.hpcagent("compare", "a", "b", "--dry-run", "--json", "--blocks", "4")
    assert done.returncode == 0, done.stderr
    units = json.loads(done.stdout)["units"]
    assert [unit["purpose"] for unit in units[:2]] == ["block-1-a", "block-1-b"]
    assert len(units) == 8
    assert all("worker.py spec.json" in unit["job.sh"] for unit in units)
    text = bench.hpcagent("compare", "a", "b", "--dry-run").stdout
    assert "6 jobs reserve" in text
    assert sorted(path.name for path in bench.folder.iterdir()) == before


def refuse(bench: Bench, code: int, *words: str) -> str:
    """compare says no with this code and one line, and makes no run."""
    done = bench.hpcagent("compare", *words, "--run-dir", "c")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert not (bench.folder / "c").exists()
    return done.stderr


def test_what_cannot_be_compared_is_refused(bench: Bench) -> None:
    assert "at least two RUNs" in refuse(bench, 2, "a")
    assert "named twice" in refuse(bench, 2, "a", "b", "./a")
    assert "blocks" in refuse(bench, 2, "a", "b", "--blocks", "2")
    assert "there is no such run" in refuse(bench, 2, "a", "nowhere")
    (bench.folder / "hpcagent.toml").write_text("scheduler = 'local'\n")
    other = bench.folder / "b"

    def larger(data: dict[str, Any]) -> None:
        data["settings"]["workload"][0]["m"] = 64

    change(other, "run_opened", larger)
    words = refuse(bench, 2, "a", "b")
    assert "different workloads (dgemm_48x48x48 is in one of them only)" in words
    assert "--workload FILE" in words


def test_an_unfinished_or_failed_run_is_no_side(bench: Bench) -> None:
    change(bench.folder / "b", "run_closed", lambda data: data.update(outcome="failed"))
    assert "ended as 'failed'" in refuse(bench, 2, "a", "b")
    change(bench.folder / "b", "run_closed", lambda data: data.clear())
    assert "finish it first: hpcagent resume" in refuse(bench, 2, "a", "b")


def test_a_missing_driver_is_told_before_anything_is_submitted(bench: Bench) -> None:
    driver = next((bench.folder / "b/work").glob("*/driver"))
    driver.unlink()
    words = refuse(bench, 3, "a", "b")
    assert str(driver) in words
    assert "tune again" in words


def test_the_sites_limit_on_core_hours_holds(bench: Bench) -> None:
    """And whoever comes up against it is told the least, and whether that would do."""
    limited = Inside(bench.folder, {**bench.env, "HPCAGENT_SITE_CONFIG": "site.toml"})
    (bench.folder / "site.toml").write_text("max_core_hours = 0.01\n")
    words = refuse(limited, 5, "a", "b")
    assert "the site allows 0.01: also the least is more (--blocks 3 --pairs 3, " in words
    least = float(words.rpartition("--pairs 3, ")[2].partition(")")[0])
    (bench.folder / "site.toml").write_text(f"max_core_hours = {1.1 * least}\n")
    assert "the least is --blocks 3 --pairs 3, " in refuse(limited, 5, "a", "b", "--blocks", "9")
    done = limited.hpcagent("compare", "a", "b", "--blocks", "3", "--pairs", "3", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_a_comparison_is_no_side(bench: Bench) -> None:
    change(bench.folder / "b", "run_opened", lambda data: None)
    record = json.loads((bench.folder / "b/run.json").read_text())
    (bench.folder / "b/run.json").write_text(json.dumps({**record, "kind": "compare"}))
    assert "only tune runs" in refuse(bench, 2, "a", "b")


@pytest.mark.slurm
def test_two_partitions_of_slurm(tmp_path: Path, slurm: Cluster) -> None:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    bench = Inside(tmp_path, env)
    for partition in ("one", "two"):
        done = bench.hpcagent(*TUNE, "--partition", partition, "--run-dir", partition)
        assert done.returncode == 0, done.stderr
    done = bench.hpcagent("compare", "one", "two", "--run-dir", "c")
    assert done.returncode == 0, done.stderr
    units = {unit["unit"]: unit for unit in results(tmp_path / "c")}
    assert len(units) == 6
    rows: dict[str, dict[str, str]] = {}

    def recorded() -> bool:
        """The database hears of an ended job some seconds later."""
        rows.update({row["JobName"]: row for row in slurm.rows("-X")})
        return all(name in rows and rows[name]["State"] == "COMPLETED" for name in units)

    until(recorded, "sacct knows the end of every block")
    for name, unit in units.items():
        partition, node = (("one", "n1"), ("two", "n2"))[unit["spec"]["side"]]
        row = rows[name]
        assert (row["ExitCode"], row["Partition"], row["NodeList"]) == ("0:0", partition, node)
        assert unit["node"] == node
    told = " ".join(done.stdout.split())
    assert "99.5 % interval" in told
    assert "3 allocations a side" in told
    assert "partition one was measured on n1 only" in told
