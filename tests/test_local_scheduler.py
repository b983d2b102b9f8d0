"""The local queue: what its files and processes do when something dies."""

from __future__ import annotations

import ast
import errno
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpcagent.errors import EnvironmentProblem
from hpcagent.records import JobState, JobStatus, Refused, Resources, Submitted
from hpcagent.schedulers import local, local_executor, local_shepherd

LIMIT_S = 120.0
HOLD = "while [ ! -e go ]; do sleep 0.02; done; exit 7"


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


class Box:
    def __init__(self, tmp_path: Path) -> None:
        self.queue = tmp_path / "queue"
        self.scheduler = local.LocalScheduler(self.queue)
        self.work = tmp_path / "work"

    def script(self, text: str, name: str = "job") -> Path:
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "job.sh"
        path.write_text(text)
        return path

    def submit(self, body: str, name: str = "job", walltime_s: int = 60) -> str:
        head = self.scheduler.directives(Resources(walltime_s=walltime_s), name)
        script = self.script("\n".join(["#!/bin/sh", *head, body, ""]), name)
        answer = self.scheduler.submit(script)
        assert isinstance(answer, Submitted), answer
        return answer.job_id

    def status(self, job_id: str) -> JobStatus:
        return self.scheduler.poll([job_id])[job_id]

    def end(self, job_id: str) -> JobStatus:
        until(lambda: self.status(job_id).state.terminal)
        return self.status(job_id)

    def file(self, job_id: str, name: str) -> Path:
        return self.queue / "jobs" / job_id / name

    def claim(self, job_id: str) -> dict[str, dict[str, int]]:
        path = self.file(job_id, "claim.json")
        until(path.exists)
        found: dict[str, dict[str, int]] = json.loads(path.read_text())
        return found

    def kill(self, who: dict[str, int]) -> None:
        assert local_shepherd.is_alive(who)
        local_shepherd.send(who["pid"], who["start"], signal.SIGKILL)
        until(lambda: not local_shepherd.is_alive(who))

    def executor(self) -> dict[str, int]:
        path = self.queue / "executor.json"
        until(path.exists)
        found: dict[str, int] = json.loads(path.read_text())
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    yield box
    executor = local_shepherd.read_json(str(box.queue / "executor.json"))
    if executor and local_shepherd.is_alive(executor):
        local_shepherd.send(executor["pid"], executor["start"], signal.SIGKILL)
    for path in box.queue.glob("jobs/*/claim.json"):
        claim = local_shepherd.read_json(str(path)) or {}
        if claim.get("boot_id") != local_shepherd.boot_id():
            continue
        for who in (claim.get("leader"), claim.get("shepherd")):
            if who and local_shepherd.is_alive(who):
                local_shepherd.Session(who).signal(signal.SIGKILL)


