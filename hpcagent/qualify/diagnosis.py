"""Diagnosis: the filtered log of a failure, and of six causes the one that it shows."""

from __future__ import annotations

from hpcagent.qualify.casefile import Row, rows
from hpcagent.qualify.family import LABELS, Case, Family, one_of, prompt, rotated
from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.logfilter import filter_log
from hpcagent.toolchain.signatures import catalogue

_TOKENS = 260
_ABOVE, _BELOW = 120, 3
_CAUSES = 6


class Failed(Row):
    id: str
    others: list[str]
    log: str


def failures() -> tuple[Failed, ...]:
    return rows("diagnosis", Failed)


def whole_log(row: Failed) -> bytes:
    """The failure's lines between others that say nothing."""
    above = "".join(
        f"[{n:4}] block {n * 7 % 113} done in {n % 9}.{n % 7} ms\n" for n in range(_ABOVE)
    )
    below = "".join(f"cleaning up scratch folder {n}\n" for n in range(_BELOW))
    return (above + row.log + below).encode()


def _cases() -> tuple[Case, ...]:
    return tuple(_case(place, row) for place, row in enumerate(failures()))


def _case(place: int, row: Failed) -> Case:
    known = catalogue().failures
    order = rotated(row.id, list(row.others), place)
    labels = tuple(LABELS[: len(order)])
    right = labels[order.index(row.id)]
    text = prompt(
        "diagnosis",
        {
            "log": filter_log(diagnose(whole_log(row), 1), _TOKENS).text,
            "menu": [
                f"{at}: {known[name].meaning}" for at, name in zip(labels, order, strict=True)
            ],
        },
    )
    return Case(row.id, text, one_of(right, labels), labels, outcomes=_blind(len(labels)))


def _blind(count: int) -> tuple[float, ...]:
    return (1.0, *[0.0] * (count - 1))


FAMILY = Family(
    name="diagnosis",
    title="diagnosis of failures",
    role="debug",
    chance=1 / _CAUSES,
    chance_words="one of six causes, at random",
    needed=0.7,
    counted=True,
    cases=_cases,
)
