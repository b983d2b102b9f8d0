"""What every scheduler has to do, run against each that is there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import local_lab, pbs_lab

import hpcagent
from hpcagent import plugins
from hpcagent.catalogue import Choice, Wanted
from hpcagent.errors import UsageError
from hpcagent.protocols import Scheduler
from hpcagent.records import Failure, JobState, JobStatus, Refused, Resources, Submitted
from hpcagent.schedulers import local_shepherd
from hpcagent.schedulers.catalogue_fit import fit

DEADLINE_S = 240.0
SUBMITTER = """
import pathlib, sys, time
from hpcagent import plugins
name, linger, scripts = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
scheduler = plugins.load("hpcagent.schedulers", name, "scheduler").scheduler()
for script in scripts:
    print(scheduler.submit(pathlib.Path(script)).job_id, flush=True)
time.sleep(linger)
"""


@dataclass
class Lab:
    """A batch system with nobody else on it, and a folder that its jobs can see."""

    name: str
    scheduler: Scheduler
    folder: Path

    def script(
        self, name: str, body: str, walltime_s: int = 60, folder: Path | None = None
    ) -> Path:
        place = folder or self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        head = self.scheduler.directives(Resources(walltime_s=walltime_s), name)
        path = place / "job.sh"
        path.write_text("\n".join(["#!/bin/sh", *head, body, ""]))
        return path

    def submit(self, name: str, body: str, walltime_s: int = 60, folder: Path | None = None) -> str:
        answer = self.scheduler.submit(self.script(name, body, walltime_s, folder))
        assert isinstance(answer, Submitted), answer
        return answer.job_id

    def wait(self, ids: list[str], done: Callable[[JobStatus], bool]) -> dict[str, JobStatus]:
        limit = time.monotonic() + DEADLINE_S
        while True:
            seen = self.scheduler.poll(ids)
            if len(seen) == len(set(ids)) and all(done(status) for status in seen.values()):
                return seen
            assert time.monotonic() < limit, seen
            time.sleep(0.05)

    def end(self, job_id: str) -> JobStatus:
        return self.wait([job_id], lambda status: status.state.terminal)[job_id]

    def running(self, job_id: str) -> None:
        self.wait([job_id], lambda status: status.state is JobState.RUNNING)

    def agent(self, linger_s: float, scripts: list[Path]) -> subprocess.Popen[str]:
        """Another process that submits; it prints the ids."""
        words = [sys.executable, "-c", SUBMITTER, self.name, str(linger_s), *map(str, scripts)]
        root = str(Path(hpcagent.__file__).parents[1])
        env = {**os.environ, "PYTHONPATH": root}
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)


LABS = {"local": local_lab.start, "pbs": pbs_lab.start}
# One for all tests, because it takes seconds to start: a fixture of that name.
SHARED = [pytest.param("slurm", marks=pytest.mark.slurm)]
# A PBS job begins with a new login: the prologue of the job script makes its environment.
FRESH_ENVIRONMENT = {"pbs"}


@pytest.fixture(params=[*LABS, *SHARED])
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    if request.param in LABS:
        start = LABS[request.param](tmp_path, monkeypatch)
        next(start)
    else:
        start = iter(())
        request.getfixturevalue(request.param)
    module = plugins.load("hpcagent.schedulers", request.param, "scheduler")
    yield Lab(request.param, module.scheduler(), tmp_path / "jobs")
    next(start, None)


def bring_forward(job_id: str) -> None:
    """Slurm's shortest limit is a minute: that it is in force is seen, and then waited for less."""
    words = ["scontrol", "show", "job", job_id]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "TimeLimit=00:01:00" in shown
    subprocess.run(["scontrol", "update", f"jobid={job_id}", "EndTime=now+1"], check=True)


def age(job_id: str) -> int:
    return int(job_id.partition(".")[0])


def test_directives_are_comment_lines(lab: Lab) -> None:
    lines = lab.scheduler.directives(Resources(walltime_s=90, cpus_per_task=2), "haabc")
    assert lines
    assert all(line.startswith("#") and "\n" not in line for line in lines)
    assert any("haabc" in line for line in lines)


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "$(id)", "-x", "a" * 300, "ä"])
def test_a_hostile_name_never_reaches_a_script(lab: Lab, name: str) -> None:
    with pytest.raises(UsageError):
        lab.scheduler.directives(Resources(walltime_s=90), name)


def test_one_task_needs_no_launcher(lab: Lab) -> None:
    assert lab.scheduler.launcher(Resources(walltime_s=60)) == []
    assert "3" in lab.scheduler.launcher(Resources(walltime_s=60, tasks_per_node=3))


