"""Loads the model of this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_Json = Mapping[str, Any]


@dataclass(frozen=True)
class Engine:
    """A loaded model: llama_cpp.Llama, its context in tokens, where it computes (in words)."""

    llama: Any
    context: int
    device: str


def failed(kind: str, evidence: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "evidence": evidence[:400]}}


def load(request: _Json) -> Engine | dict[str, Any]:
    import jinja2
    import llama_cpp

    gpu = llama_cpp.llama_supports_gpu_offload()
    try:
        llama = llama_cpp.Llama(
            model_path=request["path"],
            n_ctx=request["context"],
            n_batch=min(512, request["context"]),
            n_threads=request["threads"],
            n_threads_batch=request["threads"],
            n_gpu_layers=-1 if gpu else 0,
            seed=request["seed"],
            verbose=True,
        )
    except jinja2.TemplateError as error:
        return failed("load", f"its chat template cannot be read: {error}")
    except (ValueError, RuntimeError, UnicodeDecodeError, MemoryError) as error:
        return failed("load", str(error) or type(error).__name__)
    device = "GPU" if gpu else "CPU: llama.cpp was built for no GPU, or sees none here"
    # llama.cpp rounds a context up
    return Engine(llama, min(request["context"], int(llama.n_ctx())), device)
