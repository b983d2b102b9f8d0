#!/usr/bin/env python3
"""Runs whole programs on inputs that they cannot know, judges what they wrote, and times them.

Runs inside jobs: standard library only, python3 >= 3.6. Each run is a process of its own in a
folder of its own, where only its inputs lie; reference or checker work afterwards, elsewhere.

The time of a run is what passes from its start to its end by the clock of the supervising process,
launcher included; that of a program which does nothing (startup.c) is taken off, measured in turn
with it. No mark of the program's own counts, so none can lie.
"""

import array
import os
import random
import shutil
import stat
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

if __package__:
    from hpcagent.codegen import forge, inputs, quarantine, trial
    from hpcagent.codegen.session import Case, Problem, Program, folders, judge_end
else:
    import forge  # type: ignore[import-not-found,no-redef]
    import inputs  # type: ignore[import-not-found,no-redef]
    import quarantine  # type: ignore[import-not-found,no-redef]
    import trial  # type: ignore[import-not-found,no-redef]
    from session import (  # type: ignore[import-not-found,no-redef]
        Case,
        Problem,
        Program,
        folders,
        judge_end,
    )

LEAST = 0.1  # of the whole time: what start-up cannot take off, as it is not the same in every run
PRINTED_BYTES = 1 << 20
CHECKER_S = 300.0
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
            result = _quarantined(program, threads, work, self.words)
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


def _quarantined(program: Program, threads: int, work: str, words: Sequence[str]) -> Dict[str, Any]:
    result = quarantine.run(
        {
            "argv": [*program.launcher, program.path, *words],
            "cwd": work,
            "env": dict(program.env, OMP_NUM_THREADS=str(threads)),
            "writable": [work],
            "visible": [os.path.dirname(program.path), *folders(program.launcher)],
            "limits": program.limits,
            "tail_bytes": PRINTED_BYTES,
        }
    )
    judge_end(result, ended_well=True)
    return result


def _take_file(work: str, name: str, kind: str, count: int, target: str) -> None:
    """A result's file, which has to be a plain one of the right size."""
    path = os.path.join(work, inputs.file_out(name))
    wanted = count * (4 if kind in ("int", "float") else 8)
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


# --- who says what is right ----------------------------------------------------------------------


def judged(
    spec: Mapping[str, Any], place: Place, name: str, ranks: int, threads: int, what: str
) -> float:
    """The error of what lies in the folder `name`, in units of what is allowed; raises Problem."""
    if spec["checker"]:
        good, error, words = checker_says(spec, place, name)
        if not good:
            text = "the checker refuses it: %s (%s, seed %d)" % (words, what, place.seed)
            raise Problem("numerics.wrong_result", text)
        return error
    built = spec["reference"] or {"folder": forge.BUILD, "sha256": trial.digests()}
    reference = trial.Side(dict(built, trusted=True), forge.PLAIN, spec)
    place.run(reference.program(ranks), threads, "wanted")
    words = "%s, seed %d" % (what, place.seed)
    return trial.compared(spec, place.case, place.dump("wanted"), place.dump(name), 0, words)


def checker_says(spec: Mapping[str, Any], place: Place, name: str) -> Tuple[bool, float, str]:
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
    case = _largest(spec["cases"])
    with Place(spec, case) as place:
        for name, fill in (("noise", os.urandom), ("ones", lambda size: b"\xff" * size)):
            os.mkdir(os.path.join(place.folder, name))
            for row, kind, count in place.outputs:
                size = count * (4 if kind in ("int", "float") else 8)
                with open(_out(place, name, row), "wb") as stream:
                    stream.write(fill(size))
            if checker_says(spec, place, name)[0]:
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
        if checker_says(spec, place, spoilt)[0]:
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


def _largest(cases: Sequence[Case]) -> Case:
    """The case with the most that comes out."""
    return max(cases, key=lambda case: sum(int(t.rpartition(":")[2]) for t in case["outputs"]))


