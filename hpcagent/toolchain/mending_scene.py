"""What a failed build tells, and where it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.probe.software import CompilerFound, Software


@dataclass(frozen=True)
class Scene:
    """`quote` is the line of the cause, `text` all that the failed step printed; `software` is the
    node's, `compilers` and `modules` are those that the build used."""

    quote: str
    text: str
    software: Software
    compilers: Sequence[CompilerFound] = ()
    modules: tuple[str, ...] = ()
