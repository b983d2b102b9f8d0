"""The private Slurm: it is real, it can be hurt and mended, and nothing of it stays."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import slurm_keeper, slurm_lab
from lab.slurm_fixtures import required
from lab.slurm_lab import Cluster, until

pytestmark = pytest.mark.slurm
TESTS = Path(__file__).parent
OPENER = """
import sys
from lab import slurm_lab
with slurm_lab.cluster(accounting=False) as made:
    said = made.ask("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 600 & wait")
    slurm_lab.until(lambda: made.jobs()[said.strip()] == "RUNNING", "the job runs")
    print(made.folder, flush=True)
    sys.stdin.read()
"""
SUM = """
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    int rank, size, sum;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    printf("%d of %d on %s: %d\\n", rank, size, getenv("SLURMD_NODENAME"), sum);
    return MPI_Finalize();
}
"""


def processes(folder: str) -> list[int]:
    """Every process that was started for the cluster in this folder, jobs included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if folder.encode() in text:
                found.append(int(entry.name))
    return found


def submit(slurm: Cluster, folder: Path, body: str, *options: str) -> str:
    script = folder / "job.sh"
    script.write_text(f"#!/bin/sh\n{body}\n")
    streams = ("-o", str(folder / "out"), "-e", str(folder / "err"), "-D", str(folder))
    return slurm.ask("sbatch", "--parsable", *streams, *options, str(script)).strip()


def ends(slurm: Cluster, job: str) -> str:
    live = ("PENDING", "RUNNING", "COMPLETING")
    until(lambda: slurm.jobs()[job] not in live, f"{job} ends")
    return slurm.jobs()[job]


@pytest.fixture
def bare() -> Iterator[Cluster]:
    """A cluster without accounting, of this test alone."""
    required(accounting=False)
    with slurm_lab.cluster(accounting=False) as made:
        yield made


def test_a_job_runs_on_both_nodes_and_is_accounted(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "srun printenv SLURMD_NODENAME", "-p", "both", "-N2")
    assert ends(slurm, job) == "COMPLETED"
    assert sorted((tmp_path / "out").read_text().split()) == ["n1", "n2"]
    told = {"State": "COMPLETED", "ExitCode": "0:0", "NodeList": "n[1-2]"}
    until(
        lambda: [told.items() <= row.items() for row in slurm.rows("-X", "-j", job)] == [True],
        "sacct agrees",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-A", "nosuch"), "Invalid account"),
        (("-q", "nosuch"), "Invalid qos"),
        (("-p", "nosuch"), "invalid partition"),
        (("-p", "short", "-t", "10"), "time limit is invalid"),
    ],
)
def test_wrong_requests_are_refused(slurm: Cluster, options: tuple[str, ...], words: str) -> None:
    before = slurm.jobs()
    done = slurm.run("sbatch", *options, "--wrap", "true")
    assert done.returncode and words in done.stderr
    assert slurm.jobs() == before


@pytest.mark.parametrize("daemon", [0, 2])  # slurmctld and the first slurmd
def test_a_port_that_another_takes_first_is_replaced(
    monkeypatch: pytest.MonkeyPatch, daemon: int
) -> None:
    required(accounting=False)
    chosen = slurm_lab.free_ports
    rounds = []
    with socket.create_server(("", 0)) as other:

        def late(count: int) -> list[int]:
            ports = chosen(count)
            if not rounds:
                ports[daemon] = other.getsockname()[1]
            rounds.append(ports)
            return ports

        monkeypatch.setattr(slurm_lab, "free_ports", late)
        with slurm_lab.cluster(accounting=False) as made:
            assert made.ask("srun", "-p", "both", "-N2", "printenv", "SLURMD_NODENAME")
    assert len(rounds) == 2


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        assert not slurm_lab.bindable(other.getsockname()[1])


def test_ranks_on_both_nodes_exchange_messages(slurm: Cluster, tmp_path: Path) -> None:
    if not slurm.isolated or not shutil.which("mpicc"):
        pytest.skip("needs root and mpicc")
    (tmp_path / "sum.c").write_text(SUM)
    subprocess.run(["mpicc", "sum.c", "-o", "sum"], cwd=tmp_path, check=True)
    allow = "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
    job = submit(slurm, tmp_path, f"{allow}\nmpirun ./sum", "-p", "both", "-N2", "-n4")
    assert ends(slurm, job) == "COMPLETED", (tmp_path / "err").read_text()
    on = {0: "n1", 1: "n1", 2: "n2", 3: "n2"}
    lines = sorted((tmp_path / "out").read_text().splitlines())
    assert lines == [f"{rank} of 4 on {node}: 6" for rank, node in on.items()]


