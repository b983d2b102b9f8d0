"""Trains the small model: resumes where it was, shows how far it is, averages the weights."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hpcagent.embedded import vocabulary as v
from hpcagent.embedded.training.muon import Muon
from hpcagent.embedded.training.network import Network, Size
from hpcagent.embedded.training.sources import Sources, drawing
from hpcagent.embedded.training.tasks import Batch, batch

_WARM_UP = 200  # steps
_AVERAGE, _AVERAGED = 0.99, 5  # of the weights so far, each so many steps
_CLIP = 1.0
_EVERY = 50  # steps between two lines
_PIECE = 64  # steps whose lessons are made ahead, at most

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Plan:
    """What is trained and for how long.

    The rate of learning falls to zero over the last `decay` of `steps`. `sources` are where
    surfaces come from.
    """

    size: Size
    steps: int
    decay: int
    lessons: int
    rate: float
    seed: int
    sources: Sources
    workers: int = 1
    threads: int = 1
    keep_every: int = 100


def train(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Network:
    """The network with averaged weights; a later call resumes the checkpoint in `folder`."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network, average = Network(plan.size), Network(plan.size)
    optimisers = _optimisers(network, plan.rate)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoint.pt"
    first, curve = _resume(path, network, average, optimisers)
    began, recent = time.monotonic(), []
    for step, lessons in _batches(plan, first):
        recent.append(_learn(network, optimisers, lessons, plan.rate * _rate(plan, step)))
        if step % _AVERAGED == 0:
            _follow(average, network, step)
        done = step + 1
        if done % _EVERY == 0:
            curve.append((done, sum(recent) / len(recent)))
            recent.clear()
            left = (time.monotonic() - began) / (done - first) * (plan.steps - done) / 60
            tell(f"step {done} of {plan.steps}: loss {curve[-1][1]:.4f}, {left:.0f} min left")
        if done % plan.keep_every == 0 or done == plan.steps:
            _keep(path, done, curve, network, average, optimisers)
    return average


def load(path: Path, size: Size) -> tuple[Network, int, Curve]:
    """The averaged network of a checkpoint, its steps, and (step, loss) along the way."""
    network = Network(size)
    kept = torch.load(path, weights_only=True)
    network.load_state_dict(kept["average"])
    return network, int(kept["step"]), [(int(s), float(x)) for s, x in kept["curve"]]


def _learn(
    network: Network, optimisers: list[torch.optim.Optimizer], lessons: Batch, rate: float
) -> float:
    loss = _loss(network, lessons)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


def _loss(network: Network, lessons: Batch) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(
            torch.from_numpy(lessons.tokens).long(), torch.from_numpy(lessons.seen), lessons.history
        )
    return functional.cross_entropy(
        logits.float().reshape(-1, v.OUTPUTS),
        torch.from_numpy(lessons.bins).reshape(-1),
        ignore_index=-100,
    )


def _batches(plan: Plan, first: int) -> Iterator[tuple[int, Batch]]:
    make = partial(_made, plan.sources, plan.seed, plan.lessons)
    with multiprocessing.get_context("spawn").Pool(plan.workers) as pool:
        ahead: list[tuple[int, Any]] = []
        for step in range(first, plan.steps):
            ahead.append((step, pool.apply_async(make, (step,))))
            if len(ahead) == _PIECE:
                number, lessons = ahead.pop(0)
                yield number, lessons.get()
        for number, lessons in ahead:
            yield number, lessons.get()


def _made(sources: Sources, seed: int, count: int, step: int) -> Batch:
    return batch(drawing(sources), seed, step, count)


def _optimisers(network: Network, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, Adam for embeddings and norms."""
    matrices = [p for p in network.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in network.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, rate, 0.02),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(plan: Plan, step: int) -> float:
    falling = (plan.steps - step) / max(1, plan.decay)
    return min(1.0, (step + 1) / _WARM_UP, max(0.0, falling))


def _follow(average: Network, network: Network, step: int) -> None:
    keep = min(_AVERAGE, step / (step + 50))
    with torch.no_grad():
        for mine, theirs in zip(average.parameters(), network.parameters(), strict=True):
            mine.lerp_(theirs, 1 - keep)


def _keep(
    path: Path, step: int, curve: Curve, network: Network, average: Network,
    optimisers: list[torch.optim.Optimizer],
) -> None:  # fmt: skip
    """Written beside and renamed, so that a kill leaves the one before."""
    state = {
        "step": step, "curve": curve, "network": network.state_dict(),
        "average": average.state_dict(), "optimisers": [o.state_dict() for o in optimisers],
    }  # fmt: skip
    beside = path.with_suffix(".new")
    torch.save(state, beside)
    beside.replace(path)


def _resume(
    path: Path, network: Network, average: Network, optimisers: list[torch.optim.Optimizer]
) -> tuple[int, Curve]:
    if not path.exists():
        average.load_state_dict(network.state_dict())
        return 0, []
    kept: dict[str, Any] = torch.load(path, weights_only=True)
    network.load_state_dict(kept["network"])
    average.load_state_dict(kept["average"])
    for optimiser, state in zip(optimisers, kept["optimisers"], strict=True):
        optimiser.load_state_dict(state)
    curve = [(int(s), float(x)) for s, x in kept["curve"]]
    if not all(math.isfinite(x) for _, x in curve):
        raise ValueError(f"{path}: the loss was no number; begin anew in another folder")
    return int(kept["step"]), curve
