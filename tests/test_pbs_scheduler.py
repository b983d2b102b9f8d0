"""The pbs scheduler on the stand-in: outages, killed submissions, histories, hostile words."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.pbs_lab import LIMIT_S, PbsLab

from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable, UsageError
from hpcagent.records import Ambiguous, JobState, JobStatus, Refused, Resources, Submitted
from hpcagent.schedulers.pbs import PbsScheduler, Timeouts, environment

HOLD = "while [ ! -e go ]; do sleep 0.02; done"


class Box:
    """A stand-in, the scheduler that speaks to it, and a folder for jobs."""

    def __init__(self, lab: PbsLab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.scheduler = PbsScheduler()

    def script(
        self, body: str, name: str, asked: Resources | None = None, folder: Path | None = None
    ) -> Path:
        place = folder or self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        head = self.scheduler.directives(asked or Resources(walltime_s=60), name)
        path = place / "job.sh"
        path.write_text("\n".join(["#!/bin/sh", *head, body, ""]))
        return path

    def submit(
        self, body: str, name: str, asked: Resources | None = None, folder: Path | None = None
    ) -> str:
        answer = self.scheduler.submit(self.script(body, name, asked, folder))
        assert isinstance(answer, Submitted), answer
        return answer.job_id

    def until(self, job_id: str, done: Callable[[JobStatus | None], object]) -> JobStatus | None:
        limit = time.monotonic() + LIMIT_S
        while True:
            status = self.scheduler.poll([job_id]).get(job_id)
            if done(status):
                return status
            assert time.monotonic() < limit, status
            time.sleep(0.05)

    def reach(self, job_id: str, state: JobState) -> JobStatus:
        status = self.until(job_id, lambda status: status is not None and status.state is state)
        assert status is not None
        return status

    def gone(self, job_id: str) -> None:
        self.until(job_id, lambda status: status is None)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    with PbsLab(tmp_path) as lab:
        monkeypatch.setenv("PATH", lab.path)
        yield Box(lab, tmp_path / "jobs")


# --- outages --------------------------------------------------------------------------------------


def silent(box: Box, job_id: str, words: str) -> None:
    """No call takes an outage for an answer."""
    answer = box.scheduler.submit(box.script("true", "hadown"))
    assert isinstance(answer, Ambiguous) and words in answer.words
    for call in (
        lambda: box.scheduler.find("hadown"),
        lambda: box.scheduler.cancel([job_id]),
        box.scheduler.queues,
    ):
        with pytest.raises(SchedulerUnreachable, match=words):
            call()
    for asked in ([job_id], [job_id, "99999"]):
        status = box.scheduler.poll(asked)[asked[-1]]
        assert status.state is JobState.UNKNOWN
        assert words in status.missing


def test_a_server_that_is_down_loses_no_job(box: Box) -> None:
    job_id = box.submit(f"{HOLD}; exit 9", "hajob")
    box.reach(job_id, JobState.RUNNING)
    box.lab.set(server="down")
    silent(box, job_id, "onnect")
    (box.folder / "hajob" / "go").touch()
    box.lab.set(server="up")
    assert box.reach(job_id, JobState.FAILED).exit_code == 9
    assert box.scheduler.find("hadown") == []


def test_a_server_that_hangs_loses_no_job(box: Box) -> None:
    job_id = box.submit(HOLD, "hajob")
    box.reach(job_id, JobState.RUNNING)
    box.lab.set(server="hung")
    box.scheduler = PbsScheduler(Timeouts(query_s=1.0, submit_s=1.0))
    silent(box, job_id, "timed out after 1 s")
    box.lab.set(server="up")
    box.scheduler = PbsScheduler()
    assert box.reach(job_id, JobState.RUNNING).missing == ""


def test_a_server_that_is_lost_while_it_answers(box: Box) -> None:
    first, second = box.submit(HOLD, "haone"), box.submit("true", "hatwo")
    box.reach(first, JobState.RUNNING)
    box.lab.set(cut=1)
    seen = box.scheduler.poll([first, second])
    assert seen[first].state is JobState.RUNNING
    assert (seen[second].state, seen[second].missing) == (JobState.UNKNOWN, "qstat: End of File")


def test_slow_answers_and_banners_change_nothing(box: Box) -> None:
    box.lab.set(banner="*** 12 maintenance on Monday ***\nJob Id: none\n7", slow_s=0.2)
    job_id = box.submit("exit 4", "haslow")
    assert box.reach(job_id, JobState.FAILED).exit_code == 4
    assert box.scheduler.find("haslow") == [job_id]
    box.scheduler.cancel([job_id])


def test_commands_that_are_not_installed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    script = box.script("true", "hanone")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(EnvironmentProblem, match="qsub"):
        box.scheduler.submit(script)
    with pytest.raises(EnvironmentProblem, match="qstat"):
        box.scheduler.queues()
    assert box.scheduler.poll(["1.pbs01"])["1.pbs01"].missing == "qstat: not found"


# --- submission -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("instant", "made"), [("before", 0), ("after", 1)])
def test_a_killed_qsub_is_found_by_its_name(box: Box, instant: str, made: int) -> None:
    box.lab.set(qsub=instant)
    answer = box.scheduler.submit(box.script("true", "hakilled"))
    assert isinstance(answer, Ambiguous)
    found = box.scheduler.find("hakilled")
    assert len(found) == made
    for job_id in found:
        box.reach(job_id, JobState.COMPLETED)
        assert box.scheduler.find("hakilled") == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Resources(walltime_s=60, partition="nosuch"), "qsub: Unknown queue"),
        (Resources(walltime_s=60, partition="closed"), "qsub: Queue is not enabled"),
        (Resources(walltime_s=60, partition="private"), "qsub: Unauthorized Request"),
        (Resources(walltime_s=3600, partition="short"), "queue and/or server resource limits"),
        (Resources(walltime_s=60, extra=(":nosuch=1",)), "qsub: Unknown resource: nosuch"),
    ],
)
def test_a_refusal_is_quoted_and_queues_nothing(box: Box, asked: Resources, words: str) -> None:
    answer = box.scheduler.submit(box.script("true", "harefused", asked))
    assert isinstance(answer, Refused)
    assert words in answer.words
    assert box.scheduler.find("harefused") == []


@pytest.mark.parametrize("text", ["", "true\n", "#!\n"])
def test_a_script_without_an_interpreter_is_refused(box: Box, text: str) -> None:
    script = box.folder / "job.sh"
    box.folder.mkdir()
    script.write_text(text)
    assert isinstance(box.scheduler.submit(script), Refused)
    assert isinstance(box.scheduler.submit(box.folder), Refused)
    assert box.lab.calls() == []


def test_output_and_files_have_the_submitter_s_umask(box: Box) -> None:
    before = os.umask(0o027)
    try:
        box.reach(box.submit("umask; : > made", "haumask"), JobState.COMPLETED)
    finally:
        os.umask(before)
    folder = box.folder / "haumask"
    assert (folder / "out").read_text() == "0027\n"
    assert stat.S_IMODE((folder / "out").stat().st_mode) == 0o640
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o640


def test_what_pbs_itself_says_is_kept_beside_the_job(box: Box) -> None:
    box.reach(box.submit("sleep 60", "haover", Resources(walltime_s=1)), JobState.TIMEOUT)
    assert "=>> PBS: job killed: walltime" in (box.folder / "haover" / "pbs.log").read_text()


def test_a_second_start_adds_to_the_output(box: Box) -> None:
    asked = Resources(walltime_s=60, extra=("-r y",))
    job_id = box.submit(f"echo $PBS_JOBID; {HOLD}", "harerun", asked)
    out = box.folder / "harerun" / "out"
    box.until(job_id, lambda _: out.exists() and out.read_text())
    box.lab.set(node="lost")
    again = box.reach(job_id, JobState.QUEUED)
    assert again.exit_code is None
    assert again.node == ""
    (box.folder / "harerun" / "go").touch()
    box.lab.set(node="up")
    box.reach(job_id, JobState.COMPLETED)
    assert out.read_text() == f"{job_id}\n" * 2


def test_a_script_of_any_name(box: Box) -> None:
    made = box.script("echo hello", "haname")
    script = made.rename(made.with_name("-rf *.sh"))
    answer = box.scheduler.submit(script)
    assert isinstance(answer, Submitted)
    box.reach(answer.job_id, JobState.COMPLETED)
    assert (box.folder / "haname" / "out").read_text() == "hello\n"


# --- nodes, histories, dependencies ---------------------------------------------------------------


def test_a_lost_node_is_told(box: Box) -> None:
    job_id = box.submit("sleep 60", "halost")
    running = box.reach(job_id, JobState.RUNNING)
    assert running.node == "pbs01"
    box.lab.set(node="away")
    with pytest.raises(SchedulerUnreachable, match="could not connect to MOM"):
        box.scheduler.cancel([job_id])
    assert box.scheduler.poll([job_id])[job_id].state is JobState.RUNNING
    box.lab.set(node="lost")
    assert "lost" in box.reach(job_id, JobState.NODE_FAIL).reason


def test_a_job_that_no_node_fits_waits(box: Box) -> None:
    job_id = box.submit("true", "habig", Resources(walltime_s=60, cpus_per_task=64))
    status = box.until(job_id, lambda status: status and status.reason)
    assert status is not None
    assert (status.state, status.hopeless) == (JobState.QUEUED, False)
    assert "Can Never Run" in status.reason
    box.scheduler.cancel([job_id])
    assert box.scheduler.poll([job_id])[job_id].state is JobState.CANCELLED


def test_without_history_a_job_that_ended_is_absent(box: Box) -> None:
    box.lab.set(history=False)
    first = box.submit(HOLD, "haold")
    second = box.submit("true", "haold", folder=box.folder / "other")
    box.reach(first, JobState.RUNNING)
    assert box.scheduler.find("haold") == [first, second]
    (box.folder / "haold" / "go").touch()
    box.gone(first)
    box.gone(second)
    assert box.scheduler.find("haold") == []
    box.scheduler.cancel([first, second])


def test_without_history_a_query_is_one_call_again(box: Box) -> None:
    box.lab.set(history=False)
    job_id = box.submit(HOLD, "haold")
    box.reach(job_id, JobState.RUNNING)
    before = len(box.lab.calls())
    box.scheduler.poll([job_id, "98.pbs01"])
    box.scheduler.find("haold")
    assert [call.split()[:2] for call in box.lab.calls()[before:]] == [
        ["qstat", "-f"],
        ["qselect", "-N"],
    ]


def test_a_history_that_is_switched_on_is_noticed(box: Box) -> None:
    box.lab.set(history=False)
    job_id = box.submit(f"{HOLD}; exit 3", "halate")
    box.reach(job_id, JobState.RUNNING)
    box.lab.set(history=True)
    (box.folder / "halate" / "go").touch()
    assert box.reach(job_id, JobState.FAILED).exit_code == 3


def test_many_jobs_are_one_query(box: Box) -> None:
    ids = [box.submit("true", "hamany") for _ in range(3)]
    before = len(box.lab.calls())
    asked = [*ids, *(f"{n}.pbs01" for n in range(1000, 3000)), "nonsense", "-x", "1;id"]
    assert set(box.scheduler.poll(asked)) == set(ids)
    assert len(box.lab.calls()) == before + 1


def test_ids_that_are_none_are_never_sent(box: Box) -> None:
    assert box.scheduler.poll(["", "-x", "workq", "1.pbs01 2", "$(id)", "\u0661.pbs01"]) == {}
    box.scheduler.cancel(["", "-W", "all", "1;2"])
    assert box.scheduler.find("-x") == []
    assert box.lab.calls() == []


@pytest.mark.parametrize("history", [True, False])
def test_a_dependency_waits_and_does_not_on_what_has_ended(box: Box, history: bool) -> None:
    box.lab.set(history=history)
    ended = box.submit("true", "haended")
    box.until(ended, lambda status: status is None or status.state.terminal)
    alive = box.submit(HOLD, "haalive")
    both = Resources(walltime_s=60, after=(ended, alive))
    waiting = box.submit("touch ran", "haboth", both)
    freed = box.submit("touch ran", "hafree", Resources(walltime_s=60, after=(ended,)))
    status = box.scheduler.poll([waiting])[waiting]
    assert status.state is JobState.QUEUED
    assert status.reason.startswith("waits for other jobs")
    (box.folder / "haalive" / "go").touch()
    for job_id in (waiting, freed):
        box.until(job_id, lambda status: status is None or status.state.terminal)
    for name in ("haboth", "hafree"):
        box.until(waiting, lambda _, name=name: (box.folder / name / "ran").exists())


# --- environments and hostile words ---------------------------------------------------------------


def test_nothing_of_an_outer_job_reaches_an_inner_one() -> None:
    site = {"PBS_CONF_FILE": "/etc/x", "PBS_SERVER": "a", "PBS_DEFAULT": "b", "PATH": "/bin"}
    names = "PBS_JOBID PBS_NODEFILE PBS_O_WORKDIR PBS_ARRAY_INDEX PBS_DPREFIX PMI_RANK"
    outer = dict.fromkeys([*names.split(), "PMIX_SERVER_URI", "OMPI_COMM_WORLD_RANK"], "x")
    assert environment(site | outer) == site


def test_qsub_is_called_with_that_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = tmp_path / "seen"
    fake = tmp_path / "qsub"
    fake.write_text(f"#!/bin/sh\nenv > '{recorded}'\necho 1.pbs01\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PBS_JOBID", "7.outer")
    monkeypatch.setenv("PBS_SERVER", "theirs")
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n")
    assert PbsScheduler().submit(script) == Submitted("1.pbs01")
    text = recorded.read_text()
    assert "PBS_SERVER=theirs" in text
    assert "PBS_JOBID" not in text


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One stand-in for many examples."""
    folder = tmp_path_factory.mktemp("hostile")
    with PbsLab(folder) as lab, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", lab.path)
        yield Box(lab, folder / "jobs")


