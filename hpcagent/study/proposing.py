"""Asks the strategy for the next configurations, with a language model where one is configured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent import plugins
from hpcagent.protocols import LanguageModel, Strategy
from hpcagent.records import Proposal, Stop
from hpcagent.search.options import Options
from hpcagent.study.durable import problem, utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.llm.log import Recording

Record = Callable[[Mapping[str, Any]], None]


class Proposer:
    """Holds the strategy, and the model's process, from the first proposal to `close`."""

    def __init__(self, settings: TuneSettings, log: Path) -> None:
        self._settings = settings
        self._log = log
        self._model: LlamaCpp | None = None
        self._recording: Recording | None = None
        self._strategy: Strategy | None = None
        self._calls: list[dict[str, Any]] = []

    def propose(
        self, known: Knowledge, index: int, record: Record
    ) -> tuple[tuple[Proposal, ...], str | None]:
        """Proposals for round `index`, or the reason to stop; `record` gets each model call."""
        strategy = self._strategy or self._make(known)
        self._strategy = strategy
        answer = strategy.propose(
            known.space,
            known.trials,
            (),
            self._settings.challengers,
            self._settings.seed * 1_000_003 + index,
        )
        if self._recording is not None:
            self._recording.flush()
        for call in self._calls:
            self._write({"round": index, **call})
            record({"round": index, **_brief(call)})
        self._calls.clear()
        if isinstance(answer, Stop):
            return (), answer.reason
        return answer, None if answer else "the strategy has nothing more to propose"

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = self._recording = self._strategy = None

    def _make(self, known: Knowledge) -> Strategy:
        name = self._settings.strategy
        module = plugins.load("hpcagent.search", name, "create")
        model = self._open_model() if name == "model" else None
        options = Options(
            seed=self._settings.seed, model=model, facts=prompt_facts(known), verdict=self._verdict
        )
        strategy: Strategy = module.create(options)
        return strategy

    def _open_model(self) -> LanguageModel:
        from hpcagent.llm import gguf
        from hpcagent.llm.llamacpp import LlamaCpp
        from hpcagent.llm.log import Recording

        path = Path(self._settings.model)
        self._model = LlamaCpp(path)
        self._recording = Recording(
            self._model, gguf.digest(path), lambda call: self._calls.append(call.as_json())
        )
        return self._recording

    def _verdict(self, words: str) -> None:
        if self._recording is not None:
            self._recording.verdict(words)

    def _write(self, call: Mapping[str, Any]) -> None:
        """The full transcript of a call; the journal gets the short form."""
        line = json.dumps({"t_utc": utc_text(utc_now()), **call}, sort_keys=True) + "\n"
        try:
            with self._log.open("a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            raise problem("write to", self._log, error) from None


def _brief(call: Mapping[str, Any]) -> dict[str, Any]:
    """Without the texts, which llm.jsonl has."""
    return {key: value for key, value in call.items() if key not in ("messages", "answer")}


def prompt_facts(known: Knowledge) -> dict[str, str]:
    """What a model is told of the machine, the library and the work."""
    machine, library = known.machine, known.needed_library()
    memory = machine.memory_available_bytes
    return {
        "processor": machine.cpu_model,
        "microarchitecture": machine.microarchitecture,
        "usable cores": str(machine.usable_cores),
        "hardware threads per core": str(machine.threads_per_core),
        "NUMA nodes": str(machine.numa_nodes),
        "memory": f"{memory / 2**30:.0f} GiB" if memory else "unknown",
        "library": f"OpenBLAS {library.version}, {library.threading}, core {library.core}",
        "workload": ", ".join(known.workload.weights),
    }
