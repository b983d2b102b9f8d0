"""What a model's process takes at most, beside the estimate that a model is refused by.

Each model has random weights and answers a prompt that fills most of its context. The peak is the
kernel's VmHWM; pages of the file count in it, although they are clean and would be taken back.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import ROOT, finish, options, scratch, table, tell

from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import need
from hpcagent.probe.procfs import parse_kib_field
from hpcagent.records import Limits, Message

sys.path.insert(0, str(ROOT / "tests"))
SCHEMA = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}


def main() -> None:
    from tiny_gguf import MEASURED, TINY, Shape, make_tiny_gguf, many_words

    chosen = options(__doc__)
    models = {
        "tiny": (TINY, ()),
        "15 M in F32": (Shape(width=384, heads=6, layers=8, forward=1024), ()),
        "59 M in Q8_0, 32,000 tokens": (MEASURED, many_words()),
        "deep: 32 layers": (Shape(width=256, heads=8, layers=32, forward=512), ()),
    }
    rows, figures = [], {}
    with scratch() as folder:
        for name, (shape, words) in list(models.items())[: 2 if chosen.quick else None]:
            path = make_tiny_gguf(folder / "model.gguf", shape=shape, words=words)
            for context in (1024,) if chosen.quick else (1024, 4096):
                peak, estimate = _measured(path, context)
                rows.append((name, context, estimate / 1e6, peak / 1e6, estimate / peak))
                figures[f"{name}, {context}"] = {"estimate": estimate, "peak": peak}
                tell(f"{name}, {context}: {peak / 1e6:.0f} MB")
    table(("model", "context", "estimate MB", "peak MB", "ratio"), rows)
    finish(chosen, {"bytes": figures})


def _measured(path: Path, context: int) -> tuple[int, int]:
    """Peak and estimate in bytes; the prompt is spelt with a token a character."""
    model = LlamaCpp(path, context=context, sequences=1)
    prompt = (Message("user", "~" * (context * 8 // 10)),)
    reply = model.complete(prompt, SCHEMA, Limits(32, 1800), 1)
    if reply.failure is not None:
        raise SystemExit(f"{path}: {reply.failure.evidence}")
    status = Path(f"/proc/{model.pid}/status").read_text(encoding="utf-8")
    estimate = need(model.file, context).total
    model.close()
    return parse_kib_field(status, "VmHWM") or 0, estimate


if __name__ == "__main__":
    main()