# --- the checks ----------------------------------------------------------------------------------


def check(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Every case, instrumented where that was built and as it is measured; raises Problem.

    Every number of ranks and of threads has its turn with one of the cases, not with each: nothing
    is kept from one run to the next. Without a source (a checker's unit) the checker tests itself.
    """
    began = time.monotonic()
    told = {"worst": 0.0, "cases": 0, "instrumented": False, "protections": {}}  # type: Dict[str, Any]
    if not spec["kernel_files"]:
        self_test(spec)
        return dict(told, seconds=round(time.monotonic() - began, 3))
    built = trial.digests()
    names = [n for n in (forge.CHECKED, forge.STIRRED, forge.PLAIN) if n in built]
    spoilt = not spec["checker"]
    for number, name in enumerate(names):
        side = trial.Side({"folder": forge.BUILD, "sha256": built}, name, spec)
        for case, ranks, threads in turns(spec, number, name == forge.STIRRED):
            if time.monotonic() > began + float(spec["check_s"]):
                raise Problem("run.timeout", "the checks took too long altogether")
            try:
                with Place(spec, case) as place:
                    ran = place.run(side.program(ranks), threads, "got")
                    error = judged(spec, place, "got", ranks, threads, "checked")
                    if not spoilt and case == _largest(spec["cases"]):
                        spoil_test(spec, place, "got")
                        spoilt = True
            except Problem as problem:
                where = "%s: case %s" % (trial.where(name, ranks, threads), case["name"])
                raise Problem(problem.kind, "%s: %s" % (where, problem.evidence))
            told["worst"] = max(told["worst"], error)
            told["cases"] += 1
            told["protections"] = ran.walls or told["protections"]
    told["instrumented"] = forge.CHECKED in names
    return dict(told, seconds=round(time.monotonic() - began, 3))


def turns(spec: Mapping[str, Any], shift: int, threaded: bool) -> Iterator[Tuple[Case, int, int]]:
    """Every case and every (ranks, threads) at least once; another `shift` joins others."""
    how = [(r, t) for r in spec["ranks"] or [0] for t in spec["threads"] if t > 1 or not threaded]
    cases = spec["cases"]
    for number in range(max(len(cases), len(how)) if how else 0):
        ranks, threads = how[(number + shift) % len(how)]
        yield cases[number % len(cases)], ranks, threads


# --- the measurement -----------------------------------------------------------------------------


def measure(config: Mapping[str, Any]) -> List[Tuple[str, float]]:
    """(case, seconds) of every run; of one run of each case, drawn, the results are judged."""
    spec = config["spec"]
    side = trial.Side(config["program"], forge.PLAIN, spec)
    start = trial.Side(dict(spec["reference"], trusted=True), forge.STARTUP, spec)
    ranks, threads = int(config["ranks"]), int(config["threads"])
    figures: List[Tuple[str, float]] = []
    for case in spec["cases"]:
        walls, empty = [], []
        looked_at = random.SystemRandom().randrange(int(spec["repeats"]))
        for number in range(int(spec["repeats"])):
            empty.append(_startup(start.program(ranks), threads))
            with Place(spec, case) as place:
                walls.append(place.run(side.program(ranks), threads, "got").wall_s)
                if number == looked_at and not trial.side_is_reference(config):
                    judged(spec, place, "got", ranks, threads, case["name"])
        off = sorted(empty)[len(empty) // 2]
        figures += [(case["name"], net(wall, off)) for wall in walls]
    return figures


def net(wall_s: float, startup_s: float) -> float:
    """Seconds without the start-up; never less than a tenth of all."""
    return max(wall_s - startup_s, LEAST * wall_s)


def _startup(program: Program, threads: int) -> float:
    work = tempfile.mkdtemp(prefix="ha-run-")
    try:
        return float(_quarantined(program, threads, work, ())["wall_s"])
    finally:
        shutil.rmtree(work, ignore_errors=True)
