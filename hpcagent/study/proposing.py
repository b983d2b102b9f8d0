"""Asks the strategy for the next configurations, with a language model where one is configured."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hpcagent import plugins
from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem
from hpcagent.protocols import Strategy
from hpcagent.records import Proposal, Stop
from hpcagent.search.function_file import digest
from hpcagent.search.limits import bisections, bounded
from hpcagent.search.options import FunctionCall, Options
from hpcagent.search.prior import Prior
from hpcagent.search.stopping import target_reached
from hpcagent.study.durable import problem, utc_now, utc_text
from hpcagent.study.history_recall import earlier_in
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.llm.log import Recording

FALLBACK = "surrogate"
WITH_MODEL = ("model", "guided")
FUNCTION_LOG = "function.log"
Record = Callable[[Mapping[str, Any]], None]


class Proposer:
    """Holds the strategy, and the model's process, from the first proposal to `close`."""

    def __init__(self, settings: TuneSettings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._model: LlamaCpp | None = None
        self._recording: Recording | None = None
        self._strategy: Strategy | None = None
        self._facts: Mapping[str, str] = {}
        self._calls: list[dict[str, Any]] = []
        self._without_model = ""
        self._functions: list[FunctionCall] = []
        self._changed = ""
        self._problems: dict[str, dict[str, Any]] = {}

    @property
    def device(self) -> str:
        """Where the model computes, in words; empty without one, and before its first answer."""
        return "" if self._model is None else self._model.device

    def propose(
        self, known: Knowledge, index: int, record: Record
    ) -> tuple[tuple[Proposal, ...], str | None]:
        """Proposals for round `index`, or the reason to stop; `record` gets each model call.

        What the user asked for comes first, and the strategy fills up the round.
        """
        asked = known.advised[: self._settings.challengers]
        left = self._settings.challengers - len(asked)
        if left == 0:
            return asked, None
        reached = target_reached(known.trials, self._settings.target)
        if reached:
            return asked, reached
        self._look_at_function()
        space = bounded(known.space, known.trials)
        waiting = (*known.pending, *(proposal.config for proposal in asked))
        sizes = bisections(space, known.trials, waiting, (left + 1) // 2)
        asked = (*asked, *sizes)
        if len(sizes) == left:
            return asked, None
        answer = self._strategy_for(known).propose(
            space,
            known.history(index),
            (*waiting, *(proposal.config for proposal in sizes)),
            left - len(sizes),
            self._settings.seed * 1_000_003 + index,
        )
        if self._recording is not None:
            self._recording.flush()
        for call in self._calls:
            self._write({"round": index, **call})
            record({"round": index, **_brief(call)})
        self._calls.clear()
        self._keep_functions(index)
        if isinstance(answer, Stop):
            return asked, answer.reason
        stop = None if answer or asked else "the strategy has nothing more to propose"
        return (*asked, *answer), stop

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = self._recording = self._strategy = None

    def _strategy_for(self, known: Knowledge) -> Strategy:
        """Made once; made again where the user has given advice since, which prompts carry."""
        facts = prompt_facts(known)
        if self._strategy is None or facts != self._facts:
            prior = Prior(earlier_in(known.state.decisions), hints_here(known))
            self._strategy, self._facts = self._make(facts, prior), facts
        return self._strategy

    def _make(self, facts: Mapping[str, str], prior: Prior) -> Strategy:
        name = self._settings.strategy
        model = self._recording
        if name in WITH_MODEL and model is None:
            model = self._open_model()
        if name in WITH_MODEL and model is None:
            name = FALLBACK
        module = plugins.load("hpcagent.search", name, "create")
        options = Options(
            seed=self._settings.seed,
            model=model,
            facts=facts,
            verdict=self._verdict,
            function=self._settings.function,
            told=self._functions.append,
            prior=prior,
        )
        strategy: Strategy = module.create(options)
        return strategy

    def _open_model(self) -> Recording | None:
        """None where the file cannot serve any more; it could when the run was opened."""
        from hpcagent.llm import gguf
        from hpcagent.llm.admission import admit
        from hpcagent.llm.llamacpp import LlamaCpp
        from hpcagent.llm.log import Recording

        path = Path(self._settings.model)
        configured = load_settings(os.environ, Path.cwd())
        try:
            admit(path, configured)
            self._model = LlamaCpp(path, threads=configured.model_threads)
            digest = gguf.digest(path)
        except EnvironmentProblem as error:
            self._without_model = f"the search went on without it: {error}"
            return None
        self._recording = Recording(
            self._model, digest, lambda call: self._calls.append(call.as_json())
        )
        return self._recording

    @property
    def decisions(self) -> dict[str, dict[str, Any]]:
        """What the journal should hold of the last proposal, by the name of the decision."""
        found: dict[str, dict[str, Any]] = {}
        if self._without_model:
            found["model"] = {"note": self._without_model}
        if self.device:
            found["model_device"] = {"device": self.device}
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
        self._problems = {f"function-{index}": {"reason": told}} if told else {}
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

    def _write(self, call: Mapping[str, Any]) -> None:
        """The full transcript of a call; the journal gets the short form."""
        line = json.dumps({"t_utc": utc_text(utc_now()), **call}, sort_keys=True) + "\n"
        try:
            with self._log.open("ab+") as stream:
                if _torn(stream):
                    stream.write(b"\n")
                stream.write(line.encode("ascii"))
        except OSError as error:
            raise problem("write to", self._log, error) from None


def _torn(stream: BinaryIO) -> bool:
    """Whether the last line lacks its end, for the process that wrote it was killed."""
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"


def _brief(call: Mapping[str, Any]) -> dict[str, Any]:
    """Without the texts, which llm.jsonl has."""
    return {key: value for key, value in call.items() if key not in ("messages", "answer")}


def hints_here(known: Knowledge) -> dict[str, str]:
    """The card's hints; a value that was found to run another one hints at that one."""
    probed = known.probed if known.state.done("feasibility") else ()
    aliases = {(p.param, p.value): p.alias_of for p in probed if p.alias_of is not None}
    return {n: aliases.get((n, value), value) for n, value in known.knobs.hints.items()}


def prompt_facts(known: Knowledge) -> dict[str, str]:
    """What a model is told of the machine, the library and the work."""
    machine, library = known.machine, known.needed_library()
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
            "library": f"OpenBLAS {library.version}, {library.threading}, core {library.core}",
            "workload": ", ".join(known.workload.weights),
        }
    )


def _goal_facts(settings: TuneSettings) -> dict[str, str]:
    """What the ratios of a prompt are of, where that is not time alone."""
    if settings.plain:
        return {}
    wanted = " and ".join(settings.objectives)
    facts = {"what the ratios are of": f"{wanted}, each so that less is better"}
    if settings.within:
        facts["constraints"] = ", ".join(settings.within)
    return facts
