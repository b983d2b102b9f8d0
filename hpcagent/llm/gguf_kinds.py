"""What a GGUF is: a language model that the engine can run, or something else."""

from __future__ import annotations

LANGUAGE = "language model"
PROJECTOR = "projector for images or sound (mmproj)"
_TYPES = {
    "adapter": "adapter (LoRA)",
    "imatrix": "importance matrix",
    "mmproj": PROJECTOR,
    "vocab": "vocabulary without weights",
}
# Architectures of llama.cpp that read text and do not write any.
_BERTS = ("bert", "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "eurobert")
_BERTS_OF_JINA = ("jina-bert-v2", "jina-bert-v3")
_EMBEDDING = ("gemma-embedding", "llama-embed", "t5encoder", "wavtokenizer-dec")
# Those that cannot write one token after another, as the engine does.
_DIFFUSION = ("dream", "llada", "llada-moe", "rnd1")
_OTHERS = {
    **dict.fromkeys((*_BERTS, *_BERTS_OF_JINA, *_EMBEDDING), "it reads text and writes none"),
    **dict.fromkeys(_DIFFUSION, "it writes by diffusion, which is not supported"),
    "t5": "it has an encoder of its own, which is not supported",
}


def kind_of(told: str, architecture: str, weighs: bool, pools: bool = False) -> str:
    """By what the file tells (general.type), its architecture, and whether it has weights.

    `pools`: it makes one vector or grade of a whole text, as language models do that were trained
    on for searching.
    """
    if architecture == "clip":
        told = "mmproj"
    if told in _TYPES:
        return _TYPES[told]
    if architecture in _OTHERS:
        return f"model of another kind ({architecture}: {_OTHERS[architecture]})"
    if pools and weighs:
        return "model for embeddings or grades of texts"
    return LANGUAGE if weighs else _TYPES["vocab"]
