"""The main job on a real Slurm: from a login node, as batch jobs, and where Slurm says no."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from lab.slurm_lab import Cluster
from mainjob import ROOT, Bench, Inside, handicap_the_default, make_bench, until

pytestmark = [pytest.mark.slurm, pytest.mark.openblas]
DEADLINE_S = 240.0
LIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")
# An sbatch that kills whoever calls it for the second time: the agent, as it submits the probe.
DEADLY = """\
#!/bin/bash
echo >> {calls}
[[ $(wc -l < {calls}) == 2 ]] && kill -9 $PPID && exit 1
exec {sbatch} "$@"
"""


@pytest.fixture
def bench(tmp_path: Path, slurm: Cluster) -> Bench:
    made = make_bench(tmp_path)
    env = {**made.env, **slurm.env, "HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "agent_job.sh", tmp_path / "bin")
    program(tmp_path / "bin" / "hpcagent", f'exec {sys.executable} -m hpcagent "$@"')
    return Inside(tmp_path, env)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def submit_agent(bench: Bench, *words: str, sbatch: tuple[str, ...] = ()) -> str:
    tune = ["tune", "--lib", "openblas", "--workload", "mix.yaml", "--challengers", "2",
            "--run-dir", str(bench.run), "--budget", "rounds=1"]  # fmt: skip
    argv = ["sbatch", "--parsable", *sbatch, "bin/agent_job.sh", *words, *tune]
    done = subprocess.run(argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def live(slurm: Cluster) -> list[str]:
    return [job for job, state in slurm.jobs().items() if state in LIVE]


def submitted(bench: Bench) -> int:
    journal = bench.run / "journal.jsonl"
    return len(bench.events("unit_submitted")) if journal.exists() else 0


def over(rows: Iterable[dict[str, str]]) -> bool:
    """Whether accounting, which comes after the facts, has the end of these jobs."""
    return all(row["State"] not in LIVE for row in rows)


def assert_whole(bench: Bench, slurm: Cluster) -> None:
    """Every unit was submitted, measured and recorded once, and sacct says the same."""
    job_of = bench.job_of()

    def rows() -> dict[str, dict[str, str]]:
        return {row["JobID"]: row for row in slurm.rows("-X") if row["JobName"] in job_of}

    until(lambda: len(rows()) == len(job_of) and over(rows().values()), rows)
    assert {row["JobName"]: job for job, row in rows().items()} == job_of
    nodes = {e["data"]["unit"]: e["data"]["node"] for e in bench.events("unit_result")}
    for row in rows().values():
        assert (row["State"], row["ExitCode"]) == ("COMPLETED", "0:0")
        assert row["NodeList"] == nodes[row["JobName"]]


def test_tune_from_a_login_node(bench: Bench, slurm: Cluster) -> None:
    done = bench.tune("--budget", "rounds=2", "--partition", "both", "--account", "proj")
    assert done.returncode == 0, done.stderr
    assert bench.outcome() in ("improved", "nothing better")
    assert_whole(bench, slurm)
    assert not live(slurm)
    script = next((bench.run / "work").glob("*/job.sh")).read_text()
    assert "#SBATCH --partition=both" in script
    assert "#SBATCH --exclusive" in script
    settings = bench.events("run_opened")[0]["data"]["settings"]
    assert settings["cores"] == 2


def test_a_winner_is_confirmed_on_another_node_and_again_on_one_more(bench: Bench) -> None:
    handicap_the_default(bench)
    done = bench.tune("--budget", "rounds=2", "--partition", "both", "--confirm-jobs", "2")
    assert done.returncode == 0, done.stderr
    assert bench.outcome() == "improved", bench.events("run_closed")
    purpose = {e["data"]["unit"]: e["data"]["purpose"] for e in bench.events("unit_intent")}
    node = {purpose[e["data"]["unit"]]: e["data"]["node"] for e in bench.events("unit_result")}
    assert {node["round-1"], node["confirm"]} == {"n1", "n2"}
    scripts = {purpose[path.parent.name]: path.read_text()
               for path in (bench.run / "work").glob("*/job.sh")}  # fmt: skip
    assert f"#SBATCH --exclude={node['round-1']}" in scripts["confirm"]
    # There is no third node: then at least not that of the first confirmation.
    assert {node["confirm"], node["confirm-2"]} == {"n1", "n2"}
    assert "9 fresh pairs in each of 2 jobs" in " ".join(done.stdout.split())
    assert "--exclude" not in scripts["round-2"]


def test_the_agent_as_a_chain_of_jobs(bench: Bench, slurm: Cluster) -> None:
    first = submit_agent(bench, sbatch=("--partition=two", "--account=proj"))
    until(lambda: bench.outcome() != "", slurm.jobs)
    until(lambda: not live(slurm), slurm.jobs)
    assert_whole(bench, slurm)
    measured = {e["data"]["job_id"] for e in bench.events("unit_submitted")}

    def others() -> list[dict[str, str]]:
        rows = slurm.rows("-X")
        return [r for r in rows if int(r["JobID"]) >= int(first) and r["JobID"] not in measured]

    until(lambda: over(others()), others)
    agents = others()
    ran = [row for row in agents if row["NodeList"] == "n2"]
    # Each did its work and ended; none waited for a measurement in its allocation.
    assert {row["State"] for row in ran} == {"COMPLETED"}
    assert len(ran) == len(measured) + 1
    assert all(row["State"].startswith("CANCELLED") for row in agents if row not in ran)
    output = (bench.folder / f"slurm-{first}.out").read_text()
    assert "waits for" in output


def test_a_killed_link_is_followed_by_its_successor(bench: Bench, slurm: Cluster) -> None:
    calls, folder = bench.folder / "calls", bench.folder / "deadly"
    program(folder / "sbatch", DEADLY.format(calls=calls, sbatch=shutil.which("sbatch")))
    (bench.folder / "bin" / "hpcagent").write_text(
        f'#!/bin/bash\nPATH={folder}:$PATH exec {sys.executable} -m hpcagent "$@"\n'
    )
    bench.env["HPCAGENT_SETTLE_SECONDS"] = "4"
    first = submit_agent(bench, sbatch=("--partition=two",))
    until(lambda: bench.outcome() != "", slurm.jobs)
    until(lambda: not live(slurm), slurm.jobs)
    assert_whole(bench, slurm)
    state = {row["JobID"]: row["State"] for row in slurm.rows("-X")}
    assert state[first] == "FAILED"


def test_tuning_inside_the_agent_s_own_allocation(bench: Bench, slurm: Cluster) -> None:
    before = set(slurm.jobs())
    first = submit_agent(bench, "--in-allocation", sbatch=("--exclusive",))
    until(lambda: bench.outcome() != "", slurm.jobs)
    until(lambda: not live(slurm), slurm.jobs)
    assert bench.outcome() in ("improved", "nothing better")
    assert bench.events("run_opened")[0]["data"]["settings"]["scheduler"] == "local"
    mine = {job: state for job, state in slurm.jobs().items() if job not in before}
    assert mine.pop(first) == "COMPLETED"
    assert list(mine.values()) == ["CANCELLED"]  # the successor that was not needed


@pytest.mark.parametrize("trouble", ["warned", "requeued"])
def test_an_allocation_that_ends_too_early_is_followed(
    bench: Bench, slurm: Cluster, trouble: str
) -> None:
    """The warning before the time limit, and a requeue as after a preemption."""
    first = submit_agent(bench, "--in-allocation", sbatch=("--exclusive", "--requeue"))
    until(lambda: submitted(bench) > 1, slurm.jobs)
    if trouble == "warned":
        slurm.ask("scancel", "--signal=USR1", "--batch", first)
    else:
        slurm.scontrol("requeue", first)
    until(lambda: bench.outcome() != "", slurm.jobs)
    until(lambda: not live(slurm), slurm.jobs)
    assert bench.outcome() in ("improved", "nothing better")
    units = [e["data"]["unit"] for e in bench.events("unit_result")]
    assert len(units) == len(set(units))
    if trouble == "warned":
        assert "interrupted" in (bench.folder / f"slurm-{first}.out").read_text()


def test_a_node_that_may_not_submit_is_told_before_the_first_round(
    bench: Bench, slurm: Cluster
) -> None:
    closed = bench.folder / "closed"
    words = "sbatch: error: Batch job submission failed: Access/permission denied"
    program(closed / "sbatch", f"echo '{words}' >&2; exit 1")
    real = shutil.which("sbatch")
    env = {**bench.env, "PATH": f"{closed}:{os.environ['PATH']}"}
    argv = [str(real), "--parsable", "--wait", "bin/agent_job.sh", "tune", "--lib", "openblas",
            "--run-dir", str(bench.run)]  # fmt: skip
    done = subprocess.run(argv, cwd=bench.folder, env=env, capture_output=True, text=True)
    output = (bench.folder / f"slurm-{done.stdout.strip()}.out").read_text()
    assert done.returncode == 4, output
    assert "Access/permission denied" in output
    assert "--in-allocation" in output
    assert not bench.run.exists()


def test_cancel_ends_run_jobs_and_chain(bench: Bench, slurm: Cluster) -> None:
    blocker = bench.folder / "blocker.sh"
    blocker.write_text("#!/bin/sh\nsleep 300\n")
    argv = ["sbatch", "--parsable", "--exclusive", "--partition=one", str(blocker)]
    blocking = subprocess.run(
        argv, cwd=bench.folder, env=bench.env, capture_output=True, text=True, check=True
    ).stdout.strip()
    submit_agent(bench, sbatch=("--partition=two",))
    until(lambda: bool(submitted(bench)), slurm.jobs)
    until(lambda: len(live(slurm)) == 3, slurm.jobs)  # the blocker, the probe, the successor
    status = bench.hpcagent("status", str(bench.run))
    assert status.returncode == 0, status.stderr
    cancelled = bench.hpcagent("cancel", str(bench.run))
    assert cancelled.returncode == 0, cancelled.stderr
    until(lambda: live(slurm) == [blocking], slurm.jobs)
    assert bench.outcome() == "cancelled"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partition", "nosuch"], "there are: both, closed"),
        (["--partition", "inactive"], "inactive"),
        (["--account", "nosuch"], "Invalid account"),
        (["--qos", "nosuch"], "Invalid qos"),
        (["--constraint", "nosuch"], "Invalid feature"),
        (["--cores", "64"], "More processors requested than permitted"),
        (["--partition", "short"], "time limit"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words(
    bench: Bench, slurm: Cluster, words: list[str], said: str
) -> None:
    before = set(slurm.jobs())
    done = bench.tune("--budget", "rounds=1", "--scheduler", "slurm", *words)
    assert done.returncode == 4, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "hpcagent: error: " in done.stderr.splitlines()[-1]
    assert set(slurm.jobs()) <= before, "none was submitted; old ones are forgotten"
    if bench.run.exists():
        assert bench.outcome() == "failed"


def test_a_request_that_no_script_can_carry_leaves_no_run(bench: Bench) -> None:
    done = bench.tune("--budget", "rounds=1", "--partition", "one", "--hint", "fast")
    assert done.returncode == 2
    assert "hint 'fast': choose one of compute_bound" in done.stderr
    assert not bench.run.exists()


def test_a_python_that_nodes_lack_is_named_before_the_first_round(bench: Bench) -> None:
    bench.env["HPCAGENT_PYTHON"] = "/no/such/python3"
    done = bench.tune("--budget", "rounds=1", "--partition", "one")
    assert done.returncode == 7
    assert "environment.python" in done.stdout
    assert "/no/such/python3" in " ".join(done.stdout.split())
    assert len(bench.events("unit_submitted")) == 1


def test_a_folder_that_nodes_do_not_see_is_named(bench: Bench, slurm: Cluster) -> None:
    if not slurm.isolated:
        pytest.skip("folders can be hidden by root only")
    slurm.hide("n1", bench.folder)
    done = bench.tune("--budget", "rounds=1", "--partition", "one")
    assert done.returncode == 7
    assert "--run-dir" in done.stdout
    assert len(bench.events("unit_submitted")) == 1


def test_an_outage_of_the_controller_is_waited_out(bench: Bench, slurm: Cluster) -> None:
    words = bench.tune_words("--budget", "rounds=1", "--partition", "one")
    process = subprocess.Popen(
        bench.argv(*words), cwd=bench.folder, env=bench.env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: bool(submitted(bench)), slurm.jobs)
    slurm.stop("slurmctld", signal.SIGTERM)  # it saves its state, as a service manager sees to
    time.sleep(3)
    assert process.poll() is None
    slurm.start("slurmctld")
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert_whole(bench, slurm)
