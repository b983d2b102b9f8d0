"""Loads the model of this process: what fits, where it fits, or why it does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm import gguf
from hpcagent.llm.child.devices import gpus
from hpcagent.llm.child.prompt import TEMPLATE, trouble, uncompiled, unreadable
from hpcagent.llm.memory import BATCH, Plan, plan
from hpcagent.llm.surroundings import room_here

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A loaded model: llama_cpp.Llama, its context in tokens, where it computes (in words).

    `notes` tell what is not as it was asked for, each in one line.
    """

    llama: Any
    context: int
    device: str
    notes: tuple[str, ...] = ()


def failed(kind: str, evidence: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "evidence": evidence[:400]}}


def load(request: _Json) -> Engine | dict[str, Any]:
    """The engine, or {failure}: "memory" where it cannot fit, "load" for everything else."""
    import llama_cpp

    try:
        file = gguf.read(Path(request["path"]))
    except EnvironmentProblem as error:
        return failed("load", str(error))
    words = unreadable(file.templates)
    if words:
        return failed("load", words)
    gpu = llama_cpp.llama_supports_gpu_offload()
    devices = gpus(Path(llama_cpp.__file__).parent / "lib") if gpu else ()
    room = room_here(os.environ, request.get("held", 0))
    chosen = plan(file, request["context"], room, devices)
    llama = _opened(request, chosen) if not chosen.refusal else chosen.refusal
    if isinstance(llama, str) and devices:
        # What drivers and other processes take of a GPU is not known beforehand.
        alone = plan(file, request["context"], room)
        note = f"without the GPU: {' '.join(llama.split())[:200]}"
        chosen = Plan(alone.context, alone.need, 0, alone.layers, (*alone.notes, note))
        llama = _opened(request, chosen) if not alone.refusal else alone.refusal
    if isinstance(llama, str):
        return failed("memory" if chosen.refusal else "load", llama)
    words = trouble(llama)
    if words:
        llama.metadata.pop(TEMPLATE)
    notes = (*chosen.notes, *([words] if words else []))
    # llama.cpp rounds a context up
    return Engine(llama, min(chosen.context, int(llama.n_ctx())), _device(gpu, chosen), notes)


def _opened(request: _Json, chosen: Plan) -> Any:
    """llama_cpp.Llama, or why there is none."""
    import llama_cpp

    try:
        with uncompiled():
            return llama_cpp.Llama(
                model_path=request["path"],
                n_ctx=chosen.context,
                n_batch=min(BATCH, chosen.context),
                n_threads=request["threads"],
                n_threads_batch=request["threads"],
                n_gpu_layers=chosen.gpu_layers,
                seed=request["seed"],
                verbose=True,
            )
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
