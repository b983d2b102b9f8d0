"""The agent of a plan: begins its steps, drives those that have begun, and takes in their ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpcagent.errors import (
    EnvironmentProblem,
    Fenced,
    HpcagentError,
    RunFailed,
    RunInUse,
    SchedulerUnreachable,
    Unfit,
    UsageError,
)
from hpcagent.llm.progress import Tell
from hpcagent.protocols import Scheduler
from hpcagent.study import inbox, plan, tune
from hpcagent.study.agent import RunAgent
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.joint import Joint
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.plan_steps import has_jobs, opened_before, results_of, step_folder
from hpcagent.study.rundir import RunDir, open_run, remove_run
from hpcagent.study.state import Folding, Unit
from hpcagent.study.submission import jobs_out
from hpcagent.study.turn import Turn

# Makes the run of a step: its command, the words that follow it, the run's folder, where to begin.
Beginner = Callable[[str, Sequence[str], Path, str], None]
Opener = Callable[[RunDir], AbstractContextManager[RunAgent]]
Act = Callable[[RunAgent], Turn | None]
_PAUSE_S = 5.0


def begins_nothing(command: str, words: Sequence[str], folder: Path, where: str) -> None:
    """For whoever only ends what has begun."""
    raise RunFailed(f"{folder}: nothing is begun here: go on with `hpcagent resume`")


class PlanAgent(RunAgent):
    """The one writer of a plan's run, and of the runs of its steps while these are under way.

    What keeps a step from going on, but not from going on later (a file that is missing, a
    scheduler that refuses), leaves it `stuck`: the other steps go on, and then the first such
    error is raised. The plan stays open, so that `hpcagent resume` tries again.
    """

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        folding: Folding,
        scheduler: Scheduler,
        publish: Callable[[RunDir, Knowledge], None],
        begin: Beginner,
        open_step: Opener,
        joint: Joint,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(run, journal, folding, scheduler, publish, clock)
        self._begin = begin
        self._open_step = open_step
        self._joint = joint
        self._agents: dict[str, tuple[RunAgent, ExitStack]] = {}
        self._stuck: dict[str, HpcagentError] = {}
        self._rests: dict[str, tuple[float, Turn]] = {}  # until when, and what it said
        self._tell: Tell | None = None
        self._keeps_pace = False

    @cached_property
    def _plan(self) -> plan.Plan:
        return plan.Plan.of(self.state)

    @property
    def under(self) -> Mapping[str, RunAgent]:
        return {name: agent for name, (agent, _) in self._agents.items()}

    def tell_of_models(self, tell: Tell) -> None:
        self._tell = tell

    def keep_pace(self) -> None:
        self._keeps_pace = True

    def leave(self) -> None:
        """Let go of the runs of the steps, as each kind of run does when its agent leaves."""
        with ExitStack() as all_of_them:
            for _, opened in self._agents.values():
                all_of_them.push(opened)
            self._agents.clear()

    def _files(self, unit: Unit) -> dict[str, str]:
        raise RunFailed("a plan has no units of its own")

    def _advance(self) -> Turn:
        step = plan.next_step(self._plan, self.state, self._stuck)
        match step:
            case plan.Skip(left_out, reason):
                what = f"{plan.SKIP} {left_out.name}"
                return self._follow(tune.Decide(what, {"reason": f"left out: {reason}"}))
            case plan.Take(taken, end):
                return self._follow(tune.Decide(f"{plan.END} {taken.name}", dict(end)))
            case plan.Begin(begun, words):
                what = f"{plan.BEGIN} {begun.name}"
                data = {"words": list(words), "reason": f"hpcagent {begun.command}"}
                return self._follow(tune.Decide(what, data))
            case tune.Close():
                return self._follow(step)
        return self._drive()

    def _drive(self) -> Turn:
        """One turn of the first step that has something to do."""
        steps = [s for s in plan.active(self._plan, self.state) if s.name not in self._stuck]
        for step in steps:
            opening = self._asked(step, lambda agent: None)
            if opening is not None and not opening.waiting:
                return Turn(f"{step.name}: {opening.words}")
        self._watch_all()
        waits: list[tuple[str, Turn]] = []
        for step in steps:
            turn = self._asked(step, lambda agent: agent.turn())
            assert turn is not None
            if not turn.waiting:
                return Turn(f"{step.name}: {turn.words}")
            waits.append((step.name, turn))
        if not waits:
            raise next(iter(self._stuck.values()))
        words = "; ".join(f"{name}: {turn.words}" for name, turn in waits)
        return Turn(words, waiting=True, pause_s=min(turn.pause_s for _, turn in waits))

    def _asked(self, step: plan.PlanStep, act: Act) -> Turn | None:
        """What comes of `act` on the step's agent, which is opened for it; None: nothing odd.

        A scheduler that did not answer is not asked again at once because of other steps.
        """
        resting = self._resting(step)
        if resting is not None:
            return resting
        turn = self._tried(step, act)
        if turn is not None and turn.waiting:
            self._rests[step.name] = (self._clock.monotonic() + turn.pause_s, turn)
        return turn

    def _resting(self, step: plan.PlanStep) -> Turn | None:
        """What a step said that is not worth being called again yet."""
        until, turn = self._rests.get(step.name, (0.0, None))
        left_s = until - self._clock.monotonic()
        return None if turn is None or left_s <= 0 else replace(turn, pause_s=left_s)

    def _watch_all(self) -> None:
        """One query tells of the jobs of all steps, whichever of them asks first."""
        for agent in self.under.values():
            units = [unit for unit in agent.state.open_units if unit.job_id]
            scheduler = self._joint(agent.state.settings.scheduler)
            scheduler.watch({unit.job_id: unit.submitted_utc for unit in units})

    def _out(self) -> frozenset[str]:
        return frozenset().union(*(jobs_out(agent.state) for agent in self.under.values()))

    def _tried(self, step: plan.PlanStep, act: Act) -> Turn | None:
        try:
            agent = self._agent(step)
            turn = act(agent)
        except SchedulerUnreachable as error:
            return Turn(str(error), waiting=True, pause_s=_PAUSE_S)
        except (RunInUse, Fenced):
            self._let_go(step.name)
            words = f"another process works on {self._folder(step)}"
            return Turn(words, waiting=True, pause_s=_PAUSE_S)
        except Unfit as error:  # and so it would be for ever
            return self._ended(step, plan.refused(step, str(error), error.exit_code))
        except HpcagentError as error:
            return self._in_trouble(step, error)
        end = self._end_of(step, agent)
        if end is not None:
            return self._ended(step, end)
        self._stop_asked |= agent.stop_asked
        return turn

    def _in_trouble(self, step: plan.PlanStep, error: HpcagentError) -> Turn:
        agent = self.under.get(step.name)
        end = None if agent is None else self._end_of(step, agent)
        if end is not None:  # a refusal of its first job
            return self._ended(step, end)
        self._let_go(step.name)
        self._stuck[step.name] = type(error)(f"{step.name}: {error}")
        return Turn(str(error))

    def _end_of(self, step: plan.PlanStep, agent: RunAgent) -> Mapping[str, Any] | None:
        """The decision that a step has ended; None: it has not."""
        closed = agent.state.closed
        if closed is None:
            return None
        try:
            results = results_of(agent.run_dir, agent.known)
        except HpcagentError:  # later steps that need more of it are left out
            results = {plan.RUN: str(agent.run_dir.path)}
        return plan.closing(step, closed, results)

    def _ended(self, step: plan.PlanStep, end: Mapping[str, Any]) -> Turn:
        # First: nobody opens it again to clear up once its end is told.
        self._let_go(step.name)
        self._write("decision", end)
        return Turn(f"{end['outcome']}: {end['text']}")

    # --- the runs of steps -----------------------------------------------------------------------

    def _folder(self, step: plan.PlanStep) -> Path:
        return step_folder(self._run.path, step.name)

    def _agent(self, step: plan.PlanStep) -> RunAgent:
        """The agent of a step's run, which is made where it is not there yet."""
        if step.name not in self._agents:
            run = self._run_of(step)
            with ExitStack() as opening:
                agent = opening.enter_context(self._open_step(run))
                self._agents[step.name] = (agent, opening.pop_all())
            if self._tell is not None:
                agent.tell_of_models(self._tell)
            agent.beside(self._out)
            agent.will_stay(self._stays)
            if self._keeps_pace:
                agent.keep_pace()
        return self._agents[step.name][0]

    def _run_of(self, step: plan.PlanStep) -> RunDir:
        folder = self._folder(step)
        if not opened_before(folder):
            self._clear(folder)
            decision = plan.told(self.state, plan.BEGIN, step.name)
            assert decision is not None
            self._begin(step.command, decision["words"], folder, self._plan.folder)
        return open_run(folder)

    def _clear(self, folder: Path) -> None:
        """Take away a run that an agent was killed in making: nothing has happened in it."""
        if has_jobs(folder):
            raise EnvironmentProblem(f"{folder} is no run any more, and its jobs may be out")
        try:
            half_made = open_run(folder)
        except UsageError:
            return
        remove_run(half_made, but_the_folder=False)

    def _let_go(self, name: str) -> None:
        if name in self._agents:
            _, opened = self._agents.pop(name)
            opened.close()

    def cancel(self, words: str) -> None:
        """Cancel the runs of all steps that are under way, and close the plan.

        One that cannot be cancelled keeps no other from it, and the plan open.
        """
        problems = []
        for step in plan.active(self._plan, self.state):
            try:
                self._cancel(step, words)
            except HpcagentError as error:
                problems.append(type(error)(f"{step.name}: {error}"))
        if problems:
            raise problems[0]
        self._close(tune.Close(plan.CANCELLED, words, 0))

    def _cancel(self, step: plan.PlanStep, words: str) -> None:
        folder = self._folder(step)
        if not opened_before(folder):
            self._clear(folder)
            return
        try:
            agent = self._agent(step)
        except RunInUse:
            inbox.post(folder, {"type": "cancel"})
            return
        if agent.state.closed is None:
            agent.cancel(words)
        end = self._end_of(step, agent)
        assert end is not None
        self._ended(step, end)