def test_a_job_outlives_its_controller_and_the_database(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "while [ ! -e stop ]; do sleep 0.1; done; exit 3")
    until(lambda: slurm.jobs()[job] == "RUNNING", "the job runs")
    for daemon in ("mariadb", "slurmdbd", "slurmctld"):
        slurm.stop(daemon, signal.SIGTERM)
    assert slurm.run("squeue").returncode and slurm.run("sacct").returncode
    (tmp_path / "stop").touch()
    for daemon in ("mariadb", "slurmdbd", "slurmctld"):
        slurm.start(daemon)
    assert ends(slurm, job) == "FAILED"
    until(lambda: [row["ExitCode"] for row in slurm.rows("-X", "-j", job)] == ["3:0"], "sacct")


def test_a_frozen_daemon_does_not_answer(slurm: Cluster) -> None:
    slurm.freeze("slurmctld")
    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("scontrol", "ping", timeout_s=2)
    slurm.thaw("slurmctld")
    assert "UP" in slurm.scontrol("ping")


def test_reset_puts_everything_right(slurm: Cluster, tmp_path: Path) -> None:
    submit(slurm, tmp_path, "sleep 600", "-p", "both", "-N2")
    waits = submit(slurm, tmp_path, "true", "-H")
    slurm.scontrol("update", "nodename=n2", "state=drain", "reason=test")
    slurm.configure(EnforcePartLimits="NO")
    slurm.stop("slurmdbd")
    slurm.stop("n1")
    slurm.freeze("n2")
    slurm.reset()
    assert slurm_lab.idle(slurm)
    assert slurm.jobs()[waits] == "CANCELLED"
    assert all(slurm.keeper.alive(daemon) for daemon in slurm.daemons())
    assert slurm.run("sbatch", "-p", "short", "-t", "10", "--wrap", "true").returncode
    assert ends(slurm, submit(slurm, tmp_path, "true")) == "COMPLETED"


def test_a_folder_can_be_hidden_from_one_node(slurm: Cluster, tmp_path: Path) -> None:
    if not slurm.isolated:
        pytest.skip("needs root: a mount namespace")
    shared, seen = tmp_path / "shared", tmp_path / "seen"
    shared.mkdir()
    (shared / "file").touch()
    slurm.hide("n2", shared)
    body = f"srun sh -c 'ls {shared} > {seen}.$SLURMD_NODENAME'"
    assert ends(slurm, submit(slurm, tmp_path, body, "-p", "both", "-N2")) == "COMPLETED"
    assert (tmp_path / "seen.n1").read_text() == "file\n"
    assert (tmp_path / "seen.n2").read_text() == ""


def test_without_accounting_sacct_says_so(bare: Cluster, tmp_path: Path) -> None:
    assert ends(bare, submit(bare, tmp_path, "true")) == "COMPLETED"
    assert "accounting storage is disabled" in bare.run("sacct").stderr


def test_nothing_is_left(tmp_path: Path) -> None:
    required()
    with slurm_lab.cluster() as made:
        job = submit(made, tmp_path, "setsid sleep 600 & sleep 600", "-p", "both")
        until(lambda: made.jobs()[job] == "RUNNING", "the job runs")
        folder = str(made.folder)
        assert len(processes(folder)) > len(made.daemons())
    assert processes(folder) == []
    assert not Path(folder).exists()


def test_nothing_is_left_where_the_opener_was_killed() -> None:
    required(accounting=False)
    words = [sys.executable, "-c", OPENER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, cwd=TESTS, text=True, **pipes) as opener:
        assert opener.stdout is not None
        folder = opener.stdout.readline().strip()
        assert processes(folder)
        opener.kill()
    until(lambda: not processes(folder) and not Path(folder).exists(), "all is gone", 60)


def test_a_killed_keeper_takes_the_daemons_with_it(tmp_path: Path) -> None:
    keeper = slurm_keeper.Keeper(tmp_path)
    pid = keeper.start("sleeper", ["sleep", "600"], dict(os.environ))
    os.kill(keeper.pid, signal.SIGKILL)
    keeper.close()
    limit = time.monotonic() + 300
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_an_ordinary_user_can_have_one() -> None:
    required(accounting=False)
    python = shutil.which("python3.11", path="/usr/bin:/usr/local/bin") or ""
    if os.geteuid() or not shutil.which("setpriv") or not python:
        pytest.skip("needs root, to become somebody else, and a python3.11 that all may run")
    code = OPENER.replace("sys.stdin.read()", "print(made.user)")
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", code]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copytree(TESTS / "lab", Path(folder, "lab"))
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    place, user = done.stdout.split()
    assert user == pwd.getpwuid(65534).pw_name
    assert not Path(place).exists()