def test_there_is_a_queue_to_send_to(lab: Lab) -> None:
    assert all(queue.nodes >= 1 and queue.cpus_per_node >= 1 for queue in lab.scheduler.queues())
    assert lab.scheduler.queues()


def test_the_catalogue_agrees_with_the_queues(lab: Lab) -> None:
    catalogue = lab.scheduler.catalogue()
    assert catalogue.scheduler == lab.name
    known = {partition.name: partition for partition in catalogue.partitions}
    assert len(known) == len(catalogue.partitions)
    for queue in lab.scheduler.queues():
        partition = known[queue.name]
        types = partition.node_types
        assert sum(len(one.nodes) for one in types) == queue.nodes
        assert min(one.schedulable_cpus for one in types) == queue.cpus_per_node
        assert (partition.default, partition.available) == (queue.default, queue.available)
        assert partition.bounds.max_walltime_s == queue.max_walltime_s
        assert all(word and why for word, why in catalogue.missing.items())


def test_what_was_chosen_from_the_catalogue_runs(lab: Lab) -> None:
    found = fit(Wanted(cores=2, walltime_s=60, memory_bytes=2**20), lab.scheduler.catalogue())
    assert isinstance(found, Choice), found
    head = lab.scheduler.directives(found.offer.resources, "hafit")
    script = lab.script("hafit", "true")
    script.write_text("\n".join(["#!/bin/sh", *head, "exit 4", ""]))
    answer = lab.scheduler.submit(script)
    assert isinstance(answer, Submitted), answer
    assert (status := lab.end(answer.job_id)).exit_code == 4, status


def test_what_no_node_has_is_not_chosen(lab: Lab) -> None:
    catalogue = lab.scheduler.catalogue()
    for wanted in (Wanted(10**6, 60), Wanted(1, 60, memory_bytes=2**60), Wanted(1, 60, gpus=1)):
        found = fit(wanted, catalogue)
        assert isinstance(found, Failure), found
        assert len(found.evidence.splitlines()) == len(catalogue.partitions)


def test_a_job_from_submission_to_its_end(lab: Lab) -> None:
    job_id = lab.submit("haone", "pwd; echo to-err >&2; echo $MARK")
    assert lab.scheduler.find("haone") == [job_id]
    status = lab.end(job_id)
    assert (status.id, status.state, status.exit_code) == (job_id, JobState.COMPLETED, 0)
    assert status.word
    assert status.name == "haone"
    folder = lab.folder / "haone"
    assert (folder / "out").read_text().splitlines()[0] == str(folder)
    assert (folder / "err").read_text() == "to-err\n"
    assert lab.scheduler.find("haone") == [job_id]


