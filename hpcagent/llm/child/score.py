"""The operation "score": logits at many points that share a history, for a model made for it.

A position is several tokens at once: its embedding is the sum of theirs. The history stands at
position 0, each point at position 1 in a sequence of its own, so that it sees the history and
itself. The context is made for one call and freed with it; it shares the loaded weights.
"""

from __future__ import annotations

import base64
import ctypes
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent.llm.child.embeddings import Unreadable, embeddings
from hpcagent.llm.child.load import Engine, failed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Wide = NDArray[np.float32]

SEQUENCES = 192  # points at once; llama.cpp has 256 sequences at most, the first is the history
MOST_HISTORY = 64

_Json = Mapping[str, Any]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{logits, tokens, seconds} or {failure}.

    `history` and `points` are base64 of 16-bit integers, rows of `width` tokens, where a negative
    one is none; `outputs` the first token that logits are wanted of, and how many. `logits` is
    base64 of 32-bit floats, a row a point.
    """
    import numpy as np

    started = time.perf_counter()
    history, points = (_rows(request[part], request["width"]) for part in ("history", "points"))
    if len(history) > MOST_HISTORY:
        return failed("context_overflow", f"{len(history)} trials, more than {MOST_HISTORY}")
    try:
        table = embeddings(Path(engine.file.name), engine.file)
    except Unreadable as error:
        return failed("load", str(error))
    first, count = request["outputs"]
    most = max(int(history.max(initial=-1)), int(points.max(initial=-1)), first + count - 1)
    if most >= len(table):
        return failed("unspeakable", f"token {most} of a vocabulary of {len(table)}")
    try:
        found = _scored(engine, _summed(table, history), _summed(table, points), first, count)
    except RuntimeError as error:
        return failed("decode", str(error))
    return {
        "logits": base64.b64encode(np.ascontiguousarray(found).tobytes()).decode("ascii"),
        "tokens": len(history) + len(points),
        "seconds": time.perf_counter() - started,
    }


def _rows(text: str, width: int) -> NDArray[np.int16]:
    import numpy as np

    raw = base64.b64decode(text)
    return np.frombuffer(raw, dtype="<i2", count=len(raw) // 2).reshape(-1, width)


def _summed(table: Wide, tokens: NDArray[np.int16]) -> Wide:
    """(N, width of the model): the sum of each row's embeddings."""
    import numpy as np

    found = np.zeros((len(tokens), table.shape[1]), dtype=np.float32)
    for column in tokens.T:
        found += np.where(column[:, None] < 0, 0.0, table[column])
    return found


def _scored(engine: Engine, history: Wide, points: Wide, first: int, count: int) -> Wide:
    import llama_cpp
    import numpy as np

    context = _context(engine)
    try:
        memory = llama_cpp.llama_get_memory(context)
        if len(history):
            _decode(context, history, 0, None)
            for sequence in range(1, SEQUENCES + 1):
                llama_cpp.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        parts = []
        for start in range(0, len(points), SEQUENCES):
            part = points[start : start + SEQUENCES]
            _decode(context, part, 1, range(1, len(part) + 1))
            shape = (len(part), engine.llama.n_vocab())
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=shape)
            parts.append(logits[:, first : first + count].copy())
            llama_cpp.llama_memory_seq_rm(memory, -1, 1, -1)  # the points, of every sequence
        return np.concatenate(parts) if parts else np.zeros((0, count), dtype=np.float32)
    finally:
        llama_cpp.llama_free(context)


def _context(engine: Engine) -> Any:
    """RuntimeError where llama.cpp gives none."""
    import llama_cpp

    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = SEQUENCES + MOST_HISTORY
    settings.n_seq_max = SEQUENCES + 1
    settings.kv_unified = True  # one memory that all sequences share
    settings.n_threads = settings.n_threads_batch = engine.llama.n_threads
    context = llama_cpp.llama_init_from_model(engine.llama.model, settings)
    if not context:
        raise RuntimeError("llama.cpp made no second context")
    return context


def _decode(context: Any, rows: Wide, place: int, sequences: range | None) -> None:
    """Feed rows of embeddings at one position; to sequence 0 where none are told."""
    import llama_cpp
    import numpy as np

    width = rows.shape[1]
    batch = llama_cpp.llama_batch_init(len(rows), width, 1)
    try:
        batch.n_tokens = len(rows)
        held = np.ascontiguousarray(rows, dtype=np.float32)
        ctypes.memmove(batch.embd, held.ctypes.data, held.nbytes)
        for n in range(len(rows)):
            batch.pos[n] = place
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = 0 if sequences is None else sequences[n]
            batch.logits[n] = sequences is not None
        code = llama_cpp.llama_decode(context, batch)
        if code:
            raise RuntimeError(f"llama_decode: {code}")
    finally:
        llama_cpp.llama_batch_free(batch)