@pytest.fixture
def no_executor(box: Box) -> Iterator[Callable[[], None]]:
    """Keeps the queue from running until it is called."""
    box.queue.mkdir(mode=0o700)
    handle = os.open(box.queue / "executor.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    held = [handle]

    def let_go() -> None:
        os.close(held.pop())

    yield let_go
    for left in held:
        os.close(left)


# --- what dies ---------------------------------------------------------------------------------


def test_exit_code_survives_the_executor(box: Box) -> None:
    job_id = box.submit(HOLD)
    box.claim(job_id)
    box.kill(box.executor())
    assert box.status(job_id).state is JobState.RUNNING
    (box.work / "job" / "go").touch()
    assert (box.end(job_id).state, box.end(job_id).exit_code) == (JobState.FAILED, 7)


def test_a_new_executor_adopts_the_running_job_before_the_next(box: Box) -> None:
    first = box.submit(HOLD, "first")
    box.claim(first)
    old = box.executor()
    box.kill(old)
    second = box.submit("exit 0", "second")
    until(lambda: box.executor()["pid"] != old["pid"])
    assert box.status(second).state is JobState.QUEUED
    assert not box.file(second, "claim.json").exists()
    (box.work / "first" / "go").touch()
    assert box.end(second).state is JobState.COMPLETED
    assert box.end(first).exit_code == 7


def test_wall_time_holds_without_executor(box: Box) -> None:
    job_id = box.submit("sleep 300", walltime_s=1)
    box.claim(job_id)
    box.kill(box.executor())
    until(box.file(job_id, "exit.json").exists)
    assert box.status(job_id).state is JobState.TIMEOUT


def test_a_job_whose_shepherd_died_is_waited_for_then_failed(box: Box) -> None:
    job_id = box.submit(HOLD)
    claim = box.claim(job_id)
    until((box.work / "job" / "out").exists)
    box.kill(claim["shepherd"])
    box.kill(box.executor())
    assert box.status(job_id).state is JobState.RUNNING
    box.executor()
    assert local_shepherd.is_alive(claim["leader"])
    (box.work / "job" / "go").touch()
    status = box.end(job_id)
    assert (status.state, status.word, status.exit_code) == (JobState.FAILED, "LOST", None)
    assert "executor lost it" in status.reason


def test_a_job_whose_shepherd_died_can_still_be_cancelled(box: Box) -> None:
    job_id = box.submit(HOLD)
    claim = box.claim(job_id)
    until((box.work / "job" / "out").exists)
    box.kill(claim["shepherd"])
    box.scheduler.cancel([job_id])
    assert box.end(job_id).state is JobState.CANCELLED
    assert not local_shepherd.is_alive(claim["leader"])


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the queue."""
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as process:
        yield process
        process.kill()


def forge_claim(box: Box, job_id: str, boot_id: str, who: dict[str, int]) -> None:
    claim = {
        "by": "shepherd",
        "boot_id": boot_id,
        "shepherd": who,
        "leader": who,
        "deadline_monotonic_s": 0.0,
    }
    box.file(job_id, "claim.json").write_text(json.dumps(claim))


def test_a_job_that_ran_when_the_machine_went_down_is_a_node_failure(
    box: Box, no_executor: Callable[[], None], bystander: subprocess.Popen[bytes]
) -> None:
    job_id = box.submit("touch ran")
    forge_claim(box, job_id, "another boot", local_shepherd.identify(bystander.pid))
    no_executor()
    status = box.end(job_id)
    assert (status.state, status.word) == (JobState.NODE_FAIL, "REBOOTED")
    assert not (box.work / "job" / "ran").exists()
    assert bystander.poll() is None


def test_a_process_that_took_the_number_of_a_dead_one_is_let_alone(
    box: Box, no_executor: Callable[[], None], bystander: subprocess.Popen[bytes]
) -> None:
    job_id = box.submit("touch ran")
    reused = {"pid": bystander.pid, "start": 1}
    forge_claim(box, job_id, local_shepherd.boot_id(), reused)
    box.scheduler.cancel([job_id])
    no_executor()
    assert box.end(job_id).state is JobState.FAILED
    local_shepherd.Session(reused).signal(signal.SIGKILL)
    assert bystander.poll() is None


def test_queued_jobs_wait_for_the_next_poll_where_the_agent_died_before_the_executor_began(
    box: Box, no_executor: Callable[[], None]
) -> None:
    job_id = box.submit("exit 0")
    assert box.status(job_id).state is JobState.QUEUED
    no_executor()
    assert box.end(job_id).state is JobState.COMPLETED


def test_an_idle_executor_goes_and_the_next_job_gets_a_new_one(box: Box) -> None:
    assert box.end(box.submit("exit 0")).state is JobState.COMPLETED
    first = box.executor()
    until(lambda: not local_shepherd.is_alive(first))
    assert not (box.queue / "executor.json").exists()
    assert box.end(box.submit("exit 0")).state is JobState.COMPLETED


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executors that leave at once and give little grace."""
    root = str(Path(local_executor.__file__).parents[2])
    wrapper = tmp_path / "hasty_executor.py"
    wrapper.write_text(
        f"import sys; sys.path.insert(0, {root!r})\n"
        "from hpcagent.schedulers import local_executor, local_shepherd\n"
        "local_executor.IDLE_S, local_shepherd.GRACE_S = 0.05, 0.5\n"
        "sys.exit(local_executor.main(sys.argv))\n"
    )
    monkeypatch.setattr(local, "_EXECUTOR", wrapper)


@pytest.mark.usefixtures("hasty")
def test_jobs_that_come_while_an_executor_leaves_still_run(box: Box) -> None:
    for n in range(12):
        job_id = box.submit("exit 0")
        until(box.file(job_id, "exit.json").exists)  # not polled: that would start an executor
        time.sleep(0.12 + 0.02 * n)
    assert len(box.scheduler.find("job")) == 12


# --- what runs ---------------------------------------------------------------------------------


STUBBORN = """
import os, signal, time
os.setpgid(0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("child", "w") as stream:
    print(os.getpid(), file=stream)
time.sleep(300)
"""


@pytest.mark.usefixtures("hasty")
def test_what_ignores_sigterm_in_a_group_of_its_own_goes_too(box: Box) -> None:
    job_id = box.submit(f"{shlex.quote(sys.executable)} -c '{STUBBORN}' & wait")
    child = box.work / "job" / "child"
    until(lambda: child.exists() and child.read_text().endswith("\n"))
    who = local_shepherd.identify(int(child.read_text()))
    assert local_shepherd.is_alive(who)
    box.scheduler.cancel([job_id])
    assert box.end(job_id).state is JobState.CANCELLED
    assert not local_shepherd.is_alive(who)


def test_what_a_job_leaves_behind_is_gone_when_it_is_over(box: Box) -> None:
    job_id = box.submit("sleep 300 & echo $! > child; exit 0")
    assert box.end(job_id).state is JobState.COMPLETED
    found = local_shepherd.process(int((box.work / "job" / "child").read_text()))
    assert found is None or found[0] in "ZX"


def test_one_job_at_a_time(box: Box) -> None:
    body = "mkdir ../lock || touch ../overlap; sleep 0.05; rmdir ../lock"
    ids = [box.submit(body, f"job{n}") for n in range(6)]
    assert {box.end(job_id).state for job_id in ids} == {JobState.COMPLETED}
    assert not (box.work / "overlap").exists()


def test_umask_and_affinity_are_those_of_the_submitter(box: Box) -> None:
    box.end(box.submit("exit 0", "first"))
    cpus = os.sched_getaffinity(0)
    old = os.umask(0o027)
    try:
        os.sched_setaffinity(0, {min(cpus)})
        job_id = box.submit("umask; grep Cpus_allowed_list /proc/self/status")
    finally:
        os.umask(old)
        os.sched_setaffinity(0, cpus)
    box.end(job_id)
    words = (box.work / "job" / "out").read_text().split()
    assert words == ["0027", "Cpus_allowed_list:", str(min(cpus))]


def test_output_of_a_second_run_is_added(box: Box) -> None:
    box.end(box.submit("echo one"))
    box.end(box.submit("echo two"))
    assert (box.work / "job" / "out").read_text() == "one\ntwo\n"


def test_the_interpreter_and_its_argument_are_honoured(box: Box) -> None:
    head = "#HPCAGENT name=x\n#HPCAGENT walltime_s=9\n"
    answer = box.scheduler.submit(box.script(f"#!/bin/sh -e\n{head}false\ntouch ran\n"))
    assert isinstance(answer, Submitted)
    assert box.end(answer.job_id).exit_code == 1
    assert not (box.work / "job" / "ran").exists()


def test_a_job_that_cannot_start_says_why(box: Box, no_executor: Callable[[], None]) -> None:
    job_id = box.submit("exit 0")
    (box.work / "job" / "job.sh").unlink()
    (box.work / "job").rmdir()
    no_executor()
    status = box.end(job_id)
    assert (status.state, status.word) == (JobState.FAILED, "NOT_STARTED")
    assert str(box.work / "job") in status.reason


# --- what is refused ---------------------------------------------------------------------------

GOOD = "#!/bin/sh\n#HPCAGENT name=x\n#HPCAGENT walltime_s=60\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("true\n", "#!"),
        ("", "#!"),
        ("#!/bin/sh\n#HPCAGENT name=x\ntrue\n", "walltime_s"),
        ("#!/bin/sh\n#HPCAGENT walltime_s=60\ntrue\n", "name"),
        ("#!/bin/sh\ntrue\n#HPCAGENT name=x\n#HPCAGENT walltime_s=60\n", "name"),
        (GOOD.replace("60", "0"), "job.sh:3"),
        (GOOD.replace("60", "-5"), "walltime_s"),
        (GOOD.replace("60", "1e3"), "walltime_s"),
        (GOOD.replace("60", "٦٠"), "walltime_s"),
        (GOOD.replace("60", "9" * 12), "walltime_s"),
        (GOOD.replace("name=x", "name=$(id)"), "job.sh:2"),
        (GOOD.replace("name=x", "name=-x"), "name"),
        (GOOD + "#HPCAGENT gpus=1\n", "gpus"),
        (GOOD + "#HPCAGENT\n", "job.sh:4"),
        (GOOD + "#HPCAGENT nodes=2\n", "2 nodes"),
        (GOOD + "#HPCAGENT cpus=99999\n", "99999 CPUs"),
    ],
)
def test_a_bad_head_is_refused_with_place_and_reason(box: Box, text: str, words: str) -> None:
    answer = box.scheduler.submit(box.script(text))
    assert isinstance(answer, Refused)
    assert words in answer.words
    assert "\n" not in answer.words
    assert not box.queue.exists()


