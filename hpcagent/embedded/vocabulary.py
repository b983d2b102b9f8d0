"""The tokens of the small model: what each number of its vocabulary stands for.

Up to 12 parameters have a slot each. A slot has tokens for the ranks of an ordinal, for the values
of a categorical, for what kind of parameter it is (its role), and for what a number means (threads
over cores, a size). The others stand for what was seen at a point, and for what is predicted.

A trial is one position of the model's context: its embedding is the sum of those of its tokens.
"""

from __future__ import annotations

FORMAT = 1  # raised whenever a number below, or what it stands for, changes
SLOTS = 12
LEVELS = 32  # of an ordinal
CATEGORIES = 24
ROLES = ("ordinal", "size", "threads", "ranks", "choice", "core", "switch")
MEANINGS = 33
SEEN = 64  # bins of a result that was measured
PREDICTED = 64  # bins of a result that is predicted; one more stands for a failure
CONTEXT = 40  # trials

_CONTROL = ("<unk>", "<s>", "</s>")
FIRST = len(_CONTROL) + 256  # the bytes, without which llama.cpp reads no vocabulary of this type
SEEN_AT = FIRST
FAILED = SEEN_AT + SEEN
QUERY = FAILED + 1
DEFAULT = QUERY + 1
PREDICTED_AT = DEFAULT + 1
OUTPUTS = PREDICTED + 1
_SLOTS_AT = PREDICTED_AT + OUTPUTS
_ORDINAL, _CATEGORY = 0, LEVELS
_ROLE = LEVELS + CATEGORIES
_MEANING = _ROLE + len(ROLES)
SLOT_SIZE = _MEANING + MEANINGS
SIZE = _SLOTS_AT + SLOTS * SLOT_SIZE


def ordinal(slot: int, level: int) -> int:
    """The token of a rank scaled to 0 ... LEVELS - 1."""
    return slot_at(slot) + _ORDINAL + level


def category(slot: int, number: int) -> int:
    return slot_at(slot) + _CATEGORY + number


def role(slot: int, name: str) -> int:
    return slot_at(slot) + _ROLE + ROLES.index(name)


def meaning(slot: int, number: int) -> int:
    return slot_at(slot) + _MEANING + number


def slot_at(slot: int) -> int:
    """The first token of a slot."""
    return _SLOTS_AT + slot * SLOT_SIZE


def texts() -> list[str]:
    """The vocabulary as a GGUF holds it, SIZE entries."""
    found = [*_CONTROL, *(f"<0x{byte:02X}>" for byte in range(256))]
    found += [f"<seen{n}>" for n in range(SEEN)] + ["<failed>", "<query>", "<default>"]
    found += [f"<result{n}>" for n in range(PREDICTED)] + ["<fails>"]
    for slot in range(SLOTS):
        found += [f"<p{slot}.rank{n}>" for n in range(LEVELS)]
        found += [f"<p{slot}.value{n}>" for n in range(CATEGORIES)]
        found += [f"<p{slot}.{name}>" for name in ROLES]
        found += [f"<p{slot}.means{n}>" for n in range(MEANINGS)]
    return found
