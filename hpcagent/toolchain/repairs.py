"""Repairs as data, and the rules by which loops of builds and runs apply them.

Pure: nothing here changes anything. A loop says what it can do (`Applier`), asks `next_repair` with
what has been tried, applies what it gets, and tries again, until it works or a reason to give up
comes back. Nothing is repaired silently: every attempt is a record for the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

MAX_ATTEMPTS = 3
# A repair is tried only where the cause is this sure.
MIN_CONFIDENCE = 0.7

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]


class Repair(BaseModel):
    """What to change: a template's parameter, a module, or what a job asks for.

    `action` says how; `value` is what it takes where that is known beforehand (a factor for
    multiply). Where it is not (the library that the linker did not find), the applier takes it
    from the log, or says that it cannot. Only what a loop of the product can do is declared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    change: Literal["parameter", "module", "resource"]
    action: Literal[
        "set",
        "add",
        "remove",
        "next",
        "multiply",
        "load",
        "purge",
    ]
    name: Name
    value: Annotated[str, Field(max_length=80)] = ""

    def words(self) -> str:
        """For instance `resource memory: multiply 2`."""
        return f"{self.change} {self.name}: {self.action} {self.value}".rstrip()


@dataclass(frozen=True)
class Attempt:
    """One failed try: the digest of everything it was made with, why it failed, what came then."""

    setting: str
    failure: str
    repair: Repair | None = None
    quote: str = ""


@dataclass(frozen=True)
class Cause:
    """What the diagnosis of the last try says: the first cause and how sure it is."""

    id: str
    confidence: float
    quote: str
    repair: Repair | None


@dataclass(frozen=True)
class Change:
    """A repair made concrete: the new setting's digest, and what is different in words."""

    repair: Repair
    setting: str
    words: str


@dataclass(frozen=True)
class GiveUp:
    reason: str


class Applier(Protocol):
    """What a loop of builds or runs can change. Pure: it answers, and the loop acts."""

    def change(self, repair: Repair, quote: str) -> Change | str:
        """The setting after this repair, or why it cannot be made here."""
        ...


def next_repair(
    cause: Cause, setting: str, tried: Sequence[Attempt], applier: Applier
) -> Change | GiveUp:
    """The change to try next after `setting` failed with `cause`; `tried` are those before it.

    Gives up after MAX_ATTEMPTS repairs, where the cause is not sure, has no repair, or the applier
    has none; and where it would go in circles: the same failure although it was repaired so
    before and nothing in it came to be different, or a setting that failed already.
    """
    repairs = [attempt for attempt in tried if attempt.repair is not None]
    if cause.repair is None:
        return GiveUp(f"{cause.id} has no repair that can be made without a person")
    if cause.confidence < MIN_CONFIDENCE:
        return GiveUp(f"{cause.id} is not sure enough ({cause.confidence:.2f}) to act on")
    if len(repairs) >= MAX_ATTEMPTS:
        return GiveUp(f"{len(repairs)} repairs were tried, which is the limit: {_story(repairs)}")
    if any(_is_the_same(cause, earlier) for earlier in repairs[-1:]):
        return GiveUp(f"{cause.id} came back after its repair ({cause.repair.words()})")
    change = applier.change(cause.repair, cause.quote)
    if isinstance(change, str):
        return GiveUp(f"{cause.id}: {cause.repair.words()}: {change}")
    if change.setting in {setting, *(attempt.setting for attempt in tried)}:
        return GiveUp(f"{cause.id}: {change.words} leads back to what failed already")
    return change


def _is_the_same(cause: Cause, earlier: Attempt) -> bool:
    """The same failure after the same repair. One that means more of it, or the next one, may
    follow itself; so may one of another library or header."""
    repair = cause.repair
    if repair is None or (earlier.failure, earlier.repair) != (cause.id, repair):
        return False
    if repair.action in ("multiply", "next"):
        return False
    return bool(repair.value) or repair.action in ("set", "purge") or cause.quote == earlier.quote


def _story(attempts: Sequence[Attempt]) -> str:
    return "; ".join(f"{a.failure}: {a.repair.words()}" for a in attempts if a.repair is not None)
