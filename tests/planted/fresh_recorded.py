"""The logs of the third held-out set, as they were made once: `python -m planted.fresh_recorded`
in tests/ makes those anew that real tools can make; the others are written from documented texts.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from functools import cache
from pathlib import Path

from planted import fresh_build, fresh_run, fresh_successes
from planted.case import Case, Made, make, succeed

FOLDER = Path(__file__).parents[1] / "fixtures" / "diagnosis_fresh"
LOGS = FOLDER / "logs.json.gz"
ORIGIN = "# Written from texts that are known from documentation and from users' reports"


# `=== NAME | EXIT | KIND`, or `=== NAME` for what went well, above each log.
HEAD = re.compile(r"(?m)^=== (f[rw]-doc-[a-z0-9-]+)(?: \| ([0-9]+) \| (.*))?$")


def _documented(name: str) -> list[tuple[Case, Made]]:
    first, *parts = HEAD.split((FOLDER / name).read_text())
    assert first.startswith(ORIGIN)
    blocks = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return [
        (Case(title, kind or "", "documented", ""), Made(text[1:].encode(), int(code or 0)))
        for title, code, kind, text in blocks
    ]


DOCUMENTED = _documented("documented.txt")
WELL = _documented("well.txt")
REAL = (*fresh_build.CASES, *fresh_run.CASES)
FAILURES = (*REAL, *(case for case, _ in DOCUMENTED))
SUCCESSES = (*fresh_successes.CASES, *(case for case, _ in WELL))


@cache
def recorded() -> dict[str, Made]:
    """The logs by name; those of real tools are kept as a character of Latin-1 for each byte."""
    rows = json.loads(gzip.decompress(LOGS.read_bytes()))
    made = {name: Made(text.encode("latin-1"), code) for name, (code, text) in rows.items()}
    return made | {case.name: log for case, log in (*DOCUMENTED, *WELL)}


def _record() -> None:
    from planted.sets import collect

    logs = collect(REAL, make, {}) | collect(fresh_successes.CASES, succeed, {})
    here = str(Path(sys.prefix)).encode()
    rows = {
        name: (made.exit, made.log.replace(here, b"/opt/python").decode("latin-1"))
        for name, made in sorted(logs.items())
    }
    LOGS.write_bytes(gzip.compress(json.dumps(rows).encode(), 9, mtime=0))


if __name__ == "__main__":
    _record()
