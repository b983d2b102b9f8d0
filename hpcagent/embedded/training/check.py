"""How far an exported file, run by llama.cpp, is from the network it was made of."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.training.network import Network
from hpcagent.embedded.training.sources import Sources, drawing
from hpcagent.embedded.training.tasks import Batch, batch
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Failure, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_APART = 0.05  # logits; 16-bit weights are off by about a hundredth
_SEED = 987_654_321  # of lessons that no training has seen
_TIMEOUT_S = 60.0


def unseen_loss(network: Network, batches: int = 40, lessons: int = 48) -> float:
    """Nats a point, over simulated surfaces that no training drew."""
    total, count = 0.0, 0
    for number in range(batches):
        made = batch(drawing(Sources()), _SEED, number, lessons)
        logits = _logits(network, made).reshape(-1, v.OUTPUTS)
        wanted = torch.from_numpy(made.bins).reshape(-1)
        total += float(functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum"))
        count += int((wanted >= 0).sum())
    return total / count


def apart(network: Network, path: Path, lessons: int = 6) -> float:
    """The largest difference of a logit between PyTorch and llama.cpp."""
    made = batch(drawing(Sources()), _SEED, 0, lessons)
    ours = _logits(network, made).numpy()
    model = LlamaCpp(path)
    try:
        return max(
            float(np.abs(theirs - ours[n, : len(theirs)]).max())
            for n in range(lessons)
            for theirs in [through_llama(model, made, n)]
        )
    finally:
        model.close()


def write_logits(network: Network, sha256: str, path: Path, lessons: int = 3) -> None:
    """What PyTorch gives for a few fixed points, for a test that has no PyTorch."""
    made = batch(drawing(Sources()), _SEED, 1, lessons)
    logits = _logits(network, made).numpy()
    cases = []
    for n in range(lessons):
        asked = made.bins[n] >= 0
        cases.append(
            {
                "history": made.tokens[n, : made.seen[n]].tolist(),
                "points": made.tokens[n, made.history :][asked][:8].tolist(),
                "logits": base64.b64encode(logits[n][asked][:8].tobytes()).decode("ascii"),
            }
        )
    path.write_text(json.dumps({"sha256": sha256, "cases": cases}) + "\n", encoding="utf-8")


def through_llama(model: LlamaCpp, made: Batch, n: int) -> NDArray[np.float32]:
    """(points, OUTPUTS): logits of one lesson's points; RuntimeError where there are none."""
    history = made.tokens[n, : made.seen[n]]
    points = made.tokens[n, made.history :][made.bins[n] >= 0]
    outputs = (v.PREDICTED_AT, v.OUTPUTS)
    found = model.score(history, points, outputs, Limits(0, _TIMEOUT_S))
    if isinstance(found, Failure):
        raise RuntimeError(f"{found.id}: {found.evidence}")
    return found.logits


def _logits(network: Network, made: Batch) -> torch.Tensor:
    with torch.no_grad():
        tokens = torch.from_numpy(made.tokens).long()
        found: torch.Tensor = network(tokens, torch.from_numpy(made.seen), made.history)
    return found
