"""Whether a model may serve here: what it is, the site's list, and whether it fits in memory."""

from __future__ import annotations

import os
from pathlib import Path

from hpcagent.config import Settings, digests
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.gguf import ModelFile
from hpcagent.llm.llamacpp import LlamaCpp, context_of
from hpcagent.llm.memory import Plan, plan, rearranged_bytes
from hpcagent.llm.progress import Tell, silent
from hpcagent.llm.residents import Residents
from hpcagent.llm.routing import OpenFile
from hpcagent.llm.surroundings import gpu_here, room_here
from hpcagent.llm.tables import ModelChoice


def admit(
    path: Path, settings: Settings, context: int | None = None, tell: Tell = silent
) -> ModelFile:
    """The model's header; EnvironmentProblem in one line where it may or can not serve here.

    The file is read in full only where the site has a list and its digest is not remembered; `tell`
    hears how far that is.
    """
    file = gguf.read(path)
    if settings.model_digests:
        words = forbidden(path, gguf.digest(path, tell), settings)
        if words:
            raise EnvironmentProblem(words)
    planned = plan_here(file, context)
    # On a GPU more may fit than this process can tell; its child asks the GPU and refuses then.
    if planned.refusal and not gpu_here():
        raise EnvironmentProblem(planned.refusal)
    return file


def opening(settings: Settings, tell: Tell = silent) -> OpenFile:
    """How the file of a role is opened here: admitted, in the threads configured, and giving way
    to the others that are opened so where memory is short."""
    residents = Residents(lambda held, paged: room_here(os.environ, held, paged=paged).bytes)

    def opened(choice: ModelChoice) -> LlamaCpp:
        path, context = Path(choice.file), choice.context or None
        admit(path, settings, context, tell)
        return LlamaCpp(path, context, threads=settings.model_threads, residents=residents)

    return opened


def plan_here(file: ModelFile, context: int | None = None) -> Plan:
    """How the model would be loaded now, on the CPU."""
    room = room_here(os.environ, twice=rearranged_bytes(file))
    return plan(file, context_of(file, context), room)


def forbidden(path: Path, digest: str, settings: Settings) -> str:
    """Why the site's list does not allow the model, in one line; empty where it does."""
    allowed = digests(settings.model_digests)
    if not allowed or digest in allowed:
        return ""
    where = settings.sources.get("model_digests", "the configuration")
    return (
        f"model {path}: its SHA-256 is {digest}, which is none of the {len(allowed)} that this site"
        f" allows (model_digests in {where}): take one of these, or ask for it to be added"
    )
