"""Asks the strategy for the next configurations, with a language model where one is configured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hpcagent import plugins
from hpcagent.errors import EnvironmentProblem
from hpcagent.protocols import Strategy
from hpcagent.records import Proposal, Stop
from hpcagent.search.options import Options
from hpcagent.search.prior import Prior
from hpcagent.study.durable import problem, utc_now, utc_text
from hpcagent.study.history_recall import earlier_in
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.llm.log import Recording

FALLBACK = "surrogate"
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

    @property
    def without_model(self) -> str:
        """Why the configured model takes no part; empty where it does, or none is configured."""
        return self._without_model

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
        answer = self._strategy_for(known).propose(
            known.space,
            known.trials,
            (*known.pending, *(proposal.config for proposal in asked)),
            left,
            self._settings.seed * 1_000_003 + index,
        )
        if self._recording is not None:
            self._recording.flush()
        for call in self._calls:
            self._write({"round": index, **call})
            record({"round": index, **_brief(call)})
        self._calls.clear()
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
            prior = Prior(earlier_in(known.state.decisions), known.knobs.hints)
            self._strategy, self._facts = self._make(facts, prior), facts
        return self._strategy

    def _make(self, facts: Mapping[str, str], prior: Prior) -> Strategy:
        name = self._settings.strategy
        model = self._recording
        if name == "model" and model is None:
            model = self._open_model()
        if name == "model" and model is None:
            name = FALLBACK
        module = plugins.load("hpcagent.search", name, "create")
        options = Options(
            seed=self._settings.seed, model=model, facts=facts, verdict=self._verdict, prior=prior
        )
        strategy: Strategy = module.create(options)
        return strategy

    def _open_model(self) -> Recording | None:
        """None where the file cannot serve any more; it could when the run was opened."""
        from hpcagent.llm import gguf
        from hpcagent.llm.llamacpp import LlamaCpp
        from hpcagent.llm.log import Recording

        path = Path(self._settings.model)
        try:
            self._model, digest = LlamaCpp(path), gguf.digest(path)
        except EnvironmentProblem as error:
            self._without_model = f"the search went on without it: {error}"
            return None
        self._recording = Recording(
            self._model, digest, lambda call: self._calls.append(call.as_json())
        )
        return self._recording

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


def prompt_facts(known: Knowledge) -> dict[str, str]:
    """What a model is told of the machine, the library and the work."""
    machine, library = known.machine, known.needed_library()
    memory = machine.memory_available_bytes
    texts = [
        str(a["text"]) for a in known.state.advice if a.get("type") == "advise" and a.get("text")
    ]
    advice = {"advice of the user": "; ".join(texts)} if texts else {}
    return advice | {
        "processor": machine.cpu_model,
        "microarchitecture": machine.microarchitecture,
        "usable cores": str(machine.usable_cores),
        "hardware threads per core": str(machine.threads_per_core),
        "NUMA nodes": str(machine.numa_nodes),
        "memory": f"{memory / 2**30:.0f} GiB" if memory else "unknown",
        "library": f"OpenBLAS {library.version}, {library.threading}, core {library.core}",
        "workload": ", ".join(known.workload.weights),
    }
