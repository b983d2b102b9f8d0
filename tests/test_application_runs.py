"""`hpcagent tune --app` for real: programs of the tests', LAMMPS with MPI, and Slurm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab.slurm_lab import Cluster
from mainjob import Bench, Inside, killed_at_every_durable_step, make_bench

from hpcagent.apps.application import EXAMPLE

# Sleeps as its options say, so that on any machine the same one is the fastest: nothing computes.
PROGRAM = """#!/bin/sh
test -e mesh.txt || exit 4
test "$METHOD" = broken && exit 3
test "$METHOD" = sloppy && answer=7 || answer=42
sleep "$(awk '{print $2}' size.txt)"
echo "answer $answer"
echo "speed $(awk '{print 1 / $2}' size.txt) per second" > log.txt
"""
CARD = """\
schema: 1
name: sleeper
kind: application
title: a program that sleeps
command:
  argv: [./program, "{nap}"]
inputs: [mesh.txt]
outputs: [log.txt]
files: {size.txt: "nap {nap}"}
env: {METHOD: "{method}"}
space:
  - {name: nap, kind: ordinal, meaning: seconds, values: [0.01, 0.05, 0.1], default: 0.1}
  - {name: method, kind: categorical, meaning: how, values: [good, sloppy, broken], default: good}
check:
  answer: {pattern: 'answer (?P<value>\\S+)', tolerance: 1e-6}
"""
RATE = (
    "figures_of_merit: [{name: speed, regex: 'speed (?P<value>\\S+) per', unit: 1/s,"
    " direction: max}]\n"
)
ONE = ("--budget", "rounds=1", "--confirm-jobs", "1")
# Every point is tried, in any case: eight beside the default.
QUICK = ("--budget", "rounds=2", "--challengers", "4", "--confirm-jobs", "1",
         "--strategy", "exhaustive")  # fmt: skip


def put(bench: Bench, card: str = CARD) -> Bench:
    program = bench.folder / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (bench.folder / "mesh.txt").write_text("a mesh\n")
    (bench.folder / "card.yaml").write_text(card)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return put(Inside(tmp_path, make_bench(tmp_path).env))


def tune(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    return bench.hpcagent("tune", "--app", "card.yaml", "--run-dir", str(bench.run), *words)


def summary(bench: Bench) -> dict[str, Any]:
    done = bench.hpcagent("report", str(bench.run), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def values(config: dict[str, Any]) -> dict[str, str]:
    return dict(config["items"])


def trials(bench: Bench) -> dict[tuple[str, ...], str]:
    """Values, in the order of their names, to what became of them."""
    rows = summary(bench)["trials"]
    return {tuple(v for _, v in row["config"]["items"]): row["status"] for row in rows}


def test_an_application_is_tuned_and_what_it_may_not_do_cannot_win(bench: Bench) -> None:
    done = tune(bench, *QUICK)
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    bench.job_of()
    found = summary(bench)
    assert values(found["best"]) == {"nap": "0.01", "method": "good"}
    assert found["claim"]["speedup"] > 1.5
    assert found["application"]["title"] == "a program that sleeps"
    states = trials(bench)
    assert states["good", "0.1"] == "ok"
    broken = {state for (method, _), state in states.items() if method == "broken"}
    sloppy = {state for (method, _), state in states.items() if method == "sloppy"}
    assert (broken, sloppy) == ({"run.exit_nonzero"}, {"numerics.wrong_result"})
    assert "Run as" in done.stdout
    assert "result/run.sh" in done.stdout


def test_the_result_runs_as_it_says(bench: Bench) -> None:
    tune(bench, *QUICK)
    place = bench.folder / "elsewhere"
    shutil.copytree(bench.run / "result" / "files", place)
    shutil.copy(bench.folder / "mesh.txt", place)
    script = bench.run / "result" / "run.sh"
    done = subprocess.run(["sh", str(script)], cwd=place, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "answer 42\n"), script.read_text()
    assert (place / "log.txt").read_text() == "speed 100 per second\n"
    report = (bench.run / "result" / "report.md").read_text()
    assert "a program that sleeps" in report
    assert "outine" not in report, "there are none"
    assert "OpenBLAS" not in report
    best = (bench.run / "result" / "best.env").read_text()
    assert "METHOD=good" in best


def test_a_rate_that_is_printed_is_what_is_made_better(bench: Bench) -> None:
    (bench.folder / "card.yaml").write_text(CARD + RATE)
    done = tune(bench, *QUICK)
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    found = summary(bench)
    assert values(found["best"])["nap"] == "0.01"
    assert found["claim"]["speedup"] == pytest.approx(10.0), "as printed, not as it took"
    assert found["command"][1:4] == ["tune", "--app", str(bench.folder / "card.yaml")]
    assert found["claim"]["best_cv"] > 0.001, "of the time of a process, not of what it prints"
    report = (bench.run / "result" / "report.md").read_text()
    assert "What it prints is no time" in report
    assert "a process" in report
    assert "--objective speed" in " ".join(found["command"])


WEIGHED = """\
schema: 1
name: weigher
kind: application
title: a program that does two things
command: {argv: [./program, "{nap}"]}
cases: {small: 3, large: 1}
space:
  - {name: nap, kind: ordinal, meaning: seconds, values: [0.01, 0.02, 0.04], default: 0.04}
