"""`hpcagent tune --app` of applications that are built in the search, for real."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, killed_at_every_durable_step, make_bench
from test_application_runs import summary, trials, tune, values

# Sleeps as it was compiled, so that on any machine the same build is the fastest.
SOURCE = """\
#include <stdio.h>
#include <unistd.h>
#include "nap.h"
#if METHOD == 3
#error this method is not there yet
#endif
int main(void) {
    usleep(1000 * NAP);
    printf("answer %d\\n", METHOD == 2 ? 7 : 42);
    return 0;
}
"""
MAKEFILE = """\
sleeper: main.c nap.h
\t$(CC) $(CFLAGS) -o $@ main.c
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(sleeper C)
add_executable(sleeper main.c)
target_compile_definitions(sleeper PRIVATE METHOD=${METHOD})
install(TARGETS sleeper DESTINATION bin)
"""
CARD = """\
schema: 1
name: sleeper
kind: application
title: a program that sleeps as it was compiled
build:
  source: src
  files: {nap.h: "#define NAP {nap}\\n"}
  env: {CC: "{compiler}"}
  commands: [[make, "CFLAGS=-DMETHOD={method} -D{mark}"]]
  programs: [sleeper]
command: {argv: ["{prefix}/bin/sleeper"]}
space:
  - {name: nap, kind: ordinal, meaning: milliseconds, values: [5, 40], default: 40}
  - {name: method, kind: categorical, meaning: how, values: [1, 2, 3], default: 1}
  - {name: mark, kind: categorical, meaning: nothing, values: [A, B], default: A}
  - {name: compiler, kind: categorical, meaning: compiler, values: [cc, absent-cc], default: cc}
check:
  answer: {pattern: 'answer (?P<value>\\S+)', tolerance: 1e-6}
"""
ALL = ("--budget", "rounds=2", "--challengers", "12", "--confirm-jobs", "1",
       "--strategy", "exhaustive")  # fmt: skip
ONE = ("--budget", "rounds=1", "--confirm-jobs", "1", "--challengers", "2")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return put(Inside(tmp_path, make_bench(tmp_path).env))


def put(bench: Bench, card: str = CARD) -> Bench:
    source = bench.folder / "src"
    source.mkdir()
    (source / "main.c").write_text(SOURCE)
    (source / "Makefile").write_text(MAKEFILE)
    (source / "CMakeLists.txt").write_text(CMAKE)
    (bench.folder / "card.yaml").write_text(card)
    return bench


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str]:
    """A run of every point, which is looked at only, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    bench = put(Inside(folder, make_bench(folder).env))
    done = tune(bench, *ALL)
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    return bench, " ".join(done.stdout.split())


