"""What a job asks of Slurm: lines of a script, further options, the environment of sbatch."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.records import Resources
from hpcagent.schedulers.slurm_environment import clusters, for_queries, for_submission
from hpcagent.schedulers.slurm_own import own_job
from hpcagent.schedulers.slurm_request import directives, launcher, stated, stream

ASKED = Resources(walltime_s=90)
FIELDS = (
    "partition", "account", "qos", "reservation", "constraint", "gres", "licenses", "hint",
)  # fmt: skip


def words(line: str) -> list[str]:
    """What sbatch makes of a `#SBATCH` line: get_argument of src/sbatch/opt.c in Python."""
    assert line.startswith("#SBATCH ")
    found: list[str] = []
    word: str | None = None
    quote, escaped = "", False
    for char in line[len("#SBATCH") :]:
        if not quote and not escaped and char in " \t\v\f\r\n":
            if word is not None:
                found.append(word)
            word = None
        elif escaped:
            word, escaped = (word or "") + char, False
        elif char == "\\":
            escaped = True
        elif quote:
            quote, word = ("", word) if char == quote else (quote, (word or "") + char)
        elif char in "\"'":
            quote = char
        elif char == "#":
            break
        else:
            word = (word or "") + char
    assert not quote
    return [*found, word] if word is not None else found


def asked(resources: Resources, name: str = "haabc") -> list[str]:
    lines = directives(resources, name)
    assert all(len(words(line)) == 1 for line in lines)
    return [words(line)[0] for line in lines]


def test_everything_that_can_be_asked_for() -> None:
    resources = Resources(
        walltime_s=90_001,
        nodes=2,
        tasks_per_node=4,
        cpus_per_task=8,
        memory_bytes=5 * 2**30 + 1,
        partition="a,b",
        account="proj-1",
        qos="normal",
        reservation="maint_3",
        constraint="[rack1|rack2]&ib|[avx*2]",
        gres="gpu:a100:2,shard:1",
        licenses="solver@db:2",
        hint="nomultithread",
        extra=("--nice=100", "-G4", "--contiguous"),
        avoid_nodes=("n1", "n2"),
        after=("12", "13_2", "14;far"),
        warn_s=120,
    )
    assert asked(resources) == [
        "--job-name=haabc",
        "--time=1-01:01:00",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--cpus-per-task=8",
        "--mem=5121M",
        "--partition=a,b",
        "--account=proj-1",
        "--qos=normal",
        "--reservation=maint_3",
        "--constraint=[rack1|rack2]&ib|[avx*2]",
        "--gres=gpu:a100:2,shard:1",
        "--licenses=solver@db:2",
        "--hint=nomultithread",
        "--exclusive",
        "--exclude=n1,n2",
        "--dependency=afterany:12:13_2:14",
        "--signal=B:USR1@120",
        "--open-mode=append",
        "--nice=100",
        "--gpus=4",
        "--contiguous",
    ]


def test_one_of_several_jobs_can_be_waited_for() -> None:
    lines = asked(dataclasses.replace(ASKED, after=("12", "13_2"), after_any=True))
    assert "--dependency=afterany:12?afterany:13_2" in lines


def test_the_smallest_request() -> None:
    assert asked(dataclasses.replace(ASKED, exclusive=False)) == [
        "--job-name=haabc",
        "--time=0-00:02:00",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
        "--open-mode=append",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "0-00:01:00"), (60, "0-00:01:00"), (61, "0-00:02:00"), (86400, "1-00:00:00")],
)
def test_the_time_limit_is_never_shorter_than_asked(seconds: int, text: str) -> None:
    assert f"--time={text}" in asked(Resources(walltime_s=seconds))


def test_memory_is_of_a_node_or_of_a_cpu() -> None:
    assert "--mem-per-cpu=1M" in asked(Resources(60, memory_per_cpu_bytes=1))
    with pytest.raises(UsageError, match="exclude each other"):
        directives(Resources(60, memory_bytes=1, memory_per_cpu_bytes=1), "haabc")


@pytest.mark.parametrize(
    "change",
    [
        {"walltime_s": 0},
        {"nodes": 0},
        {"tasks_per_node": -1},
        {"cpus_per_task": 0},
        {"memory_bytes": 0},
        {"memory_per_cpu_bytes": -1},
        {"warn_s": -1},
        {"warn_s": 65536},
        {"after": ("x",)},
        {"after": ("1:2",)},
        {"avoid_nodes": ("n1 n2",)},
        {"avoid_nodes": ("/etc/passwd",)},
        {"hint": "help"},
    ],
)
def test_what_slurm_would_take_for_something_else(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        directives(dataclasses.replace(ASKED, **change), "haabc")  # type: ignore[arg-type]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        "a\nb",
        "a#b",
        "'a'",
        '"a"',
        "-x",
        "$(id)",
        "`id`",
        "a\\",
        "a\u2028b",
        "a\x00",
        "ä",
    ],
)
def test_hostile_values(field: str, value: str) -> None:
    with pytest.raises(UsageError):
        directives(dataclasses.replace(ASKED, **{field: value}), "haabc")


@given(st.sampled_from(FIELDS), st.text(max_size=30))
def test_a_value_is_refused_or_reaches_sbatch_whole(field: str, value: str) -> None:
    try:
        found = asked(dataclasses.replace(ASKED, **{field: value}))
    except UsageError:
        return
    assert f"--{field}={value}" in found


@given(st.text(max_size=60))
def test_a_comment_is_refused_or_reaches_sbatch_whole(text: str) -> None:
    word = f"--comment={text}"
    try:
        lines = directives(dataclasses.replace(ASKED, extra=(word,)), "haabc")
    except UsageError:
        assert re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text)
        return
    assert words(lines[-1]) == [word]


@given(st.text(max_size=40))
def test_a_job_name_is_refused_or_reaches_sbatch_whole(name: str) -> None:
    try:
        lines = directives(ASKED, name)
    except UsageError:
        return
    assert words(lines[0]) == [f"--job-name={name}"]
    assert not re.search(r"[\s,'\"\\#%]", name)


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("--partition=x", "--partition"),
        ("-p", "--partition"),
        ("-px", "--partition"),
        ("-p=x", "--partition"),
        ("--part=x", "--partition"),
        ("--acc=x", "--account"),
        ("-Ax", "--account"),
        ("-q", "--qos"),
        ("--mem=1G", "--mem"),
        ("--me=1G", "--mem"),
        ("--mem-per-c=1G", "--mem-per-cpu"),
        ("-Cx", "--constraint"),
        ("-c4", "--cores"),
        ("-s", "--shared"),
        ("--exclusive=user", "--shared"),
        ("-t", "wall"),
        ("--time=1", "wall"),
        ("--tim=1", "wall"),
        ("--time-min=1", "estimated"),
        ("-o/x", "sets it"),
        ("--output=x", "sets it"),
        ("-Jx", "sets it"),
        ("-D", "sets it"),
        ("--chdir=/", "sets it"),
        ("-N2", "sets it"),
        ("-n2", "sets it"),
        ("--signal=USR2", "sets it"),
        ("-d", "sets it"),
        ("--dep=afterok:1", "sets it"),
        ("--array=1-3", "hpcagent"),
        ("-a1-3", "hpcagent"),
        ("--wrap=id", "hpcagent"),
        ("-W", "hpcagent"),
        ("--wait", "hpcagent"),
        ("--export=NONE", "hpcagent"),
        ("--export-file=x", "hpcagent"),
        ("--parsable", "hpcagent"),
        ("--test-only", "hpcagent"),
        ("--quiet", "hpcagent"),
        ("-Q", "hpcagent"),
        ("-Mx", "SBATCH_CLUSTERS"),
        ("nice=100", "one option"),
        ("--", "one option"),
        (":", "one option"),
        ("--nice 100", "one option"),
        ("-HQ", "one by one"),
        ("", "one option"),
    ],
)
def test_options_that_are_not_a_users_to_give(word: str, instead: str) -> None:
    with pytest.raises(UsageError, match=re.escape(instead)):
        directives(dataclasses.replace(ASKED, extra=(word,)), "haabc")


def test_nodes_that_the_user_excludes_are_excluded_as_well() -> None:
    resources = dataclasses.replace(ASKED, extra=("-xn[7-9]",), avoid_nodes=("n1",))
    assert [word for word in asked(resources) if "exclude" in word] == ["--exclude=n[7-9],n1"]


def test_srun_is_told_the_cpus_of_a_task() -> None:
    resources = Resources(60, nodes=2, tasks_per_node=3, cpus_per_task=4)
    assert launcher(resources) == ["srun", "-N", "2", "-n", "6", "-c", "4"]
    assert launcher(Resources(60, cpus_per_task=64)) == []


def test_output_goes_where_the_path_says() -> None:
    assert stream("/a b/out") == "/a b/out"
    assert stream("/a%j/out") == "/a%%j/out"
    assert stream("/a\\%j/out", (22, 5)) == "/a\\\\%j/out"
    assert stream("/a\\b/out", (25, 11)) is None


# --- environments --------------------------------------------------------------------------------

ENVIRONMENTS = st.dictionaries(
    st.one_of(
        st.from_regex(r"[A-Z_]{1,12}", fullmatch=True),
        st.from_regex(
            r"(SLURM|SLURMD|SBATCH|SALLOC|SQUEUE|SACCT|SINFO|PMI|PMIX|PMI2|OMPI|OMPI_MCA)_[A-Z_]{1,9}",
            fullmatch=True,
        ),
        st.sampled_from(
            [
                "SLURM_CONF",
                "SLURM_JOB_ID",
                "SBATCH_ACCOUNT",
                "SBATCH_PARTITION",
                "SBATCH_EXPORT",
                "SLURM_TIME_FORMAT",
                "SBATCH_JOB_NAME",
                "SBATCH_MEM_BIND",
                "TZ",
                "LC_ALL",
            ]
        ),
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=5),
)
STATED = st.frozensets(st.sampled_from(["--account", "--partition", "--mem", "--time"]))


@given(ENVIRONMENTS, STATED)
def test_nothing_of_an_outer_job_reaches_a_submission(
    env: dict[str, str], on: frozenset[str]
) -> None:
    kept = for_submission(env | {"SLURM_JOB_ID": "7"}, on)
    assert kept.items() <= env.items()
    reach = {"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_SOCKET"}
    for name in kept:
        assert name in reach or not re.match("SLURM_|SLURMD_|PMI|OMPI_", name)


@given(ENVIRONMENTS, STATED)
def test_what_is_the_users_own_survives(env: dict[str, str], on: frozenset[str]) -> None:
    kept = for_submission(env, on)
    for name, value in env.items():
        if not re.match("SLURM|SBATCH|PMI|OMPI", name) or name == "SLURM_CONF":
            assert kept[name] == value
    for name, option in (("SBATCH_ACCOUNT", "--account"), ("SBATCH_PARTITION", "--partition")):
        if name in env:
            assert (kept.get(name) == env[name]) is (option not in on)
    assert not {"SBATCH_EXPORT", "SBATCH_JOB_NAME", "SBATCH_TIMELIMIT"} & set(kept)


@given(ENVIRONMENTS)
def test_nothing_steers_what_queries_print(env: dict[str, str]) -> None:
    kept = for_queries(env)
    assert not any(re.match("SQUEUE_|SACCT_|SINFO_|SLURM_TIME_FORMAT", name) for name in kept)
    assert (kept["TZ"], kept["LC_ALL"]) == ("UTC", "C")
    assert kept.get("SLURM_CONF") == env.get("SLURM_CONF")


def test_clusters_that_jobs_are_sent_to() -> None:
    assert clusters({}) == ("",)
    assert clusters({"SLURM_CLUSTERS": "a"}) == ("a",)
    assert clusters({"SBATCH_CLUSTERS": "b,c", "SLURM_CLUSTERS": "a"}) == ("b", "c")


def test_options_that_a_script_states() -> None:
    resources = dataclasses.replace(ASKED, account="a", extra=("--comment=x y",))
    script = "\n".join(["#!/bin/bash", *directives(resources, "ha"), "set -u", "#SBATCH --qos=x"])
    assert {"--account", "--comment", "--time"} <= stated(script)
    assert "--qos" not in stated(script)


# --- the own job ---------------------------------------------------------------------------------

LINE = (
    "JobId=19 JobName=a b UserId=ada(1000) GroupId=ada(1000) MCS_label=N/A Priority=1 Nice=0 "
    "Account=proj QOS=normal JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 "
    "BatchFlag=1 Reboot=0 ExitCode=0:0 RunTime=00:00:08 TimeLimit=1-02:00:00 TimeMin=N/A "
    "SubmitTime=2026-01-02T03:04:00 EligibleTime=2026-01-02T03:04:00 "
    "StartTime=2026-01-02T03:04:05 EndTime=2026-01-03T05:04:05 Deadline=N/A Partition=both "
    "AllocNode:Sid=login:7 ReqNodeList=(null) ExcNodeList=(null) NodeList=n[1-2] BatchHost=n1 "
    "NumNodes=2 NumCPUs=8 NumTasks=4 CPUs/Task=2 ReqB:S:C:T=0:0:*:* MinCPUsNode=4 "
    "MinMemoryNode=1.50G MinTmpDiskNode=0 Features=avx2 DelayBoot=00:00:00 Reservation=week "
    "OverSubscribe=NO Contiguous=0 Licenses=solver:1 Network=(null) "
    "Command=/home/ada/x Account=evil WorkDir=/home/ada StdErr=/home/ada/err StdIn=/dev/null "
    "StdOut=/home/ada/out Power= TresPerNode=gres:gpu:2\n"
)


def test_what_a_successor_would_ask_for() -> None:
    found = own_job("19", LINE, datetime(2026, 1, 3, 5, 0, 5, tzinfo=UTC))
    assert found is not None
    assert found.left_s == 240.0
    assert found.asks == Resources(
        walltime_s=26 * 3600,
        nodes=2,
        tasks_per_node=2,
        cpus_per_task=2,
        memory_bytes=3 * 2**29,
        partition="both",
        account="proj",
        qos="normal",
        reservation="week",
        constraint="avx2",
        gres="gpu:2",
        licenses="solver:1",
    )
    directives(found.asks, "haabc")


def test_another_job_is_not_the_own_one() -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)
    assert own_job("1", LINE, now) is None
    assert own_job("19", "", now) is None


@given(st.text(max_size=80))
def test_no_own_job_is_too_strange(text: str) -> None:
    now = datetime(2026, 1, 3, tzinfo=UTC)
    own_job("1", f"JobId=1 {text} TimeLimit={text}", now)