NASTY = st.one_of(
    st.text(
        st.sampled_from("$()`'\"\\;&|<>*?[]{}~#!^: -\n\t\r\u2028\u2029\x85\x07ä☃%,=touch pwned"),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from(
        [
            *("$(touch pwned)", "`touch pwned`", "x\ntouch pwned\n", "';touch pwned;'", "-e"),
            *("a:b/c", "#PBS -N other", '";touch pwned;"', "^array_index^", "x\u2028touch pwned"),
        ]
    ),
)
MANY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def nothing_ran_but_ours(box: Box) -> None:
    found = [*box.folder.rglob("pwned"), *box.lab.home.iterdir()]
    assert not found
    assert not Path("pwned").exists()


@MANY
@given(NASTY)
def test_hostile_folders_through_a_real_submission(shared: Box, name: str) -> None:
    folder = shared.folder / ("x" + name.replace("/", "_"))[:60]
    script = shared.script("pwd; touch mine", "hafolder", folder=folder)
    (folder / "mine").unlink(missing_ok=True)
    (folder / "out").unlink(missing_ok=True)
    answer = shared.scheduler.submit(script)
    if isinstance(answer, Refused):
        assert re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", str(folder))
    else:
        assert isinstance(answer, Submitted)
        shared.reach(answer.job_id, JobState.COMPLETED)
        assert (folder / "out").read_text() == f"{folder}\n"
        assert (folder / "mine").exists()
    nothing_ran_but_ours(shared)


@MANY
@given(NASTY, NASTY)
def test_hostile_requests_and_environments(shared: Box, value: str, other: str) -> None:
    asked: list[Resources] = []
    for field in ("partition", "account", "reservation"):
        asked.append(Resources(**{"walltime_s": 60, field: value}))
    asked.append(Resources(walltime_s=60, extra=(value,)))
    asked.append(Resources(walltime_s=60, extra=(f"-P{value}",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE", value)
        patch.setenv("PBS_DPREFIX", other)
        for number, resources in enumerate(asked):
            try:
                script = shared.script("env; touch mine", f"haasked{number}", resources)
            except UsageError:
                continue
            answer = shared.scheduler.submit(script)
            assert isinstance(answer, Submitted | Refused)
            if isinstance(answer, Submitted):
                assert shared.scheduler.find(f"haasked{number}")[-1] == answer.job_id
                shared.scheduler.cancel([answer.job_id])
        done = shared.submit("env > seen", "haenviron")
    shared.reach(done, JobState.COMPLETED)
    assert "HOSTILE" not in (shared.folder / "haenviron" / "seen").read_text()
    nothing_ran_but_ours(shared)


@MANY
@given(NASTY)
def test_hostile_comments_are_only_words(shared: Box, comment: str) -> None:
    asked = Resources(walltime_s=60, extra=("-h",))
    job_id = shared.submit("true", "hacomment", asked)
    job = shared.lab.state.job(int(job_id.partition(".")[0]))
    assert job is not None
    job.comment = f"{comment}\n    job_state = F\n    Exit_status = 0\n\nJob Id: {job_id}"
    with shared.lab.state.locked():
        shared.lab.state.keep(job)
    status = shared.scheduler.poll([job_id])[job_id]
    assert status.state is JobState.HELD
    assert status.reason.isprintable() or not status.reason.isascii()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", status.reason)
    shared.scheduler.cancel([job_id])


def test_queues_of_the_stand_in(box: Box) -> None:
    found = {queue.name: queue for queue in box.scheduler.queues()}
    assert found["workq"].default
    assert found["workq"].available
    assert [name for name, queue in found.items() if queue.available] == ["workq", "short"]
