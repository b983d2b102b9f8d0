"""What of a card an earlier run's figures depend on: marks that differ where two cards do.

Names alone do not tell: a card can be edited and keep its name and those of its parameters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpcagent.study.durable import json_bytes

if TYPE_CHECKING:
    from hpcagent.apps.card import Card


def measures(card: Card, objective: str, inputs: str = "") -> str:
    """Of what is built, run and read: with any of these another, other figures are measured.

    `inputs` is a digest of what an application reads beside its card.

    Titles, meanings, hints, lists of values, checks and what a job asks for are none of it, nor are
    other figures than the objective's; what is at its default is as if it were not there.
    """
    parts = {"sources", "build", "command", "inputs", "unset", "env", "derived", "files", "outputs",
             "cases"}  # fmt: skip
    limit = {"command": {"timeout_s"}}
    told = card.model_dump(include=parts, exclude=limit, exclude_defaults=True)
    told |= {"inputs_sha256": inputs} if inputs else {}
    own = [each for each in card.figures_of_merit if each.name == objective]
    figure = (own or card.figures_of_merit)[0]
    return _mark({**told, "figure": figure.model_dump(exclude_defaults=True)})


def sets(card: Card) -> dict[str, str]:
    """Of what a value of each parameter does, in all the cases that the card has for its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for dimension in card.space:
        does = dimension.model_dump(include={"env", "argv", "binding"}, exclude_defaults=True)
        found.setdefault(dimension.name, []).append(does)
    return {name: _mark({"does": does}) for name, does in found.items()}


def _mark(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_bytes(found)).hexdigest()[:16]
