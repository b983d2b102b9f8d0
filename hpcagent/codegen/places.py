#!/usr/bin/env python3
"""One run of a whole program: its inputs, a folder of its own within the quarantine, what came out.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import array
import os
import random
import shutil
import stat
import tempfile
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

if __package__:
    from hpcagent.codegen import inputs, quarantine
    from hpcagent.codegen.session import Case, Problem, Program, folders, judge_end
else:
    import inputs  # type: ignore[import-not-found,no-redef]
    import quarantine  # type: ignore[import-not-found,no-redef]
    from session import (  # type: ignore[import-not-found,no-redef]
        Case,
        Problem,
        Program,
        folders,
        judge_end,
    )

PRINTED_BYTES = 1 << 20
_SEED_BITS = 62

Ran = NamedTuple("Ran", [("wall_s", float), ("walls", Dict[str, Any])])


class Place:
    """A folder that no program sees while it runs: inputs as they were made, and what came out."""

    def __init__(self, spec: Mapping[str, Any], case: Case) -> None:
        self.spec, self.case = spec, case
        self.seed = random.SystemRandom().getrandbits(_SEED_BITS)

    def __enter__(self) -> "Place":
        self.folder = tempfile.mkdtemp(prefix="ha-place-")
        self.words = inputs.make(self.spec["interface"], self.case, self.seed, self.folder)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def outputs(self) -> Iterator[Tuple[Mapping[str, Any], str, int]]:
        """(argument, type, number of elements) of what comes out."""
        rows = {row["name"]: row for row in self.spec["interface"]}
        for text in self.case["outputs"]:
            name, kind, count = text.split(":")
            yield rows[name], kind, int(count)

    def run(self, program: Program, threads: int, name: str) -> Ran:
        """One run; what came out lies in the folder `name` of this place. Raises Problem."""
        work = tempfile.mkdtemp(prefix="ha-run-")
        try:
            for row in self.spec["interface"]:
                if row["array"] and row["intent"] != "out":
                    file = inputs.file_in(row["name"])
                    shutil.copyfile(os.path.join(self.folder, file), os.path.join(work, file))
            result = quarantined(program, threads, work, self.words)
            os.mkdir(os.path.join(self.folder, name))
            for row, kind, count in self.outputs:
                target = os.path.join(self.folder, name, inputs.file_out(row["name"]))
                if row["stdout"]:
                    _take_printed(result, row["name"], kind, count, target)
                else:
                    _take_file(work, row["name"], kind, count, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return Ran(float(result["wall_s"]), dict(result.get("protections") or {}))

    def dump(self, name: str) -> str:
        """All that came out in one file, as a harness writes it; the path without its rank."""
        path = os.path.join(self.folder, name + ".dump")
        with open(path + ".0", "wb") as stream:
            for row, _, _ in self.outputs:
                file = os.path.join(self.folder, name, inputs.file_out(row["name"]))
                with open(file, "rb") as piece:
                    shutil.copyfileobj(piece, stream)
        return path


def quarantined(program: Program, threads: int, work: str, words: Sequence[str]) -> Dict[str, Any]:
    result = quarantine.run(
        {
            "argv": [*program.launcher, program.path, *words],
            "cwd": work,
            "env": dict(program.env, OMP_NUM_THREADS=str(threads)),
            "writable": [work],
            "visible": [os.path.dirname(program.path), *folders(program.launcher)],
            "calls": "ranks" if program.launcher else "alone",
            "limits": program.limits,
            "tail_bytes": PRINTED_BYTES,
        }
    )
    judge_end(result, ended_well=True)
    return result


def _take_file(work: str, name: str, kind: str, count: int, target: str) -> None:
    """A result's file, which has to be a plain one of the right size."""
    path = os.path.join(work, inputs.file_out(name))
    wanted = bytes_of(kind, count)
    try:
        status = os.lstat(path)
    except OSError:
        raise Problem("run.no_result", "it did not write %s" % inputs.file_out(name))
    if not stat.S_ISREG(status.st_mode):
        raise Problem("run.no_result", "%s is no plain file" % inputs.file_out(name))
    if status.st_size != wanted:
        words = "%s has %d bytes and has to have %d" % (
            os.path.basename(path),
            status.st_size,
            wanted,
        )
        raise Problem("run.no_result", words)
    shutil.move(path, target)


def _take_printed(result: Mapping[str, Any], name: str, kind: str, count: int, target: str) -> None:
    """Numbers on standard output; a launcher adds nothing there."""
    text = str(result.get("stdout_tail") or "")
    words = text.split()
    if len(words) != count:
        found = "it printed %d words and has to print %d numbers, %s" % (len(words), count, name)
        raise Problem("run.no_result", "%s: %r" % (found, text[-200:]))
    try:
        values = [int(word) if kind in inputs.INTEGERS else float(word) for word in words]
        data = array.array(inputs.CODES[kind], values)
    except (ValueError, OverflowError) as error:
        raise Problem("run.no_result", "what it printed is no %s: %s" % (name, error))
    with open(target, "wb") as stream:
        data.tofile(stream)


def bytes_of(kind: str, count: int) -> int:
    return count * (4 if kind in ("int", "float") else 8)
