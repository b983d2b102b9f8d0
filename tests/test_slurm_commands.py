"""Which commands the adapter runs, when, and what it makes of witnesses that fall silent.

The commands are scripts that answer as they are told and note how they were called.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable
from hpcagent.records import Ambiguous, JobState, JobStatus, Refused, Resources, Submitted
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.schedulers.slurm_answers import Row
from hpcagent.schedulers.slurm_verdict import Witness, verdict

STUB = """#!/bin/sh
here=$(dirname "$0")
call() { printf '%s' "${0##*/}"; for word; do printf '\\t%s' "$word"; done; printf '\\n'; }
call "$@" >> "$here/calls"
env > "$here/${0##*/}.env"
if [ -e "$here/${0##*/}.hang" ]; then exec sleep 300; fi
cat "$here/${0##*/}.out" 2>/dev/null
cat "$here/${0##*/}.err" >&2 2>/dev/null
exit "$(cat "$here/${0##*/}.code" 2>/dev/null || echo 0)"
"""
NAMES = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")
TIMED_OUT = "slurm_load_jobs error: Socket timed out on send/recv operation\n"
NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
NO_DATABASE = "sacct: error: Problem talking to the database: Connection refused\n"
DISABLED = "Slurm accounting storage is disabled\n"
SINCE = "2026-01-02T03:04:05Z"


@dataclass
class Commands:
    folder: Path

    def answer(self, name: str, out: str = "", err: str = "", code: int = 0) -> None:
        for kind, text in (("out", out), ("err", err), ("code", str(int(code)))):
            (self.folder / f"{name}.{kind}").write_text(text, encoding="utf-8")

    def calls(self, name: str) -> list[list[str]]:
        try:
            lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [line.split("\t")[1:] for line in lines if line.split("\t")[0] == name]

    def env(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.env").read_text(encoding="utf-8").splitlines()
        return dict(line.partition("=")[::2] for line in lines)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(STUB, encoding="utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    for name in ("cat", "dirname", "env", "sleep"):
        (folder / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(folder))
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)
    return Commands(folder)


@pytest.fixture
def adapter() -> SlurmScheduler:
    return SlurmScheduler(submit_s=20, query_s=20)


def script(folder: Path, resources: Resources | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = SlurmScheduler().directives(resources or Resources(60), "haabc")
    (folder / "job.sh").write_text("\n".join(["#!/bin/bash", *lines, "true", ""]))
    return folder / "job.sh"


def line(job_id: str, word: str, name: str = "haone", code: str = "0:0", nodes: str = "n1") -> str:
    return f"{job_id}|{word}|{code}|2026-01-02T03:04:05|{nodes}|{name}|None|{job_id}\n"


# --- submission ----------------------------------------------------------------------------------


def test_a_submission(commands: Commands, adapter: SlurmScheduler, tmp_path: Path) -> None:
    commands.answer("sbatch", "Welcome\n17\n", "sbatch: warning: be brief\n")
    path = script(tmp_path / "a %j b")
    assert adapter.submit(path) == Submitted("17")
    assert commands.calls("sbatch") == [
        [
            "--parsable",
            "--export=ALL",
            f"--chdir={path.parent}",
            f"--output={tmp_path}/a %%j b/out",
            f"--error={tmp_path}/a %%j b/err",
            str(path),
        ]
    ]


def test_variables_of_the_user_do_not_break_a_submission(
    commands: Commands, adapter: SlurmScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.answer("sbatch", "17\n")
    for name in (
        "SBATCH_EXPORT",
        "SBATCH_JOB_NAME",
        "SBATCH_ACCOUNT",
        "SBATCH_QOS",
        "SLURM_NTASKS",
    ):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    adapter.submit(script(tmp_path / "job", Resources(60, account="asked")))
    seen = commands.env("sbatch")
    assert (seen["TZ"], seen["SBATCH_QOS"]) == ("Asia/Tokyo", "mine")
    assert not {"SBATCH_EXPORT", "SBATCH_JOB_NAME", "SBATCH_ACCOUNT", "SLURM_NTASKS"} & set(seen)


def test_no_answer_in_time_is_ambiguous(commands: Commands, tmp_path: Path) -> None:
    (commands.folder / "sbatch.hang").touch()
    assert isinstance(SlurmScheduler(submit_s=0.5).submit(script(tmp_path / "job")), Ambiguous)


@pytest.mark.parametrize("name", ["none", "folder", "text", "empty", "fifo", "a\nb"])
def test_what_is_no_script_is_refused_without_asking(
    commands: Commands, adapter: SlurmScheduler, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("echo\n")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    assert isinstance(adapter.submit(tmp_path / name), Refused)
    assert commands.calls("sbatch") == []


def test_without_slurm(
    adapter: SlurmScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = script(tmp_path / "job")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(EnvironmentProblem, match="sbatch"):
        adapter.submit(path)
    with pytest.raises(EnvironmentProblem, match="sinfo"):
        adapter.queues()
    with pytest.raises(EnvironmentProblem, match="scancel"):
        adapter.cancel(["1"])
    with pytest.raises(SchedulerUnreachable, match="squeue"):
        adapter.find("haabc")
    status = adapter.poll(["1"])["1"]
    assert (status.state, bool(status.missing)) == (JobState.UNKNOWN, True)
    assert adapter.accounts() == ()


def test_backslashes_are_written_as_the_version_reads_them(
    commands: Commands, adapter: SlurmScheduler, tmp_path: Path
) -> None:
    path = script(tmp_path / "a\\b")
    commands.answer("sbatch", "slurm 24.05.1\n17\n")
    assert adapter.submit(path) == Submitted("17")
    assert f"--output={tmp_path}/a\\\\b/out" in commands.calls("sbatch")[-1]
    commands.answer("sbatch", "slurm 25.11.0\n17\n")
    assert isinstance(adapter.submit(path), Refused)


def test_what_would_be_refused(commands: Commands, adapter: SlurmScheduler, tmp_path: Path) -> None:
    path = script(tmp_path / "job")
    commands.answer(
        "sbatch", err="sbatch: Job 9 to start at 2026-01-02T03:04:05 using 1 processors\n"
    )
    assert adapter.test_only(path) is None
    commands.answer("sbatch", err="allocation failure: Invalid qos specification\n", code=1)
    assert adapter.test_only(path) == Refused("allocation failure: Invalid qos specification")
    commands.answer("sbatch", err=f"allocation failure: {NO_CONTROLLER}", code=1)
    assert adapter.test_only(path) is None
    assert all(call[0] == "--test-only" for call in commands.calls("sbatch"))


# --- asking --------------------------------------------------------------------------------------


def test_one_command_where_the_controller_knows_all(
    commands: Commands, adapter: SlurmScheduler
) -> None:
    commands.answer("squeue", line("1", "RUNNING") + line("2", "FAILED", code="768"))
    seen = adapter.poll(["1", "2"], SINCE)
    assert {job_id: status.state for job_id, status in seen.items()} == {
        "1": JobState.RUNNING,
        "2": JobState.FAILED,
    }
    assert seen["2"].exit_code == 3
    assert len(commands.calls("squeue")) == 1
    assert commands.calls("sacct") == commands.calls("scontrol") == []
    assert f"--user={os.getuid()}" in commands.calls("squeue")[0]


def test_accounting_is_asked_for_the_others_only(
    commands: Commands, adapter: SlurmScheduler
) -> None:
    commands.answer("squeue", line("1", "RUNNING"))
    commands.answer("sacct", line("2", "TIMEOUT") + line("3", "CANCELLED by 0"))
    seen = adapter.poll(["1", "2", "3", "4"], SINCE)
    assert {job_id: status.state for job_id, status in seen.items()} == {
        "1": JobState.RUNNING,
        "2": JobState.TIMEOUT,
        "3": JobState.CANCELLED,
    }
    (call,) = commands.calls("sacct")
    assert {"--jobs=2,3,4", "--starttime=2026-01-02T02:04:05"} <= set(call)
    assert commands.env("sacct")["TZ"] == "UTC"


def test_thousands_of_jobs_are_asked_for_in_portions(
    commands: Commands, adapter: SlurmScheduler
) -> None:
    ids = [str(number) for number in range(100_000, 101_200)]
    commands.answer("sacct", "".join(line(job_id, "COMPLETED") for job_id in ids))
    assert len(adapter.poll(ids, SINCE)) == len(ids)
    asked = [word for call in commands.calls("sacct") for word in call if "--jobs=" in word]
    assert ",".join(word.removeprefix("--jobs=") for word in asked).split(",") == ids
    assert 1 < len(asked) <= 4


@pytest.mark.parametrize("unknown", ["", "0", "../x", "nonsense", "-1", "1 2", "1,2", "1;a b"])
def test_what_is_no_id_is_not_asked_for(
    commands: Commands, adapter: SlurmScheduler, unknown: str
) -> None:
    assert adapter.poll([unknown], SINCE) == {}
    adapter.cancel([unknown])
    assert not (commands.folder / "calls").exists()


def test_a_job_that_no_witness_knows_is_absent(commands: Commands, adapter: SlurmScheduler) -> None:
    assert adapter.poll(["9"], SINCE) == {}
    commands.answer("sacct", err=DISABLED, code=1)
    assert adapter.poll(["9"], SINCE) == {}
    (commands.folder / "sacct").unlink()
    assert adapter.poll(["9"], SINCE) == {}


@pytest.mark.parametrize(
    ("controller", "database"),
    [
        (NO_CONTROLLER, NO_DATABASE),
        (NO_CONTROLLER, DISABLED),
        (NO_CONTROLLER, ""),
        ("", NO_DATABASE),
    ],
)
def test_an_outage_makes_no_job_absent(
    commands: Commands, adapter: SlurmScheduler, controller: str, database: str
) -> None:
    commands.answer("squeue", err=controller, code=bool(controller))
    commands.answer("sacct", err=database, code=bool(database))
    status = adapter.poll(["9"], SINCE)["9"]
    assert status.state is JobState.UNKNOWN
    assert ("squeue" in status.missing) is bool(controller)
    assert ("sacct" in status.missing) is (database == NO_DATABASE)


def test_an_answer_with_an_error_is_not_complete(
    commands: Commands, adapter: SlurmScheduler
) -> None:
    commands.answer("sacct", line("1", "COMPLETED"), "sacct: error: slurmdbd: connection lost\n")
    seen = adapter.poll(["1", "2"], SINCE)
    assert seen["1"].state is JobState.COMPLETED
    assert (seen["2"].state, "connection lost" in seen["2"].missing) == (JobState.UNKNOWN, True)


def test_a_command_that_hangs_is_a_silent_witness(commands: Commands) -> None:
    (commands.folder / "squeue.hang").touch()
    (commands.folder / "scontrol.hang").touch()
    started = time.monotonic()
    status = SlurmScheduler(query_s=0.5).poll(["1", "2", "3"], SINCE)["1"]
    assert status.state is JobState.UNKNOWN
    assert "timed out" in status.missing
    assert time.monotonic() - started < 60
    assert len(commands.calls("scontrol")) == 1


def test_a_busy_controller_is_asked_for_single_jobs(
    commands: Commands, adapter: SlurmScheduler
) -> None:
    recorded = Path(__file__).parent / "fixtures/slurm/recorded/scontrol-running.json"
    found = json.loads(recorded.read_text(encoding="utf-8"))
    commands.answer("squeue", err=TIMED_OUT, code=1)
    commands.answer("sacct", err=NO_DATABASE, code=1)
    commands.answer("scontrol", found["stdout"])
    job_id = found["argv"][-1]
    status = adapter.poll([job_id], SINCE)[job_id]
    assert (status.state, status.node) == (JobState.RUNNING, "n1")
    commands.answer("scontrol", err="slurm_load_jobs error: Invalid job id specified\n", code=1)
    commands.answer("sacct", err=DISABLED, code=1)
    assert adapter.poll([job_id], SINCE) == {}


def test_jobs_of_another_cluster(
    commands: Commands, adapter: SlurmScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.answer("squeue", "CLUSTER: far\n" + line("7", "RUNNING"))
    assert adapter.poll(["7;far"], SINCE)["7;far"].state is JobState.RUNNING
    assert "--clusters=far" in commands.calls("squeue")[0]
    adapter.cancel(["7;far", "8"])
    assert commands.calls("scancel") == [["--clusters=far", "7"], ["8"]]
    monkeypatch.setenv("SBATCH_CLUSTERS", "far")
    commands.answer("squeue", line("7", "RUNNING", "haabc"))
    assert adapter.find("haabc") == ["7;far"]


def test_a_cluster_that_is_none(commands: Commands, adapter: SlurmScheduler) -> None:
    commands.answer("squeue", err="squeue: error: 'id' can't be reached now\n", code=1)
    commands.answer("scancel", err="scancel: error: 'id' can't be reached now\n", code=1)
    commands.answer("sacctmgr", "lab\n")
    assert adapter.poll(["1;id"]) == {}
    adapter.cancel(["1;id"])
    commands.answer("sacctmgr", err=NO_DATABASE, code=1)
    assert adapter.poll(["1;id"])["1;id"].state is JobState.UNKNOWN
    with pytest.raises(SchedulerUnreachable):
        adapter.cancel(["1;id"])


def test_jobs_are_found_in_both_memories(commands: Commands, adapter: SlurmScheduler) -> None:
    commands.answer("squeue", line("12", "RUNNING", "haabc") + line("13", "RUNNING", "haabcd"))
    commands.answer("sacct", line("11", "COMPLETED", "haabc") + line("12", "RUNNING", "haabc"))
    assert adapter.find("haabc", SINCE) == ["11", "12"]
    assert {"--name=haabc", "--starttime=2026-01-02T02:04:05"} <= set(commands.calls("sacct")[0])


@pytest.mark.parametrize("name", ["", "a,b", "a b", "$(id)", "-x"])
def test_no_job_of_ours_has_such_a_name(
    commands: Commands, adapter: SlurmScheduler, name: str
) -> None:
    assert adapter.find(name) == []
    assert not (commands.folder / "calls").exists()


def test_an_incomplete_search_is_no_answer(commands: Commands, adapter: SlurmScheduler) -> None:
    commands.answer("sacct", err=NO_DATABASE, code=1)
    commands.answer("scontrol", "MinJobAge               = 300 sec\n")
    with pytest.raises(SchedulerUnreachable, match="database"):
        adapter.find("haabc", SINCE)
    with pytest.raises(SchedulerUnreachable, match="database"):
        adapter.find("haabc")
    fresh = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 100))
    assert adapter.find("haabc", fresh) == []
    commands.answer("squeue", line("12", "RUNNING", "haabc"))
    assert adapter.find("haabc", SINCE) == ["12"]
    commands.answer("squeue", err=NO_CONTROLLER, code=1)
    commands.answer("sacct", line("12", "COMPLETED", "haabc"))
    with pytest.raises(SchedulerUnreachable, match="controller"):
        adapter.find("haabc", SINCE)


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "scancel: error: Kill job error on job id 7: Invalid job id specified\n",
        "scancel: error: Kill job error on job id 7: Job/step already completing or completed\n",
    ],
)
def test_cancelling_what_is_over_is_no_error(
    commands: Commands, adapter: SlurmScheduler, words: str
) -> None:
    commands.answer("scancel", err=words, code=1)
    adapter.cancel(["7"])
    assert commands.calls("scancel") == [["7"]]
    commands.answer("scancel", err=words + words.replace(words.split(": ")[-1], TIMED_OUT), code=1)
    with pytest.raises(SchedulerUnreachable, match="timed out"):
        adapter.cancel(["7", "8"])


def test_queues(commands: Commands, adapter: SlurmScheduler) -> None:
    commands.answer("sinfo", "debug*|up|30:00|2|4|16000|\n")
    (queue,) = adapter.queues()
    assert (queue.name, queue.default, queue.max_walltime_s) == ("debug", True, 1800)
    commands.answer("sinfo", err=NO_CONTROLLER, code=1)
    with pytest.raises(SchedulerUnreachable, match="connect failure"):
        adapter.queues()


def test_the_own_job(
    commands: Commands, adapter: SlurmScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapter.own_job() is None
    recorded = Path(__file__).parent / "fixtures/slurm/recorded/scontrol-running.json"
    found = json.loads(recorded.read_text(encoding="utf-8"))
    monkeypatch.setenv("SLURM_JOB_ID", found["argv"][-1])
    commands.answer("scontrol", found["stdout"])
    own = adapter.own_job()
    assert own is not None
    assert (own.id, own.asks.partition, own.asks.account) == (found["argv"][-1], "one", "proj")
    commands.answer("scontrol", err=NO_CONTROLLER, code=1)
    with pytest.raises(SchedulerUnreachable, match="connect failure"):
        adapter.own_job()


def test_a_guest_waits_between_queries(adapter: SlurmScheduler) -> None:
    assert (adapter.pace.poll_s, adapter.pace.settle_s) == (30.0, 120.0)


# --- the verdict ---------------------------------------------------------------------------------

SILENT = Witness(silent="squeue: timed out")


def row(word: str) -> Row:
    return Row("7", word, "0:0", "2026-01-02T03:04:05", "n1", "haone", "None")


def judged(controller: Witness, accounting: Sequence[Row]) -> JobStatus:
    found = verdict("7", "7", controller, Witness(tuple(accounting)))
    assert found is not None
    return found


def test_the_controller_is_right_about_a_job_it_knows() -> None:
    queued = Witness((row("PENDING"),))
    for stale in ("REQUEUED", "PREEMPTED", "NODE_FAIL", "COMPLETED"):
        assert judged(queued, [row(stale)]).state is JobState.QUEUED


@pytest.mark.parametrize("word", ["PENDING", "RUNNING", "REQUEUED", "SUSPENDED"])
def test_accounting_that_is_behind_ends_nothing(word: str) -> None:
    status = judged(Witness(), [row(word)])
    assert status.state is JobState.UNKNOWN
    assert status.reason.startswith(word)
    assert not status.missing


@pytest.mark.parametrize("word", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "CANCELLED by 7"])
def test_a_job_that_may_be_in_the_queue_again_has_not_ended(word: str) -> None:
    assert judged(SILENT, [row(word)]).state is JobState.UNKNOWN
    assert judged(SILENT, [row(word)]).missing
    assert judged(Witness(), [row(word)]).state.terminal


@pytest.mark.parametrize("word", ["COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "RUNNING"])
def test_accounting_speaks_for_a_silent_controller(word: str) -> None:
    status = judged(SILENT, [row(word)])
    assert status.state is JobState(word)
    assert status.missing == "squeue: timed out"
