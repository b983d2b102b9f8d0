"""Slurm's answers: captures of a real 22.05, cases from its documentation, and arbitrary text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpcagent.records import JobState, Refused, Submitted
from hpcagent.schedulers.slurm_answers import (
    Row,
    accounts,
    memory_age_s,
    named,
    queues,
    row_of,
    rows,
    seconds,
    shown_jobs,
)
from hpcagent.schedulers.slurm_reasons import explain, told
from hpcagent.schedulers.slurm_states import concerns, exit_code, state_of
from hpcagent.schedulers.slurm_submission import submission
from hpcagent.shell import Ran

FIXTURES = Path(__file__).parent / "fixtures" / "slurm"
SQUEUE = (
    *("JobArrayID", "State", "exit_code", "SubmitTime", "NodeList", "Name", "Reason", "JobArrayID"),
)
SACCT = ("JobID", "State", "ExitCode", "Submit", "NodeList", "JobName", "Reason", "JobID")


def capture(name: str) -> Ran:
    found = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    code = found["exit_code"]
    problem = "timed out after 60 s" if code is None else ""
    return Ran(tuple(found["argv"]), code, found["stdout"], found["stderr"], problem)


def columns(name: str, wanted: tuple[str, ...]) -> str:
    """The lines of a capture with the columns that the adapter asks for, in its order."""
    ran = capture(name)
    option = "-O" if "-O" in ran.argv else "-o"
    order = [field.rstrip(":|") for field in ran.argv[ran.argv.index(option) + 1].split(",")]
    lines = []
    for line in ran.stdout.splitlines():
        fields = dict(zip(order, line.split("|"), strict=False))
        lines.append("|".join(fields[field] for field in wanted))
    return "\n".join(lines) + "\n"


def of_squeue(name: str) -> Row:
    """The row of the job of this name among all that were recorded."""
    listing = "recorded/squeue-long-format"
    (found,) = [row for row in rows(columns(listing, SQUEUE)) if row.name == name]
    assert row_of(found.id, rows(columns(listing, SQUEUE))) == found
    return found


# --- submission ----------------------------------------------------------------------------------

CAPTURED = sorted(path.stem for path in (FIXTURES / "recorded").glob("sbatch-*.json"))


@pytest.mark.parametrize("name", CAPTURED)
def test_recorded_submissions(name: str) -> None:
    ran = capture(f"recorded/{name}")
    answer = submission(ran)
    told_id = re.search(r"^(?:Submitted batch job )?(\d+(?:;\w+)?)$", ran.stdout, re.MULTILINE)
    if ran.exit_code == 0 and told_id is not None:
        assert answer == Submitted(told_id[1])
    elif "refused" in name:
        assert isinstance(answer, Refused)
        assert answer.words
    else:
        assert not isinstance(answer, Submitted)


@pytest.mark.parametrize("name", ["controller-down", "everything-down", "munge-down"])
def test_no_answer_is_no_refusal(name: str) -> None:
    assert type(submission(capture(f"recorded/sbatch-{name}"))).__name__ == "Ambiguous"


def ran(stdout: str = "", stderr: str = "", code: int | None = 0, problem: str = "") -> Ran:
    return Ran(("sbatch",), code, stdout, stderr, problem)


@pytest.mark.parametrize(
    ("stdout", "job_id"),
    [
        ("17\n", "17"),
        ("17;far\n", "17;far"),
        ("Submitted batch job 17\n", "17"),
        ("Submitted batch job 17 on cluster far\n", "17;far"),
        ("*** Welcome ***\n  maintenance on 2026-12-01\n17\n", "17"),
        ("17\nYou have used 93 % of your budget.\n", "17"),
    ],
)
def test_the_id_stands_on_a_line_of_its_own(stdout: str, job_id: str) -> None:
    assert submission(ran(stdout, "sbatch: warning: no account given\n")) == Submitted(job_id)


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    "answer",
    [
        ran("", ""),
        ran("2026\n17\n"),
        ran("0\n"),
        ran("job 17 queued\n"),
        ran("", "", None, "timed out after 300 s"),
        ran("", "", -9),
        ran("", "", 1),
        ran("", "wrapper: cannot log the submission\n", 1),
        ran("17\n", FAILED + "Invalid account or account/partition combination specified\n", 1),
        ran("", FAILED + "Socket timed out on send/recv operation\n", 1),
        ran("", FAILED + "Unable to contact slurm controller (connect failure)\n", 1),
        ran("", FAILED + "Zero Bytes were transmitted or received\n", 1),
        ran("", FAILED + "Unexpected message received\n", 1),
        ran("", FAILED + "Protocol authentication error\n", 1),
        ran("", FAILED + "Invalid authentication credential\n", 1),
        ran("", FAILED + "Requested nodes are busy\n", 1),
        ran("", FAILED + "Slurm backup controller in standby mode\n", 1),
        ran("", FAILED + "Connection refused\n", 1),
        ran("", "sbatch: fatal: Could not establish a configuration source\n", 1),
    ],
)
def test_what_may_have_been_queued_is_ambiguous(answer: Ran) -> None:
    assert type(submission(answer)).__name__ == "Ambiguous"


def test_a_refusal_keeps_the_words_of_a_site() -> None:
    words = "sbatch: error: Projects ended: see the wiki\n" + FAILED + "Unspecified error\n"
    answer = submission(ran("", words, 1))
    assert isinstance(answer, Refused)
    assert answer.words.startswith("Projects ended: see the wiki; ")


# --- states --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("CANCELLED by 1000", JobState.CANCELLED),
        ("CANCELLED+", JobState.CANCELLED),
        ("OUT_OF_ME+", JobState.OUT_OF_MEMORY),
        ("NODE_FAIL", JobState.NODE_FAIL),
        ("BOOT_FAIL", JobState.BOOT_FAIL),
        ("DEADLINE", JobState.DEADLINE),
        ("PREEMPTED", JobState.PREEMPTED),
        ("TIMEOUT", JobState.TIMEOUT),
        ("COMPLETI+", JobState.COMPLETING),
        ("COMPLET+", JobState.UNKNOWN),
        ("C+", JobState.UNKNOWN),
        ("+", JobState.UNKNOWN),
        ("REQUEUED", JobState.QUEUED),
        ("REQUEUE_FED", JobState.QUEUED),
        ("REQUEUE_HOLD", JobState.HELD),
        ("SPECIAL_EXIT", JobState.HELD),
        ("RESV_DEL_HOLD", JobState.HELD),
        ("RESIZING", JobState.RUNNING),
        ("SIGNALING", JobState.RUNNING),
        ("CONFIGURING", JobState.RUNNING),
        ("STAGE_OUT", JobState.COMPLETING),
        ("STOPPED", JobState.SUSPENDED),
        ("REVOKED", JobState.UNKNOWN),
        ("DOING_SOMETHING_NEW", JobState.UNKNOWN),
        ("completed", JobState.UNKNOWN),
        ("", JobState.UNKNOWN),
    ],
)
def test_words_of_states(word: str, state: JobState) -> None:
    assert state_of(word) is state


@pytest.mark.parametrize(
    "reason",
    [
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "launch failed requeued held",
        "launch_failed_requeued_held",
        "job requeued in held state",
    ],
)
def test_a_pending_job_that_is_held(reason: str) -> None:
    assert state_of("PENDING", reason) is JobState.HELD
    assert state_of("RUNNING", reason) is JobState.RUNNING


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [
        (JobState.COMPLETED, "0:0", 0),
        (JobState.FAILED, "3:0", 3),
        (JobState.FAILED, "0:9", 137),
        (JobState.FAILED, "768", 3),
        (JobState.FAILED, "9", 137),
        (JobState.FAILED, "137:0", 137),
        (JobState.CANCELLED, "0:15", 143),
        (JobState.TIMEOUT, "0:0", None),
        (JobState.TIMEOUT, "0", None),
        (JobState.OUT_OF_MEMORY, "0:125", None),
        (JobState.RUNNING, "0:0", None),
        (JobState.COMPLETED, "", None),
        (JobState.COMPLETED, "x", None),
    ],
)
def test_exit_codes(state: JobState, text: str, code: int | None) -> None:
    assert exit_code(state, text) == code


@pytest.mark.parametrize(
    ("shown", "asked", "matches"),
    [
        ("12", "12", True),
        ("12", "1", False),
        ("1", "12", False),
        ("12_3", "12", True),
        ("12_3", "12_3", True),
        ("12_3", "12_33", False),
        ("12_[0-3]", "12_3", True),
        ("12_[0-3]", "12_4", False),
        ("12_[0-2,7,10-20:5%2]", "12_15", True),
        ("12_[0-2,7,10-20:5%2]", "12_16", False),
        ("12_[0-3]", "12", True),
        ("12_[0-3]", "112_3", False),
        ("12+1", "12", True),
        ("12+1", "12+1", True),
        ("12+1", "12+0", False),
        ("nonsense", "12", False),
    ],
)
def test_ids_of_parts(shown: str, asked: str, matches: bool) -> None:
    assert concerns(shown, asked) is matches


# --- squeue and sacct ----------------------------------------------------------------------------

ENDS = [
    ("completed", JobState.COMPLETED, 0, 0),
    ("failed", JobState.FAILED, 3, 3),
    ("signalled", JobState.FAILED, 137, 137),
    ("terminated", JobState.FAILED, 143, 143),
    ("not-found", JobState.FAILED, 127, 127),
    # The controller keeps the batch step's signal, accounting the job's own exit code.
    ("cancelled", JobState.CANCELLED, 143, None),
    ("cancelled-pending", JobState.CANCELLED, None, None),
]


@pytest.mark.parametrize(("name", "state", "live", "recorded"), ENDS)
def test_recorded_ends(name: str, state: JobState, live: int | None, recorded: int | None) -> None:
    status = of_squeue(name).status("7")
    assert (status.id, status.state, status.exit_code) == ("7", state, live)
    (row,) = rows(columns(f"recorded/sacct-x-{name}", SACCT))
    status = row.status("7")
    assert (status.state, status.exit_code) == (state, recorded)
    assert status.node == ("" if name == "cancelled-pending" else "n1")


def test_recorded_waits() -> None:
    found = rows(columns("recorded/squeue-waiting-long-format", SQUEUE))
    told_of = {row.reason: row.status(row.id) for row in found}
    assert told_of["JobHeldUser"].state is told_of["JobHeldAdmin"].state is JobState.HELD
    assert told_of["None"].state is JobState.RUNNING
    assert told_of["None"].reason == ""
    waiting = {word for word, status in told_of.items() if status.state is JobState.QUEUED}
    assert {"PartitionDown", "Resources", "Priority", "Dependency", "BeginTime"} < waiting
    hopeless = {word for word, status in told_of.items() if status.hopeless}
    assert hopeless == {"DependencyNeverSatisfied", "QOSMaxWallDurationPerJobLimit"}
    assert all(told_of[word].reason.startswith(f"{word}: ") for word in waiting)


def test_a_reason_of_the_queue_is_not_told_of_a_job_that_ran() -> None:
    text = "10_3|FAILED|3:0|2026-11-22T05:29:00|n1|haone|JobArrayTaskLimit|10_3\n"
    assert rows(text)[0].status("10_3").reason == ""
    text = text.replace("JobArrayTaskLimit", "NonZeroExitCode")
    assert rows(text)[0].status("10_3").reason.startswith("NonZeroExitCode: ")


REQUEUED = sorted(path.stem for path in (FIXTURES / "recorded").glob("sacct-duplicates-*.json"))


@pytest.mark.parametrize("name", REQUEUED)
def test_the_latest_record_of_a_requeued_job_counts(name: str) -> None:
    found = rows(columns(f"recorded/{name}", SACCT))
    if not found:
        assert name.endswith("-none")
        return
    assert {row.id for row in found} == {found[0].id}
    latest = row_of(found[0].id, list(reversed(found)))
    assert latest is not None
    assert latest.submitted == max(row.submitted for row in found)
    assert row_of(found[0].id, found) == found[-1]


def test_a_whole_array_is_as_alive_as_its_liveliest_task() -> None:
    text = (
        "12_[2-3]|PENDING|0|2026-01-02T03:04:05||haone|Priority|12_[2-3]\n"
        "12_0|COMPLETED|0|2026-01-02T03:04:05|n1|haone|None|12_0\n"
        "12_1|RUNNING|0|2026-01-02T03:04:05|n2|haone|None|12_1\n"
    )
    found = rows(text)
    state = {asked: row.state for asked in ("12", "12_0", "12_3") if (row := row_of(asked, found))}
    assert state == {
        "12": JobState.RUNNING,
        "12_0": JobState.COMPLETED,
        "12_3": JobState.QUEUED,
    }
    over = rows(text.replace("PENDING", "CANCELLED").replace("RUNNING", "COMPLETED"))
    ended = row_of("12", over)
    assert ended is not None
    assert ended.state is JobState.CANCELLED


def test_a_steps_row_is_not_its_job() -> None:
    assert rows("7.batch|COMPLETED|0:0|2026-01-02T03:04:05|n1|haone||7.batch\n") == ()


def test_an_unknown_word_is_no_end_and_says_so() -> None:
    row = rows("7|VANISHED|0:0|2026-01-02T03:04:05|n1|haone|None|7\n")[0]
    status = row.status("7")
    assert status.state is JobState.UNKNOWN
    assert "VANISHED" in status.reason


def test_names_are_compared_exactly_and_refused_submissions_left_out() -> None:
    text = (
        "9|COMPLETED|0|2026-01-02T03:04:06|n1|haone|None|9\n"
        "8|COMPLETED|0|2026-01-02T03:04:05|n1|haone|None|8\n"
        "7|COMPLETED|0|2026-01-02T03:04:05|n1|HAONE|None|7\n"
        "6|FAILED|1:0|2026-01-02T03:04:05|None assigned|haone|None|6\n"
        "5_[0-3]|PENDING|0|2026-01-02T03:04:07||haone|None|5_[0-3]\n"
        "5_4|RUNNING|0|2026-01-02T03:04:07|n1|haone|None|5_4\n"
    )
    assert named("haone", rows(text)) == ["8", "9", "5"]


WORDS = ("RUNNING", "PENDING", "COMPLETING", "COMPLETED", "FAILED", "CANCELLED by 7", "SUSPENDED")
ROWS = st.lists(
    st.builds(
        Row,
        id=st.one_of(
            st.integers(1, 4000).map(str), st.integers(1, 99).map(lambda n: f"{n}_{n % 7}")
        ),
        word=st.sampled_from(WORDS),
        exit=st.sampled_from(("0:0", "3:0", "0:9", "768", "")),
        submitted=st.just("2026-01-02T03:04:05"),
        nodes=st.sampled_from(("", "n1", "n[1-2]")),
        name=st.sampled_from(("haone", "two words", "ä")),
        reason=st.sampled_from(("None", "Priority", "a|b", "ReqNodeNotAvail, May be reserved")),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row.id,
)


def written(row: Row, end: str = "|") -> str:
    fields = (row.id, row.word, row.exit, row.submitted, row.nodes, row.name, row.reason, row.id)
    return "|".join(fields) + end


@given(ROWS, st.sampled_from(("", "|")))
def test_rows_are_read_as_they_were_written(jobs: list[Row], end: str) -> None:
    assert rows("\n".join(written(row, end) for row in jobs)) == tuple(jobs)


@given(
    ROWS,
    st.data(),
    st.text(st.characters(exclude_characters="|", exclude_categories=("Cs",)), max_size=40),
    st.booleans(),
)
def test_a_broken_answer_never_ends_a_job(
    jobs: list[Row], data: st.DataObject, banner: str, cut: bool
) -> None:
    """A banner in the middle, or the end missing: no job seems over that is not."""
    text = "\n".join(written(row) for row in jobs)
    place = data.draw(st.integers(0, len(text)))
    broken = text[:place] if cut else text[:place] + banner + text[place:]
    truth = {row.id: row.state for row in jobs}
    for row in rows(broken):
        assert row.id in truth
        assert not row.state.terminal or row.state is truth[row.id]


# --- anything at all -----------------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r"[0-9A-Z_|:*+\[\]=-]{0,60}", fullmatch=True),
    ),
    max_size=6,
).map("\n".join)


@given(LINES)
def test_no_text_is_too_strange(text: str) -> None:
    for row in (*rows(text), *shown_jobs(text)):
        row.status(row.id)
        concerns(row.id, text)
    queues(text)
    accounts(text)
    seconds(text)
    memory_age_s(text)
    explain(text)
    told(text, True)
    state_of(text, text)
    exit_code(JobState.FAILED, text)
    concerns(text, text)
    submission(ran(text, text, 0))
    submission(ran(text, text, 1))


@given(LINES)
def test_strange_text_ends_no_job(text: str) -> None:
    assume(not any(word in text for word in WORDS))
    assert not any(row.state.terminal for row in rows(text))


# --- scontrol, sinfo and the rest ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state", "code"),
    [
        ("completed", JobState.COMPLETED, 0),
        ("failed", JobState.FAILED, 3),
        ("signalled", JobState.FAILED, 137),
        ("running", JobState.RUNNING, None),
        ("held-user", JobState.HELD, None),
        ("dependency-never", JobState.QUEUED, None),
    ],
)
def test_recorded_single_records(name: str, state: JobState, code: int | None) -> None:
    answer = capture(f"recorded/scontrol-{name}")
    found = shown_jobs(answer.stdout)
    assert [row.id for row in found] == [answer.argv[-1]]
    status = found[0].status(found[0].id)
    assert (status.state, status.exit_code) == (state, code)
    assert status.hopeless is (name == "dependency-never")
    assert status.name == name


@pytest.mark.parametrize("name", ["completed", "failed", "cancelled-pending"])
def test_each_witness_tells_whose_job_it_is(name: str) -> None:
    """An id may have been given out again: the name tells."""
    (recorded,) = rows(columns(f"recorded/sacct-x-{name}", SACCT))
    (single,) = shown_jobs(capture(f"recorded/scontrol-{name}").stdout)
    told_names = {row.status("7").name for row in (of_squeue(name), recorded, single)}
    assert told_names == {name}


def test_a_name_is_read_whatever_the_reason_holds() -> None:
    row = rows("7|PENDING|0:0|2026-01-02T03:04:05||haone|Held | by|root|7\n")[0]
    assert (row.name, row.reason) == ("haone", "Held | by|root")


ENDED = [
    path.stem.removeprefix("sacct-x-")
    for path in sorted((FIXTURES / "recorded").glob("sacct-x-*.json"))
    if re.search(r"cancelled|completed|derived|failed|found|memory|signalled|terminated", path.stem)
    and path.with_name(path.name.replace("sacct-x-", "scontrol-")).exists()
]


@pytest.mark.parametrize("name", ENDED)
def test_controller_and_accounting_agree_on_an_end(name: str) -> None:
    (told_single,) = shown_jobs(capture(f"recorded/scontrol-{name}").stdout)
    (recorded,) = rows(columns(f"recorded/sacct-x-{name}", SACCT))
    assert told_single.state is recorded.state
    assert recorded.state.terminal
    assert told_single.nodes == recorded.nodes


def test_parts_in_single_records() -> None:
    text = capture("recorded/scontrol-running").stdout
    number = capture("recorded/scontrol-running").argv[-1]
    array = text.replace(f"JobId={number} ", "JobId=15 ArrayJobId=12 ArrayTaskId=3 ", 1)
    hetero = text.replace(f"JobId={number} ", "JobId=15 HetJobId=14 HetJobOffset=1 ", 1)
    waiting = text.replace(f"JobId={number} ", "JobId=12 ArrayJobId=12 ArrayTaskId=0-3%2 ", 1)
    assert [row.id for row in shown_jobs(array + hetero + waiting)] == [
        "12_3",
        "14+1",
        "12_[0-3%2]",
    ]


def test_queues_are_put_together_by_partition() -> None:
    text = (
        "Welcome to the cluster\n"
        "debug*|up|30:00|2|4|16000|\n"
        "big|up|1-12:00:00|10|64+|256000+|\n"
        "big|up|1-12:00:00|3|128|512000|\n"
        "old|inact|infinite|5|16|0|\n"
        "broken|up|infin\n"
    )
    debug, big, old = queues(text)
    assert (debug.name, debug.default, debug.nodes, debug.cpus_per_node) == ("debug", True, 2, 4)
    assert (debug.max_walltime_s, debug.memory_bytes) == (1800, 16000 * 2**20)
    assert (big.nodes, big.cpus_per_node, big.memory_bytes) == (13, 64, 256000 * 2**20)
    assert big.max_walltime_s == 36 * 3600
    assert (old.available, old.max_walltime_s, old.memory_bytes) == (False, None, None)
    assert "inact" in old.why_not
    assert debug.available and not debug.why_not


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("infinite", None), ("UNLIMITED", None), ("n/a", None), ("", None), ("1-2-3", None),
        ("30", 1800), ("2:00", 120), ("1:30:00", 5400), ("1-00:00:00", 86400), ("2-12", 216000),
        ("1-06:30", 109800),
    ],
)  # fmt: skip
def test_time_limits(text: str, value: int | None) -> None:
    assert seconds(text) == value


def test_what_the_controller_remembers() -> None:
    text = "MinJobAge               = 300 sec\nMpiDefault              = none\n"
    assert memory_age_s(f"Configuration data as of now\n{text}") == 300
    assert memory_age_s("") == 0


def test_accounts_once_each() -> None:
    assert accounts("proj|\nother\nproj\n\nnot an account\n") == ("proj", "other")


# --- reasons -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words", "hopeless"),
    [
        ("PartitionTimeLimit", "over the partition's limit", True),
        ("QOSMaxWallDurationPerJobLimit", "one job", True),
        ("AssocMaxCpuMinutesPerJobLimit", "one job", True),
        ("QOSMinGRES", "less than", True),
        ("DependencyNeverSatisfied", "ended otherwise", True),
        ("BadConstraints", "no node", True),
        ("InvalidQOS", "QOS", True),
        ("AssocGrpCPUMinutesLimit", "used up", False),
        ("QOSGrpNodeLimit", "limit now", False),
        ("QOSMaxJobsPerUserLimit", "limit now", False),
        ("AssocMaxJobsLimit", "limit now", False),
        ("MaxCpuPerAccount", "limit now", False),
        ("Dependency", "another job", False),
        ("ReqNodeNotAvail, Reserved for maintenance", "maintenance", False),
        ("ReqNodeNotAvail,_Reserved_for_maintenance", "maintenance", False),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "down, drained or reserved", False),
        ("ReqNodeNotAvail(Unavailable:n[1-2])", "down, drained or reserved", False),
        ("Job's account not permitted to use this partition (a allows b not c)", "account", True),
        ("Job's_QOS_not_permitted_to_use_this_partition_(a_allows_b_not_c)", "QOS", True),
        ("Job is at or exceeds QOS q's group wall limit of 60 with 61", "used up", False),
        ("PartitionDown", "down", False),
        ("PartitionInactive", "inactive", False),
        ("JobHeldAdmin", "administrator", False),
        ("Licenses", "licence", False),
        ("Reservation", "reservation", False),
        ("launch failed requeued held", "held", False),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
            "partitions",
            "down",
            False,
        ),
        ("SomethingOfTheFuture", "", False),
        ("(null)", "", False),
        ("None", "", False),
    ],
)
def test_reasons(reason: str, words: str, hopeless: bool) -> None:
    explained = explain(reason)
    assert words in explained.words
    assert bool(words) == bool(explained.words)
    assert explained.hopeless is hopeless


def test_a_reason_without_an_explanation_is_told_as_it_is() -> None:
    assert told("SomethingOfTheFuture", True) == "SomethingOfTheFuture"
    assert told("None", True) == told("(null)", True) == told("", True) == ""
