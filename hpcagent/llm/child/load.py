"""Loads the model of this process: what fits, where it fits, or why it does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.child.cache import Cache
from hpcagent.llm.child.chat import Chat, Marks, chat, marks_of
from hpcagent.llm.child.devices import gpus, others
from hpcagent.llm.child.mapped import give_back
from hpcagent.llm.child.pace import Pace
from hpcagent.llm.child.prompt import TEMPLATE, trouble, uncompiled, unreadable
from hpcagent.llm.child.telling import Telling, TellingDecoder
from hpcagent.llm.child.vocabulary import Vocabulary
from hpcagent.llm.memory import CPU_BLOCK, Plan, batch_of, paged_bytes, plan, rearranged_bytes
from hpcagent.llm.surroundings import room_here

_UNUSED = 32  # tokens of the binding's own context

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A loaded model: llama_cpp.Llama, its context in tokens, where it computes (in words).

    What it reads is evaluated in the contexts of `cache`, not in that of `llama`. `needs` are bytes
    by the estimate, of which `paged` are read from the file's pages. `notes` tell what is not as it
    was asked for, each in one line. `telling` hears of all that is evaluated. `file` was opened
    before it was loaded: another one may be in its place since then.
    """

    file: BinaryIO
    llama: Any
    context: int
    device: str
    cache: Cache
    vocabulary: Vocabulary
    marks: Marks
    needs: int
    paged: int
    telling: Telling
    notes: tuple[str, ...] = ()

    def chat(self, messages: Sequence[_Json], thinks: bool = False) -> Chat:
        """The prompt that these make."""
        return chat(self.llama, self.vocabulary, self.marks, messages, thinks)


def failed(kind: str, evidence: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "evidence": evidence[:400]}}


def load(
    request: _Json, tell: Callable[[_Json], None] = lambda told: None
) -> Engine | dict[str, Any]:
    """The engine, or {failure}: "memory" where it cannot fit, "load" for everything else.

    `tell` will hear how far it is with what it is asked.
    """
    import llama_cpp

    path = Path(request["path"])
    try:
        file = gguf.read(path)
        stream = path.open("rb")
    except (EnvironmentProblem, OSError) as error:
        return failed("load", str(error))
    words = unreadable(file.templates)
    if words:
        return failed("load", words)
    gpu = llama_cpp.llama_supports_gpu_offload()
    devices = gpus(Path(llama_cpp.__file__).parent / "lib") if gpu else ()
    beyond = max(0, request.get("paged", 0) - paged_bytes(file))
    room = room_here(os.environ, request.get("held", 0), rearranged_bytes(file), beyond)
    kept = request.get("sequences")
    chosen = plan(file, request["context"], room, devices, kept)
    telling = Telling(tell)
    opened = _opened(request, file, chosen, telling)
    if isinstance(opened, str) and devices:
        # What drivers and other processes take of a GPU is not known beforehand.
        alone = plan(file, request["context"], room, sequences=kept)
        note = f"without the GPU: {' '.join(opened.split())[:200]}"
        chosen = replace(alone, gpu_layers=0, notes=(*alone.notes, note))
        opened = _opened(request, file, chosen, telling)
    if isinstance(opened, str):
        return failed("memory" if chosen.refusal else "load", opened)
    llama, cache = opened
    give_back(file.parts or (file.path,))
    words = trouble(llama)
    if words:
        llama.metadata.pop(TEMPLATE)
    notes = (*chosen.notes, *([words] if words else []))
    vocabulary = Vocabulary(llama)
    return Engine(
        stream,
        llama,
        chosen.context,
        _device(gpu, chosen),
        cache,
        vocabulary,
        marks_of(llama, vocabulary),
        chosen.need.total,
        paged_bytes(file, chosen.gpu_layers),
        telling,
        notes,
    )


def _opened(
    request: _Json, file: gguf.ModelFile, chosen: Plan, telling: Telling
) -> tuple[Any, Cache] | str:
    """llama_cpp.Llama and what it reads with, or why there is none."""
    import llama_cpp

    if chosen.refusal:
        return chosen.refusal
    try:
        with uncompiled():
            llama = llama_cpp.Llama(
                model_path=request["path"],
                n_ctx=_UNUSED,
                n_batch=_UNUSED,
                n_threads=request["threads"],
                n_threads_batch=request["threads"],
                n_gpu_layers=chosen.gpu_layers,
                seed=request["seed"],
                verbose=True,
            )
        room = batch_of(file, chosen.gpu_layers > 0)
        block = room if chosen.gpu_layers else CPU_BLOCK
        # A GPU is mostly waited for; the sums of a BLAS may depend on the number of its threads.
        alone = not others(Path(llama_cpp.__file__).parent / "lib")
        pace = Pace(llama.n_threads) if alone else None
        decoder = TellingDecoder(llama, chosen.context, chosen.sequences, block, room, pace)
        decoder.telling = telling
        return llama, Cache(decoder, chosen.sequences)
    except (ValueError, RuntimeError, UnicodeDecodeError, MemoryError) as error:
        return str(error) or type(error).__name__


def _device(gpu: bool, chosen: Plan) -> str:
    if not gpu:
        return "CPU: llama.cpp was built for no GPU, or sees none here"
    if chosen.gpu_layers == 0:
        return "CPU: nothing of it fits on a GPU here"
    if chosen.gpu_layers > chosen.layers:
        return "GPU"
    return f"GPU and CPU: {chosen.gpu_layers} of {chosen.layers} layers on the GPU"
