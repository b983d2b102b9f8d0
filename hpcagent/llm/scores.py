"""What goes to the operation "score" of a model's process, and what comes back."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tokens = NDArray[np.int32]


_MOST_BYTES = 600_000  # of logits in one answer; in base64 it stays below what a line may have


@dataclass(frozen=True)
class Scores:
    """`logits` (points, outputs); `tokens` are the positions that were computed."""

    logits: NDArray[np.float32]
    tokens: int
    seconds: float


def request(history: Tokens, points: Tokens, outputs: tuple[int, int]) -> dict[str, Any]:
    """Rows of both are made as wide as the wider."""
    width = max(history.shape[1], points.shape[1])
    return {
        "op": "score",
        "width": width,
        "history": _packed(history, width),
        "points": _packed(points, width),
        "outputs": list(outputs),
    }


def pieces(points: Tokens, outputs: tuple[int, int]) -> list[Tokens]:
    """The points in as many parts as answers of bounded length need; at least one part."""
    most = max(1, _MOST_BYTES // (outputs[1] * 4))
    return [points[start : start + most] for start in range(0, max(1, len(points)), most)]


def joined(parts: Sequence[Scores]) -> Scores:
    import numpy as np

    return Scores(
        np.concatenate([part.logits for part in parts]),
        sum(part.tokens for part in parts),
        sum(part.seconds for part in parts),
    )


def read(answer: Mapping[str, Any], outputs: tuple[int, int]) -> Scores:
    import numpy as np

    raw = base64.b64decode(answer["logits"])
    logits = np.frombuffer(raw, dtype="<f4").reshape(-1, outputs[1])
    return Scores(logits, int(answer["tokens"]), float(answer["seconds"]))


def _packed(rows: Tokens, width: int) -> str:
    import numpy as np

    wide = np.full((len(rows), width), -1, dtype="<i2")
    wide[:, : rows.shape[1]] = rows
    return base64.b64encode(wide.tobytes()).decode("ascii")