def built(bench: Bench) -> dict[str, dict[str, Any]]:
    """The manifests in the store, by the folders of the builds."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in (bench.folder / "builds").glob("*/manifest.json")
    }


def units(bench: Bench, begins: str) -> list[str]:
    rows = bench.events("unit_intent")
    return [e["data"]["purpose"] for e in rows if e["data"]["purpose"].startswith(begins)]


def test_what_is_compiled_in_is_tuned_and_what_cannot_be_built_is_told(
    finished: tuple[Bench, str],
) -> None:
    bench, printed = finished
    bench.job_of()
    found = summary(bench)
    best = values(found["best"])
    assert (best["nap"], best["method"], best["compiler"]) == ("5", "1", "cc")
    assert found["claim"]["speedup"] > 3
    out = [(row["param"], row["value"]) for row in found["infeasible"]]
    assert sorted(out) == [("compiler", "absent-cc"), ("method", "3")]
    states = {key: state for key, state in trials(bench).items() if key[0] == "cc"}
    wrong = {state for (_, _, method, _), state in states.items() if method == "2"}
    assert wrong == {"numerics.wrong_result"}
    report = (bench.run / "result" / "report.md").read_text()
    assert "error this method is not there yet" in report
    assert "Built in" in printed
    assert "Left out compiler=absent-cc, method=3" in printed
    assert re.search(r"Builds \d+ made in [\d.]+ \w+, \d+ failed", printed)
    manifest = next(iter(built(bench).values()))
    assert re.fullmatch(r"CC=cc make 'CFLAGS=-DMETHOD=\d -D[AB]'", manifest["lines"]["command 1"])
    assert f"command 1: CC=cc make 'CFLAGS=-DMETHOD=1 -D{best['mark']}'" in report


def test_each_build_is_made_once_and_the_same_program_is_measured_once(
    finished: tuple[Bench, str],
) -> None:
    bench, _ = finished
    made = units(bench, "variant-")
    assert len(made) == len(set(made)), "none is built twice"
    repeated = summary(bench)["repeated"]
    assert repeated, "what differs by the mark alone is the same program"
    for one, other in repeated:
        mine, first = values(one), values(other)
        assert {**mine, "mark": ""} == {**first, "mark": ""}
    measured = [row["config"]["items"] for row in summary(bench)["trials"] if row["speedup"]]
    marks = [tuple(v for name, v in items if name != "mark") for items in measured]
    assert len(marks) == len(set(marks))
    report = (bench.run / "result" / "report.md").read_text()
    assert "it is built to the same program" in report
    told = {
        tuple(row["changed"][0]) if row["changed"] else (): row
        for row in summary(bench)["builds"]
        if len(row["changed"]) < 2
    }
    default, fast, marked = told[()], told["nap", "5"], told["mark", "B"]
    assert (default["state"], default["speedup"], default["alike"]) == ("built", 1.0, 0)
    assert fast["speedup"] > 3
    assert summary(bench)["builds"][marked["alike"] - 1] == default
    assert told["compiler", "absent-cc"]["state"] == "failed"
    assert re.search(r"\| `mark=B` \| made, as No\. 1 \|", report)


def test_what_was_built_is_found_again(bench: Bench) -> None:
    assert tune(bench, *ONE, "--seed", "3").returncode == 0
    before = {name: row["built_utc"] for name, row in built(bench).items()}
    assert before
    shutil.move(bench.run, bench.folder / "first")
    done = tune(bench, *ONE, "--seed", "3")
    assert done.returncode == 0, done.stderr
    after = {name: row["built_utc"] for name, row in built(bench).items()}
    assert {name: after[name] for name in before} == before
    ran = {event["data"]["unit"] for event in bench.events("unit_submitted")}
    made = {e["data"]["unit"]: e["data"]["purpose"] for e in bench.events("unit_intent")}
    jobs = {made[name].removeprefix("variant-") for name in ran}
    assert not [name for name in before if name.rpartition("-")[2] in jobs]
    assert "found in the store" in done.stderr
    assert "step absent" not in bench.hpcagent("explain", str(bench.run)).stdout


def test_the_result_runs_the_build_that_won(finished: tuple[Bench, str]) -> None:
    bench, _ = finished
    script = bench.run / "result" / "run.sh"
    done = subprocess.run(["sh", str(script)], cwd=bench.folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "answer 42\n"), script.read_text()
    [line] = [line for line in script.read_text().splitlines() if line.startswith("exec ")]
    [name] = [name for name in built(bench) if name in line]
    assert built(bench)[name]["parameters"]["nap"] == "5"
    assert (bench.folder / "src" / "Makefile").read_text() == MAKEFILE, "the source is let be"
    assert not (bench.folder / "src" / "nap.h").exists()


def test_what_is_installed_goes_where_it_belongs(bench: Bench) -> None:
    """CMake, by `--install` and DESTDIR."""
    commands = (
        '[[cmake, -B, build, "-DMETHOD={method}", "-DCMAKE_INSTALL_PREFIX={prefix}"],'
        ' [cmake, --build, build, -j, "{jobs}"], [cmake, --install, build]]\n  makes: [bin/sleeper]'
    )
    old = '[[make, "CFLAGS=-DMETHOD={method} -D{mark}"]]\n  programs: [sleeper]'
    assert old in CARD
    card = CARD.replace(old, commands).replace(
        "  - {name: mark, kind: categorical, meaning: nothing, values: [A, B], default: A}\n", ""
    )
    (bench.folder / "card.yaml").write_text(card)
    done = tune(bench, *ALL)
    assert done.returncode == 0, done.stderr + done.stdout
    assert bench.outcome() == "improved", done.stdout
    best = values(summary(bench)["best"])
    assert (best["nap"], best["compiler"]) == ("5", "cc")


def test_a_default_that_cannot_be_built_ends_the_run_with_the_reason(bench: Bench) -> None:
    (bench.folder / "card.yaml").write_text(
        CARD.replace("[1, 2, 3], default: 1", "[3, 1], default: 3")
    )
    done = tune(bench, *ALL)
    assert done.returncode == 7
    assert "the default build failed" in done.stdout
    assert "this method is not there yet" in done.stdout
    assert "and logs/ in work/" in " ".join(done.stdout.split())
    report = (bench.run / "result" / "report.md").read_text()
    assert "Nothing failed" not in report
    told = bench.hpcagent("explain", str(bench.run))
    assert "error this method is not there yet" in " ".join(told.stdout.split())


def test_a_source_that_is_changed_meanwhile_is_not_built_from(bench: Bench) -> None:
    done = tune(bench, *ONE, "--no-wait")
    for _ in range(200):
        if units(bench, "feasibility"):
            break
        done = bench.hpcagent("step", str(bench.run))
        assert done.returncode == 0, done.stderr
    (bench.folder / "src" / "main.c").write_text(SOURCE.replace("42", "43"))
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 3, done.stderr
    assert bench.outcome() == "failed"
    printed = " ".join(done.stdout.split())
    assert "nothing more can be built: step unpack" in printed
    assert "SHA-256" in printed
    assert summary(bench)["infeasible"] == []


@pytest.mark.parametrize(
    ("old", "new", "words", "code", "told"),
    [
        ("source: src", "source: absent", (), 2, "absent: No such file or directory"),
        ("  source: src\n", "", (), 2, "card.yaml: build: source is missing (or give --source)"),
        ("source: src", "source: .", (), 2, "runs are in it"),
        ("source: src", "source: src", ("--store", "src/builds"), 2, "builds are kept in it"),
        ("[make,", "[absent-make,", (), 3, "commands: 0: absent-make is not a program"),
        ("", "", ("--set", "a=b"), 2, "--set is for --lib: the card says under `build`"),
        ("", "", ("--compiler", "gcc"), 2, "--compiler is for --lib"),
        ("", "", ("--app-prefix", "/usr"), 2, "says how it is built: leave it out"),
        ("", "", ("--build",), 2, "--build is for libraries"),
        ("", "", ("--sha256", "ab"), 2, "64 hexadecimal digits"),
        ("", "", ("--source", "absent"), 2, "absent: No such file or directory"),
    ],
)
def test_what_cannot_be_built_is_told_before_a_run_is_made(
    bench: Bench, old: str, new: str, words: tuple[str, ...], code: int, told: str
) -> None:
    (bench.folder / "card.yaml").write_text(CARD.replace(old, new))
    done = tune(bench, *words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not bench.run.exists()


def test_another_source_can_be_named(bench: Bench) -> None:
    shutil.move(bench.folder / "src", bench.folder / "elsewhere")
    done = tune(bench, *ONE, "--source", "elsewhere", "--store", "kept")
    assert done.returncode == 0, done.stderr
    words = summary(bench)["command"]
    assert words[words.index("--source") + 1] == str(bench.folder / "elsewhere")
    assert list((bench.folder / "kept").glob("sleeper-1-*/bin/sleeper"))


def test_a_dry_run_shows_the_builds(bench: Bench) -> None:
    done = tune(bench, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "space: 24 configurations, 24 builds" in done.stdout
    assert "== variant-" in done.stdout
    assert not bench.run.exists()
    assert not (bench.folder / "builds").exists()
    shown = json.loads(tune(bench, "--dry-run", "--json").stdout)
    files = next(u["files"] for u in shown["units"] if u["purpose"].startswith("variant-"))
    assert files["file-1"] == "#define NAP 40\n"
    assert ["make", "CFLAGS=-DMETHOD=1 -DA"] in [
        step["argv"][4:] for step in json.loads(files["spec.json"])["steps"]
    ]


def test_a_plan_builds_anew_what_was_changed(bench: Bench) -> None:
    (bench.folder / "plan.yaml").write_text(
        "schema: 1\nsteps:\n  - name: only\n"
        "    tune: {app: card.yaml, budget: rounds=1, challengers: 1, confirm-jobs: 1}\n"
    )
    done = bench.hpcagent("run", "plan.yaml", "--run-dir", str(bench.run))
    assert done.returncode == 0, done.stderr + done.stdout
    again = bench.hpcagent("run", "plan.yaml", "--reuse", str(bench.run), "--dry-run")
    assert again.stdout.count("is taken over") == 1
    (bench.folder / "src" / "main.c").write_text(SOURCE + "\n")
    changed = bench.hpcagent("run", "plan.yaml", "--reuse", str(bench.run), "--dry-run")
    assert "is taken over" not in changed.stdout


@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_every_durable_step(bench: Bench) -> None:
    card = CARD.replace("values: [5, 40], default: 40", "values: [5, 20], default: 20")
    (bench.folder / "card.yaml").write_text(card)
    words = ["tune", "--app", "card.yaml", "--run-dir", str(bench.run), "--budget", "rounds=1",
             "--challengers", "1", "--confirm-jobs", "1", "--model", ""]  # fmt: skip
    assert killed_at_every_durable_step(bench, words) > 10
    bench.job_of()
    made = units(bench, "variant-")
    assert len(made) == len(set(made))
    assert bench.outcome() in ("improved", "nothing better")


# --- by our own templates -------------------------------------------------------------------------

MPI = """\
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    int rank, ranks, length;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_library_version(name, &length);
    usleep(1000 * NAP);
    if (rank == 0) printf("ranks %d time %f\\nmpi %s\\n", ranks, NAP / 1000.0, name);
    MPI_Finalize();
    return 0;
}
"""
PROGRAM = """\
schema: 1
name: ranker
kind: application
title: a program that says which MPI it runs
build:
  source: src
  mpi: "{mpi}"
  program: {sources: [main.c], mpi: wrapper, optimisation: "{level}", defines: ["NAP={nap}"]}