def test_what_is_no_readable_file_is_refused(box: Box) -> None:
    box.work.mkdir()
    os.mkfifo(box.work / "fifo")
    for path in (box.work, box.work / "fifo", box.work / "gone" / "job.sh"):
        answer = box.scheduler.submit(path)
        assert isinstance(answer, Refused)
        assert str(path) in answer.words


def test_a_queue_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    box = Box(tmp_path / "file")
    box.work = tmp_path / "work"
    with pytest.raises(EnvironmentProblem, match="HPCAGENT_QUEUE"):
        box.submit("exit 0")


def test_a_queue_without_executor_takes_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EnvironmentProblem, match="not found"):
        box.submit("touch ran")
    monkeypatch.undo()
    assert box.end(box.submit("exit 0", "next")).state is JobState.COMPLETED
    assert not (box.work / "job" / "ran").exists()


def test_a_full_disk_queues_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local_shepherd, "write_new", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        box.submit("exit 0")
    monkeypatch.undo()
    assert list((box.queue / "tmp").iterdir()) == []
    assert box.scheduler.find("job") == []


def test_the_queue_is_private(box: Box) -> None:
    box.queue.mkdir(mode=0o755)
    box.queue.chmod(0o755)
    box.end(box.submit("exit 0"))
    assert box.queue.stat().st_mode & 0o077 == 0


