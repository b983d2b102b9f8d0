"""The command line of search.py; what cannot be is refused in one line, before any work."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from earlier import TRUST

from hpcagent.report.wording import visible

# A seed is a number of 32 bits to numpy's older generators, which some competitors have.
_RANGES = {
    "seeds": (1, 10**5), "first_seed": (0, 2**31), "budget": (1, 10**6), "batch": (1, 10**6),
    "processes": (1, 10**4),
}  # fmt: skip


class BadOption(Exception):
    """One line: the option, what is wrong with it, what may be there."""


def arguments(about: str | None) -> argparse.Namespace:
    """BadOption where a number is out of range."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument(
        "--minutes", type=float, default=10.0, metavar="N",
        help="time for all; whoever is too slow for its share gets fewer seeds, as the table says",
    )  # fmt: skip
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1, help="proposals of hpcagent at a time")
    parser.add_argument("--only", action="append", metavar="NAME", help="these competitors only")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--history", action="store_true", help="begin with what searches of other sizes found"
    )
    parser.add_argument(
        "--earlier", type=Path, metavar="FOLDER",
        help="with --history: the earlier runs are of the surfaces there, as of another machine",
    )  # fmt: skip
    parser.add_argument(
        "--trust", type=float, metavar="T", help=f"in the earlier runs, 0 to 1 [{TRUST}]"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="competitors' runs, made once")
    chosen = parser.parse_args()
    _check(chosen)
    return chosen


def _check(chosen: argparse.Namespace) -> None:
    for name, (least, most) in _RANGES.items():
        number = getattr(chosen, name)
        if not least <= number <= most:
            option = "--" + name.replace("_", "-")
            raise BadOption(f"{option} {number}: expected {least} to {most}")
    if math.isnan(chosen.minutes) or chosen.minutes < 0:
        raise BadOption(f"--minutes {chosen.minutes}: expected a number that is not negative")
    if chosen.trust is not None and not chosen.history:
        raise BadOption("--trust: there are no earlier runs without --history")
    chosen.trust = TRUST if chosen.trust is None else chosen.trust
    if not 0.0 <= chosen.trust <= 1.0:
        raise BadOption(f"--trust {chosen.trust}: expected 0 to 1")
    if chosen.earlier and not chosen.history:
        raise BadOption("--earlier: there are no earlier runs without --history")
    if chosen.earlier and chosen.earlier.resolve() in {f.resolve() for f in chosen.folders}:
        raise BadOption(f"--earlier {chosen.earlier}: searched there now; leave --earlier out")
    if chosen.json and chosen.json == chosen.keep:
        raise BadOption("--json and --keep name one file; give each its own")


def asked(only: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Those of `known` that are asked for. BadOption where one is not among them."""
    strange = [name for name in only or () if name not in known]
    if strange:
        words = ", ".join(map(repr, map(visible, strange)))
        raise BadOption(f"--only {words}: not known here; there are {', '.join(map(repr, known))}")
    return [name for name in known if not only or name in only]