def test_the_submitter_s_environment_reaches_the_job(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lab.name in FRESH_ENVIRONMENT:
        pytest.skip("jobs begin with a new login")
    lab.end(lab.submit("hafirst", "true"))  # whatever runs jobs has begun with the old one
    monkeypatch.setenv("MARK", "two words 'quoted' \n next ä")
    lab.end(lab.submit("haenv", 'printf "%s" "$MARK"'))
    assert (lab.folder / "haenv" / "out").read_text() == "two words 'quoted' \n next ä"


@pytest.mark.parametrize(
    ("body", "code"), [("exit 3", 3), ("kill -9 $$", 128 + 9), ("/no/such/program", 127)]
)
def test_a_failed_job_keeps_its_exit_code(lab: Lab, body: str, code: int) -> None:
    status = lab.end(lab.submit("hafail", body))
    assert (status.state, status.exit_code) == (JobState.FAILED, code)


def test_a_queued_job_that_is_cancelled_never_runs(lab: Lab) -> None:
    first = lab.submit("hafirst", "while [ ! -e stop ]; do sleep 0.05; done")
    second = lab.submit("hasecond", "touch ran")
    lab.running(first)
    assert lab.scheduler.poll([second])[second].state is JobState.QUEUED
    lab.scheduler.cancel([second])
    assert lab.end(second).state is JobState.CANCELLED
    (lab.folder / "hafirst" / "stop").touch()
    third = lab.submit("hathird", "true")
    assert lab.end(third).state is JobState.COMPLETED
    assert lab.end(second).state is JobState.CANCELLED
    assert not (lab.folder / "hasecond" / "ran").exists()


def test_the_command_that_users_are_told_answers_of_the_job(lab: Lab) -> None:
    job_id = lab.submit("haasked", "sleep 60")
    lab.running(job_id)
    command = lab.scheduler.question([job_id])
    if command:
        shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert job_id in shown.stdout
    lab.scheduler.cancel([job_id])
    assert lab.name != "local" or not command


def test_a_running_job_is_cancelled_with_its_children(lab: Lab) -> None:
    job_id = lab.submit("harun", "sleep 300 & echo $! > child; wait")
    child = lab.folder / "harun" / "child"
    limit = time.monotonic() + DEADLINE_S
    while not (child.exists() and child.read_text().endswith("\n")):
        assert time.monotonic() < limit
        time.sleep(0.05)
    lab.running(job_id)
    lab.scheduler.cancel([job_id])
    assert lab.end(job_id).state is JobState.CANCELLED
    found = local_shepherd.process(int(child.read_text()))
    assert found is None or found[0] in "ZX"


def test_a_finished_job_is_not_touched_by_cancel(lab: Lab) -> None:
    job_id = lab.submit("hadone", "exit 0")
    before = lab.end(job_id)
    lab.scheduler.cancel([job_id])
    assert lab.end(job_id) == before


def test_the_wall_time_ends_a_job(lab: Lab) -> None:
    job_id = lab.submit("haslow", "sleep 300", walltime_s=1)
    if lab.name == "slurm":
        lab.running(job_id)
        bring_forward(job_id)
    assert lab.end(job_id).state is JobState.TIMEOUT


def test_find_gives_all_jobs_of_exactly_that_name(lab: Lab) -> None:
    ids = [lab.submit("haname", "true"), lab.submit("haname", "true")]
    other = lab.submit("haname2", "true")
    lab.end(other)
    assert lab.scheduler.find("haname") == ids
    assert lab.scheduler.find("haname2") == [other]
    assert lab.scheduler.find("hanam") == []


@pytest.mark.parametrize("unknown", ["99999999", "", "../x", "0", "nonsense", "1;id"])
def test_unknown_ids_are_absent(lab: Lab, unknown: str) -> None:
    assert lab.scheduler.poll([unknown]) == {}
    lab.scheduler.cancel([unknown])
    known = lab.submit("haknown", "true")
    assert set(lab.scheduler.poll([known, unknown])) == {known}


@pytest.mark.parametrize(
    "name", ["with space", "$(touch pwned)", "`id`", 'a"b', "it's", "-rf", "a;b&c", "ä*?["]
)
def test_hostile_folder_names_are_only_names(lab: Lab, name: str) -> None:
    folder = lab.folder / name
    assert lab.end(lab.submit("hahostile", "pwd", folder=folder)).state is JobState.COMPLETED
    assert (folder / "out").read_text() == f"{folder}\n"
    assert not list(lab.folder.rglob("pwned"))


def test_a_control_character_in_the_path_is_refused(lab: Lab) -> None:
    script = lab.script("hanl", "true", folder=lab.folder / "a\nb")
    assert isinstance(lab.scheduler.submit(script), Refused)
    assert lab.scheduler.find("hanl") == []


def test_a_script_that_is_not_there_is_refused(lab: Lab) -> None:
    assert isinstance(lab.scheduler.submit(lab.folder / "none.sh"), Refused)


def test_concurrent_submitters_lose_and_double_nothing(lab: Lab) -> None:
    log = lab.folder / "log"
    scripts = [
        lab.script(f"ha{n:02d}", f"echo {n:02d} >> {shlex.quote(str(log))}") for n in range(20)
    ]
    agents = [lab.agent(0, scripts[n::5]) for n in range(5)]
    told = [agent.communicate(timeout=DEADLINE_S)[0].split() for agent in agents]
    name_of = {
        job_id: f"{n:02d}"
        for first, ids in enumerate(told)
        for n, job_id in zip(range(first, 20, 5), ids, strict=True)
    }
    assert len(name_of) == 20
    seen = lab.wait(list(name_of), lambda status: status.state.terminal)
    assert {status.state for status in seen.values()} == {JobState.COMPLETED}
    assert log.read_text().split() == [name_of[job_id] for job_id in sorted(name_of, key=age)]


def test_a_job_outlives_the_agent(lab: Lab) -> None:
    script = lab.script("haorphan", "while [ ! -e stop ]; do sleep 0.05; done; echo end; exit 5")
    agent = lab.agent(300, [script])
    assert agent.stdout is not None
    job_id = agent.stdout.readline().strip()
    agent.kill()
    agent.communicate()
    lab.running(job_id)
    (script.parent / "stop").touch()
    status = lab.end(job_id)
    assert (status.state, status.exit_code) == (JobState.FAILED, 5)
    assert (script.parent / "out").read_text() == "end\n"
