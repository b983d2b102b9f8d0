"""The stand-in of PBS answers as the recorded OpenPBS did."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import pbs_standin_text
from lab.pbs_captures import Capture, captures
from lab.pbs_lab import LIMIT_S, TESTS, PbsLab

from hpcagent.schedulers import local_shepherd, pbs_text

LISTINGS = [c for c in captures().values() if re.match("(Job Id|Queue|Server): ", c.stdout)]
# Values with line breaks: the narrow form prints them raw, and who reads it cannot tell.
RAW = {"qstat-Vfunc-f", "qstat-Vmaster-f", "qstat-Vmaster-f.master"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[PbsLab]:
    with PbsLab(tmp_path) as lab:
        yield lab


class User:
    """Someone at a shell of the stand-in."""

    def __init__(self, lab: PbsLab) -> None:
        self.lab = lab

    def qsub(self, body: str, *options: str) -> str:
        done = self.lab.run("qsub", *options, input=body, cwd=self.lab.home)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def job(self, job_id: str, *options: str) -> pbs_text.Block:
        done = self.lab.run("qstat", "-x", "-f", *options, job_id)
        (block,) = pbs_text.blocks(done.stdout, pbs_text.JOB)
        return block

    def until(self, job_id: str, done: Callable[[pbs_text.Block], object]) -> pbs_text.Block:
        limit = time.monotonic() + LIMIT_S
        while True:
            block = self.job(job_id)
            if done(block):
                return block
            assert time.monotonic() < limit, block
            time.sleep(0.02)

    def end(self, job_id: str) -> pbs_text.Block:
        return self.until(job_id, lambda block: block.get("job_state") == "F")

    def running(self, job_id: str) -> pbs_text.Block:
        return self.until(job_id, lambda block: block.get("job_state") == "R")


@pytest.fixture
def user(lab: PbsLab) -> User:
    return User(lab)


@pytest.mark.parametrize(
    "capture", [c for c in LISTINGS if c.name not in RAW], ids=lambda capture: capture.name
)
def test_a_listing_is_printed_byte_by_byte(capture: Capture) -> None:
    heads = {"J": pbs_text.JOB, "Q": pbs_text.QUEUE, "S": pbs_text.SERVER}
    head = capture.stdout.partition(": ")[0]
    wide = " -w" in capture.command
    printed = "".join(
        pbs_standin_text.block(f"{head}: {block.name}", list(block.attributes.items()), wide)
        for block in pbs_text.blocks(capture.stdout, heads[head[0]])
    )
    assert printed == capture.stdout


def shape(block: pbs_text.Block) -> list[tuple[str, str]]:
    """Attributes in order; numbers, dates, names, users, hosts and folders made alike."""
    found = []
    for name, value in block.attributes.items():
        if name in ("session_id", "executable", "argument_list"):
            continue  # only of jobs that were given as a command, and of a shell that stayed
        keep = name in ("job_state", "substate", "Exit_status", "Hold_Types", "Rerunable", "depend")
        value = re.sub(r"(terminated by) \S+", r"\1 WHO", value)
        value = re.sub(r"\w{3} \w{3} ..( ..:..:.. ....)?( at ..:..)?", "DATE", value)
        value = re.sub(r"[0-9]+\.pbs01@pbs01", "ID", value)
        found.append((name, value if keep or name == "comment" else ""))
    return found


# What was done -> the capture of a job with that history.
HISTORIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "job-exit0-xf": ("#!/bin/sh\ntrue\n", ()),
    "job-exit3-xf": ("#!/bin/sh\nexit 3\n", ()),
    "job-exit255-xf": ("#!/bin/sh\nexit 255\n", ()),
    "job-kill9-xf": ("#!/bin/sh\nkill -9 $$\n", ()),
    "job-segv-xf": ("#!/bin/sh\nkill -SEGV $$\n", ()),
    "job-badshebang-xf": ("#!/no/such/interpreter\necho x\n", ()),
    "job-walltime-xf": ("#!/bin/sh\nsleep 60\n", ("-l", "walltime=1")),
    "job-dependency-on-unknown-xf": ("#!/bin/sh\n", ("-W", "depend=afterok:99999")),
    "momdown-requeued-norerun-f": ("#!/bin/sh\nsleep 60\n", ("-r", "n")),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_finished_job_looks_as_it_was_recorded(user: User, name: str) -> None:
    body, options = HISTORIES[name]
    job_id = user.qsub(body, *options)
    if name.startswith("momdown"):
        user.running(job_id)
        user.lab.set(node="lost")
    assert shape(user.end(job_id)) == shape(captures()[name].job())


def test_a_job_that_used_too_much_memory(user: User) -> None:
    body = "#!/bin/sh\nexec python3 -c 'import time; x = b\"x\" * (200 << 20); time.sleep(60)'\n"
    job = user.end(user.qsub(body, "-l", "select=1:ncpus=1:mem=50mb"))
    recorded = captures()["job-mem-xf"].job()
    assert shape(job) == shape(recorded)
    error = Path(job.get("Error_Path").partition(":")[2])
    assert re.search(r"=>> PBS: job killed: mem [0-9]+kb exceeded limit 51200kb", error.read_text())


def test_deleted_jobs_look_as_they_were_recorded(user: User) -> None:
    running = user.qsub("#!/bin/sh\nsleep 60\n")
    queued = user.qsub("#!/bin/sh\n", "-h")
    user.running(running)
    done = user.lab.run("qdel", running, queued)
    assert (done.returncode, done.stderr) == (0, "")
    assert shape(user.end(running)) == shape(captures()["job-delete-running-xf"].job())
    assert shape(user.end(queued)) == shape(captures()["job-delete-queued-xf"].job())


LIVING: dict[str, tuple[str, ...]] = {
    "job-held-f": ("-h",),
    "job-stopped-queue-f": ("-q", "stopped"),
    "job-can-never-run-f": ("-l", "select=1:ncpus=64"),
    "qstat-pbsdsh-f": ("-l", "select=2:ncpus=2:mpiprocs=2", "-l", "place=scatter:shared"),
}


@pytest.mark.parametrize("name", LIVING)
def test_a_waiting_job_looks_as_it_was_recorded(user: User, name: str) -> None:
    recorded = captures()[name].job()
    job_id = user.qsub("#!/bin/sh\n", *LIVING[name])
    comment = recorded.get("comment")
    job = user.until(job_id, lambda block: block.get("comment") == comment)
    assert shape(job) == shape(recorded)


def test_a_lost_node_sends_a_job_back(user: User) -> None:
    job_id = user.qsub("#!/bin/sh\nsleep 60\n")
    user.running(job_id)
    user.lab.set(node="away")
    done = user.lab.run("qdel", job_id)
    assert (done.returncode, done.stderr) == (
        222,
        f"qdel: Server could not connect to MOM {job_id}\n",
    )
    user.lab.set(node="lost")
    job = user.until(job_id, lambda block: block.get("job_state") == "Q")
    assert job.get("Exit_status") == "-20"


def test_output_that_cannot_be_brought_leaves_a_job_exiting(user: User) -> None:
    user.lab.set(bring_s=600)
    job_id = user.qsub("#!/bin/sh\nexit 3\n", "-o", "/no/such/dir/o")
    job = user.until(job_id, lambda block: block.get("job_state") == "E")
    assert job.get("Exit_status") == "3"
    assert (
        user.lab.run("qdel", job_id).stderr == f"qdel: Request invalid for state of job {job_id}\n"
    )
    user.lab.set(bring_s=0)
    assert user.end(job_id).get("Exit_status") == "3"


# --- refusals and outages, word for word ----------------------------------------------------------

REFUSALS: dict[str, tuple[str, ...]] = {
    "qsub-invalid-queue": ("-q", "nosuch"),
    "qsub-closed-queue": ("-q", "closed"),
    "qsub-acl-queue": ("-q", "private"),
    "qsub-invalid-resource": ("-l", "nosuch=4"),
    "qsub-invalid-resource-in-select": ("-l", "select=1:nosuch=4"),
    "qsub-walltime-bad": ("-l", "walltime=1h"),
    "qsub-walltime-days": ("-l", "walltime=2:00:00:00"),
    "qsub-walltime-negative": ("-l", "walltime=-5"),
    "qsub-mem-bad": ("-l", "mem=lots"),
    "qsub-select-bad": ("-l", "select=x:ncpus=1"),
    "qsub-place-bad": ("-l", "select=1", "-l", "place=wherever"),
    "qsub-select-and-ncpus": ("-l", "select=1:ncpus=1", "-l", "ncpus=2"),
    "qsub-select-and-nodes": ("-l", "select=1:ncpus=1", "-l", "nodes=1:ppn=2"),
    "qsub-walltime-over-queue-max": ("-q", "short", "-l", "walltime=02:00:00"),
    "qsub-ncpus-over-queue-max": ("-q", "short", "-l", "select=1:ncpus=6"),
    "qsub-name-space": ("-N", "a b"),
    "qsub-name-newline": ("-N", "a\nb"),
    "qsub-name-utf8": ("-N", "größe"),
    "qsub-name-231": ("-N", "n" * 231),
    "qsub-dependency-bad": ("-W", "depend=nonsense:1"),
    "qsub-unknown-option": ("-Q",),
    "qsub-script-not-found": ("nosuchfile.sh",),
    "qsub-script-directory": ("/tmp",),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_has_the_recorded_words_and_status(lab: PbsLab, name: str) -> None:
    done = lab.run("qsub", *REFUSALS[name], input="#!/bin/sh\n", cwd=lab.home)
    assert (done.returncode, done.stderr.rstrip("\n")) == (
        captures()[name].exit,
        captures()[name].words,
    )
    assert done.stdout == ""
    assert lab.state.jobs() == []


@pytest.mark.parametrize("name", ["qsub-bad-directive-1", "qsub-bad-directive-3"])
def test_a_bad_directive_is_refused(lab: PbsLab, name: str) -> None:
    line = {"1": "-l walltime=abc", "3": "-N has space"}[name[-1]]
    done = lab.run("qsub", input=f"#!/bin/bash\n#PBS {line}\ntrue\n", cwd=lab.home)
    assert (done.returncode, done.stderr) == (captures()[name].exit, captures()[name].stderr)


def test_a_limit_of_a_queue(user: User) -> None:
    for _ in range(3):
        user.qsub("#!/bin/sh\n", "-q", "short", "-h")
    done = user.lab.run("qsub", "-q", "short", input="#!/bin/sh\n", cwd=user.lab.home)
    recorded = captures()["qsub-short-4-over-max-queued"]
    assert (done.returncode, done.stderr) == (recorded.exit, recorded.stderr)


DOWN: dict[str, tuple[str, ...]] = {
    "down-qsub": ("qsub",),
    "down-qstat-x": ("qstat", "-x", "-f", "0"),
    "down-qstat-B": ("qstat", "-B", "-f"),
    "down-qselect": ("qselect", "-N", "x"),
    "down-qdel": ("qdel", "1"),
    "down-pbsnodes": ("pbsnodes", "-a"),
}


@pytest.mark.parametrize("name", DOWN)
def test_an_outage_has_the_recorded_words_and_status(lab: PbsLab, name: str) -> None:
    lab.set(server="down")
    done = lab.run(*DOWN[name], input="")
    recorded = captures()[name]
    assert (done.returncode, done.stderr.rstrip("\n")) == (recorded.exit, recorded.words.rstrip())


def test_several_ids_are_answered_as_recorded(user: User) -> None:
    done_id = user.qsub("#!/bin/sh\n")
    user.end(done_id)
    held = user.qsub("#!/bin/sh\n", "-h")
    done = user.lab.run("qstat", "-f", held, done_id, "99999", held)
    first = f"qstat: {done_id} Job has finished, use -x or -H to obtain historical job information"
    assert (done.returncode, done.stderr) == (153, f"{first}\nqstat: Unknown Job Id 99999.pbs01\n")
    assert done.stdout.count("Job Id: ") == 2
    assert captures()["qstat-finished-among-running"].stderr.endswith(
        first.partition(" Job ")[2] + "\n"
    )
    illegal = user.lab.run("qstat", "-f", "abc")
    recorded = captures()["qstat-illegal-id"]
    assert (illegal.returncode, illegal.stderr) == (recorded.exit, recorded.stderr)
    gone = user.lab.run("qdel", "99999", done_id)
    assert gone.returncode == 35
    assert gone.stderr == f"qdel: Unknown Job Id 99999\nqdel: Job has finished {done_id}\n"


def test_history_that_is_switched_off_is_gone(user: User) -> None:
    done_id = user.qsub("#!/bin/sh\n")
    user.end(done_id)
    user.lab.set(history=False)
    done = user.lab.run("qstat", "-x", "-f", done_id)
    words = captures()["nohistory-qstat-x"].stderr.replace("55.pbs01", done_id)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", words)
    assert user.lab.run("qstat", "-f", done_id).returncode == 153
    user.lab.set(history=True)
    assert user.lab.run("qstat", "-x", "-f", done_id).returncode == 153


@pytest.mark.parametrize(("instant", "made"), [("before", 0), ("after", 1)])
def test_a_killed_qsub_may_have_made_a_job(lab: PbsLab, instant: str, made: int) -> None:
    lab.set(qsub=instant)
    done = lab.run("qsub", "-h", input="#!/bin/sh\n", cwd=lab.home)
    assert (done.returncode, done.stdout) == (-9, "")
    assert len(lab.state.jobs()) == made


def test_what_ends_while_the_server_is_down_is_told_afterwards(user: User) -> None:
    job_id = user.qsub("#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done; exit 9\n")
    user.running(job_id)
    user.lab.set(server="down")
    (user.lab.home / "go").touch()
    user.lab.set(server="up")
    assert user.end(job_id).get("Exit_status") == captures()["up-again-ends-while-down"].job().get(
        "Exit_status"
    )


def test_a_job_s_environment_is_a_new_one(user: User) -> None:
    job = user.end(user.qsub("#!/bin/sh\nenv; pwd; umask\n"))
    text = Path(job.get("Output_Path").partition(":")[2]).read_text()
    assert f"PBS_JOBID={job.name}\n" in text
    assert f"\n{user.lab.home}\n0077\n" in text
    assert "PYTEST_CURRENT_TEST" not in text


def test_queues_and_nodes_look_as_recorded(lab: PbsLab) -> None:
    queues = pbs_text.blocks(lab.run("qstat", "-Q", "-f").stdout, pbs_text.QUEUE)
    recorded = pbs_text.blocks(captures()["qstat-Qf"].stdout, pbs_text.QUEUE)
    assert [block.name for block in queues] == [block.name for block in recorded]
    for mine, theirs in zip(queues, recorded, strict=True):
        known = [key for key in theirs.attributes if not key.startswith("resources_assigned")]
        assert list(mine.attributes) == known
    (node,) = pbs_text.blocks(lab.run("pbsnodes", "-a").stdout, pbs_text.NODE)
    (other,) = pbs_text.blocks(captures()["pbsnodes-a"].stdout, pbs_text.NODE)
    assert list(node.attributes) == list(other.attributes)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with PbsLab(tmp_path) as lab:
        user = User(lab)
        job_id = user.qsub("#!/bin/sh\ntrap '' TERM\nsleep 300 & echo $! >child; wait\n")
        user.running(job_id)
        child = lab.home / "child"
        user.until(job_id, lambda _: child.exists() and child.read_text().endswith("\n"))
        lab.set(server="hung")
        hung = subprocess.Popen([str(lab.bin / "qstat"), "-f"], stderr=subprocess.DEVNULL)
    assert hung.wait(LIMIT_S) == 255
    found = local_shepherd.process(int(child.read_text()))
    assert found is None or found[0] in "ZX"


KILLED = """
import os, signal, sys, time
sys.path[:0] = {folders!r}
from pathlib import Path
from lab.pbs_lab import PbsLab
with PbsLab(Path({folder!r})) as lab:
    lab.run("qsub", input="#!/bin/sh\\nsleep 300 & echo $! >child; wait\\n", cwd=lab.home)
    while not (lab.home / "child").exists() or not (lab.home / "child").read_text():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_behind_by_a_test_that_is_killed(tmp_path: Path) -> None:
    code = KILLED.format(folders=[str(TESTS), str(TESTS.parent)], folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    pid = int((tmp_path / "pbs home" / "child").read_text())
    limit = time.monotonic() + LIMIT_S
    while (found := local_shepherd.process(pid)) and found[0] not in "ZX":
        assert time.monotonic() < limit, found
        time.sleep(0.02)
