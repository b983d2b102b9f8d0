"""What PBS answered, read as it should be: recorded answers, and any text at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab.pbs_captures import Capture, captures

from hpcagent.records import Ambiguous, JobState, Refused, Submitted
from hpcagent.schedulers import pbs_answers, pbs_places, pbs_states, pbs_text
from hpcagent.shell import Ran

S = JobState

# The job of a capture -> state, exit code, words that its reason must have.
ENDS: dict[str, tuple[JobState, int | None, str]] = {
    "job-exit0-xf": (S.COMPLETED, 0, "finished"),
    "job-exit3-xf": (S.FAILED, 3, "failed"),
    "job-exit255-xf": (S.FAILED, 255, "failed"),
    "job-kill9-xf": (S.FAILED, 128 + 9, "failed"),
    "job-segv-xf": (S.FAILED, 128 + 11, "failed"),
    "job-term-xf": (S.FAILED, 128 + 15, "failed"),
    "job-walltime-xf": (S.TIMEOUT, None, "exceeded resource walltime"),
    "job-walltime-trap-xf": (S.TIMEOUT, None, "wall time was over"),
    "job-mem-xf": (S.OUT_OF_MEMORY, None, "exceeded resource mem"),
    "job-cput-xf": (S.FAILED, 128 + 9, "failed"),
    "job-delete-running-xf": (S.CANCELLED, 128 + 15, "terminated by tuner@pbs01"),
    "job-delete-running-trap-xf": (S.CANCELLED, 128 + 15, "terminated by tuner"),
    "qstat-after-force": (S.CANCELLED, 128 + 9, "terminated by tuner"),
    "job-delete-queued-xf": (S.CANCELLED, None, "deleted before it ran"),
    "job-dependency-on-unknown-xf": (S.CANCELLED, None, "dependency cannot be met: afterok:99999"),
    "job-dep-ok-on-bad-xf": (S.CANCELLED, None, "dependency cannot be met"),
    "job-dep-notok-on-bad-xf": (S.COMPLETED, 0, ""),
    "job-badshebang-xf": (S.FAILED, 127, "failed"),
    "job-crlf-xf": (S.FAILED, 127, "failed"),
    "job-cmd-not-found-xf": (S.FAILED, 254, "failed"),
    "job-noshebang-xf": (S.FAILED, 4, "failed"),
    "job-python-xf": (S.FAILED, 5, "failed"),
    "job-prologue-1-xf": (S.BOOT_FAIL, None, "prologue"),
    "momdown-requeued-norerun-f": (S.NODE_FAIL, None, "connection to its node was lost"),
    "momup-norerun": (S.NODE_FAIL, None, "lost"),
    "job-array-small-xf": (S.FAILED, 1, "failed"),
    "job-array-env-xf": (S.COMPLETED, 0, "finished"),
    "qstat-xf-array-mixed-done": (S.FAILED, 1, "failed"),
    "qstat-array-mixed-finished-subjob-xf": (S.FAILED, 1, "failed"),  # X: its array goes on
    "qstat-after-usr1": (S.FAILED, 128 + 10, "failed"),
    "job-bad-output-dir-xf": (S.COMPLETED, 0, ""),
    "up-again-ends-while-down": (S.FAILED, 9, ""),
    "qstat-odd-cwd-f": (S.COMPLETED, 0, "finished"),
    "job-env-xf": (S.COMPLETED, 0, "finished"),
}
# The job of a capture -> state, words that its reason must have.
LIVES: dict[str, tuple[JobState, str]] = {
    "qstat-fw": (S.RUNNING, "Job run at"),  # with Exit_status -20 of an earlier start
    "qstat-after-rerun-f": (S.RUNNING, ""),  # with -11
    "momdown-requeued-f": (S.QUEUED, "Not enough free nodes"),  # with -20
    "qstat-exiting-f": (S.COMPLETING, ""),  # with 3
    "qstat-array-mixed-f": (S.RUNNING, "Began"),  # B, with 1
    "job-prologue-2-f": (S.HELD, "only an operator can release it"),  # with -3
    "qstat-suspended-f": (S.SUSPENDED, ""),
    "job-held-f": (S.HELD, "held by the user"),
    "job-dep-f": (S.QUEUED, "waits for other jobs: afterok:1.pbs01@pbs01"),
    "job-waiting-f": (S.QUEUED, "waits until Thu Dec 31 23:59:00 2026"),
    "job-stopped-queue-f": (S.QUEUED, "until an operator says so"),
    "qstat-f-can-never-run": (S.QUEUED, "no node fits now"),
    "job-can-never-run-f": (S.QUEUED, "ncpus (R: 64 A: 32 T: 32)"),
    "qstat-over-max-run-f": (S.QUEUED, "running job limit"),
    "qstat-no-scheduling-f": (S.QUEUED, ""),
    "job-not-running-f": (S.QUEUED, "No available resources"),
    "momdown-qstat-after-qdel": (S.RUNNING, ""),
    "momdown-qstat-f": (S.RUNNING, ""),
    "qstat-array-subjob-f": (S.RUNNING, ""),
    "qstat-subjob-deleted-one": (S.RUNNING, "terminated by"),
}
LISTINGS = [c for c in captures().values() if c.stdout.startswith("Job Id: ")]
QSUBS = [c for c in captures().values() if "qsub" in c.name]


@pytest.mark.parametrize("name", ENDS)
def test_every_ending_is_told(name: str) -> None:
    state, code, words = ENDS[name]
    job = captures()[name].job()
    status = pbs_states.status_of(job.name, job)
    assert (status.state, status.exit_code) == (state, code)
    assert words in status.reason
    assert status.state.terminal
    assert not status.missing


@pytest.mark.parametrize("name", LIVES)
def test_no_job_that_lives_has_ended(name: str) -> None:
    state, words = LIVES[name]
    job = captures()[name].job()
    status = pbs_states.status_of(job.name, job)
    assert (status.state, status.exit_code) == (state, None)
    assert words in status.reason
    assert status.hopeless == (name == "job-prologue-2-f")


@pytest.mark.parametrize("capture", LISTINGS, ids=lambda capture: capture.name)
def test_every_recorded_job_is_read(capture: Capture) -> None:
    answer = pbs_answers.jobs(capture.ran)
    whole = capture.stdout.replace("\n\t", "")
    heads = re.findall("^Job Id: (.+)$", capture.ran.stdout, re.MULTILINE)
    states = re.findall("^    job_state = (.+)$", capture.ran.stdout, re.MULTILINE)
    assert heads
    for job_id, letter in zip(heads, states, strict=True):
        status = answer.status(job_id)
        assert status is not None
        assert status.word == letter
        assert status.state.terminal == (letter in "FX")
        assert status.state is not JobState.UNKNOWN
        assert status.name and f" Job_Name = {status.name}\n" in whole
        assert "\n" not in status.reason and "\t" not in status.reason
        if letter in "RSE":
            assert status.node == "pbs01"


def test_a_wrapped_comment_is_joined_without_a_blank() -> None:
    assert "exceeded re\n\tsource" in captures()["job-walltime-xf"].stdout
    assert "exceeded resource walltime" in captures()["job-walltime-xf"].job().get("comment")


@pytest.mark.parametrize("name", ["qstat-Vfunc-f", "qstat-Vmaster-f"])
def test_values_with_line_breaks_hide_no_attribute(name: str) -> None:
    block = captures()[name].job()
    assert block.get("Submit_Host") == "pbs01"
    assert block.get("job_state") == "H"


def test_a_value_cannot_pass_for_an_attribute_above_it() -> None:
    text = (
        "Job Id: 1.pbs01\n    job_state = R\n    Variable_List = A=x\n    job_state = F\n\tgone\n"
        "    Exit_status = 0\n"
    )
    (block,) = pbs_text.blocks(text, pbs_text.JOB)
    assert pbs_states.status_of("1", block).state is JobState.RUNNING


# --- several ids in one call ----------------------------------------------------------------------


def test_the_others_are_answered_where_one_is_unknown() -> None:
    answer = pbs_answers.jobs(captures()["qstat-one-unknown-of-three-f"].ran)
    assert answer.status("99999.pbs01") is None
    assert {answer.status(job).state for job in ("1.pbs01", "2.pbs01", "1")} == {S.RUNNING}


@pytest.mark.parametrize("name", ["qstat-unknown", "qstat-unknown-x", "nohistory-qstat-finished"])
def test_an_unknown_job_is_absent(name: str) -> None:
    capture = captures()[name]
    job_id = re.search(r"([0-9]+)\.pbs01", capture.stderr)
    assert job_id
    assert pbs_answers.jobs(capture.ran).status(job_id.group()) is None


@pytest.mark.parametrize("name", ["qstat-other-server-id"])
def test_an_id_of_another_server_is_absent(name: str) -> None:
    assert pbs_answers.jobs(captures()[name].ran).status("1.nosuchhost") is None


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("qstat-finished-without-x-f", "0.pbs01"), ("qstat-finished-among-running", "0.pbs01")],
)
def test_a_finished_job_is_neither_absent_nor_over(name: str, job_id: str) -> None:
    answer = pbs_answers.jobs(captures()[name].ran)
    status = answer.status(job_id)
    assert status is not None and status.state is JobState.UNKNOWN
    assert answer.has_finished(job_id)
    assert not answer.has_finished("1.pbs01")


@pytest.mark.parametrize(
    "name",
    ["down-qstat-id", "down-qstat-x", "starting-qstat", "unknown-server-qstat", "wrong-port-qstat"],
)
def test_an_outage_makes_no_job_absent(name: str) -> None:
    answer = pbs_answers.jobs(captures()[name].ran)
    status = answer.status("1.pbs01")
    assert status is not None
    assert status.state is JobState.UNKNOWN
    assert "cannot connect to server" in status.missing
    assert not answer.history_off


def test_a_time_out_makes_no_job_absent() -> None:
    answer = pbs_answers.jobs(Ran(("qstat",), None, "", "", "timed out after 60 s"))
    status = answer.status("1.pbs01")
    assert status is not None
    assert status.missing == "qstat: timed out after 60 s"


def test_history_that_is_off_is_no_answer_though_the_exit_status_is_0() -> None:
    capture = captures()["nohistory-qstat-x"]
    answer = pbs_answers.jobs(capture.ran)
    assert capture.exit == 0
    assert answer.history_off
    status = answer.status("55.pbs01")
    assert status is not None and status.state is JobState.UNKNOWN


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("12", "12.pbs01", True),
        ("12.pbs01", "12.pbs01.example.org", True),
        ("12.pbs01", "12.pbs011", False),
        ("12.a.x", "12.a.y", False),
        ("12", "1", False),
        ("30[]", "30[].pbs01", True),
        ("30[1]", "30[].pbs01", False),
        ("30", "30[]", False),
        ("", "", False),
    ],
)
def test_spellings_of_a_job_id(one: str, other: str, same: bool) -> None:
    assert pbs_text.same_job(one, other) is same
    assert pbs_text.same_job(other, one) is same


# --- submission -----------------------------------------------------------------------------------

CONNECTION = {"down-qsub", "qsub-other-server", "unknown-server-qsub"}


@pytest.mark.parametrize("capture", QSUBS, ids=lambda capture: capture.name)
def test_every_recorded_submission(capture: Capture) -> None:
    answer = pbs_answers.submission(capture.ran)
    ids = re.findall(r"^[0-9]+(?:\[\])?\.pbs01$", capture.stdout, re.MULTILINE)
    if ids:
        assert answer == Submitted(ids[-1])
    elif capture.name in CONNECTION | {"qsub-quiet-z", "hung-qsub-timeout-8"}:
        assert isinstance(answer, Ambiguous) and answer.words
    else:
        assert isinstance(answer, Refused)
        assert answer.words == " ".join(capture.words.partition("usage:")[0].split())


@pytest.mark.parametrize(
    "ran",
    [
        Ran(("qsub",), None, "", "", "timed out after 180 s"),
        Ran(("qsub",), -9, "", ""),
        Ran(("qsub",), 137, "", ""),
        Ran(("qsub",), 162, "", "qsub: Error (15010) submitting job"),
        Ran(("qsub",), 183, "", "qsub: Batch protocol error"),
        Ran(("qsub",), 0, "welcome to our cluster\n", ""),
        Ran(("qsub",), 1, "", ""),
    ],
)
def test_what_may_have_made_a_job_is_ambiguous(ran: Ran) -> None:
    answer = pbs_answers.submission(ran)
    assert isinstance(answer, Ambiguous)
    assert answer.words


def test_a_banner_of_the_site_is_no_job_id() -> None:
    ran = Ran(("qsub",), 0, "7.pbs01\nMaintenance:\n12.12\n 12 \n", "")
    assert pbs_answers.submission(ran) == Submitted("7.pbs01")


# --- qselect and qdel -----------------------------------------------------------------------------


def test_selected_jobs_are_sorted_by_age() -> None:
    user = pbs_answers.selected(captures()["qselect-user"].ran)
    assert user.ids == ("128.pbs01", "130.pbs01", "131.pbs01")
    assert pbs_answers.selected(captures()["qselect-none"].ran).ids == ()
    assert pbs_answers.selected(captures()["qselect-x-name"].ran).ids == ("55.pbs01",)
    mixed = Ran(("qselect",), 0, "banner\n100.a\n99.a\n99[].a\n", "")
    assert pbs_answers.selected(mixed).ids == ("99.a", "99[].a", "100.a")


def test_an_outage_is_no_empty_selection() -> None:
    assert "cannot connect" in pbs_answers.selected(captures()["down-qselect"].ran).problem


OVER = [
    *("qdel-running", "qdel-queued", "qdel-finished", "qdel-unknown", "qdel-exiting"),
    *("qdel-several-one-unknown", "qdel-illegal", "qdel-finished-subjob", "qdel-subjob-unknown"),
]


@pytest.mark.parametrize("name", OVER)
def test_what_is_over_needs_no_cancelling(name: str) -> None:
    assert pbs_answers.not_cancelled(captures()[name].ran, ["1"]) == ""


@pytest.mark.parametrize("name", ["momdown-qdel", "qdel-not-owner", "down-qdel"])
def test_a_job_that_may_live_on_is_told(name: str) -> None:
    capture = captures()[name]
    left = pbs_answers.not_cancelled(capture.ran, ["1"])
    assert pbs_text.one_line(capture.words.splitlines()[-1]) in left


def test_silence_is_no_cancelling() -> None:
    assert pbs_answers.not_cancelled(Ran(("qdel",), 1, "", ""), ["1"])
    assert pbs_answers.not_cancelled(Ran(("qdel",), None, "", "", "timed out"), ["1"])


# --- queues ---------------------------------------------------------------------------------------


def test_queues_and_nodes() -> None:
    texts = (captures()[name].stdout for name in ("qstat-Qf", "pbsnodes-a-busy", "qstat-Bf"))
    found = {queue.name: queue for queue in pbs_places.queues(*texts, "tuner")}
    workq = found["workq"]
    assert (workq.nodes, workq.cpus_per_node, workq.memory_bytes) == (1, 32, 24684096 * 1024)
    assert workq.default and workq.available and workq.max_walltime_s is None
    assert found["short"].max_walltime_s == 600
    assert not found["short"].default
    told = {name: found[name].why_not for name in ("closed", "stopped", "private")}
    assert "not enabled" in told["closed"]
    assert "not started" in told["stopped"]
    assert "tuner" in told["private"]
    assert not any(found[name].available for name in told)


def test_a_queue_whose_nodes_are_down_is_not_available() -> None:
    texts = (captures()[name].stdout for name in ("qstat-Qf", "momdown-pbsnodes", "qstat-Bf"))
    workq = pbs_places.queues(*texts, "tuner")[0]
    assert (workq.available, workq.nodes) == (False, 1)
    assert "down" in workq.why_not


def test_hosts_in_parts_and_nodes_of_one_queue() -> None:
    def node(name: str, host: str, cpus: int, more: str = "") -> str:
        sizes = f"     resources_available.host = {host}\n     resources_available.ncpus = {cpus}\n"
        return f"{name}\n     state = free\n{sizes}{more}\n"

    nodes = (
        node("a[0]", "a", 8)
        + node("a[1]", "a", 8)
        + node("b", "b", 12)
        + node("g", "g", 64, "     queue = gpu\n")
        + node("c", "c", 4).replace("state = free", "state = state-unknown,down")
    )
    queue = "Queue: {}\n    queue_type = Execution\n    enabled = True\n    started = True\n\n"
    found = pbs_places.queues(queue.format("workq") + queue.format("gpu"), nodes, "", "me")
    assert [(q.name, q.nodes, q.cpus_per_node) for q in found] == [("workq", 2, 12), ("gpu", 1, 64)]


@pytest.mark.parametrize(
    ("text", "number"),
    [("10:00:00", 36000), ("90:30", 5430), ("90", 90), ("00:00:10.5", 10), ("1h", None)],
)
def test_wall_times(text: str, number: int | None) -> None:
    assert pbs_places.seconds(text) == number


# --- any text -------------------------------------------------------------------------------------

LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(
            [line for capture in LISTINGS[:20] for line in capture.ran.stdout.split("\n")]
            + ["Job Id: 1.pbs01", "    job_state = Q", "    Exit_status = 271", "\tx", "    = "]
        ),
        st.builds("    {} = {}".format, st.sampled_from(["Exit_status", "substate"]), st.text()),
    ),
    max_size=30,
).map("\n".join)


@given(LINES, LINES, st.one_of(st.none(), st.integers(-20, 255)))
@example("Job Id: 1.pbs01\n    job_state = \u0666", "", 0)
@example("Job Id: 1.pbs01\n    job_state = F\n    Exit_status = \u0663", "", 0)
def test_any_text_is_read_and_ends_no_job(stdout: str, stderr: str, code: int | None) -> None:
    ran = Ran(("qstat",), code, stdout, stderr, "" if code is not None else "timed out")
    answer = pbs_answers.jobs(ran)
    for job_id in ("1.pbs01", "57.pbs01", "75[].pbs01"):
        status = answer.status(job_id)
        if status is None:
            assert "Unknown Job Id" in stderr or "illegally formed" in stderr
        elif status.state.terminal:
            number = job_id.partition(".")[0]
            assert f"Job Id: {number}" in stdout
            assert re.search("^    job_state = [FX]", stdout, re.MULTILINE)
        else:
            assert status.exit_code is None
    assert isinstance(pbs_answers.submission(ran), Submitted | Refused | Ambiguous)
    pbs_answers.selected(ran)
    pbs_answers.not_cancelled(ran, ["1"])
    pbs_places.queues(stdout, stdout, stderr, "me")


@given(
    st.dictionaries(
        st.sampled_from(["job_state", "Exit_status", "substate", "comment", "stime", "depend"]),
        st.one_of(st.text(max_size=20), st.integers(-400, 400).map(str), st.sampled_from("QFXRBE")),
    )
)
def test_any_attributes_give_a_state(attributes: dict[str, str]) -> None:
    status = pbs_states.status_of("1", pbs_text.Block("1", attributes))
    assert status.state.terminal == (attributes.get("job_state", "").strip() in ("F", "X"))
    assert status.exit_code is None or 0 <= status.exit_code <= 128 + 400
    assert (status.state is JobState.UNKNOWN) == bool(status.missing)
    if status.state is JobState.COMPLETED:
        assert int(attributes["Exit_status"]) == 0
