"""Who writes the attempts of a code generation: a model, or the transcript of an earlier run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.progress import Tell
from hpcagent.protocols import LanguageModel
from hpcagent.records import Failure, Limits, Message, Reply
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.routing import Models

ROLE = "codegen"
TRANSCRIPT = ".jsonl"


class Writer(Protocol):
    def open(self, attempt: int) -> tuple[LanguageModel, str]:
        """The model for the attempt of this number, and its digest. Raises EnvironmentProblem."""
        ...

    def answer_s(self, otherwise: float) -> float:
        """Seconds that an answer may take."""
        ...

    def tell_of(self, tell: Tell) -> None:
        """`tell` hears how far the model is with what it was asked."""
        ...

    def close(self) -> None: ...


class RoleWriter:
    """The model that the configuration, or --model, names for this role."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def open(self, attempt: int) -> tuple[LanguageModel, str]:
        model = self._models.for_role(ROLE)
        if model is None:
            raise EnvironmentProblem("no model is named for the role codegen")
        return model, self._models.digest(ROLE)

    def answer_s(self, otherwise: float) -> float:
        return self._models.answer_s(ROLE, otherwise)

    def tell_of(self, tell: Tell) -> None:
        self._models.tell = tell

    def close(self) -> None:
        self._models.close()


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

    def answer_s(self, otherwise: float) -> float:
        return otherwise

    def tell_of(self, tell: Tell) -> None:
        return

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
    if settings.replay:
        return Transcript(Path(settings.replay))
    if not settings.models:
        return None
    from hpcagent.llm.routing import Models
    from hpcagent.study.admission import opening

    opened = opening(load_settings(os.environ, Path.cwd()))
    return RoleWriter(Models.from_json(settings.models, settings.model_hosts, opened))
