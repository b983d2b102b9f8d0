"""Trains the small model, makes a GGUF of it, and notes on its card what it is worth.

The README.md of hpcagent.embedded shows the whole way.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcagent.embedded import card as cards
from hpcagent.embedded import vocabulary
from hpcagent.embedded.training.effect import effect
from hpcagent.errors import HpcagentError


def main() -> int:
    chosen = _arguments()
    try:
        {"train": _train, "export": _export, "effect": _effect}[chosen.what](chosen)
    except (HpcagentError, ValueError, RuntimeError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


def _train(chosen: argparse.Namespace) -> None:
    from hpcagent.embedded.training.network import Size
    from hpcagent.embedded.training.recorded import read
    from hpcagent.embedded.training.sources import Sources
    from hpcagent.embedded.training.train import Plan, train

    for file in chosen.recorded:
        tables = read(Path(file))
        print(f"{file}: {len(tables)} surfaces, {sum(len(t.codes) for t in tables)} points")
    plan = Plan(
        size=Size(chosen.width, chosen.layers, chosen.heads, chosen.inner), steps=chosen.steps,
        decay=chosen.decay, lessons=chosen.lessons, rate=chosen.rate, seed=chosen.seed,
        sources=Sources(tuple(chosen.recorded), chosen.share if chosen.recorded else 0.0),
        workers=chosen.workers, threads=chosen.threads,
    )  # fmt: skip
    chosen.folder.mkdir(parents=True, exist_ok=True)
    words = {**plan.size.as_json(), "lessons": plan.lessons, "seed": plan.seed}
    words |= {"recorded": [Path(file).stem for file in chosen.recorded], "share": chosen.share}
    (chosen.folder / "plan.json").write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
    train(plan, chosen.folder, lambda line: print(line, flush=True))


def _export(chosen: argparse.Namespace) -> None:
    from hpcagent.embedded.training.check import MOST_APART, apart, unseen_loss, write_logits
    from hpcagent.embedded.training.export import export
    from hpcagent.embedded.training.network import Size
    from hpcagent.embedded.training.train import load

    plan: dict[str, Any] = json.loads((chosen.folder / "plan.json").read_text(encoding="utf-8"))
    size = Size(**{key: plan[key] for key in ("width", "layers", "heads", "inner")})
    network, step, _ = load(chosen.folder / "checkpoint.pt", size)
    export(network, chosen.file)
    off = apart(network, chosen.file)
    if off > MOST_APART:
        raise ValueError(f"{chosen.file}: llama.cpp gives logits {off:.3f} off from PyTorch's")
    loss = unseen_loss(network)
    data = ["surfaces simulated by hpcagent.embedded.training"]
    if plan["recorded"]:
        data.append(f"{100 * plan['share']:.0f} % recorded ones: {', '.join(plan['recorded'])}")
    made = cards.Card(
        format=vocabulary.FORMAT,
        sha256=hashlib.sha256(chosen.file.read_bytes()).hexdigest(),
        parameters=sum(p.numel() for p in network.parameters()),
        steps=step, lessons=plan["lessons"], seed=plan["seed"], loss=round(loss, 4),
        data=tuple(data), held_out=tuple(chosen.held_out), effects=(),
        made_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )  # fmt: skip
    _write(chosen.file, made)
    if chosen.logits:
        write_logits(network, made.sha256, chosen.logits)
    print(f"{chosen.file}: after {step} steps, loss {loss:.4f}; llama.cpp is {off:.4f} off PyTorch")


def _effect(chosen: argparse.Namespace) -> None:
    known = cards.checked(chosen.file)
    found = effect(chosen.where, chosen.runs)
    kept = tuple(e for e in known.effects if e.where != found.where)
    _write(chosen.file, replace(known, effects=(*kept, found)))
    print(cards.card_text(chosen.file))


def _write(model: Path, made: cards.Card) -> None:
    text = json.dumps(made.to_json(), indent=1) + "\n"
    model.with_suffix(".json").write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hpcagent.embedded.training", description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parts = parser.add_subparsers(dest="what", required=True)
    part = parts.add_parser("train", help="train, or go on where it stopped")
    part.add_argument("folder", type=Path, help="of the checkpoint")
    for name, value, words in (
        ("steps", 30_000, "in all"), ("decay", 6_000, "last steps, with a falling rate"),
        ("lessons", 64, "histories a step"), ("seed", 1, ""), ("width", 96, "of a position"),
        ("layers", 6, ""), ("heads", 4, ""), ("inner", 192, "width of the feed-forward part"),
        ("workers", 1, "processes that make lessons"), ("threads", 1, "of PyTorch"),
    ):  # fmt: skip
        part.add_argument(f"--{name}", type=int, default=value, help=words or " ")
    part.add_argument("--rate", type=float, default=2e-3, help="of learning")
    part.add_argument(
        "--recorded", "--history", action="append", default=[], metavar="FILE",
        help="a recorded surface (NAME.json), or what `hpcagent history export` wrote (.jsonl)",
    )  # fmt: skip
    part.add_argument("--share", type=float, default=0.06, help="of recorded surfaces")
    part = parts.add_parser("export", help="write FILE.gguf and its card, and check it")
    part.add_argument("folder", type=Path)
    part.add_argument("file", type=Path, metavar="FILE.gguf")
    part.add_argument("--held-out", action="append", default=[], metavar="WORDS")
    part.add_argument("--logits", type=Path, metavar="FILE", help="a few, for the tests")
    part = parts.add_parser("effect", help="note on a card what tests/benchmarks/search.py found")
    part.add_argument("file", type=Path, metavar="FILE.gguf")
    part.add_argument("where", help="which surfaces, in a word or two")
    part.add_argument("runs", type=Path, metavar="RUNS.json", help="of search.py --json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
