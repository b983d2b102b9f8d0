#!/usr/bin/env python3
"""Runs a candidate and the reference on the same inputs and compares what came out.

Runs inside jobs: standard library only, python3 >= 3.6. The two are never in one process, and the
candidate sees nothing of what the reference gave. Seeds are drawn here, at run time.
"""

import os
import random
import subprocess
import time
from typing import Any, Dict, List, Mapping, Sequence, Tuple

if __package__:
    from hpcagent.codegen import forge
    from hpcagent.codegen.session import (
        SLACK_S,
        Case,
        Problem,
        Program,
        Session,
        Timed,
        clock_problem,
    )
else:
    import forge  # type: ignore[import-not-found,no-redef]
    from session import (  # type: ignore[import-not-found,no-redef]
        SLACK_S,
        Case,
        Problem,
        Program,
        Session,
        Timed,
        clock_problem,
    )

REPEATS = 2  # of a case: what is kept from one call is wrong in the next
COMPARE_S = 300
# Calls in a row, where times are in doubt. Ranks wait for each other after the clock has stopped,
# on a busy node as long as for a call: the next row is twice as long.
LONG_S, LONGEST_S, MOST_CALLS, TRIES = 0.2, 2.0, 100000, 8
# Of short calls, which the clock outside cannot tell from none, a row of so many is looked at; its
# length is below what a busy node leaves a process in one piece, and so few that numbers that come
# out and go in again stay numbers.
ROW_S, MOST_IN_ROW, ROW_TRIES, ROW_SHARE = 0.002, 200, 40, 3.0
_SEED_BITS = 62
_WORDS = {forge.CHECKED: "instrumented", forge.STIRRED: "with threads that wait at odd moments"}
_BREAKS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=77:halt_on_error=1"}


class Side:
    """One of the two: its program, made ready for a number of ranks."""

    def __init__(self, built: Mapping[str, Any], name: str, spec: Mapping[str, Any]) -> None:
        self.path = os.path.abspath(os.path.join(built["folder"], name))
        self.name = name
        self._folder, self._digests = str(built["folder"]), built["sha256"]
        self._checked = name == forge.CHECKED
        self._spec = spec
        self._trusted = bool(built.get("trusted"))

    def program(self, ranks: int) -> Program:
        sha256 = str(self._digests[os.path.basename(self.path)])
        forge.verified(self.path, sha256)
        spec = self._spec
        launcher = _launcher(spec["launcher"], ranks) if ranks else []
        limits = dict(spec["run_limits"])
        if self._checked:
            limits["address_bytes"] = 0  # a sanitizer's map of all memory is much larger than that
        env = dict(forge.kept_environment(self._folder, self._digests), **spec["run_env"])
        env.update(_BREAKS if self._checked else {})
        return Program(self.path, sha256, launcher, env, limits, self._trusted)


def _launcher(words: Sequence[str], ranks: int) -> List[str]:
    """The words in front of a program; the script that starts ranks lies beside this file."""
    here = os.path.dirname(os.path.abspath(__file__))
    return ["sh", os.path.join(here, "cells", "launch.sh"), *words, "-n", str(ranks)]


# --- the checks ----------------------------------------------------------------------------------


