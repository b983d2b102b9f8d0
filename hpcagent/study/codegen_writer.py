"""Who writes the attempts of a code generation: a model, or the transcript of an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpcagent.errors import EnvironmentProblem
from hpcagent.protocols import LanguageModel
from hpcagent.records import Failure, Limits, Message, Reply
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp

TRANSCRIPT = ".jsonl"


class Writer(Protocol):
    def open(self, attempt: int) -> tuple[LanguageModel, str]:
        """The model for the attempt of this number, and its digest. Raises EnvironmentProblem."""
        ...

    def close(self) -> None: ...


class GgufWriter:
    """A model in a GGUF file, loaded when it is first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model: LlamaCpp | None = None
        self._digest = ""

    def open(self, attempt: int) -> tuple[LanguageModel, str]:
        from hpcagent.llm import gguf
        from hpcagent.llm.llamacpp import LlamaCpp

        if self._model is None:
            self._model, self._digest = LlamaCpp(self._path), gguf.digest(self._path)
        return self._model, self._digest

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None


class Transcript:
    """The answers in an llm.jsonl, each given to the attempt that it was given to then.

    By number and not by prompt: a prompt holds measured times, which are never the same again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: Mapping[int, str] | None = None
        self._digest = ""
        self._attempt = 0

    def open(self, attempt: int) -> tuple[LanguageModel, str]:
        self._attempt = attempt
        if self._answers is None:
            try:
                data = self._path.read_bytes()
            except OSError as error:
                words = f"cannot read {self._path}: {error.strerror}"
                raise EnvironmentProblem(words) from None
            self._answers = _answers(data)
            self._digest = hashlib.sha256(data).hexdigest()
        return self, self._digest

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        answer = (self._answers or {}).get(self._attempt)
        if answer is None:
            words = f"{self._path} has no answer for attempt {self._attempt}"
            return Reply("", failure=Failure("model", "not_in_transcript", words))
        return Reply(answer)

    def close(self) -> None:
        return


def _answers(data: bytes) -> dict[int, str]:
    """Answer by attempt; lines that cannot be read are passed over."""
    found: dict[int, str] = {}
    for line in data.splitlines():
        try:
            row = json.loads(line)
            found[int(row["attempt"])] = str(row["answer"])
        except (ValueError, KeyError, TypeError):
            continue
    return found


def writer_of(settings: TuneSettings) -> Writer | None:
    """None where no model takes part."""
    if not settings.model:
        return None
    path = Path(settings.model)
    return Transcript(path) if path.suffix == TRANSCRIPT else GgufWriter(path)