def test_the_folder_follows_the_environment(tmp_path: Path) -> None:
    assert local.queue_folder({"HPCAGENT_QUEUE": str(tmp_path)}, "h") == tmp_path
    state = {"XDG_STATE_HOME": str(tmp_path)}
    assert local.queue_folder(state, "node1") == tmp_path / "hpcagent/queue/node1"
    hostile = local.queue_folder(state, "../../x")
    assert hostile.parent == tmp_path / "hpcagent" / "queue"


# --- what is kept ------------------------------------------------------------------------------


def test_old_and_excess_jobs_are_pruned_but_never_the_last(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [box.submit("exit 0") for _ in range(5)]
    for job_id in ids:
        box.end(job_id)
    long_ago = time.time() - local_executor.KEEP_S - 60
    for job_id in (ids[0], ids[-1]):
        os.utime(box.file(job_id, "exit.json"), (long_ago, long_ago))
    local_executor.prune(str(box.queue))
    assert box.scheduler.find("job") == ids[1:]
    monkeypatch.setattr(local_executor, "KEEP_JOBS", 1)
    local_executor.prune(str(box.queue))
    assert box.scheduler.find("job") == ids[3:]
    assert box.submit("exit 0") == f"{int(ids[-1]) + 1:08d}"


@pytest.mark.parametrize("module", [local_executor, local_shepherd])
def test_the_files_are_in_the_grammar_of_python_3_6(module: object) -> None:
    source = Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