def check(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """All cases on each number of ranks and threads, instrumented first where that was built.

    Raises Problem at the first that fails.
    The reference itself (no `reference` in the spec) is compared with a second run of its own.
    """
    own = {"folder": forge.BUILD, "sha256": digests()}
    reference = dict(spec["reference"] or own, trusted=True)
    programs = (forge.CHECKED, forge.STIRRED, forge.PLAIN)
    names = [name for name in programs if name in own["sha256"]]
    worst, done, began = 0.0, 0, time.monotonic()
    deadline = began + float(spec["check_s"])
    protections = {}  # type: Dict[str, Any]
    for ranks in spec["ranks"] or [0]:
        theirs = Side(reference, forge.PLAIN, spec)
        turns = [(Side(own, name, spec), threads_of(name, spec["threads"])) for name in names]
        found = _compared(spec, turns, theirs, ranks, deadline)
        worst, protections = max(worst, found[0]), found[1] or protections
        done += sum(len(threads) for _, threads in turns) * len(spec["cases"])
    return {
        "worst": worst,
        "cases": done,
        "instrumented": forge.CHECKED in names,
        "protections": protections,
        "seconds": round(time.monotonic() - began, 3),
    }


def digests() -> Dict[str, str]:
    """As the link step wrote them: nothing of the candidate has run since."""
    import json

    with open(os.path.join(forge.BUILD, forge.DIGESTS)) as stream:
        return {str(name): str(value) for name, value in json.load(stream).items()}


def where(name: str, ranks: int, threads: int) -> str:
    words = [_WORDS.get(name, "as measured")]
    words += ["%d ranks" % ranks] if ranks else []
    words += ["%d threads" % threads] if threads > 1 else []
    return ", ".join(words)


def threads_of(name: str, threads: Sequence[int]) -> List[int]:
    """With how many threads a program is checked.

    Most first: what a source sizes by them when it is called first has to hold all.
    """
    return sorted((t for t in threads if t > 1 or name != forge.STIRRED), reverse=True)


def _compared(
    spec: Mapping[str, Any],
    turns: Sequence[Tuple[Side, Sequence[int]]],
    theirs: Side,
    ranks: int,
    deadline: float,
) -> Tuple[float, Dict[str, Any]]:
    """The worst error over all cases, in units of what is allowed, and the walls that stood.

    One process of the reference answers for all of the candidate's programs, and one of each of
    them for all numbers of threads: most of what a check takes is to start processes within walls.
    """
    worst, walls = 0.0, {}  # type: float, Dict[str, Any]
    reply_s, most = float(spec["reply_s"]), max(spec["threads"])
    with Session(theirs.program(ranks), most, reply_s) as wanted:
        for side, numbers in turns:
            if not numbers:
                continue
            at = where(side.name, ranks, numbers[0])
            try:
                with Session(side.program(ranks), numbers[0], reply_s) as got:
                    for threads in numbers:
                        at = where(side.name, ranks, threads)
                        got.take_threads(threads)
                        worst = max(worst, _all_cases(spec, wanted, got, ranks, deadline))
                    got.finish()
            except Problem as problem:
                raise Problem(problem.kind, "%s: %s" % (at, problem.evidence))
            walls = dict(got.result.get("protections") or walls)
        wanted.finish()
    return worst, walls


def _all_cases(
    spec: Mapping[str, Any], wanted: Session, got: Session, ranks: int, deadline: float
) -> float:
    worst = 0.0
    for case in spec["cases"]:
        for repeat in range(REPEATS):
            if time.monotonic() > deadline:
                raise Problem("run.timeout", "the checks took too long altogether")
            try:
                worst = max(worst, _one(spec, case, repeat, wanted, got, ranks))
            except Problem as problem:
                raise Problem(problem.kind, "case %s: %s" % (case["name"], problem.evidence))
    return worst


def _one(
    spec: Mapping[str, Any], case: Case, repeat: int, wanted: Session, got: Session, ranks: int
) -> float:
    seed = random.SystemRandom().getrandbits(_SEED_BITS)
    paths = []
    for session in (got, wanted):
        session.prepare(case, seed)
        session.run()
        paths.append(session.dump("out-%d" % repeat))
    return compared(spec, case, paths[1], paths[0], ranks, "seed %d" % seed)


def compared(
    spec: Mapping[str, Any], case: Case, wanted: str, got: str, ranks: int, what: str
) -> float:
    """The worst error of all ranks; Problem where an output differs by more than is allowed."""
    tolerance = spec["tolerance"]
    program = forge.verified(*_compare_program(spec))
    worst = 0.0
    for rank in range(max(1, ranks)):
        files = ["%s.%d" % (wanted, rank), "%s.%d" % (got, rank)]
        words = [program, tolerance["norm"], repr(tolerance["relative"])]
        words += [repr(tolerance["absolute"]), *files, *case["outputs"]]
        ended = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMPARE_S
        )
        said = ended.stdout.decode("utf-8", "replace").split()
        if ended.returncode == 0 and said[:1] == ["equal"]:
            worst = max(worst, float(said[1]))
        elif ended.returncode == 1 and len(said) == 6:
            raise Problem("numerics.wrong_result", _difference(said, rank, ranks, what))
        else:
            raise Problem("gate.forged", "what was written cannot be read: %s" % " ".join(said))
        for path in files:
            os.unlink(path)
    return worst


def _compare_program(spec: Mapping[str, Any]) -> Tuple[str, str]:
    """The reference's, where there is one: it was built before any candidate."""
    built = spec["reference"]
    if built:
        return os.path.join(built["folder"], "compare"), str(built["sha256"]["compare"])
    return os.path.join(forge.BUILD, "compare"), digests()["compare"]


def _difference(said: Sequence[str], rank: int, ranks: int, what: str) -> str:
    name, index, wanted, got, error = said[1:]
    on_rank = " on rank %d" % rank if ranks else ""
    if int(index) < 0:
        words = "%s%s: the norm of the difference is %s, that of the result %s (%s times what is "
        return words % (name, on_rank, got, wanted, error) + "allowed; %s)" % what
    words = "%s[%s]%s is %s and has to be %s (%s times what is allowed; %s)"
    return words % (name, index, on_rank, got, wanted, error, what)


# --- the measurement -----------------------------------------------------------------------------


