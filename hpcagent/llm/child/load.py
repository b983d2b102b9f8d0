"""Loads the model of this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.llm.child.cache import BLOCK, GPU_BLOCK, Cache, cell_bytes, sequences
from hpcagent.llm.child.decode import Decoder
from hpcagent.llm.child.vocabulary import Vocabulary

_UNUSED = 32  # tokens of the binding's own context

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A loaded model: llama_cpp.Llama, its context in tokens, where it computes (in words).

    What it reads is evaluated in the contexts of `cache`, not in that of `llama`.
    """

    llama: Any
    context: int
    device: str
    cache: Cache
    vocabulary: Vocabulary


def failed(kind: str, evidence: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "evidence": evidence[:400]}}


def load(request: _Json) -> Engine | dict[str, Any]:
    import jinja2
    import llama_cpp

    gpu = llama_cpp.llama_supports_gpu_offload()
    try:
        llama = llama_cpp.Llama(
            model_path=request["path"],
            n_ctx=_UNUSED,
            n_batch=_UNUSED,
            n_threads=request["threads"],
            n_threads_batch=request["threads"],
            n_gpu_layers=-1 if gpu else 0,
            seed=request["seed"],
            verbose=True,
        )
        cache = _cache(llama, request, GPU_BLOCK if gpu else BLOCK)
    except jinja2.TemplateError as error:
        return failed("load", f"its chat template cannot be read: {error}")
    except (ValueError, RuntimeError, UnicodeDecodeError, MemoryError) as error:
        return failed("load", str(error) or type(error).__name__)
    device = "GPU" if gpu else "CPU: llama.cpp was built for no GPU, or sees none here"
    return Engine(llama, request["context"], device, cache, Vocabulary(llama))


def _cache(llama: Any, request: _Json, block: int) -> Cache:
    context = request["context"]
    kept = request.get("sequences") or sequences(cell_bytes(llama), context)
    return Cache(Decoder(llama, context, kept, block), kept)
