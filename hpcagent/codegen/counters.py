#!/usr/bin/env python3
"""Whether this node lets a user count what its processors do: perf(1) is tried on a program.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import subprocess
from typing import Tuple

EVENTS = ("cycles", "instructions")
_TRY_S = 20


def why_not() -> str:
    """Why hardware counters cannot be read here, in one line; empty where they can."""
    words = ["perf", "stat", "-x,", "-e", ",".join(EVENTS), "true"]
    try:
        ended = subprocess.run(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_TRY_S
        )
    except OSError as error:
        return "perf: %s" % error.strerror
    except subprocess.TimeoutExpired:
        return "perf stat took longer than %d s" % _TRY_S
    return judged(ended.returncode, ended.stderr.decode("utf-8", "replace"))


def judged(code: int, said: str) -> str:
    """The same, of the exit code and the words of `perf stat -x,` (perf-stat(1), CSV FORMAT)."""
    rows = [line.split(",") for line in said.splitlines() if "," in line]
    values = {row[2]: row[0] for row in rows if len(row) > 2}  # type: dict[str, str]
    counted = [name for name in EVENTS if _value(values, name)[1]]
    if len(counted) == len(EVENTS):
        return ""
    for name in EVENTS:
        word, _ = _value(values, name)
        if word:
            return "perf stat: %s is %s" % (name, word.strip("<>"))
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return "perf stat failed (exit code %d): %s" % (code, first[:160])


def _value(values: "dict[str, str]", name: str) -> Tuple[str, bool]:
    """What was printed for an event, which may carry a modifier such as :u."""
    for found, value in values.items():
        if found.split(":")[0].strip() == name:
            return value, value.replace(".", "").isdigit() and float(value) > 0
    return "", False
