"""The agent of a plan on a pretended Slurm: real agents of its steps, counted calls, a clock that
passes when somebody sleeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab import counted_tune
from lab.slurm_counting import Simulated

from hpcagent.errors import HpcagentError, SchedulerRefused, SchedulerUnreachable, Unfit
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.clock import Clock
from hpcagent.study.joint import Joint
from hpcagent.study.journal import JournalWriter, read_journal
from hpcagent.study.lease import Lease
from hpcagent.study.plan import Plan, PlanStep
from hpcagent.study.plan_agent import PlanAgent
from hpcagent.study.plan_steps import step_folder
from hpcagent.study.rundir import RunDir, open_run
from hpcagent.study.session import read_state
from hpcagent.study.state import Folding
from hpcagent.study.turn import Turn


@dataclass
class Scene:
    """A plan of tune runs side by side. `refused` are steps that cannot begin."""

    folder: Path
    cluster: Simulated
    clock: Clock
    run: RunDir
    refused: dict[str, HpcagentError]
    begun: list[str] = field(default_factory=list)

    def begin(self, command: str, words: Sequence[str], folder: Path, where: str) -> None:
        self.begun.append(folder.name)
        if folder.name in self.refused:
            raise self.refused[folder.name]
        chosen = counted_tune.settings(rounds=2, history="")
        counted_tune.new_run(self.folder, self.clock, chosen, folder)

    @contextmanager
    def agent(self) -> Iterator[PlanAgent]:
        """A process that drives the plan."""
        folding = Folding()
        with (
            Lease.acquire(self.run.path) as lease,
            JournalWriter(self.run.journal, lease.check, self.clock.now, folding.add) as journal,
        ):
            joint = Joint(lambda name: SlurmScheduler(), None, self.clock.monotonic)
            agent = PlanAgent(
                self.run, journal, folding, SlurmScheduler(), counted_tune.no_report, self.begin,
                lambda step: counted_tune.agent_of(step, self.clock, scheduler=joint("slurm")),
                joint, self.clock,
            )  # fmt: skip
            try:
                yield agent
            finally:
                agent.leave()

    def drive(self, until: str = "") -> list[str]:
        """What is said until the plan is closed, or `until` is said."""
        said: list[str] = []
        with self.agent() as agent:
            turn = Turn("nothing yet")
            while not turn.closed and turn.words != until:
                if turn.waiting:
                    self.clock.sleep(max(1.0, turn.pause_s))
                turn = agent.turn()
                said.append(turn.words)
                assert len(said) < 3000, said[-3:]
        return said

    def step(self, name: str) -> RunDir:
        return open_run(step_folder(self.run.path, name))

    def outcomes(self) -> dict[str, str]:
        decisions = read_state(self.run).decisions
        return {w[4:]: d["outcome"] for w, d in decisions.items() if w.startswith("end ")}

    def queries(self, command: str = "squeue") -> int:
        return self.cluster.counts().get(command, 0)


def scene(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: str,
    most: int = 0,
    step_s: float = 10.0,
) -> Scene:
    folder.mkdir()
    cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, step_s)
    cluster.plan(300.0, 600.0)
    if most:
        (cluster.folder / "most").write_text("x" * most)
    monkeypatch.setenv("PATH", cluster.path)
    clock = counted_tune.clock_of(cluster)
    steps = tuple(PlanStep(name, "tune", (), (), "slurm") for name in names)
    plan = Plan(str(folder / "plan.yaml"), str(folder), steps)
    run = counted_tune.new_run(folder, clock, counted_tune.settings(), None, plan.to_json())
    return Scene(folder, cluster, clock, run, {})


def test_one_query_tells_of_the_jobs_of_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = scene(tmp_path / "alone", monkeypatch, "a")
    alone.drive()
    four = scene(tmp_path / "four", monkeypatch, "abcd")
    four.drive()
    assert four.outcomes() == dict.fromkeys("abcd", "nothing better")
    assert four.queries() <= 1.3 * alone.queries() + 4


def test_a_process_that_comes_new_to_it_asks_once_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "abcd")
    made.drive("d: probe: submitted as job 1003")
    made.clock.sleep(1000.0)  # the agent is gone; all are done, but nobody has told
    for job in (tmp_path / "plan").glob("run-*/steps/*/work/*/done.json"):
        job.unlink()
    for job in made.run.path.glob("steps/*/work/*/done.json"):
        job.unlink()
    before = made.queries()
    with made.agent() as agent:
        turn = agent.turn()
    assert turn.waiting, turn
    assert made.queries() == before + 1


def test_where_its_own_jobs_fill_the_queue_a_step_waits_for_those_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "abc", most=1)
    said = made.drive()
    assert made.outcomes() == dict.fromkeys("abc", "nothing better")
    assert any("b: probe: to be submitted" in words for words in said)
    assert not any("no answer" in words for words in said)


def test_a_controller_that_does_not_answer_is_not_asked_at_every_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "ab", step_s=1.0)
    made.refused["b"] = SchedulerUnreachable("slurm gives no answer")
    with made.agent() as agent:
        for _ in range(120):
            turn = agent.turn()
            if turn.waiting:
                made.clock.sleep(1.0)
                assert "b: slurm gives no answer" in turn.words
    assert "a: probe: " in turn.words  # which goes on meanwhile
    assert 10 <= made.begun.count("b") <= 30
    made.refused.clear()
    made.drive("b: probe: done")


def test_a_step_that_cannot_be_read_keeps_no_other_from_being_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "ab")
    made.drive("b: probe: submitted as job 1001")
    whole = made.step("a").journal.read_bytes()
    made.step("a").journal.write_bytes(b"nonsense\n" + whole)
    with made.agent() as agent, pytest.raises(HpcagentError, match=r"^a: "):
        agent.cancel("on request")
    assert read_state(made.step("b")).closed is not None
    assert read_state(made.run).closed is None
    made.step("a").journal.write_bytes(whole)
    with made.agent() as agent:
        agent.cancel("on request")
    assert made.outcomes() == {"a": "cancelled", "b": "cancelled"}
    (closed,) = [e for e in read_journal(made.run.journal) if e.type == "run_closed"]
    assert closed.data["outcome"] == "cancelled"
    assert made.queries("scancel") >= 2


def test_a_run_that_has_lost_its_journal_is_not_made_anew_over_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "a")
    made.drive("a: probe: submitted as job 1000")
    made.step("a").journal.unlink()
    with made.agent() as agent, pytest.raises(HpcagentError, match="its jobs may be out"):
        for _ in range(5):
            agent.turn()
    with made.agent() as agent, pytest.raises(HpcagentError, match="its jobs may be out"):
        agent.cancel("on request")
    assert read_state(made.run).closed is None


def test_what_refuses_to_begin_is_told_when_all_else_is_done_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "abc")
    made.refused["b"] = SchedulerRefused("partition is down")
    with pytest.raises(SchedulerRefused, match=r"^b: partition is down"):
        made.drive()
    assert set(made.outcomes()) == {"a", "c"}
    assert read_state(made.run).closed is None
    made.refused.clear()
    made.drive()
    assert set(made.outcomes()) == {"a", "b", "c"}
    state = read_state(made.run)
    assert state.closed is not None and state.closed["outcome"] == "done"


def test_what_can_never_begin_fails_its_step_and_leaves_no_plan_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene(tmp_path / "plan", monkeypatch, "abc")
    made.refused["b"] = Unfit("compare: x and y tuned different things")
    made.drive()
    state = read_state(made.run)
    assert state.closed is not None
    assert (state.closed["outcome"], state.closed["exit_code"]) == ("failed", 2)
    assert state.closed["text"] == "2 of 3 steps done; b: failed"
    end = state.decisions["end b"]
    assert end["text"] == "compare: x and y tuned different things"
