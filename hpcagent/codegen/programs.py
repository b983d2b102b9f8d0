#!/usr/bin/env python3
"""Runs whole programs on inputs that they cannot know, judges what they wrote, and times them.

Runs inside jobs: standard library only, python3 >= 3.6. Each run is a process of its own in a
folder of its own, where only its inputs lie; reference or checker work afterwards, elsewhere.

The time of a run is what passes from its start to its end by the clock of the supervising process,
launcher included; that of a program which does nothing (startup.c) is taken off, measured in turn
with it. No mark of the program's own counts, so none can lie.
"""

import random
import shutil
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Tuple

if __package__:
    from hpcagent.codegen import checkers, forge, trial
    from hpcagent.codegen.places import Place, quarantined
    from hpcagent.codegen.session import Case, Problem, Program
else:
    import checkers  # type: ignore[import-not-found,no-redef]
    import forge  # type: ignore[import-not-found,no-redef]
    import trial  # type: ignore[import-not-found,no-redef]
    from places import Place, quarantined  # type: ignore[import-not-found,no-redef]
    from session import Case, Problem, Program  # type: ignore[import-not-found,no-redef]

LEAST = 0.1  # of the whole time: what start-up cannot take off, as it is not the same in every run


def judged(
    spec: Mapping[str, Any], place: Place, name: str, ranks: int, threads: int, what: str
) -> float:
    """The error of what lies in the folder `name`, in units of what is allowed; raises Problem."""
    if spec["checker"]:
        good, error, words = checkers.says(spec, place, name)
        if not good:
            text = "the checker refuses it: %s (%s, seed %d)" % (words, what, place.seed)
            raise Problem("numerics.wrong_result", text)
        return error
    built = spec["reference"] or {"folder": forge.BUILD, "sha256": trial.digests()}
    reference = trial.Side(dict(built, trusted=True), forge.PLAIN, spec)
    place.run(reference.program(ranks), threads, "wanted")
    words = "%s, seed %d" % (what, place.seed)
    return trial.compared(spec, place.case, place.dump("wanted"), place.dump(name), 0, words)


# --- the checks ----------------------------------------------------------------------------------


def check(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Every case, instrumented where that was built and as it is measured; raises Problem.

    Every number of ranks and of threads has its turn with one of the cases, not with each: nothing
    is kept from one run to the next. Without a source (a checker's unit) the checker tests itself.
    """
    began = time.monotonic()
    told = {"worst": 0.0, "cases": 0, "instrumented": False, "protections": {}}  # type: Dict[str, Any]
    if not spec["kernel_files"]:
        checkers.self_test(spec)
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
                    if not spoilt and case == checkers.largest(spec["cases"]):
                        checkers.spoil_test(spec, place, "got")
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
        return float(quarantined(program, threads, work, ())["wall_s"])
    finally:
        shutil.rmtree(work, ignore_errors=True)
