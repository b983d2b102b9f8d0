#!/usr/bin/env python3
"""A task's own checker: what it says of a result, and whether it can be relied on.

Runs inside jobs: standard library only, python3 >= 3.6. The checker is trusted, but what it reads
was written by others: it runs in the quarantine too.
"""

import os
import random
import shutil
import sys
from typing import Any, List, Mapping, Sequence, Tuple

if __package__:
    from hpcagent.codegen import forge, inputs, quarantine, trial
    from hpcagent.codegen.places import Place, bytes_of
    from hpcagent.codegen.session import Case, Problem
else:
    import forge  # type: ignore[import-not-found,no-redef]
    import inputs  # type: ignore[import-not-found,no-redef]
    import quarantine  # type: ignore[import-not-found,no-redef]
    import trial  # type: ignore[import-not-found,no-redef]
    from places import Place, bytes_of  # type: ignore[import-not-found,no-redef]
    from session import Case, Problem  # type: ignore[import-not-found,no-redef]

CHECKER_S = 300.0


def says(spec: Mapping[str, Any], place: Place, name: str) -> Tuple[bool, float, str]:
    """(whether it is right, its error, the rest of the answer); Problem where there is no answer.

    It gets the program's command line with whole paths, and a path too for what is printed. It
    prints one line: ok ERROR, or wrong ERROR and a few words.
    """
    built = spec["reference"] or {"folder": forge.BUILD, "sha256": trial.digests()}
    path = os.path.abspath(os.path.join(built["folder"], spec["checker"]["program"]))
    forge.verified(path, str(built["sha256"][spec["checker"]["program"]]))
    python = [os.path.realpath(sys.executable), "-I"] if spec["checker"]["python"] else []
    result = quarantine.run(
        {
            "argv": [*python, path, *_with_paths(spec, place, name)],
            "cwd": place.folder,
            "env": {},
            "writable": [],
            "visible": [place.folder, os.path.dirname(path)],
            "limits": dict(spec["run_limits"], wall_s=CHECKER_S),
        }
    )
    said = str(result.get("stdout_tail") or "")
    words = said.split(None, 2)
    try:
        if result.get("error") or result.get("signal") or words[0] not in ("ok", "wrong"):
            raise ValueError
        return words[0] == "ok", float(words[1]), " ".join(words[1:]).strip()[:300]
    except (ValueError, IndexError):
        text = str(result.get("error") or result.get("stderr_tail") or "")[-300:]
        words_ = "the checker answers %r, and has to print: ok ERROR, or: wrong ERROR WORDS. %s"
        raise Problem("environment.checker", words_ % (said[:200], text))


def _with_paths(spec: Mapping[str, Any], place: Place, name: str) -> List[str]:
    """The words of the command line as a checker gets them."""
    words, numbers = [], (w for w in place.words if not w.endswith((".in", ".out")))
    for row in spec["interface"]:
        if not row["array"]:
            words.append(next(numbers))
            continue
        if row["intent"] != "out":
            words.append(os.path.join(place.folder, inputs.file_in(row["name"])))
        if row["intent"] != "in":
            words.append(os.path.join(place.folder, name, inputs.file_out(row["name"])))
    return words


# --- a checker's own test ------------------------------------------------------------------------


def self_test(spec: Mapping[str, Any]) -> None:
    """Raise Problem where the checker takes bytes that nobody computed for a result."""
    case = largest(spec["cases"])
    with Place(spec, case) as place:
        for name, fill in (("noise", os.urandom), ("ones", lambda size: b"\xff" * size)):
            os.mkdir(os.path.join(place.folder, name))
            for row, kind, count in place.outputs:
                size = bytes_of(kind, count)
                with open(_out(place, name, row), "wb") as stream:
                    stream.write(fill(size))
            if says(spec, place, name)[0]:
                words = "it accepts bytes that nobody computed (case %s, %s)"
                raise Problem("gate.weak_checker", words % (case["name"], name))


def spoil_test(spec: Mapping[str, Any], place: Place, name: str) -> None:
    """Raise Problem where the checker accepts a result of which one number was changed."""
    draw = random.SystemRandom()
    for row, kind, count in place.outputs:
        if not count:
            continue
        spoilt = "spoilt-" + row["name"]
        shutil.copytree(os.path.join(place.folder, name), os.path.join(place.folder, spoilt))
        values = inputs.read(_out(place, name, row), kind, count)
        at = draw.randrange(count)
        old = values[at]
        values[at] = _other(old, kind)
        with open(_out(place, spoilt, row), "wb") as stream:
            values.tofile(stream)
        if says(spec, place, spoilt)[0]:
            words = "it accepts a result in which %s[%d] was changed from %r to %r (case %s)"
            found = (row["name"], at, old, values[at], place.case["name"])
            raise Problem("gate.weak_checker", words % found)


def _other(value: Any, kind: str) -> Any:
    """A number that is far from this one."""
    if kind in inputs.INTEGERS:
        return value - 1 if value > 0 else value + 1
    return 1.0 if value != value else -4.0 * value - (1.0 if value >= 0 else -1.0)


def _out(place: Place, name: str, row: Mapping[str, Any]) -> str:
    return os.path.join(place.folder, name, inputs.file_out(row["name"]))


def largest(cases: Sequence[Case]) -> Case:
    """The case with the most that comes out."""
    return max(cases, key=lambda case: sum(int(t.rpartition(":")[2]) for t in case["outputs"]))
