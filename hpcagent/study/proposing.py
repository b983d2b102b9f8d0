"""Asks the strategy for the next configurations, with a language model where one is configured."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent import plugins
from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.llm.progress import Tell, silent
from hpcagent.llm.roles import OPTIMISE
from hpcagent.protocols import Strategy
from hpcagent.records import Proposal, Stop, Trial
from hpcagent.search.function_file import digest
from hpcagent.search.limits import bisections, bounded
from hpcagent.search.options import ANSWER_S, FunctionCall, Options
from hpcagent.search.prior import Prior
from hpcagent.search.question import APPLICATION
from hpcagent.search.stopping import target_reached
from hpcagent.study import transcript
from hpcagent.study.durable import problem
from hpcagent.study.history_recall import earlier_in
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings
from hpcagent.study.small_model import STRATEGY, SmallModel
from hpcagent.study.telling import Teller
from hpcagent.study.tune import shares_node

if TYPE_CHECKING:
    from hpcagent.llm.log import Recording
    from hpcagent.llm.routing import Models

FALLBACK = "surrogate"
WITH_MODEL = ("model", "guided")
MODEL_SHARE = 0.3  # of the run's spare time, in each round; as of its evaluations
FUNCTION_LOG = "function.log"
Record = Callable[[Mapping[str, Any]], None]
Chapters = tuple[tuple[Trial, ...], ...]


class Proposer:
    """Holds the strategy, and the model's process, from the first proposal to `close`.

    `tell`, set before a model is asked, hears how far one is.
    """

    def __init__(self, settings: TuneSettings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._models: Models | None = None
        self._recording: Recording | None = None
        self._strategy: Strategy | None = None
        self._facts: Mapping[str, str] = {}
        self._calls: list[dict[str, Any]] = []
        self._without_model = ""
        self._replaying = False
        self._small = SmallModel(settings.model, self._calls.append)
        self._functions: list[FunctionCall] = []
        self._changed = ""
        self._problems: dict[str, dict[str, Any]] = {}
        self._teller = Teller()
        self._chapters: Chapters = ()
        self._prepared = False
        self._until_s = math.inf  # of the monotonic clock: when a model has had its time
        self.tell: Tell = silent

    @property
    def asks_a_model(self) -> bool:
        """Whether the next proposal may make a language model compute on this node."""
        wanted = self._settings.strategy in WITH_MODEL and bool(self._settings.model)
        return wanted and not self._without_model and self.models.computes_here(OPTIMISE)

    def takes_part(self, index: int) -> bool:
        """Whether a language model has a say in round `index`.

        With jobs ahead not in the first job's, for which nothing is measured yet: that one would
        wait for its words, and later ones do not. What it misses is left to its share.
        """
        settings = self._settings
        ahead = settings.ahead > 1 and not shares_node(settings)
        return settings.strategy in WITH_MODEL and not (ahead and index <= settings.pack)

    @property
    def may_prepare(self) -> bool:
        """Whether a model of this node could be made ready for the first question."""
        return not self._prepared and not self._settings.replay and self.asks_a_model

    def begin(self) -> None:
        """Start a process that answers at once later, beside what measures nothing."""
        if self._settings.strategy == STRATEGY:
            self._small.begin()

    def prepare(self, known: Knowledge, spare_s: float) -> dict[str, Any] | None:
        """Load it, and let it read what does not change, once; what came of it, if anything.

        `spare_s` is what the run's time leaves.
        """
        from hpcagent.study.preparing import prepared

        self._prepared = True
        if self._recording is None and self._open_model() is None:
            return None
        if self._replaying:
            return None
        most_s = max(1.0, MODEL_SHARE * spare_s)
        return prepared(self.models, known, prompt_facts(known), most_s)

    @property
    def device(self) -> str:
        """Where the model computes, in words; empty without one, and before its first answer."""
        served = self._recording is not None and not self._replaying
        return self.models.device(OPTIMISE) if served else ""

    @property
    def models(self) -> Models:
        """The models of the run's roles; each is opened when it is first asked for."""
        if self._models is None:
            from hpcagent.llm.routing import Models
            from hpcagent.study.admission import opening

            opened = opening(load_settings(os.environ, Path.cwd()), self.tell)
            routes, hosts = self._settings.routes, self._settings.model_hosts
            self._models = Models.from_json(routes, hosts, opened, self.tell)
        return self._models

    def propose(
        self, known: Knowledge, index: int, record: Record, spare_s: float = math.inf
    ) -> tuple[tuple[Proposal, ...], str | None]:
        """Proposals for round `index`, or the reason to stop; `record` gets each model call.

        `spare_s` is what the run's time leaves beside the next round and the confirmation.

        What the user asked for comes first, and the strategy fills up the round: what was proposed
        for it before, and can be measured, stays in it.
        """
        self._until_s = time.monotonic() + MODEL_SHARE * spare_s
        room = self._settings.challengers - len(known.measurable(index))
        asked = known.advised[:room]
        left = room - len(asked)
        if left == 0:
            return asked, None
        measure = "fast" if self._settings.speed_alone else "good"
        reached = target_reached(known.trials, self._settings.target, measure)
        if reached:
            return asked, reached
        self._look_at_function()
        space = bounded(known.space, known.trials)
        waiting = (*known.pending, *(proposal.config for proposal in asked))
        sizes = bisections(space, known.trials, waiting, (left + 1) // 2)
        asked = (*asked, *sizes)
        if len(sizes) == left:
            return asked, None
        strategy = self._strategy_for(known, index)
        if self._recording is not None:
            self._chapters = self._teller.chapters(known)
        answer = strategy.propose(
            space,
            known.history(index),
            (*waiting, *(proposal.config for proposal in sizes)),
            left - len(sizes),
            self._settings.seed * 1_000_003 + index,
        )
        if self._recording is not None:
            self._recording.flush()
        for call in self._calls:
            record({"round": index, **self.logged({"round": index, **call})})
        self._calls.clear()
        self._keep_functions(index)
        if isinstance(answer, Stop):
            return asked, answer.reason
        stop = None if answer or asked else "the strategy has nothing more to propose"
        return (*asked, *answer), stop

    def close(self) -> None:
        if self._models is not None:
            self._models.close()
        self._small.close()
        self._models = self._recording = self._strategy = None

    def _strategy_for(self, known: Knowledge, index: int) -> Strategy:
        """Made once; made again where the user has given advice since, which prompts carry."""
        facts = prompt_facts(known)
        if self._strategy is None or facts != self._facts:
            if self._settings.strategy in WITH_MODEL and not self.takes_part(index):
                return self._make(FALLBACK, known, facts)
            self._strategy, self._facts = self._make(self._settings.strategy, known, facts), facts
        return self._strategy

    def _make(self, name: str, known: Knowledge, facts: Mapping[str, str]) -> Strategy:
        model = self._recording
        if name in WITH_MODEL and model is None:
            model = self._open_model()
        if name in WITH_MODEL and model is None:
            name = FALLBACK
        asks = name in WITH_MODEL
        seconds = self.models.answer_s(OPTIMISE, ANSWER_S) if asks else ANSWER_S
        points = self._small.points(known) if name == STRATEGY else None
        module = plugins.load("hpcagent.search", name, "create")
        options = Options(
            seed=self._settings.seed,
            model=model,
            facts=facts,
            verdict=self._verdict,
            timeout_s=seconds,
            left_s=lambda: self._until_s - time.monotonic(),
            function=self._settings.function,
            told=self._functions.append,
            prior=Prior(earlier_in(known.state.decisions), hints_here(known)),
            chapters=lambda: self._chapters,
            points=points,
            outlook=self._small.heard,
        )
        strategy: Strategy = module.create(options)
        return strategy

    def _open_model(self) -> Recording | None:
        """None where the model cannot serve any more; it could when the run was opened.

        What such a run's own transcript has already is used all the same.
        """
        if self._settings.replay:
            return self._replayed(Path(self._settings.replay), "the search went on without it: ")
        try:
            self._recording = self.models.recorded(
                OPTIMISE, lambda call: self._calls.append(call.as_json())
            )
        except (EnvironmentProblem, UsageError) as error:
            self._without_model = f"the search went on without it: {error}"
            return self._replayed(self._log, "")
        return self._recording

    def _replayed(self, where: Path, instead: str) -> Recording | None:
        """The answers of a transcript; None where there are none, told after `instead`."""
        from hpcagent.llm.log import recording
        from hpcagent.llm.replay import replay

        try:
            model = replay(where)
        except EnvironmentProblem as error:
            if instead:
                self._without_model = f"{instead}{error}"
            return None
        self._replaying = True
        self._recording = recording(
            model, model.model_sha256, lambda call: self._calls.append(call.as_json()), OPTIMISE
        )
        return self._recording

    @property
    def decisions(self) -> dict[str, dict[str, Any]]:
        """What the journal should hold of the last proposal, by the name of the decision."""
        found: dict[str, dict[str, Any]] = {}
        note = self._without_model or self._small.note
        if note:
            found["model"] = {"note": note}
        if self.device:
            found["model_device"] = {"device": self.device}
            found["model_served"] = self.models.identity(OPTIMISE)
        if self._changed:
            found["function"] = {"reason": self._changed}
        return found | self._problems

    def _look_at_function(self) -> None:
        """Notes a file that is not the one that the run was opened with."""
        path, then = self._settings.function, self._settings.function_sha256
        now = digest(Path(path)) if path else then
        if now != then:
            what = f"is now {now[:12]}" if now else "cannot be read any more"
            self._changed = f"{path}: it was {then[:12]} when the run was opened, and {what}"

    def _keep_functions(self, index: int) -> None:
        """What the user's function printed goes to a log of its own, problems to the journal."""
        calls = list(self._functions)
        self._functions.clear()
        words = Counter(c.problem for c in calls if c.problem)
        told = "; ".join(f"{text} ({n} tries)" if n > 1 else text for text, n in words.items())
        partly = all(c.partly for c in calls if c.problem)
        found = {"reason": told} | ({"partly": True} if partly else {})
        self._problems = {f"function-{index}": found} if told else {}
        log = self._log.with_name(FUNCTION_LOG)
        lines = [f"--- round {index}, try {c.number}: {c.problem or 'ok'}\n{c.log}" for c in calls]
        if lines:
            try:
                with log.open("a", encoding="utf-8") as stream:
                    stream.write("".join(f"{line.rstrip()}\n" for line in lines))
            except OSError as error:
                raise problem("write to", log, error) from None

    def _verdict(self, words: str) -> None:
        if self._recording is not None:
            self._recording.verdict(words)

    def logged(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the transcript of a call; what of it belongs into the journal."""
        return transcript.kept(self._log, call)


def hints_here(known: Knowledge) -> dict[str, str]:
    """The card's hints; a value that was found to run another one hints at that one."""
    probed = known.probed if known.state.done("feasibility") else ()
    aliases = {(p.param, p.value): p.alias_of for p in probed if p.alias_of is not None}
    return {n: aliases.get((n, value), value) for n, value in known.knobs.hints.items()}


def prompt_facts(known: Knowledge) -> dict[str, str]:
    """What a model is told of the machine, the library and the work."""
    machine = known.machine
    memory = machine.memory_available_bytes
    texts = [
        str(a["text"]) for a in known.state.advice if a.get("type") == "advise" and a.get("text")
    ]
    advice = {"advice of the user": "; ".join(texts)} if texts else {}
    return (
        advice
        | _goal_facts(known.state.settings)
        | {
            "processor": machine.cpu_model,
            "microarchitecture": machine.microarchitecture,
            "usable cores": str(machine.usable_cores),
            "hardware threads per core": str(machine.threads_per_core),
            "NUMA nodes": str(machine.numa_nodes),
            "memory": f"{memory / 2**30:.0f} GiB" if memory else "unknown",
        }
        | _subject(known)
    )


def _subject(known: Knowledge) -> dict[str, str]:
    if known.card.is_application:
        return {APPLICATION: known.card.title}
    library = known.needed_library()
    return {
        "library": f"OpenBLAS {library.version}, {library.threading}, core {library.core}",
        "workload": ", ".join(known.workload.weights),
    }


def _goal_facts(settings: TuneSettings) -> dict[str, str]:
    """What the ratios of a prompt are of, where that is not time alone."""
    if settings.plain:
        return {}
    wanted = " and ".join(settings.objectives)
    facts = {"what the ratios are of": f"{wanted}, each so that less is better"}
    if settings.within:
        facts["constraints"] = ", ".join(settings.within)
    return facts