def measure(config: Mapping[str, Any]) -> List[Tuple[str, float]]:
    """(case, seconds) of every call of one process; Problem where anything is wrong.

    Each call has inputs of its own. After a call it is drawn whether its outputs are looked at.
    """
    spec = config["spec"]
    side = Side(config["program"], forge.PLAIN, spec)
    ranks, threads = int(config["ranks"]), int(config["threads"])
    figures = []  # type: List[Tuple[str, float]]
    kept = []  # type: List[Tuple[Case, int, str]]
    with Session(side.program(ranks), threads, float(spec["reply_s"])) as session:
        for number, case in enumerate(spec["cases"]):
            times, chosen = _timed(session, case, int(spec["repeats"]), "out-%d" % number)
            if not side_is_reference(config):
                _believe_clock(session, case, times)
            figures += [(case["name"], t.inside_s) for t in times]
            kept += chosen
        session.finish()
        if not side_is_reference(config):
            _compare_kept(config, kept, ranks, threads)
    return figures


def _believe_clock(session: Session, case: Case, times: Sequence[Timed]) -> None:
    """Raise Problem where the times cannot be true.

    Rows of calls are compared with what was told of one: a false clock is wrong about them, too,
    while what passes besides the calls is the same for a row as for one.
    """
    told_s = sorted(time_.inside_s for time_ in times)[len(times) // 2]
    gaps = sorted(time_.outside_s - time_.inside_s for time_ in times)
    _believe_short(session, case, told_s, max(SLACK_S, 2 * gaps[len(gaps) // 2]))
    if all(clock_problem(time_) for time_ in times):
        _believe_long(session, case, told_s)


def _believe_long(session: Session, case: Case, told_s: float) -> None:
    """Raise Problem where rows of calls, ever longer ones, take longer outside than they tell."""
    calls = max(1, min(MOST_CALLS, int(LONG_S / max(told_s, 1e-7))))
    problem = None
    for _ in range(TRIES):
        session.prepare(case, random.SystemRandom().getrandbits(_SEED_BITS))
        row = session.run(calls)
        problem = clock_problem(row)
        slower = ROW_S <= told_s < row.inside_s / calls / ROW_SHARE
        if problem is None and slower and not session.filtered:  # else no clock can be moved
            problem = "it told %.6f s of one" % told_s
        if problem is None:
            return
        tried, calls = calls, min(MOST_CALLS, 2 * calls if row.outside_s < LONGEST_S else calls)
    raise Problem("gate.clock", "%s, %d calls: %s" % (case["name"], tried, problem))


def _believe_short(session: Session, case: Case, told_s: float, slack_s: float) -> None:
    """Raise Problem where a row of calls takes much longer than one call times their number.

    `slack_s` is what passes besides the calls.
    """
    if told_s >= ROW_S:
        return
    calls = max(1, min(MOST_IN_ROW, int(ROW_S / max(told_s, 1e-9))))
    passed_s = []  # type: List[float]
    for _ in range(ROW_TRIES):
        session.prepare(case, random.SystemRandom().getrandbits(_SEED_BITS))
        passed_s.append(session.run(calls).outside_s)
        if passed_s[-1] <= ROW_SHARE * calls * told_s + slack_s:
            return
    words = "%s: it told %.9f s of a call, and %d calls took %.6f s"
    raise Problem("gate.clock", words % (case["name"], told_s, calls, min(passed_s)))


def side_is_reference(config: Mapping[str, Any]) -> bool:
    return bool(config["program"].get("trusted"))


def _timed(
    session: Session, case: Case, repeats: int, name: str
) -> Tuple[List[Timed], List[Tuple[Case, int, str]]]:
    """The times after one call to warm up, and one call whose outputs were kept."""
    draw = random.SystemRandom()
    times = []  # type: List[Timed]
    kept = []  # type: List[Tuple[Case, int, str]]
    left = repeats + 1
    while left:
        seed = draw.getrandbits(_SEED_BITS)
        session.prepare(case, seed)
        times.append(session.run())
        if not kept and draw.randrange(left) == 0:  # each call as likely as any other
            kept.append((case, seed, session.dump(name)))
        left -= 1
    return times[1:], kept


def _compare_kept(
    config: Mapping[str, Any], kept: Sequence[Tuple[Case, int, str]], ranks: int, threads: int
) -> None:
    spec = config["spec"]
    reference = Side(dict(spec["reference"], trusted=True), forge.PLAIN, spec)
    with Session(reference.program(ranks), threads, float(spec["reply_s"])) as session:
        for case, seed, path in kept:
            session.prepare(case, seed)
            session.run()
            wanted = session.dump("wanted")
            compared(spec, case, wanted, path, ranks, "%s, seed %d" % (case["name"], seed))
        session.finish()
