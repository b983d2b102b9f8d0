"""The small model's card: what it was made from, what it is worth, and what its file has to be.

It lies beside the GGUF as NAME.json. A file whose digest is not that of its card is not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.embedded import vocabulary
from hpcagent.errors import EnvironmentProblem

SHIPPED = Path(__file__).with_name("embedded.gguf")
_MOST = 1 << 20  # bytes of a card
_WIDTH = 78


@dataclass(frozen=True)
class Effect:
    """What the model changed in one measurement: ratios of quality with it over without it, after
    so many evaluations, each with its 95 % interval."""

    where: str
    ratios: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Card:
    """`loss` is in nats a point, on lessons not seen before; `data` and `held_out` in words."""

    format: int
    sha256: str
    parameters: int
    steps: int
    lessons: int
    seed: int
    loss: float
    data: tuple[str, ...]
    held_out: tuple[str, ...]
    effects: tuple[Effect, ...]
    made_utc: str

    def to_json(self) -> dict[str, Any]:
        row = dict(vars(self))
        row["effects"] = [
            {"where": e.where, "ratios": {k: list(v) for k, v in e.ratios.items()}}
            for e in self.effects
        ]
        return row


def read(model: Path) -> Card:
    """The card beside `model`; EnvironmentProblem in one line where it cannot be used."""
    path = model.with_suffix(".json")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(
            f"model {model}: its card {path.name} cannot be read: {error.strerror};"
            " both are written by python -m hpcagent.embedded.training"
        ) from None
    try:
        if len(raw) > _MOST:
            raise ValueError(f"{len(raw)} bytes are no card")
        return _card(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentProblem(f"model card {path}: damaged: {error!r}") from None


def checked(model: Path) -> Card:
    """The card of a file that is what it says, and of the format that this version speaks."""
    card = read(model)
    if card.format != vocabulary.FORMAT:
        raise EnvironmentProblem(
            f"model {model}: written in tokens of format {card.format}, this hpcagent speaks"
            f" {vocabulary.FORMAT}; train it again"
        )
    try:
        with model.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EnvironmentProblem(f"model {model}: cannot be read: {error.strerror}") from None
    if found != card.sha256:
        raise EnvironmentProblem(
            f"model {model}: SHA-256 {found[:16]} is not the {card.sha256[:16]} of its card;"
            " install it again"
        )
    return card


def card_text(model: Path = SHIPPED) -> str:
    """What a user is told of the model, for 80 columns; EnvironmentProblem as `read`."""
    card = read(model)
    rows = [
        ("file", model.name),
        ("SHA-256", card.sha256),
        ("made", f"{card.made_utc[:10]}, format {card.format}"),
        ("size", f"{card.parameters:,} parameters"),
        ("training", f"{card.steps:,} steps of {card.lessons} histories, seed {card.seed}"),
        ("loss", f"{card.loss:.3f} nats a point that it had not seen"),
        *(("learnt from" if n == 0 else "", words) for n, words in enumerate(card.data)),
        *(("not from" if n == 0 else "", words) for n, words in enumerate(card.held_out)),
    ]
    lines = [line for label, words in rows for line in _wrapped(label, words)]
    return "\n".join([*lines, *_effect_lines(card.effects)])


def _effect_lines(effects: Sequence[Effect]) -> list[str]:
    if not effects:
        return ["", "What it is worth was not measured."]
    counts = list(dict.fromkeys(count for e in effects for count in e.ratios))
    head = "".join(f"{'after ' + count:>16}" for count in counts)
    lines = ["", "What it changes: quality of what a search found with it over that without it"]
    lines += ["(geometric mean over surfaces, 95 % interval), by evaluations:", f"{'':14}{head}"]
    for effect in effects:
        cells = [effect.ratios.get(count) for count in counts]
        shown = (f"{c[0]:.3f}" if c else "" for c in cells)
        bounds = (f"{c[1]:.3f}-{c[2]:.3f}" if c else "" for c in cells)
        lines.append(f"{effect.where[:14]:14}" + "".join(f"{text:>16}" for text in shown))
        lines.append(f"{'':14}" + "".join(f"{text:>16}" for text in bounds))
    return lines


def _wrapped(label: str, words: str) -> list[str]:
    import textwrap

    lines = textwrap.wrap(words, _WIDTH - 13, break_long_words=False)
    return [f"{label if n == 0 else '':12} {line}" for n, line in enumerate(lines)]


def _card(row: Mapping[str, Any]) -> Card:
    effects = tuple(
        Effect(
            str(e["where"]),
            {str(k): (float(v[0]), float(v[1]), float(v[2])) for k, v in e["ratios"].items()},
        )
        for e in row["effects"]
    )
    return Card(
        format=int(row["format"]), sha256=str(row["sha256"]), parameters=int(row["parameters"]),
        steps=int(row["steps"]), lessons=int(row["lessons"]), seed=int(row["seed"]),
        loss=float(row["loss"]), data=tuple(map(str, row["data"])),
        held_out=tuple(map(str, row["held_out"])), effects=effects, made_utc=str(row["made_utc"]),
    )  # fmt: skip
