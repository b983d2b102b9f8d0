"""Which models are of the small kind, and how one is opened."""

from __future__ import annotations

from pathlib import Path

from hpcagent.embedded import card
from hpcagent.embedded.model import Embedded
from hpcagent.llm import gguf
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.tables import SHIPPED as WORD

NAME = "hpcagent-embedded"  # what a GGUF of this kind calls itself


def path_of(model: str) -> Path:
    return card.SHIPPED if model == WORD else Path(model)


def is_small(model: str) -> bool:
    """Whether this is the word for the model that ships, or a file of its kind.

    EnvironmentProblem where the file is no GGUF that can be read.
    """
    return bool(model) and (model == WORD or gguf.read(Path(model)).name == NAME)


def opened(model: str, cores: int | None) -> tuple[Embedded, LlamaCpp, str]:
    """(model, its process, its SHA-256); EnvironmentProblem where card and file do not agree."""
    path = path_of(model)
    sha256 = card.checked(path).sha256
    process = LlamaCpp(path)
    return Embedded(process, cores), process, sha256
