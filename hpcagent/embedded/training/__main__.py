"""Trains the small model, and makes a GGUF of it: see README.md of hpcagent.embedded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hpcagent.embedded.training.export import export
from hpcagent.embedded.training.network import Size
from hpcagent.embedded.training.sources import Sources
from hpcagent.embedded.training.train import Plan, load, train


def main() -> int:
    chosen = _arguments()
    size = Size(chosen.width, chosen.layers, chosen.heads, chosen.inner)
    if chosen.export:
        network, step, _ = load(chosen.folder / "checkpoint.pt", size)
        export(network, chosen.export)
        print(f"{chosen.export}: as it was after {step} steps")
        return 0
    plan = Plan(
        size, chosen.steps, chosen.decay, chosen.lessons, chosen.rate, chosen.seed,
        Sources(), chosen.workers, chosen.threads,
    )  # fmt: skip
    train(plan, chosen.folder, lambda words: print(words, flush=True))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hpcagent.embedded.training", description=__doc__)
    parser.add_argument("folder", type=Path, help="for checkpoints; resumes what is there")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--decay", type=int, default=4_000, help="last steps, with falling rate")
    parser.add_argument("--lessons", type=int, default=48, help="surfaces a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--inner", type=int, default=192)
    parser.add_argument("--workers", type=int, default=1, help="processes that make lessons")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--export", type=Path, metavar="FILE.gguf", help="of the last checkpoint")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
