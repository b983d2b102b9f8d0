"""Which models are of the small kind, and how one is opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hpcagent.embedded import card
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.tables import SHIPPED as WORD

_ENGINE = "llama_cpp"
NAME = "hpcagent-embedded"  # what a GGUF of this kind calls itself


def path_of(model: str) -> Path:
    return card.SHIPPED if model == WORD else Path(model)


def is_small(model: str) -> bool:
    """Whether this is the word for the model that ships, or a file of its kind.

    EnvironmentProblem where the file is no GGUF that can be read.
    """
    return bool(model) and (model == WORD or gguf.read(Path(model)).name == NAME)


def opened(model: str) -> tuple[LlamaCpp, str]:
    """(its process, not started yet; its SHA-256); EnvironmentProblem where card and file do not
    agree, or what runs it is not installed."""
    if find_spec(_ENGINE) is None:
        raise EnvironmentProblem(f"{_ENGINE} is not installed")
    path = path_of(model)
    card.checked(path)
    process = LlamaCpp(path)
    return process, process.digest()