figures_of_merit:
  - {name: time, regex: '(?P<key>small|large) (?P<value>\\S+)', unit: s, direction: min}
check:
  answer: {pattern: '(?P<key>\\S+) \\S+ gives (?P<value>\\S+)', tolerance: 0}
"""
DOES_TWO = """#!/bin/sh
echo "small $1 gives 1"
echo "large $(awk "BEGIN {print 0.0004 / $1}") gives 2"
"""


TWO_FIGURES = """\
figures_of_merit:
  - {name: speed, regex: 'speed (?P<value>\\S+) per', unit: 1/s, direction: max}
  - {name: quality, regex: 'quality (?P<value>\\S+)', unit: points, direction: max}
"""


def with_quality(bench: Bench) -> None:
    """What takes longer is better, and that without any noise."""
    card = CARD.replace("default: 0.1}", "default: 0.05}")
    put(bench, card + TWO_FIGURES)
    with (bench.folder / "program").open("a") as program:
        program.write("""echo "quality $(awk '{print 100 * $2}' size.txt)"\n""")


def test_a_card_s_second_figure_can_be_what_is_made_better(bench: Bench) -> None:
    with_quality(bench)
    done = tune(bench, *QUICK, "--objective", "quality")
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    assert values(summary(bench)["best"]) == {"nap": "0.1", "method": "good"}
    assert summary(bench)["claim"]["speedup"] == pytest.approx(2.0)


def test_two_figures_that_are_at_odds_give_a_choice(bench: Bench) -> None:
    with_quality(bench)
    bench.env["HPCAGENT_CONFIRM_PAIRS"] = "10"
    done = tune(bench, *QUICK, "--objective", "speed", "--objective", "quality")
    assert done.returncode == 0, done.stderr
    found = summary(bench)
    front = {values(point["config"])["nap"] for point in found["goals"]["points"]}
    assert front == {"0.01", "0.05", "0.1"}, "each is best for somebody"
    assert values(found["best"])["nap"] == "0.01"


@pytest.mark.parametrize(("bound", "nap"), [("quality>4", "0.05"), ("quality>8", "0.1")])
def test_a_bound_on_the_second_figure_holds(bench: Bench, bound: str, nap: str) -> None:
    with_quality(bench)
    card = (bench.folder / "card.yaml").read_text()
    (bench.folder / "card.yaml").write_text(card.replace("default: 0.05}", "default: 0.1}"))
    done = tune(bench, *QUICK, "--objective", "speed", "--within", bound)
    assert done.returncode == 0, done.stderr
    assert values(summary(bench)["best"])["nap"] == nap
    assert [bound] in [t["broken"] for t in summary(bench)["trials"] if t["status"] == "ok"]
    if nap == "0.05":
        assert re.search(r"quality>4 +met: 5; the default 10", done.stdout), done.stdout


def test_only_the_worse_side_of_a_figure_is_bounded(bench: Bench) -> None:
    with_quality(bench)
    done = tune(bench, "--within", "quality<4", "--dry-run")
    assert done.returncode == 2
    assert "of quality more is better: write quality>NUMBER" in done.stderr


def test_several_cases_are_weighed(bench: Bench) -> None:
    """What is saved in the one costs in the other, a third of it by their weights."""
    (bench.folder / "program").write_text(DOES_TWO)
    (bench.folder / "card.yaml").write_text(WEIGHED)
    done = tune(bench, *QUICK)
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    found = summary(bench)
    assert values(found["best"]) == {"nap": "0.01"}
    assert found["claim"]["speedup"] == pytest.approx(4**0.75 / 4**0.25)
    rows = {row["key"]: (row["weight"], row["speedup"]) for row in found["cases"]}
    assert rows == {"small": (0.75, pytest.approx(4)), "large": (0.25, pytest.approx(0.25))}
    spec = next(e["data"]["spec"] for e in bench.events("unit_intent")
                if e["data"]["purpose"] == "round-1")  # fmt: skip
    assert spec["check"]["answer"]["values"] == {"small": 1.0, "large": 2.0}
    printed = " ".join(done.stdout.split())
    assert "not every case gains: large became slower" in printed
    report = (bench.run / "result" / "report.md").read_text()
    assert "## Per case" in report
    assert "GFLOP" not in report


def test_what_was_found_helps_the_next_run(bench: Bench) -> None:
    bench.env["HPCAGENT_HISTORY"] = str(bench.folder / "history")
    assert tune(bench, *QUICK).returncode == 0
    shutil.move(bench.run, bench.folder / "first")
    assert tune(bench, *ONE, "--challengers", "1").returncode == 0
    decided = [e["data"] for e in bench.events("decision") if e["data"]["what"] == "history"]
    assert "prior from 1 earlier run" in decided[0]["reason"]
    first = summary(bench)["trials"][1]["config"]
    assert values(first) == {"nap": "0.01", "method": "good"}


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        (
            "{METHOD:",
            "{N: '{half}', METHOD:",
            2,
            "card.yaml: sleeper: with method=good nap=0.1: expression",
        ),
        ("kind: ordinal,", "kind: ordinal, when: cpus > 9999,", 3, "no parameter acts here"),
    ],
)
def test_a_card_that_does_not_fit_the_machine_ends_the_run_with_the_reason(
    bench: Bench, old: str, new: str, code: int, told: str
) -> None:
    derived = 'derived: {half: "1 // (nap - 0.1)"}\nspace:'
    card = CARD.replace(old, new).replace("space:", derived if code == 2 else "space:")
    if code == 3:
        card = card.replace("kind: categorical,", "kind: categorical, when: cpus > 9999,")
    (bench.folder / "card.yaml").write_text(card)
    done = tune(bench, *QUICK)
    assert done.returncode == code, done.stderr
    assert told in " ".join(done.stdout.split())
    assert bench.outcome() == "failed"
    assert told in (bench.run / "result" / "report.md").read_text()


def test_a_point_that_the_card_cannot_be_filled_with_is_one_that_fails(bench: Bench) -> None:
    card = CARD.replace("{METHOD:", "{N: '{half}', METHOD:")
    card = card.replace("space:", 'derived: {half: "1 // (nap - 0.05)"}\nspace:')
    (bench.folder / "card.yaml").write_text(card)
    done = tune(bench, *QUICK)
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", done.stdout
    failed = {key: state for key, state in trials(bench).items() if key[1] == "0.05"}
    assert len(failed) == 3, "every point is proposed"
    assert set(failed.values()) == {"configure.outside_space"}


def test_a_card_with_lines_in_its_command_ends_as_well_as_any(bench: Bench) -> None:
    words = '[sh, -c, "exec ./program\\n# it\'s a comment", "{nap}"]'
    card = CARD.replace('[./program, "{nap}"]', words)
    card = card.replace("inputs: [mesh.txt]", "inputs: [mesh.txt, program]")
    (bench.folder / "card.yaml").write_text(card)
    done = tune(bench, *ONE)
    assert done.returncode == 0, done.stderr
    script = bench.run / "result" / "run.sh"
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0, script.read_text()
    assert bench.hpcagent("report", str(bench.run)).returncode == 0


def test_what_the_history_cannot_hold_is_told(bench: Bench) -> None:
    bench.env["HPCAGENT_HISTORY"] = str(bench.folder / "history")
    long = "0." + "1" * 250
    (bench.folder / "card.yaml").write_text(CARD.replace("[0.01, 0.05, 0.1]", f"['{long}', 0.1]"))
    done = tune(bench, *ONE, "--challengers", "1")
    assert done.returncode == 0, done.stderr
    assert "not kept for later runs" in " ".join(done.stdout.split())


def test_a_default_that_fails_ends_the_run_with_the_reason(bench: Bench) -> None:
    (bench.folder / "card.yaml").write_text(CARD.replace("default: good", "default: broken"))
    done = tune(bench, *QUICK)
    assert done.returncode == 7
    assert "run.exit_nonzero" in done.stdout
    assert "exit code 3" in done.stdout


def test_what_a_failed_process_printed_is_kept(bench: Bench) -> None:
    (bench.folder / "card.yaml").write_text(CARD.replace("answer (?P", "anwser (?P"))
    done = tune(bench, *QUICK)
    assert done.returncode == 7
    assert "failed.out and failed.err in work/" in " ".join(done.stdout.split())
    [kept] = bench.run.glob("work/*/failed.out")
    assert kept.read_text() == "answer 42\n"


def test_a_bound_on_the_variation_is_one_on_the_time(bench: Bench) -> None:
    """Though the program prints the same rate each time."""
    (bench.folder / "card.yaml").write_text(CARD + RATE)
    done = tune(bench, *QUICK, "--within", "cv<900%")
    assert done.returncode == 0, done.stderr
    [bound] = summary(bench)["goals"]["bounds"]
    assert bound["best"] > 0.001


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--lib", "openblas"), 2, "--lib and --app exclude each other"),
        (("--workload", "mix.yaml"), 2, "--workload is for --lib openblas"),
        (("--openblas-prefix", "/usr"), 2, "--app-prefix for --app"),
        (("--build", "--source", "x"), 2, "--build is for libraries"),
        (("--source", "x"), 2, "or a card with `build`"),
        (("--app-prefix", "/absent"), 3, "--app-prefix: /absent does not exist"),
        (("--objective", "throughput"), 2, "'throughput' is unknown"),
        (("--within", "answer<3"), 2, "--within 'answer<3'"),
    ],
)
def test_what_does_not_go_together_is_told(
    bench: Bench, words: tuple[str, ...], code: int, told: str
) -> None:
    done = tune(bench, *words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not bench.run.exists()


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("./program", "./progam", 3, "progam is not a program that can be run here"),
        ("argv:", "launch: mpi\n  launcher: [mpiabsent]\n  ranks: '1'\n  argv:", 3,
         "mpiabsent is not a program that can be run here"),
        ("inputs:", "resources: {nodes: 2}\ninputs:", 2, "nodes: 2 need a batch system"),
        ("inputs:", "resources: {cpus_per_task: 4096}\ninputs:", 2, "4096 CPUs are more than the"),
        ("./program", '"{prefix}/program"', 2, "card.yaml: it says {prefix}: tell which with"),
        ("./program", '"./program{nap}"', 0, ""),
    ],
)  # fmt: skip
def test_what_this_machine_lacks_is_told_before_a_run_is_made(
    bench: Bench, old: str, new: str, code: int, told: str
) -> None:
    (bench.folder / "card.yaml").write_text(CARD.replace(old, new))
    done = tune(bench, *QUICK, *(("--dry-run",) if not code else ()))
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert not bench.run.exists()


def test_a_dry_run_shows_what_would_run(bench: Bench) -> None:
    done = tune(bench, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "space: 9 configurations" in done.stdout
    assert "nap          0.01 0.05 [0.1]" in done.stdout
    assert f"(default):\n     METHOD=good {bench.folder}/program 0.1" in done.stdout
    assert "size.txt, as the default has it\n   nap 0.1\n" in done.stdout
    assert not bench.run.exists()
    shown = json.loads(tune(bench, "--dry-run", "--json").stdout)
    spec = json.loads(shown["units"][2]["files"]["spec.json"])
    assert spec["scene"] == {"links": {"mesh.txt": f"{bench.folder}/mesh.txt"},
                             "outputs": ["log.txt"]}  # fmt: skip


def test_an_application_where_a_prefix_says_it_is(bench: Bench) -> None:
    (bench.folder / "opt" / "bin").mkdir(parents=True)
    shutil.move(bench.folder / "program", bench.folder / "opt" / "bin")
    (bench.folder / "card.yaml").write_text(CARD.replace("./program", '"{prefix}/bin/program"'))
    done = tune(bench, "--app-prefix", "opt", *ONE)
    assert done.returncode == 0, done.stderr
    words = summary(bench)["command"]
    assert words[words.index("--app-prefix") + 1] == str(bench.folder / "opt")
    assert "--openblas-prefix" not in words
    assert f"{bench.folder}/opt/bin/program" in (bench.run / "result" / "run.sh").read_text()


def test_a_plan_tunes_applications_and_takes_over_what_has_not_changed(bench: Bench) -> None:
    (bench.folder / "plan.yaml").write_text(
        "schema: 1\nsteps:\n"
        "  - name: first\n    tune: {app: card.yaml, budget: rounds=1, confirm-jobs: 1}\n"
        "  - name: second\n    tune: {app: card.yaml, app-prefix: '{first.run}',"
        " budget: rounds=1, confirm-jobs: 1}\n"
    )
    done = bench.hpcagent("run", "plan.yaml", "--run-dir", str(bench.run))
    assert done.returncode == 0, done.stderr + done.stdout
    again = bench.hpcagent("run", "plan.yaml", "--reuse", str(bench.run), "--dry-run")
    assert again.stdout.count("is taken over") == 2
    (bench.folder / "mesh.txt").write_text("another mesh\n")
    changed = bench.hpcagent("run", "plan.yaml", "--reuse", str(bench.run), "--dry-run")
    assert "is taken over" not in changed.stdout, "what the card reads has changed"


def test_runs_of_an_application_are_compared(bench: Bench) -> None:
    """One that may not sleep less than its default, and one that may."""
    (bench.folder / "card.yaml").write_text(CARD.replace("[0.01, 0.05, 0.1]", "[0.1]"))
    sides = [str(bench.folder / name) for name in ("held", "free")]
    held = bench.hpcagent("tune", "--app", "card.yaml", "--run-dir", sides[0], *ONE)
    (bench.folder / "card.yaml").write_text(CARD)
    free = bench.hpcagent("tune", "--app", "card.yaml", "--run-dir", sides[1], *QUICK)
    assert (held.returncode, free.returncode) == (0, 0), held.stderr + free.stderr
    done = bench.hpcagent("compare", *sides, "--run-dir", str(bench.run))
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert re.search(r"Run free is \d\.\d+ times as fast as held", told), told
    assert "run held: the default run free: nap=0.01" in told
    assert "of a run (card.yaml)" in told
    assert not list(bench.run.glob("work/*/workload.txt"))
    shown = bench.hpcagent("compare", *sides, "--dry-run")
    assert "workload.txt" not in shown.stdout


def test_what_measured_something_else_is_not_compared(bench: Bench) -> None:
    sides = [str(bench.folder / name) for name in ("one", "other")]
    assert bench.hpcagent("tune", "--app", "card.yaml", "--run-dir", sides[0], *ONE).returncode == 0
    (bench.folder / "mesh.txt").write_text("another mesh\n")
    assert bench.hpcagent("tune", "--app", "card.yaml", "--run-dir", sides[1], *ONE).returncode == 0
    done = bench.hpcagent("compare", *sides)
    assert (done.returncode, "measured different things" in done.stderr) == (2, True), done.stderr


@pytest.mark.strace
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_at_every_durable_step(bench: Bench) -> None:
    card = CARD.replace("[0.01, 0.05, 0.1], default: 0.1", "[0.01, 0.02], default: 0.02")
    (bench.folder / "card.yaml").write_text(card)
    words = ["tune", "--app", "card.yaml", "--run-dir", str(bench.run), "--budget", "rounds=1",
             "--challengers", "1", "--confirm-jobs", "1"]  # fmt: skip
    assert killed_at_every_durable_step(bench, words) > 10
    bench.job_of()
    assert bench.outcome() in ("improved", "nothing better")


# --- LAMMPS, by MPI -------------------------------------------------------------------------------

# The tests may run as root, which Open MPI wants to be told; an environment need not reach a job.
AS_ROOT = 'OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1", OMP_NUM_THREADS'
SMALL = EXAMPLE.replace("0 10 0 10 0 10", "0 5 0 5 0 5").replace("run 100", "run 20")
SMALL = SMALL.replace("env: {OMP_NUM_THREADS", f"env: {{{AS_ROOT}")


@pytest.mark.toolchain
@pytest.mark.skipif(shutil.which("lmp") is None, reason="LAMMPS is not installed")
def test_lammps_as_the_example_has_it(bench: Bench) -> None:
    (bench.folder / "card.yaml").write_text(SMALL)
    done = tune(bench, *ONE, "--challengers", "3")
    assert done.returncode == 0, done.stderr + done.stdout
    assert bench.outcome() in ("improved", "nothing better")
    bench.job_of()
    measured = [row for row in summary(bench)["trials"] if row["speedup"] is not None]
    assert len(measured) == 4
    spec = next(e["data"]["spec"] for e in bench.events("unit_intent")
                if e["data"]["purpose"] == "round-1")  # fmt: skip
    # An atom's, at a temperature of 1.44 and a density of 0.8442.
    assert spec["check"]["answer"]["value"] == pytest.approx(-4.62, rel=0.01)


@pytest.mark.slurm
@pytest.mark.toolchain
@pytest.mark.skipif(shutil.which("lmp") is None, reason="LAMMPS is not installed")
def test_lammps_through_slurm(tmp_path: Path, slurm: Cluster) -> None:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3"}
    bench = put(Inside(tmp_path, env), SMALL)
    done = tune(bench, "--scheduler", "slurm", *ONE, "--challengers", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    bench.job_of()
    rows = [e["data"]["resources"] for e in bench.events("unit_intent")]
    probe, *measuring = ((row["tasks_per_node"], row["cpus_per_task"]) for row in rows)
    cores = probe[1]
    assert probe == (1, cores)
    assert set(measuring) == {(cores, 1)}, "as many slots as processes may be started"
    ranks = {values(row["config"])["ranks"] for row in summary(bench)["trials"]}
    assert str(cores) in ranks


STEP = """\
schema: 1
name: step
kind: application
title: a program that each task of a job step runs
command: {argv: [./program, "{nap}"], launch: mpi, launcher: [srun, --overlap]}
space:
  - {name: ranks, kind: ordinal, meaning: tasks, values: ladder(cpus), default: cpus}
  - {name: nap, kind: ordinal, meaning: seconds, values: [0.01, 0.4], default: 0.4}
figures_of_merit: [{name: time, regex: 'took (?P<value>\\S+)', unit: s, direction: min}]
readback: {tasks: 'tasks (\\d+)'}
"""


@pytest.mark.slurm
def test_a_scheduler_s_own_launcher_starts_the_tasks(tmp_path: Path, slurm: Cluster) -> None:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3"}
    bench = put(Inside(tmp_path, env), STEP)
    (tmp_path / "program").write_text(
        '#!/bin/sh\ntest "$SLURM_PROCID" = 0 || exit 0\n'
        'echo "took $1"\necho "tasks $SLURM_NTASKS"\n'
    )
    done = tune(bench, "--scheduler", "slurm", *ONE, "--challengers", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    assert bench.outcome() == "improved", done.stdout
    seen = {}
    for path in bench.run.glob("work/*/result.jsonl"):
        spec = json.loads((path.parent / "spec.json").read_text())
        ranks = {c["id"]: c.get("values", {}).get("ranks") for c in spec["configs"]}
        for line in map(json.loads, path.read_text().splitlines()):
            if line["status"] == "ok":
                seen[ranks[line["config"]]] = line["readback"]["tasks"]
    assert len(seen) > 1
    assert all(ranks == tasks for ranks, tasks in seen.items() if ranks), seen
