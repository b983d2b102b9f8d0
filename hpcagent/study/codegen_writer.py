"""The model behind a code generation, opened when it is first asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpcagent.protocols import LanguageModel
from hpcagent.study.settings import TuneSettings

if TYPE_CHECKING:
    from hpcagent.llm.llamacpp import LlamaCpp
    from hpcagent.study.codegen_agent import Writer


class GgufWriter:
    """A model in a GGUF file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._model: LlamaCpp | None = None

    def open(self) -> tuple[LanguageModel, str]:
        from hpcagent.llm import gguf
        from hpcagent.llm.llamacpp import LlamaCpp

        self._model = LlamaCpp(self._path)
        return self._model, gguf.digest(self._path)

    def close(self) -> None:
        if self._model is not None:
            self._model.close()


def writer_of(settings: TuneSettings) -> Writer | None:
    return GgufWriter(Path(settings.model)) if settings.model else None
