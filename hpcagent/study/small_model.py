"""The small model in a run: its process, what is in its way, and a record of each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.log import FAILED
from hpcagent.protocols import PointModel
from hpcagent.records import Outlook
from hpcagent.study.knowledge import Knowledge

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp

STRATEGY = "embedded"


class SmallModel:
    """`file` is as `--model` takes it; `told` gets each question as a call of a model."""

    def __init__(self, file: str, told: Callable[[dict[str, Any]], None]) -> None:
        self._file = file
        self._told = told
        self._process: LlamaCpp | None = None
        self._sha256 = ""
        self.note = ""  # why the search goes on without it

    def begin(self) -> None:
        """Start its process, so that the first answer need not wait for that."""
        process = self._opened()
        if process is not None:
            process.begin()

    def points(self, known: Knowledge) -> PointModel | None:
        """The model; None, with a note, where it cannot serve or cannot express the space."""
        process = self._opened()
        if process is None:
            return None
        from hpcagent.embedded.model import Embedded

        found = Embedded(process, known.machine.usable_cores)
        refused = found.refusal(known.space)
        if refused:
            process.close()
            self.note = f"the search went on without it: {refused}"
        return None if refused else found

    def heard(self, outlook: Outlook) -> None:
        failure = outlook.failure
        call: Mapping[str, Any] = {
            "model_sha256": self._sha256,
            "tokens_in": outlook.tokens,
            "tokens_out": 0,
            "seconds": outlook.seconds,
            "answer": f"expected improvements of {len(outlook.gains)} points",
            "verdict": f"{FAILED} {failure.id}: {failure.evidence}" if failure else "accepted",
        }
        self._told(dict(call))

    def close(self) -> None:
        if self._process is not None:
            self._process.close()

    def _opened(self) -> LlamaCpp | None:
        from hpcagent.embedded.opening import opened

        try:
            if self._process is None:
                self._process, self._sha256 = opened(self._file)
        except EnvironmentProblem as error:
            self.note = f"the search went on without it: {error}"
        return self._process
