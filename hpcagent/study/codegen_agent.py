"""The agent of a code generation: as that of any task, and it asks a model for attempts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from hpcagent.codegen.answer import Answer, parse_answer
from hpcagent.codegen.prompt import Environment, messages
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.log import Call, Recording
from hpcagent.llm.progress import Tell
from hpcagent.probe.machine import parse_machine
from hpcagent.protocols import Scheduler
from hpcagent.records import Failure, Limits
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.codegen_measuring import fastest_possible
from hpcagent.study.codegen_story import GAVE_UP, Story, story
from hpcagent.study.codegen_task import Toolbox, Write, next_step
from hpcagent.study.codegen_writer import ROLE, Writer
from hpcagent.study.durable import problem, utc_now, utc_text
from hpcagent.study.journal import JournalWriter
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import Folding
from hpcagent.study.task import TaskAgent
from hpcagent.study.turn import Turn

ANSWER = Limits(max_tokens=6000, timeout_s=1800.0)
_FEWER_TOKENS = 2000  # where the context has no room for more
_MOST_SILENT = 3  # calls in a row without any answer, before the model is given up


class CodegenAgent(TaskAgent):
    """The one writer of such a run; `writer` None where no model takes part."""

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        folding: Folding,
        scheduler: Scheduler,
        publish: Callable[..., None],
        clock: Clock = SYSTEM,
        writer: Writer | None = None,
    ) -> None:
        super().__init__(run, journal, folding, scheduler, publish, clock)
        self._writer = writer
        self._calls: list[Call] = []
        self._toolbox = Toolbox()

    def tell_of_models(self, tell: Tell) -> None:
        if self._writer is not None:
            self._writer.tell_of(tell)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _advance(self) -> Turn:
        step = next_step(self._task, self.state, self._toolbox)
        if isinstance(step, Write):
            return self._ask(step)
        return self._follow(step)

    def _closes_when_refused(self) -> bool:
        return True

    def _ask(self, step: Write) -> Turn:
        """One answer of the model becomes one attempt, whatever it is worth."""
        told = story(self._task, self.state)
        try:
            model = self._model(step.number)
        except EnvironmentProblem as error:
            return self._give_up(f"no model writes any more: {error}")
        task = told.wish.task
        asked = messages(self._environment(told), told.wish, told.attempts, step.operation,
                         step.parent)  # fmt: skip
        seed = self.state.settings.seed + step.number
        limits = self._limits()
        reply = model.complete(asked, None, limits, seed)
        if reply.failure is not None and reply.failure.kind == "context_overflow":
            shorter = replace(limits, max_tokens=_FEWER_TOKENS)
            reply = model.complete(asked, None, shorter, seed)
        found: Answer | Failure = reply.failure or parse_answer(
            reply.text, task.file_names, task.choices()
        )
        model.verdict("ok" if isinstance(found, Answer) else f"{found.id}: {found.evidence}")
        self._note_calls(step.number)
        data: dict[str, Any] = {
            "what": f"attempt-{step.number}",
            "operation": step.operation,
            "parent": step.parent,
            "reason": step.reason,
        }
        if isinstance(found, Answer):
            data |= {"files": dict(found.files), "parameters": dict(found.parameters)}
        else:
            data["failure"] = asdict(found)
        self._write("decision", data)
        if reply.failure is not None and self._silent():
            return self._give_up(f"the model gave no answer: {reply.failure.evidence}")
        ended = "written" if isinstance(found, Answer) else found.id
        return Turn(f"attempt {step.number} ({step.operation}, {step.reason}): {ended}")

    def _limits(self) -> Limits:
        if self._writer is None:
            return ANSWER
        return replace(ANSWER, timeout_s=self._writer.answer_s(ANSWER.timeout_s))

    def _silent(self) -> bool:
        verdicts = [str(call.get("verdict")) for call in self.state.calls[-_MOST_SILENT:]]
        return len(verdicts) == _MOST_SILENT and all(v.startswith("failed:") for v in verdicts)

    def _give_up(self, reason: str) -> Turn:
        self._write("decision", {"what": GAVE_UP, "reason": reason})
        return Turn(reason)

    def _model(self, attempt: int) -> Recording:
        if self._writer is None:
            raise EnvironmentProblem("the run's settings name no model")
        model, digest = self._writer.open(attempt)
        return Recording(model, digest, self._calls.append, ROLE)

    def _environment(self, told: Story) -> Environment:
        probe = self.state.done(self._task.purpose("probe", self._task.targets[0]))
        assert probe is not None
        tools = self._toolbox.of(told.wish, probe)
        limits = fastest_possible(told.wish.task, probe)
        return Environment.of(parse_machine(probe.facts or {}), tools.words, limits)

    def _note_calls(self, number: int) -> None:
        """The whole transcript goes to llm.jsonl, the journal gets the short form."""
        for call in self._calls:
            row = {"attempt": number, **call.as_json()}
            line = json.dumps({"t_utc": utc_text(utc_now()), **row}, sort_keys=True) + "\n"
            try:
                with self._run.llm_log.open("a", encoding="ascii") as stream:
                    stream.write(line)
            except OSError as error:
                raise problem("write to", self._run.llm_log, error) from None
            brief = {key: row[key] for key in row if key not in ("messages", "answer")}
            self._write("llm_call", brief)
        self._calls.clear()