command: {argv: ["{prefix}/bin/ranker"], launch: mpi}
env: {OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1"}
space:
  - {name: ranks, kind: ordinal, meaning: processes, values: [1, 2], default: 2}
  - {name: mpi, kind: categorical, meaning: MPI, values: [openmpi, mpich, absent], default: openmpi}
  - {name: level, kind: categorical, meaning: optimisation, values: [O1, O2], default: O2}
  - {name: nap, kind: ordinal, meaning: milliseconds, values: [1, 30], default: 30}
figures_of_merit: [{name: time, regex: 'ranks \\d+ time (?P<value>\\S+)', unit: s, direction: min}]
readback: {mpi: 'mpi (Open MPI|MPICH)', ranks: 'ranks (\\d+)'}
"""


@pytest.mark.toolchain
@pytest.mark.skipif(
    shutil.which("mpicc.mpich") is None or shutil.which("mpicc.openmpi") is None,
    reason="two MPIs are not installed",
)
def test_the_mpi_can_be_searched_and_each_has_its_own_launcher(bench: Bench) -> None:
    (bench.folder / "src" / "main.c").write_text(MPI)
    (bench.folder / "card.yaml").write_text(PROGRAM)
    done = tune(bench, *ALL)
    assert done.returncode == 0, done.stderr + done.stdout
    assert bench.outcome() == "improved", done.stdout
    bench.job_of()
    found = summary(bench)
    assert values(found["best"])["nap"] == "1"
    [absent] = found["infeasible"]
    assert (absent["param"], absent["value"]) == ("mpi", "absent")
    assert "no MPI absent there" in absent["failure"]["evidence"]
    seen = set()
    for path in bench.run.glob("work/*/result.jsonl"):
        spec = json.loads((path.parent / "spec.json").read_text())
        ran = {c["id"]: c.get("values", {}) for c in spec.get("configs", ())}
        for line in map(json.loads, path.read_text().splitlines()):
            told = ran.get(line.get("config"), {})
            if told and line["status"] == "ok":
                assert line["readback"]["ranks"] == told["ranks"], "no mixed launcher"
                seen.add((told["mpi"], line["readback"]["mpi"]))
    assert seen == {("openmpi", "Open MPI"), ("mpich", "MPICH")}


@pytest.mark.slurm
def test_builds_are_jobs_of_the_batch_system(tmp_path: Path, slurm: Cluster) -> None:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3"}
    bench = put(Inside(tmp_path, env))
    done = tune(bench, "--scheduler", "slurm", *ONE, "--strategy", "exhaustive")
    assert done.returncode == 0, done.stderr + done.stdout
    bench.job_of()
    rows = {e["data"]["purpose"]: e["data"]["resources"] for e in bench.events("unit_intent")}
    mine = [row for name, row in rows.items() if name.startswith("variant-")]
    assert len(mine) >= 2
    assert all(row["walltime_s"] == 4080 for row in mine), "as the card's time for a build says"
    jobs = [e["data"]["job_id"] for e in bench.events("unit_submitted")]
    assert len(set(jobs)) == len(rows)
    shutil.move(bench.run, bench.folder / "first")
    again = tune(bench, "--scheduler", "slurm", *ONE, "--strategy", "exhaustive")
    assert again.returncode == 0, again.stderr + again.stdout
    found = len(bench.events("unit_intent")) - len(bench.events("unit_submitted"))
    assert found >= 1, "what this process sees in the store needs no job"


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/tmp").stat().st_dev,
    reason="no other file system",
)
@pytest.mark.slurm
def test_builds_on_another_file_system_are_looked_for_by_a_job(
    tmp_path: Path, slurm: Cluster
) -> None:
    """Nodes have another folder under the same name."""
    made = make_bench(tmp_path)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as store:
        env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_BUILDS": store}
        bench = put(Inside(tmp_path, env))
        words = ("--budget", "rounds=1", "--confirm-jobs", "1", "--challengers", "1")
        assert tune(bench, *words, "--strategy", "exhaustive").returncode == 0
        seen = {path.name.rpartition("-")[2] for path in Path(store).iterdir()}
        shutil.move(bench.run, bench.folder / "here")
        done = tune(bench, "--scheduler", "slurm", *words, "--strategy", "exhaustive")
    assert done.returncode == 0, done.stderr + done.stdout
    assert {name.removeprefix("variant-") for name in units(bench, "variant-")} & seen
    assert len(bench.events("unit_intent")) == len(bench.events("unit_submitted"))
