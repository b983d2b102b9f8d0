#!/usr/bin/env python3
"""The in-job worker: measures configurations interleaved, each in a fresh process.

Usage: python3 worker.py SPEC.json

One file, standard library only, python3 >= 3.6, so that a compute node needs nothing else. Beside
the spec it makes claim/ (who cannot make it leaves), appends result.jsonl (one line a process,
fsynced) and renames done.json into place at the end. While it measures, nothing else of this user's
builds or measures on the node (see NodeLock).

Exit codes: 0 done, or somebody else has the claim; 2 bad spec; 3 the claim is held by a worker
whose end cannot be verified from here; 4 the reference failed twice in a row; 5 a file could not
be written (disk full); 6 a process survived SIGKILL; 7 the node stayed in use by another unit;
128 + n stopped by signal n.
"""

import errno
import fcntl
import functools
import json
import math
import os
import random
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Pattern,
    Sequence,
    Set,
    Tuple,
)

SCHEMA = 1
EXIT_SPEC, EXIT_CLAIMED, EXIT_REFERENCE, EXIT_WRITE, EXIT_STUCK, EXIT_BUSY = 2, 3, 4, 5, 6, 7
STDOUT_CAP_BYTES = 8 * 1024 * 1024
STDERR_TAIL_BYTES = 2048
KEPT = 1 << 20  # characters of what a failed process of an application printed
REASONS = 5  # are told of a process
LAST_CHARACTERS = 160  # of a line that is quoted
SOUGHT, SOUGHT_IN_LINE = 1 << 18, 200  # characters in which a pattern is looked for elsewhere
PIECE = 65536  # characters of an output that are split into lines at once
DULL_LINES, DULL_LENGTH = 4096, 80  # of what is remembered of an output that says nothing
GRACE_S = 2.0  # between SIGTERM and SIGKILL
REAP_S = 30.0  # a process in uninterruptible sleep (a hung file system) outlives SIGKILL
ABANDON_FLOOR_S = 1.0  # below it, start-up noise decides instead of the configuration
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
CLOCK_STEP_S = 1.0  # what the wall clock may lose or gain against the monotonic one unmentioned
CONSTANT_FROM = 4  # processes that give one and the same figure before it is worth a note
LARGEST = 1e300  # the mean of two figures must not overflow
WAIT_SHARE = 0.5  # of the budget: what may be spent on waiting for the node
MIN, MAX = "min", "max"
WHOLE = ""  # for a pattern: the figure is the time of the whole process
FORTRAN = re.compile(r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))[dD]([-+]?[0-9]{1,4})\Z")
SEED = re.compile(r"(?<!\$)\{seed\}")  # `${seed}` is the application's own
MODULES_S = 300
WITH_MODULES = """init=$1 first=$2; shift 2
. "$init" || exit 96
if [ "$first" = purge ]; then module purge || exit 96; fi
while [ "$1" != -- ]; do
  module load "$1" || exit 96
  case ":${LOADEDMODULES-}:" in *:"$1":* | *:"$1"[/.]*) ;; *) exit 96 ;; esac
  shift
done
shift
exec "$@"
"""
ANSWER = "answer"  # what is read back of a process that gives one
FLOOD = "too much output"
UNSTARTABLE = "cannot start"


# --- the rule: pure functions, imported by the rest of the package -------------------------------


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def objective(
    samples: Mapping[str, Sequence[float]], weights: Mapping[str, float], direction: str = MIN
) -> float:
    """Sum of weight x ln(median) over the keys: the log of a weighted geometric mean.

    Lower is better: figures with the direction "max" (rates) count with the opposite sign.
    """
    sign = -1.0 if direction == MAX else 1.0
    return math.fsum(
        sign * weight * math.log(median(samples[key])) for key, weight in weights.items()
    )


@functools.lru_cache(maxsize=1024)  # every look at every challenger asks for the same few
def t_quantile(coverage: float, degrees: int) -> float:
    """t such that |T| <= t with probability `coverage`, for Student's T (integer degrees >= 1).

    Inverts the finite series of Abramowitz & Stegun (1964), 26.7.3 and 26.7.4, which are exact,
    by bisection on the angle atan(t / sqrt(degrees)).
    """
    low, high = 0.0, math.pi / 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        if _t_probability(middle, degrees) < coverage:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2.0)


def _t_probability(angle: float, degrees: int) -> float:
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for step in range(2 + odd, degrees + 1, 2):
        total += term
        term *= cosine * cosine * (step - 1.0) / step
    return 2.0 / math.pi * (angle + sine * total) if odd else sine * total


def t_tail(t: float, degrees: int) -> float:
    """The probability that |T| exceeds |t|, for Student's T (integer degrees >= 1)."""
    return 1.0 - _t_probability(math.atan(abs(t) / math.sqrt(degrees)), degrees)


def t_interval(values: Sequence[float], coverage: float) -> Tuple[float, float]:
    """Student's t interval (low, high) for the mean; unbounded for fewer than two values."""
    n = len(values)
    if n < 2:
        return -math.inf, math.inf
    mean = math.fsum(values) / n
    half = t_quantile(coverage, n - 1) * math.sqrt(variance(values) / n)
    return mean - half, mean + half


def variance(values: Sequence[float]) -> float:
    """The sample variance of two values or more."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def decide(
    log_ratios: Sequence[float], rule: Mapping[str, Any], others: Sequence[Sequence[float]] = ()
) -> str:
    """What to do with a challenger: "continue", "drop" or "settled".

    `log_ratios` are ln(time challenger / time reference), one a pair; `others` are those of the
    round's other challengers, dropped ones too. From rule["min_pairs"] of them on:

    * settled: there are rule["max_pairs"], or the t interval of the mean at rule["confidence"]
      has a half-width of at most rule["resolution"].
    * drop: `slower_by` is above rule["drop_ratio"]. Clearly slower; its pairs go to others.
    * continue: anything else.

    With a probability of rule["confidence"] or more a round drops none of its challengers that are
    slower by rule["drop_ratio"] at most, however often it looked. "Clearly faster" does not
    settle. Where the reference is poor, many challengers are clearly faster after three pairs,
    and what a tuner needs next is their order; the pairs that tell them apart cost little, for
    the bad ones are gone by then. What is fastest here is an estimate and no claim: that rests on
    fresh pairs, fixed in number.
    """
    n = len(log_ratios)
    if n < rule["min_pairs"]:
        return "continue"
    low, high = t_interval(log_ratios, rule["confidence"])
    if n >= rule["max_pairs"]:
        return "settled"
    if slower_by(log_ratios, rule, others) > rule["drop_ratio"]:
        return "drop"
    return "settled" if (high - low) / 2.0 <= rule["resolution"] else "continue"


def slower_by(
    log_ratios: Sequence[float], rule: Mapping[str, Any], others: Sequence[Sequence[float]] = ()
) -> float:
    """The ln ratio that a challenger exceeds, for all looks and all challengers of a round at once.

    One-sided lower bound by Student's t. The round's chance of an error, 1 - rule["confidence"], is
    divided by the number of its challengers and of the looks at each (Bonferroni: valid for looks
    that depend on one another). Three pairs of one challenger say next to nothing of the noise, and
    where it has two modes they are often alike by chance; so the variance is never taken below
    the median of the variances of all challengers. It rests on more degrees of freedom, by
    F. E. Satterthwaite (Biometrics Bulletin 2 (1946) 110-114) those of m equal estimates from
    differences that share the reference and correlate by 1/2: 4 m / (m + 3) times one's.
    """
    n = len(log_ratios)
    looks = max(1, int(rule["max_pairs"]) - int(rule["min_pairs"]) + 1)
    error = (1.0 - rule["confidence"]) / ((1 + len(others)) * looks)
    every = [values for values in (log_ratios, *others) if len(values) > 1]
    if n < 2:
        return -math.inf
    spread = max(variance(log_ratios), median([variance(values) for values in every]))
    pairs = median([len(values) for values in every])
    degrees = int(4.0 * len(every) / (len(every) + 3.0) * (min(n, pairs) - 1.0))
    half = t_quantile(1.0 - 2.0 * error, max(n - 1, degrees)) * math.sqrt(spread / n)
    return math.fsum(log_ratios) / n - half


def abandon_after(reference_walls_s: Sequence[float], rule: Mapping[str, Any]) -> float:
    """Seconds after which a challenger's process is given up; infinite without a reference."""
    if not reference_walls_s:
        return math.inf
    return max(ABANDON_FLOOR_S, float(rule["abandon_multiple"]) * median(reference_walls_s))


def cycle_order(ids: Sequence[str], seed: int, pair: int, balanced: bool = True) -> List[str]:
    """The order of cycle `pair` (1, 2, ...): random in odd cycles, the reverse in the next.

    The two cycles together cancel a linear drift of the machine. Not `balanced`: random in every
    cycle, whatever the others' order was. Then the sign of each pair's ln ratio is a fair coin of
    its own where two configurations are equal, and the sign test behind a claim exact for noise of
    any shape (R. A. Fisher, The Design of Experiments, 1935); a reversed order follows from
    the one before, and noise that swings in step with it was seen to multiply false claims by
    four. An order depends on (seed, pair) alone, so a worker that takes over goes on with it;
    leaving out configurations that ended keeps a random order random.
    """
    order = sorted(ids)
    if not balanced:
        random.Random("draw %d %d" % (seed, pair)).shuffle(order)
        return order
    random.Random("order %d %d" % (seed, (pair + 1) // 2)).shuffle(order)
    return order if pair % 2 else order[::-1]


def cycle_seed(seed: int, pair: int) -> int:
    """The seed of the inputs in a cycle: equal for its configurations, different between cycles."""
    return random.Random("inputs %d %d" % (seed, pair)).randrange(1, 2**31)


# --- the spec ------------------------------------------------------------------------------------


class End(Exception):
    """The work ends here, with an exit code and one line; `done`: done.json is to say so."""

    def __init__(self, code: int, line: str, done: bool = True) -> None:
        Exception.__init__(self, line)
        self.code = code
        self.done = done


Config = NamedTuple(
    "Config",
    [
        ("id", str),
        ("argv", List[str]),
        ("env", Dict[str, str]),
        ("binding", Optional[List[int]]),
        ("files", Dict[str, str]),
        ("modules", List[str]),
    ],
)


class Check:
    """The correctness check and the figures: patterns that are applied line by line."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        residual = data.get("residual") or {}
        self.keys: List[str] = list(data.get("keys", ()))
        self.figure: Pattern[str] = re.compile(data.get("figure") or "(?!)")
        self.whole = data.get("figure") == WHOLE
        self.residual: Optional[Pattern[str]] = (
            re.compile(residual["pattern"]) if residual else None
        )
        self.residual_max = float(residual["max"]) if residual else math.inf
        self.direction: str = data.get("direction") or MIN
        if self.direction not in (MIN, MAX):
            raise ValueError("check.direction %r is not min or max" % (self.direction,))
        self.minimum = _bounds(data, "minimum", self.direction == MIN)
        self.maximum = _bounds(data, "maximum", self.direction == MAX)
        self.success: List[Pattern[str]] = [re.compile(p) for p in data.get("success", ())]
        self.readback = {name: re.compile(p) for name, p in data.get("readback", {}).items()}
        answer = data.get("answer") or {}
        self.answer: Optional[Pattern[str]] = re.compile(answer["pattern"]) if answer else None
        self.right: Optional[float] = answer.get("value")  # None: as `rights` has it, by the key
        self.rights: Dict[str, float] = dict(answer.get("values") or {})
        self.tolerance = float(answer.get("tolerance", 0.0))
        further = data.get("further") or {}
        self.further = {name: re.compile(figure["pattern"]) for name, figure in further.items()}


def _bounds(data: Mapping[str, Any], name: str, applies: bool) -> Dict[str, float]:
    """The figure of each key beyond which it is implausible, where the direction has such ones."""
    bounds = {key: float(value) for key, value in (data.get(name) or {}).items()}
    return bounds if applies else {}


class Spec:
    """What spec.json asks for. Raises KeyError, TypeError, ValueError or re.error."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data["schema"] != SCHEMA:
            raise ValueError("schema %r is not %d" % (data["schema"], SCHEMA))
        if data["mode"] not in ("paired", "fixed", "once"):
            raise ValueError("mode %r is not paired, fixed or once" % (data["mode"],))
        self.mode: str = data["mode"]
        self.configs: Dict[str, Config] = {}
        for c in data["configs"]:
            config = Config(
                c["id"],
                c.get("argv") or [],
                c.get("env") or {},
                c.get("binding"),
                c.get("files") or {},
                c.get("modules") or [],
            )
            self.configs[config.id] = config
        self.reference: str = data["reference"]
        if self.mode != "once" and self.reference not in self.configs:
            raise ValueError("reference %r is not among the configs" % self.reference)
        self.challengers = [name for name in self.configs if name != self.reference]
        self.unset: List[str] = list(data.get("unset", ()))
        self.command: List[str] = list(data["command"])
        self.scene: Optional[Mapping[str, Any]] = data.get("scene")
        self.module_init = str(data.get("module_init") or "")
        self.timeout_s = float(data["timeout_s"])
        self.budget_s = float(data["budget_s"])
        self.seed = int(data["seed"])
        self.check = Check(data["check"])
        self.weights = {key: float(w) for key, w in data.get("weights", {}).items()}
        if not set(self.weights) <= set(self.check.keys):
            raise ValueError("weights name keys that check.keys lacks")
        self.rule: Mapping[str, Any] = data.get("stop_rule", {})
        names = ("min_pairs", "max_pairs", "drop_ratio", "abandon_multiple", "confidence")
        wanted = {"once": (), "fixed": ("pairs",), "paired": (*names, "resolution")}[self.mode]
        for name in wanted:
            float(self.rule[name])


def read_spec(path: str) -> Spec:
    """The spec at `path`, or End with one line that says what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as stream:
            return Spec(json.load(stream))
    except KeyError as error:
        raise End(EXIT_SPEC, "%s: %s is missing" % (path, error), done=False) from None
    except (OSError, TypeError, ValueError, AttributeError, re.error) as error:
        raise End(EXIT_SPEC, "%s: %s" % (path, error), done=False) from None


# --- what a process printed ----------------------------------------------------------------------


class Printed:
    """The figures, residuals and read-back in the output of a process that exited with 0 after
    `wall_s` seconds."""

    def __init__(self, text: str, check: Check, wall_s: float = 0.0) -> None:
        self.samples: Dict[str, List[float]] = {}
        self.residuals: Dict[str, Optional[float]] = {}
        self.readback: Dict[str, Any] = {}
        self.further: Dict[str, Dict[str, List[float]]] = {name: {} for name in check.further}
        self._wrong: List[str] = []
        self._implausible: List[str] = []
        missing = list(check.success)
        if check.whole and wall_s > 0.0:
            self.samples = {key: [wall_s] for key in check.keys}
        for line in telling(lines_of(text), check):
            self._read_figure(line, check)
            self._read_residual(line, check)
            self._read_further(line, check)
            self._read_answer(line, check)
            for name, pattern in check.readback.items():
                found = pattern.match(line)
                if found:
                    self.readback[name] = found.group(1)
            missing = [pattern for pattern in missing if not pattern.match(line)]
        self.missing = list(missing)  # patterns that no line matches
        self._wrong += [_unmatched(pattern) for pattern in missing]
        self._require(check)

    def verdict(self) -> Tuple[str, str]:
        """(status, message): a wrong result outweighs an implausible time."""
        status = "wrong" if self._wrong else "implausible" if self._implausible else "ok"
        return status, "; ".join((self._wrong + self._implausible)[:REASONS])

    def _read_figure(self, line: str, check: Check) -> None:
        found = check.figure.match(line)
        key = key_of(found, check)
        if not found or key not in check.keys:
            return
        figure = _number(found.group("value"))
        if figure is None or not 0.0 < figure < LARGEST:
            what = "rate" if check.direction == MAX else "time"
            _add(self._implausible, "not a %s above 0: %r" % (what, line[:200]))
            return
        if figure < check.minimum.get(key, 0.0):
            fastest = check.minimum[key]
            _add(self._implausible, "%s: %g s is below %g s, the peak" % (key, figure, fastest))
        if figure > check.maximum.get(key, math.inf):
            above = (key, figure, check.maximum[key])
            _add(self._implausible, "%s: a figure of %g is above %g, the peak" % above)
        self.samples.setdefault(key, []).append(figure)

    def _read_further(self, line: str, check: Check) -> None:
        for name, pattern in check.further.items():
            found = pattern.match(line)
            key = key_of(found, check)
            if not found or key not in check.keys:
                continue
            figure = _number(found.group("value"))
            if figure is None or not 0.0 < figure < LARGEST:
                _add(self._implausible, "not a positive %s: %r" % (name, line[:200]))
            else:
                self.further[name].setdefault(key, []).append(figure)

    def _read_residual(self, line: str, check: Check) -> None:
        found = check.residual.match(line) if check.residual else None
        key = key_of(found, check)
        if not found or key not in check.keys:
            return
        value = _number(found.group("value"))
        previous = self.residuals.get(key, 0.0)
        if value is None or abs(value) > check.residual_max:
            _add(self._wrong, "%r is above %g" % (line[:200], check.residual_max))
        worst = None if value is None or previous is None else max(abs(value), previous)
        self.residuals[key] = worst

    def _read_answer(self, line: str, check: Check) -> None:
        found = check.answer.match(line) if check.answer else None
        key = key_of(found, check) if keyed(check.answer) else ""
        if found and (not key or key in check.keys):
            self.readback[answer_of(key)] = found.group("value") or ""

    def _require_answers(self, check: Check) -> None:
        """Of each key, where the pattern has one; the last one counts."""
        if check.answer is not None:
            for key in check.keys if keyed(check.answer) else [""]:
                self._require_answer(check, key, check.answer.pattern)

    def _require_answer(self, check: Check, key: str, pattern: str) -> None:
        of = " of %s" % key if key else ""
        if answer_of(key) not in self.readback:
            self._wrong.append("no line%s matches %s" % (of, pattern))
            if check.answer is not None:
                self.missing.append(check.answer)
            return
        told = self.readback[answer_of(key)]
        value, right = _number(told), check.rights.get(key, check.right)
        if value is None:
            self._wrong.append("the answer%s %r is no finite number" % (of, told[:200]))
        elif right is not None:
            most = check.tolerance * (abs(right) or 1.0)
            if abs(value - right) > most:
                words = "the answer%s %.15g is more than %.3g away from %.15g"
                self._wrong.append(words % (of, value, most, right))

    def _require(self, check: Check) -> None:
        self._require_answers(check)
        for key in check.keys:
            if key not in self.samples and not self._implausible:
                self._wrong.append("no figure for %s: %s" % (key, _unmatched(check.figure)))
                self.missing.append(check.figure)
            if check.residual and key not in self.residuals:
                self._wrong.append("no residual for %s" % key)
            for name, figures in self.further.items():
                if key not in figures and not self._implausible:
                    told = (name, key, _unmatched(check.further[name]))
                    self._wrong.append("no figure for %s of %s: %s" % told)
                    self.missing.append(check.further[name])


def _unmatched(pattern: Pattern[str]) -> str:
    which = "line with that key" if keyed(pattern) else "line"
    return "no %s matches %s" % (which, pattern.pattern)


def elsewhere(missing: Sequence[Pattern[str]], text: str, stderr: str) -> str:
    """Where a pattern that no line matches is to be found all the same; empty where nowhere.

    Searching within a line may take the square of its length: only so much is looked at."""
    lines = [line[:SOUGHT_IN_LINE] for line in lines_of(text[-SOUGHT:])]
    for pattern in missing:
        if not pattern.pattern.startswith(".*"):
            line = next((x for x in lines if pattern.search(x) and not pattern.match(x)), None)
            if line is not None:
                words = "it is within a line, and patterns begin where a line does (.* in front)"
                return "%s: %r" % (words, line.strip()[:LAST_CHARACTERS])
        line = next((each for each in lines_of(stderr) if pattern.match(each)), None)
        if line is not None:
            words = "it is on standard error, which is not read (2>&1)"
            return "%s: %r" % (words, line.strip()[:LAST_CHARACTERS])
    return ""


def last_line(text: str) -> str:
    """What a program that prints its errors as all else has said in the end."""
    lines = text.rstrip()[-KEPT:].splitlines()
    return lines[-1].strip()[:LAST_CHARACTERS] if lines else ""


def telling(lines: Iterator[str], check: Check) -> Iterator[str]:
    """Those that any pattern matches. Short ones that none does are remembered: a program that
    prints the same few lines millions of times would else take longer to read than to run."""
    dull: Set[str] = set()
    patterns = [check.figure, *check.success, *check.readback.values(), *check.further.values()]
    patterns += [each for each in (check.residual, check.answer) if each]
    matches = [pattern.match for pattern in patterns]
    for line in lines:
        if line in dull:
            continue
        if any(match(line) for match in matches):
            yield line
        elif len(line) <= DULL_LENGTH and len(dull) < DULL_LINES:
            dull.add(line)


def key_of(found: Optional[Any], check: Check) -> str:
    """The key that a line is of: a pattern without one is of the only key there is."""
    if found is None or not check.keys:
        return ""
    return str(found.group("key")) if keyed(found.re) else check.keys[0]


def keyed(pattern: Optional[Pattern[str]]) -> bool:
    return pattern is not None and "key" in pattern.groupindex


def answer_of(key: str) -> str:
    """The name under which the answer of a key is read back; "" is the key of a process's own."""
    return "%s of %s" % (ANSWER, key) if key else ANSWER


def lines_of(text: str) -> Iterator[str]:
    """The lines in pieces: a million short ones, all at once, would take thirty times the text."""
    begin = 0
    while begin <= len(text):
        end = text.find("\n", begin + PIECE)
        end = len(text) if end < 0 else end
        for line in text[begin:end].split("\n"):
            yield line.rstrip("\r")
        begin = end + 1


def _add(reasons: List[str], reason: str) -> None:
    if len(reasons) < REASONS:
        reasons.append(reason)


def _number(word: str) -> Optional[float]:
    """The finite number that a word is, as C or Fortran (1.5D+03) writes it."""
    try:
        value = float(word)
    except TypeError:  # of a group that took no part in the match
        return None
    except ValueError:
        found = FORTRAN.match(word)
        if found is None:
            return None
        value = float("%se%s" % found.groups())
    return value if math.isfinite(value) else None


# --- files ---------------------------------------------------------------------------------------


def write_json(path: str, value: Any) -> None:
    """Write to a temporary name, fsync, rename: the file is whole or absent."""
    temporary = "%s.%d" % (path, os.getpid())
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump(value, stream)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
        sync_directory(os.path.dirname(path))
    except OSError as error:
        raise End(EXIT_WRITE, "cannot write %s: %s" % (path, error.strerror), done=False) from None


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)


class Log:
    """result.jsonl: appended and fsynced line by line; `earlier` holds what was in it before."""

    def __init__(self, directory: str, claim: "Claim") -> None:
        self._claim = claim
        self._path = os.path.join(directory, "result.jsonl")
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._descriptor = os.open(self._path, flags, 0o600)
            size = os.fstat(self._descriptor).st_size
            with open(self._descriptor, "rb", closefd=False) as stream:
                before = stream.read(size)
            sync_directory(directory)
        except OSError as error:
            raise self._full(error) from None
        self.earlier: List[Dict[str, Any]] = []
        for line in before.split(b"\n"):
            try:
                value = json.loads(line.decode("utf-8"))
            except ValueError:
                continue
            if isinstance(value, dict):
                self.earlier.append(value)
        if before and not before.endswith(b"\n"):
            self._write(b"\n")

    def append(self, line: Mapping[str, Any]) -> None:
        self._claim.check()
        self._write(json.dumps(line, allow_nan=False).encode("ascii") + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._full(error) from None

    def _full(self, error: OSError) -> End:
        return End(EXIT_WRITE, "cannot write %s: %s" % (self._path, error.strerror), done=False)


def utc() -> str:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    return "%s.%03dZ" % (stamp, int(now * 1000) % 1000)


def clocks() -> Tuple[float, float]:
    """Seconds of the wall clock, which may be set, and of the one that only goes on."""
    return time.time(), time.monotonic()


def clock_step(before: Tuple[float, float], after: Tuple[float, float]) -> Optional[float]:
    """Seconds by which the wall clock was set meanwhile (or the node slept); None below a second.

    All durations here are of the monotonic clock; only stamps (`t_utc`) suffer.
    """
    step_s = (after[0] - before[0]) - (after[1] - before[1])
    return round(step_s, 3) if abs(step_s) > CLOCK_STEP_S else None


def read_text(path: str) -> str:
    """The text of a small file of the kernel, "" where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


# --- the claim -----------------------------------------------------------------------------------


def identity() -> Dict[str, Any]:
    """Who this process is, so that a later worker can tell whether it still runs."""
    return {
        "host": socket.gethostname(),
        "boot_id": read_text("/proc/sys/kernel/random/boot_id").strip(),
        "pid": os.getpid(),
        "started": start_ticks(os.getpid()),
        "pid_namespace": _pid_namespace(),
        "job": job_id(),
        "node": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "memory_bytes": job_memory(),
        "claimed_utc": utc(),
    }


def job_id() -> str:
    """The batch system's number of the job this runs in; empty outside one."""
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        if os.environ.get(name):
            return os.environ[name]
    return ""


def job_memory() -> Optional[int]:
    """Bytes that Slurm gave this job here, its default included; None where it does not say."""
    whole, each, cpus = (
        int(text) if text.isdigit() else 0
        for text in (
            os.environ.get("SLURM_" + name, "")
            for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
        )
    )
    return (whole or each * max(1, cpus)) << 20 or None


def start_ticks(pid: int) -> Optional[int]:
    """Start of a process in clock ticks since boot (proc(5), field 22); None if it has ended."""
    fields = read_text("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def owner_state(owner: Mapping[str, Any], me: Mapping[str, Any]) -> str:
    """ "alive", "gone" or "unknown".

    A process of this host can be seen. One of another host is gone if it belonged to this very
    job: a batch system runs a job again (after a lost node, a preemption) only when it has ended.
    """
    if not me["boot_id"] or me["started"] is None:
        return "unknown"
    if owner.get("host") != me["host"]:
        return "gone" if me["job"] and owner.get("job") == me["job"] else "unknown"
    if owner.get("boot_id") != me["boot_id"]:
        return "gone"
    if owner.get("pid_namespace") != me["pid_namespace"]:
        return "unknown"
    return "alive" if start_ticks(int(owner["pid"])) == owner.get("started") else "gone"


class Claim:
    """The right to write this unit's results: claim/owner.json names the process that has it."""

    def __init__(self, directory: str) -> None:
        self.owner = identity()
        self._path = os.path.join(directory, "claim")
        _take(self._path, self.owner)

    def check(self) -> None:
        """Raise End where another worker has taken over: this one must not write any more.

        It happens to a process on a node that was given up, but lives on without the scheduler.
        """
        held = _read_owner(self._path)
        if held != self.owner:
            line = "%s was taken over by process %s on host %s"
            who = (self._path, held.get("pid"), held.get("host"))
            raise End(EXIT_CLAIMED, line % who, done=False)


def _take(path: str, me: Dict[str, Any]) -> None:
    """Make claim/, or take over that of a worker that is gone; else raise End."""
    for _ in range(50):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            _set_aside(path)
            continue
        except OSError as error:
            raise End(EXIT_WRITE, "cannot make %s: %s" % (path, error.strerror), False) from None
        write_json(os.path.join(path, "owner.json"), me)
        return
    raise End(EXIT_CLAIMED, "%s: a takeover hangs; remove claim/takeover" % path, done=False)


def _set_aside(path: str) -> None:
    """Rename the claim of a dead owner to claim.<n>; returns where another try is due."""
    owner = _read_owner(path)
    if not os.path.isdir(path):
        return
    state = owner_state(owner, identity())
    who = "process %s on host %s" % (owner.get("pid"), owner.get("host"))
    if state == "alive":
        raise End(0, "%s is held by %s, which runs; nothing to do" % (path, who), done=False)
    if state == "unknown":
        line = "%s is held by %s; whether it has ended cannot be seen from here" % (path, who)
        raise End(EXIT_CLAIMED, line, done=False)
    done = os.path.join(os.path.dirname(path), "done.json")
    if os.path.exists(done):  # written before its process ended: that owner is not dead but done
        raise End(0, "%s exists; nothing to do" % done, done=False)
    lock = os.path.join(path, "takeover")
    try:
        os.mkdir(lock)
    except OSError:
        time.sleep(0.1)
        return
    # Another worker may have replaced the directory since it was judged; the lock lies inside
    # it, so from here on nobody else can.
    if _read_owner(path) != owner:
        os.rmdir(lock)
        return
    n = 1
    while os.path.exists("%s.%d" % (path, n)):
        n += 1
    os.rename(path, "%s.%d" % (path, n))


def _read_owner(path: str) -> Dict[str, Any]:
    """claim/owner.json; it appears a moment after claim/ does. {} where there is none."""
    for _ in range(20):
        try:
            owner = json.loads(read_text(os.path.join(path, "owner.json")))
        except ValueError:
            owner = None
        if isinstance(owner, dict) and isinstance(owner.get("pid"), int):
            return owner
        if not os.path.isdir(path):
            break
        time.sleep(0.1)
    return {}


# --- signals -------------------------------------------------------------------------------------


class Signals:
    """Turns SIGCHLD and the stop signals into a readable descriptor: no polling, no races."""

    def __init__(self) -> None:
        self.stop = 0
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._write)

    def _note(self, number: int, _frame: Any) -> None:
        if number != signal.SIGCHLD and not self.stop:
            self.stop = number

    def wait(self, descriptors: Sequence[int], seconds: float) -> List[int]:
        """Those descriptors that are readable; returns early when a signal comes."""
        ready = select.select([self._read, *descriptors], [], [], max(0.0, seconds))[0]
        if self._read in ready:
            os.read(self._read, 4096)
        return [descriptor for descriptor in ready if descriptor != self._read]


# --- the node to itself --------------------------------------------------------------------------

# Fixed, not told by the environment: a job and a login differ in TMPDIR and XDG_RUNTIME_DIR.
PLACES = ("/run/user/%d", "/dev/shm", "/tmp")
SCENE_VARIABLE = "HPCAGENT_SCENE"  # of the processes of an application: where they run
PLACES_VARIABLE = "HPCAGENT_NODE_LOCK"  # other folders, separated by colons


def lock_places() -> List[str]:
    """The folders, one in each place, whose lock is the node's."""
    uid = os.geteuid()
    named = [place for place in os.environ.get(PLACES_VARIABLE, "").split(":") if place]
    places = named or [place % uid if "%d" in place else place for place in PLACES]
    return [os.path.join(place, "hpcagent-%d" % uid) for place in places]


class NodeLock:
    """The node to itself (a unit that measures), or beside others that do not (a build).

    flock(2) on a folder of this user's in every usable place: the kernel lets go when the process
    ends, however it ends. Some batch systems give a job a /tmp of its own; two units exclude each
    other where they see one place in common. Nobody waits while holding anything, so nothing here
    can block for ever; `wait_s` bounds the wait.
    """

    def __init__(self, shared: bool, wait_s: float, unit: str) -> None:
        self.waited_s = 0.0
        self.waited_for = ""
        self.problem = ""
        self._unit = unit
        self._shared = shared
        self._wait_s = wait_s
        self._held: Dict[str, int] = {}

    def take(self, signals: Signals) -> None:
        """Return with the node, or raise End with the code EXIT_BUSY or of a stop signal."""
        began = time.monotonic()
        while not self._try(lock_places()):
            self.waited_s = time.monotonic() - began
            left_s = self._wait_s - self.waited_s
            if left_s <= 0.0:
                line = "the node was in use by %s for all of %.0f s; the rest would not suffice"
                raise End(EXIT_BUSY, line % (self.waited_for, self.waited_s))
            signals.wait((), min(left_s, 5.0, max(0.1, self.waited_s / 4.0)))
            if signals.stop:
                raise End(128 + int(signals.stop), "stopped by signal %d" % signals.stop)
            self.waited_s = time.monotonic() - began

    def at_once(self) -> bool:
        """Take the node if nobody has it; whether it was to be had."""
        return self._try(lock_places())

    def told(self) -> Dict[str, Any]:
        """For done.json: how long it waited, for whom, and why there was no lock."""
        record: Dict[str, Any] = {"waited_s": round(self.waited_s, 3)}
        if self.waited_for:
            record["waited_for"] = self.waited_for
        if self.problem:
            record["unlocked"] = self.problem
        return record

    def _try(self, folders: Sequence[str]) -> bool:
        """Lock every folder that can be; False, and nothing is held, where one is taken."""
        problems = []
        for folder in folders:
            try:
                make_named_place(folder)
                self._lock(folder)
            except BlockingIOError:
                self.waited_for = _holder(folder)
                self.let_go()
                return False
            except OSError as error:
                problems.append("%s: %s" % (folder, error.strerror or error))
        self.problem = "" if self._held else "; ".join(problems)
        for folder in self._held:
            _name_holder(folder, self._unit)
        return True

    def _lock(self, folder: str) -> None:
        descriptor = open_private(folder)
        try:
            kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            mine, there = os.fstat(descriptor), os.lstat(folder)
            if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
                # Somebody cleaned up between opening and locking.
                raise BlockingIOError(errno.EAGAIN, "replaced meanwhile")
        except OSError:
            os.close(descriptor)
            raise
        self._held[folder] = descriptor

    def let_go(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])


def make_named_place(folder: str) -> None:
    """Make the place of a lock's folder where PLACES_VARIABLE names it. Raises OSError.

    The places of PLACES are the system's: one that is not there is none.
    """
    if not os.environ.get(PLACES_VARIABLE):
        return
    place = os.path.dirname(folder)
    if not os.path.isabs(place):  # each unit runs in a folder of its own
        raise OSError(errno.EINVAL, "%s must name absolute paths" % PLACES_VARIABLE)
    try:
        os.makedirs(place, 0o700, exist_ok=True)
    except OSError as error:
        words = "%s names it, and it cannot be made: %s" % (PLACES_VARIABLE, error.strerror)
        raise OSError(error.errno, words) from None


def open_private(folder: str) -> int:
    """A descriptor of a folder that only this user can enter; it is made. OSError if it is not so.

    In a place that everybody may write to, somebody else may have put a link or a folder there.
    """
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(descriptor)
        raise OSError(errno.EPERM, "belongs to or is open to others")
    return descriptor


def _name_holder(folder: str, unit: str) -> None:
    """Say who has the node, for the one who waits; of several that share it, the last."""
    who = {"pid": os.getpid(), "unit": unit, "job": job_id(), "since_utc": utc()}
    try:
        with open(os.path.join(folder, "holder.json"), "w", encoding="utf-8") as stream:
            json.dump(who, stream)
    except OSError:
        pass  # a full disk: the lock holds all the same


def _holder(folder: str) -> str:
    try:
        who = json.loads(read_text(os.path.join(folder, "holder.json")))
        job = " in job %s" % who["job"] if who["job"] else ""
        return "%s (process %d%s)" % (who["unit"], who["pid"], job)
    except (ValueError, TypeError, KeyError):
        return "another unit"


# --- meters --------------------------------------------------------------------------------------

ROOT = "/"
SAMPLED_CPUS = 8
FIRST_SAMPLE_S = 0.25
SAMPLE_GAP_S = 60.0  # the 32 bits of a package's energy counter last minutes (Intel SDM, 14.10)
SAMPLE_COST = 1e-3  # of the time: what reading the frequency during a process may take
THERMOMETERS = ("coretemp", "k10temp", "zenpower")
COLDEST, HOTTEST = -40.0, 150.0  # degrees Celsius; beyond, a sensor is not connected


def read_integer(path: str) -> Optional[int]:
    """The number in a file of sysfs; None where it cannot be read."""
    try:
        return int(read_or_raise(path))
    except (OSError, ValueError):
        return None


def read_or_raise(path: str) -> bytes:
    """The text of a small file, without the cost of a stream. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)


def entries(folder: str, pattern: str) -> List[str]:
    """The paths in a folder whose whole names match, in order; none where there is no folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if re.match(pattern + r"\Z", name))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names]


class Meters:
    """Frequency, temperature and energy as the kernel shows them below `root`.

    Sources: Linux Documentation/admin-guide/pm/cpufreq.rst (scaling_cur_freq, kHz), proc(5)
    (cpuinfo, MHz), hwmon/sysfs-interface.rst and thermal/sysfs-api.rst (millidegrees), and
    power/powercap/powercap.rst (energy_uj and max_energy_range_uj, microjoules).
    Temperature and energy are of the whole node, whoever else uses it. `absent` gives for each
    meter that cannot be had the reason.
    """

    def __init__(self, root: str = ROOT) -> None:
        self._root = root
        self._thermometers = self._find_thermometers()
        self._packages: List[Tuple[str, int]] = []
        self.absent: Dict[str, str] = {}
        reason = self._find_packages()
        if reason:
            self.absent["joules"] = "no readable RAPL: " + reason
        if self.celsius() is None:
            self.absent["celsius"] = "no thermal zone or hwmon of a CPU package can be read"
        if self.mhz(sorted(os.sched_getaffinity(0))[:1]) is None:
            self.absent["mhz"] = "neither cpufreq nor /proc/cpuinfo tells a frequency"

    def mhz(self, cpus: Sequence[int]) -> Optional[float]:
        """The mean of the present frequencies of these CPUs, as far as they are told."""
        folder = os.path.join(self._root, "sys/devices/system/cpu")
        read = [read_integer("%s/cpu%d/cpufreq/scaling_cur_freq" % (folder, cpu)) for cpu in cpus]
        found = [khz / 1000.0 for khz in read if khz]
        if not found:
            found = self._cpuinfo_mhz(set(cpus))
        return math.fsum(found) / len(found) if found else None

    def _cpuinfo_mhz(self, cpus: Set[int]) -> List[float]:
        found, cpu = [], -1
        for line in read_text(os.path.join(self._root, "proc/cpuinfo")).split("\n"):
            name, _, value = line.partition(":")
            if name.startswith("processor") and value.strip().isdigit():
                cpu = int(value)
            elif name.startswith("cpu MHz") and cpu in cpus:
                mhz = _number(value)
                if mhz is not None and mhz > 0.0:
                    found.append(mhz)
        return found

    def celsius(self) -> Optional[float]:
        """The temperature of the hottest package."""
        read = [read_integer(path) for path in self._thermometers]
        found = [value / 1000.0 for value in read if value is not None]
        return max((value for value in found if COLDEST < value < HOTTEST), default=None)

    def _find_thermometers(self) -> List[str]:
        zones = entries(os.path.join(self._root, "sys/class/thermal"), r"thermal_zone\d+")
        types = {zone: read_text(os.path.join(zone, "type")).strip() for zone in zones}
        packages = [zone for zone in zones if types[zone] == "x86_pkg_temp"]
        if packages:
            return [os.path.join(zone, "temp") for zone in packages]
        chips = entries(os.path.join(self._root, "sys/class/hwmon"), r"hwmon\d+")
        names = {chip: read_text(os.path.join(chip, "name")).strip() for chip in chips}
        found = [_package_input(chip) for chip in chips if names[chip] in THERMOMETERS]
        others = [os.path.join(zone, "temp") for zone in zones if "cpu" in types[zone].lower()]
        return [path for path in found if path] or others

    def energy(self) -> List[Optional[int]]:
        """The energy counter of each package in microjoules."""
        return [read_integer(path) for path, _ in self._packages]

    def joules(
        self, before: Sequence[Optional[int]], after: Sequence[Optional[int]]
    ) -> Optional[float]:
        """What all packages used between two readings; None where one of them is missing."""
        total = 0
        for index, (_, most) in enumerate(self._packages):
            first, last = before[index], after[index]
            if first is None or last is None or (last < first and not most):
                return None
            total += last - first if last >= first else last + most - first
        return total / 1e6 if self._packages else None

    def _find_packages(self) -> str:
        """Note the packages; why there are none, or why they are not used.

        Beside packages there are parts of them (intel-rapl:0:0) and the whole board (psys).
        """
        folder = os.path.join(self._root, "sys/class/powercap")
        domains = entries(folder, r"intel-rapl:\d+")
        found = [
            d for d in domains if read_text(os.path.join(d, "name")).strip().startswith("package")
        ]
        if not found:
            return "no package in %s" % folder
        packages = []
        for domain in found:
            path = os.path.join(domain, "energy_uj")
            try:
                int(read_or_raise(path))
            except (OSError, ValueError) as error:
                return "%s: %s" % (path, getattr(error, "strerror", None) or error)
            packages.append((path, read_integer(os.path.join(domain, "max_energy_range_uj")) or 0))
        self._packages = packages
        return ""


def _package_input(chip: str) -> str:
    """The input of the package's sensor among those of a chip, "" where it has none.

    Tctl of some processors carries an offset for the fan, Tdie none
    (Linux Documentation/hwmon/k10temp.rst).
    """
    inputs = entries(chip, r"temp\d+_input")
    labels = {read_text(path[: -len("input")] + "label").strip(): path for path in inputs}
    for wanted in ("Package", "Physical", "Tdie", "Tctl"):
        for label in sorted(labels):
            if label.startswith(wanted):
                return labels[label]
    return inputs[0] if inputs else ""


class Reading:
    """The meters while one process runs.

    Reading a frequency may interrupt the CPU that it is of. So there are few readings: when the
    process has started and ended, and between at intervals that double, that last a thousand times
    as long as a reading takes, and that exceed a minute only for that reason.
    """

    def __init__(self, meters: Meters, cpus: Sequence[int]) -> None:
        step = max(1, -(-len(cpus) // SAMPLED_CPUS))
        self._meters = meters
        self._cpus = sorted(cpus)[::step]
        self._began = self._last = time.monotonic()
        self._due = math.inf
        self._mhz: Optional[float] = None
        self._area = self._span = 0.0
        self._energy = meters.energy()
        self._joules: Optional[float] = 0.0

    def left_s(self) -> float:
        """Seconds until the next reading is due."""
        return max(0.0, self._due - time.monotonic())

    def sample(self) -> None:
        """Take the frequency and the energy in, and say when to do so again."""
        before = time.monotonic()
        energy = self._meters.energy()
        mhz = self._meters.mhz(self._cpus) if "mhz" not in self._meters.absent else None
        now = time.monotonic()
        used = self._meters.joules(self._energy, energy)
        self._joules = None if used is None or self._joules is None else self._joules + used
        if mhz is not None and self._mhz is not None:  # the trapezoidal rule
            self._area += (now - self._last) * (mhz + self._mhz) / 2.0
            self._span += now - self._last
        self._energy, self._last, self._mhz = energy, now, mhz if mhz is not None else self._mhz
        gap_s = min(SAMPLE_GAP_S, max(FIRST_SAMPLE_S, now - self._began))
        self._due = now + max(gap_s, (now - before) / SAMPLE_COST)

    def end(self) -> Dict[str, Optional[float]]:
        """The last reading, and what all of them say."""
        self.sample()
        mean = self._area / self._span if self._span > 0.0 else self._mhz
        mhz = None if mean is None else round(mean, 1)
        return {"mhz": mhz, "celsius": self._meters.celsius(), "joules": self._joules}


# --- processes -----------------------------------------------------------------------------------


def death_signal() -> Optional[Callable[..., Any]]:
    """prctl(2), by which a child dies with a killed worker and disturbs no successor."""
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


def preparation(binding: Optional[Sequence[int]]) -> Callable[[], None]:
    """What the child does before exec: die with the parent, bind itself."""
    prctl = death_signal()
    parent = os.getpid()

    def prepare() -> None:
        if prctl is not None:
            prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)
        if binding:
            os.sched_setaffinity(0, binding)
            if os.sched_getaffinity(0) != set(binding):  # a cpuset may have narrowed it
                raise OSError("not all of these CPUs are allowed")

    return prepare


def surroundings(unset: Sequence[str]) -> Dict[bytes, bytes]:
    """The environment of this process without these variables."""
    gone = {name.encode("utf-8") for name in unset}
    return {name: value for name, value in os.environb.items() if name not in gone}


def with_modules(
    names: Sequence[str], init: str, environment: Mapping[bytes, bytes], directory: str
) -> Dict[bytes, bytes]:
    """The environment that these modules make of one; OSError where one cannot be loaded."""
    if not names:
        return dict(environment)
    told = os.path.join(directory, "modules.env")
    shell = ["bash", "--noprofile", "--norc", "-c", WITH_MODULES, "worker", init, "keep"]
    telling = ["sh", "-c", 'env -0 > "$1"', "sh", told]
    done = subprocess.run(
        [*shell, *names, "--", *telling],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=MODULES_S,
    )
    if done.returncode:
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = ": %s" % tail[-1][:200] if tail else ""
        raise OSError("a module of %s could not be loaded%s" % (", ".join(names), why))
    with open(told, "rb") as stream:
        rows = [row.partition(b"=") for row in stream.read().split(b"\0") if b"=" in row]
    return {name: value for name, _, value in rows}


class Process:
    """A child that leads a process group of its own; its output is kept within bounds.

    Peak memory and CPU time are those of wait4(2): of the child and of those descendants that
    were waited for, so not of what it left behind. Peak memory is that of the largest process,
    not a sum, and at least the size of this one, from which the child was forked.
    """

    def __init__(
        self,
        config: Config,
        command: Sequence[str],
        around: Mapping[bytes, bytes],
        folder: Optional[str] = None,
    ) -> None:
        environment = dict(around)
        for name, value in config.env.items():
            environment[name.encode("utf-8")] = value.encode("utf-8")
        self.started = time.monotonic()
        self._child = subprocess.Popen(
            [word.encode("utf-8") for word in (*config.argv, *command)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            start_new_session=True,
            preexec_fn=preparation(config.binding),
        )
        assert self._child.stdout is not None and self._child.stderr is not None
        self._out, self._err = self._child.stdout.fileno(), self._child.stderr.fileno()
        self._open = [self._out, self._err]
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
        self._text = bytearray()
        self._tail = b""
        self.wall_s = 0.0
        self.maxrss_bytes = 0
        self.usage: Dict[str, Optional[float]] = {}
        self.exit: Optional[int] = None
        self.signal: Optional[int] = None

    @property
    def stdout(self) -> str:
        return self._text.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._tail.decode("utf-8", "replace").strip()

    def run(self, signals: Signals, timeout_s: float, reading: Reading) -> str:
        """Wait for the end and reap: "exit", "timeout", "flood" or "stopped"."""
        reading.sample()
        ended = self._wait(signals, timeout_s, reading)
        if ended != "exit":
            self._signal_group(signal.SIGTERM)
            self._wait(signals, GRACE_S)
        # The leader is not reaped yet, so the group is still ours: what it left behind goes too.
        self._signal_group(signal.SIGKILL)
        if self._wait(signals, REAP_S) != "exit":
            raise End(EXIT_STUCK, "process %d survives SIGKILL" % self._child.pid)
        self.wall_s = time.monotonic() - self.started
        self.usage.update(reading.end())
        self._read(list(self._open), everything=True)
        if len(self._text) > STDOUT_CAP_BYTES and ended == "exit":
            ended = "flood"
        self._reap()
        return ended

    def _wait(self, signals: Signals, seconds: float, reading: Optional[Reading] = None) -> str:
        """Until the child's end, or the time is over; with a reading, a stop or a flood ends it."""
        deadline = time.monotonic() + seconds
        while True:
            if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return "exit"
            if reading is not None and signals.stop:
                return "stopped"
            if reading is not None and len(self._text) > STDOUT_CAP_BYTES:
                return "flood"
            left = deadline - time.monotonic()
            if left <= 0.0:
                return "timeout"
            if reading is not None and reading.left_s() <= 0.0:
                reading.sample()
            due = math.inf if reading is None else reading.left_s()
            self._read(signals.wait(self._open, min(left, due)))

    def _read(self, ready: Sequence[int], everything: bool = False) -> None:
        for descriptor in ready:
            more = True
            while more:
                more = self._read_once(descriptor) and everything

    def _read_once(self, descriptor: int) -> bool:
        """Read a piece; False where nothing more is to be had now."""
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        if descriptor == self._err:
            self._tail = (self._tail + piece)[-STDERR_TAIL_BYTES:]
        else:
            self._text += piece
        if not piece or len(self._text) > STDOUT_CAP_BYTES:
            self._open = [other for other in self._open if other != descriptor]
            return False
        return True

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def _reap(self) -> None:
        _, status, usage = os.wait4(self._child.pid, 0)
        self._child.returncode = status  # it is reaped; subprocess must not wait for it again
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        self.maxrss_bytes = usage.ru_maxrss * 1024
        self.usage.update(
            cpu_s=usage.ru_utime + usage.ru_stime,
            voluntary_switches=usage.ru_nvcsw,
            involuntary_switches=usage.ru_nivcsw,
        )
        if os.WIFSIGNALED(status):
            self.signal = os.WTERMSIG(status)
        else:
            self.exit = os.WEXITSTATUS(status)


def cpu_ticks() -> Optional[Tuple[int, int]]:
    """(stolen, all) clock ticks of all CPUs since boot (proc(5)); None where it is not readable."""
    words = read_text("/proc/stat").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    ticks = [int(word) for word in words[1:9]]
    return ticks[7], sum(ticks)


def load_since(before: Optional[Tuple[int, int]]) -> Dict[str, Optional[float]]:
    """The load average and the share of CPU time that the hypervisor took since `before`."""
    after = cpu_ticks()
    steal = None
    if before and after and after[1] > before[1]:
        steal = (after[0] - before[0]) / float(after[1] - before[1])
    return {"avg1": os.getloadavg()[0], "steal": steal}


# --- where an application runs --------------------------------------------------------------------


def seeded(config: Config, seed: int) -> Config:
    """The configuration of an application with the seed of the inputs filled in."""

    def fill(text: str) -> str:
        return SEED.sub(str(seed), text)

    return config._replace(
        argv=[fill(word) for word in config.argv],
        env={name: fill(text) for name, text in config.env.items()},
        files={name: fill(text) for name, text in config.files.items()},
    )


def set_scene(directory: str, scene: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """A new folder for one process, with links to what it reads and the files of its configuration.

    scene["links"] maps names to absolute paths. The folder of the process before goes; the last
    one's stays, to be looked at.
    """
    folder = os.path.join(directory, "run")
    try:
        _clear(folder)
        os.mkdir(folder)
        for name, path in sorted(scene.get("links", {}).items()):
            os.symlink(path, _within(folder, name))
        for name, text in sorted(files.items()):
            with open(_within(folder, name), "x", encoding="utf-8") as stream:
                stream.write(text)
    except OSError as error:
        raise End(EXIT_WRITE, "cannot fill %s: %s" % (folder, error), done=False) from None
    return folder


def _clear(folder: str) -> None:
    """What cannot be removed (a folder without permission, a file open over NFS) is set aside."""
    if os.path.islink(folder):
        os.unlink(folder)
    shutil.rmtree(folder, ignore_errors=True)
    number = 1
    while os.path.lexists(folder) and number < 10000:
        try:
            os.rename(folder, "%s.left%d" % (folder, number))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        number += 1


def _within(folder: str, name: str) -> str:
    """The path of a name in the folder; nothing is written where a link leads out of it."""
    path = os.path.join(folder, name)
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    if os.path.commonpath([os.path.realpath(parent), os.path.realpath(folder)]) != (
        os.path.realpath(folder)
    ):
        raise OSError(errno.EXDEV, "%s lies outside, behind a link" % name)
    return path


def end_strays(folder: str) -> None:
    """Kill what processes that ran in this folder left behind on this node.

    Each rank of Open MPI leads a process group of its own, and lives on where its launcher is
    killed. They are told by the variable that they were started with.
    """
    mark = ("%s=%s" % (SCENE_VARIABLE, folder)).encode("utf-8")
    deadline = time.monotonic() + GRACE_S
    while True:
        found = [
            pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has(pid, mark)
        ]
        if not found or time.monotonic() > deadline:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.01)


def _has(pid: int, mark: bytes) -> bool:
    """Whether a process was started with this variable, and still runs."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as stream:
            return mark in stream.read().split(b"\0")
    except OSError:
        return False


def keep_output(directory: str, process: "Process") -> None:
    """Beside the folder of a process that failed, what it printed: whoever wrote the card looks
    there for what its patterns do not match."""
    for name, text in (("failed.out", process.stdout[-KEPT:]), ("failed.err", process.stderr)):
        try:
            with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError:
            return  # a full disk: that it failed is told all the same


def read_outputs(folder: Optional[str], scene: Optional[Mapping[str, Any]]) -> str:
    """What the process wrote into the files that it is to be read from, each on lines of its own.

    Of one that is very long the end; one that is not there says nothing.
    """
    found = []
    for name in (scene or {}).get("outputs", ()):
        path = os.path.join(str(folder), name)
        if not os.path.isfile(path):  # what is no plain file could be waited for in vain
            continue
        try:
            with open(path, "rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - STDOUT_CAP_BYTES))
                found.append("\n" + stream.read(STDOUT_CAP_BYTES).decode("utf-8", "replace"))
        except OSError:
            continue
    return "".join(found)


# --- the round -----------------------------------------------------------------------------------


class Round:
    """The measurements of one unit. Its state is a fold over the lines of result.jsonl.

    `began` is the monotonic time that the budget counts from, `directory` the unit's own.
    """

    def __init__(
        self, spec: Spec, log: Log, signals: Signals, began: float, directory: str = ""
    ) -> None:
        self._spec = spec
        self._directory = directory
        self._log = log
        self._signals = signals
        self._began = began
        self._meters = Meters(ROOT)
        self._clocks = clocks()
        self._constant: Dict[str, Tuple[Set[float], int]] = {}
        self._objectives: Dict[int, Dict[str, float]] = {}
        self._walls: Dict[str, List[float]] = {name: [] for name in spec.configs}
        self._out: Dict[str, str] = {}
        self._environments: Dict[Tuple[str, ...], Mapping[bytes, bytes]] = {}
        self._last = 0
        if spec.scene is not None:  # of a worker that was killed
            end_strays(os.path.join(directory, "run"))
        for line in log.earlier:
            try:
                self._see(line)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue  # spoilt on disk; the reader of result.jsonl counts it

    def run(self) -> str:
        """Measure until the rule or the budget says stop; why it stopped. Raises End."""
        if self._spec.mode == "once":
            return self._run_once()
        active = self._active()
        self._warm_up([self._spec.reference, *active])
        while True:
            active = self._active()
            if not active and not self._reference_alone():
                return "complete"
            pair = self._last + 1
            balanced = self._spec.mode != "fixed"
            names = cycle_order(list(self._spec.configs), self._spec.seed, pair, balanced)
            members = [name for name in names if name in active or name == self._spec.reference]
            expected = sum(self._expected_wall(name) for name in members)
            if self._elapsed() + expected > self._spec.budget_s:
                return "budget"
            self._last = pair
            for order, name in enumerate(members):
                self._measure(name, pair, order)

    def notes(self) -> Dict[str, Any]:
        """For done.json: which meters are absent and why, and what is odd about the figures."""
        notes = [
            "%s: all %d processes gave exactly the figure %r" % (key, processes, min(figures))
            for key, (figures, processes) in sorted(self._constant.items())
            if len(figures) == 1 and processes >= CONSTANT_FROM
        ]
        return {"meters": self._meters.absent, **({"notes": notes} if notes else {})}

    def _run_once(self) -> str:
        seen = {line.get("config") for line in self._log.earlier}
        for order, name in enumerate(self._spec.configs):
            if name not in seen:
                self._measure(name, 1, order)
        return "complete"

    def _warm_up(self, names: Sequence[str]) -> None:
        for order, name in enumerate(names):
            self._measure(name, 0, order)

    def _active(self) -> List[str]:
        """The challengers that get another pair; those the rule drops are written down."""
        active = []
        for name in self._spec.challengers:
            if name in self._out:
                continue
            ratios = self._ratios(name)
            if self._spec.mode == "fixed":
                verdict = "continue" if len(ratios) < self._spec.rule["pairs"] else "settled"
            else:
                verdict = decide(ratios, self._spec.rule, self._others(name))
            if verdict == "continue":
                active.append(name)
            elif verdict == "drop":
                self._drop(name, ratios)
        return active

    def _reference_alone(self) -> bool:
        """A unit without challengers measures the reference, for its time and its noise."""
        wanted = self._spec.rule["pairs" if self._spec.mode == "fixed" else "min_pairs"]
        return not self._spec.challengers and len(self._objectives) < wanted

    def _drop(self, name: str, ratios: Sequence[float]) -> None:
        low = slower_by(ratios, self._spec.rule, self._others(name))
        middle = math.fsum(ratios) / len(ratios)
        message = "slower than the reference: ln ratio %.4f, at least %.4f, after %d pairs" % (
            middle,
            low,
            len(ratios),
        )
        check = {"passed": True, "residuals": {}, "message": message}
        self._record(_line(name, self._last, -1, "dropped", check))

    def _measure(self, name: str, pair: int, order: int) -> None:
        """Run a configuration and write its line; the reference gets a second try."""
        tries = 2 if name == self._spec.reference and self._spec.mode != "once" else 1
        for _ in range(tries):
            if self._elapsed() > self._spec.budget_s:
                raise End(0, "budget")
            line = self._run_process(self._spec.configs[name], pair, order)
            self._record(line)
            if line["status"] == "ok":
                return
        if tries == 2:
            message = line["check"]["message"]
            raise End(EXIT_REFERENCE, "the reference %s failed twice: %s" % (name, message))

    def _run_process(self, config: Config, pair: int, order: int) -> Dict[str, Any]:
        seed = cycle_seed(self._spec.seed, pair)
        command = [word.replace("{seed}", str(seed)) for word in self._spec.command]
        limit_s, over = self._limit(config.id)
        self._stop_if_asked(0.0)
        folder = None
        if self._spec.scene is not None:
            config = seeded(config, seed)
            folder = set_scene(self._directory, self._spec.scene, config.files)
            config.env[SCENE_VARIABLE] = folder
        ticks, t_utc = cpu_ticks(), utc()
        reading = Reading(self._meters, config.binding or sorted(os.sched_getaffinity(0)))
        try:
            process = Process(config, command, self._around(config.modules), folder)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            check = {"passed": False, "residuals": {}, "message": _why_not(config, command, error)}
            return dict(_line(config.id, pair, order, "failed", check), t_utc=t_utc, seed=seed)
        ended = process.run(self._signals, limit_s, reading)
        if folder is not None:
            end_strays(folder)
        # A batch system signals the whole job: the child's end may be seen before our own signal.
        self._stop_if_asked(GRACE_S if process.signal in (*STOP_SIGNALS, signal.SIGKILL) else 0.0)
        wrote = read_outputs(folder, self._spec.scene)
        line = judge(config.id, process, ended, over, self._spec.check, wrote)
        if folder is not None and line["status"] != "ok":
            keep_output(self._directory, process)
        line.update(pair=pair, order=order, t_utc=t_utc, seed=seed, load=load_since(ticks))
        before, self._clocks = self._clocks, clocks()
        step_s = clock_step(before, self._clocks)
        if step_s is not None:
            line["clock_step_s"] = step_s
        return line

    def _around(self, names: Sequence[str]) -> Mapping[bytes, bytes]:
        """The environment with these modules, which are loaded once, and not while a clock runs."""
        key = tuple(names)
        if key not in self._environments:
            plain = surroundings(self._spec.unset)
            loaded = with_modules(names, self._spec.module_init, plain, self._directory)
            self._environments[key] = loaded if names else plain
        return self._environments[key]

    def _limit(self, name: str) -> Tuple[float, str]:
        """Seconds a process may take, and the status of one that takes longer."""
        limit_s = self._spec.timeout_s
        if self._spec.mode == "paired" and name != self._spec.reference:
            bound_s = abandon_after(self._walls[self._spec.reference], self._spec.rule)
            if bound_s < limit_s:
                return bound_s, "abandoned"
        return limit_s, "timeout"

    def _stop_if_asked(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._signals.stop and time.monotonic() < deadline:
            self._signals.wait((), deadline - time.monotonic())
        if self._signals.stop:
            number = int(self._signals.stop)
            raise End(128 + number, "stopped by signal %d" % number)

    def _record(self, line: Dict[str, Any]) -> None:
        self._log.append(line)
        self._see(line)

    def _see(self, line: Mapping[str, Any]) -> None:
        name, pair, status = line.get("config"), line.get("pair"), line.get("status")
        if not isinstance(pair, int) or not isinstance(name, str) or name not in self._walls:
            return
        self._last = max(self._last, pair)
        if status != "ok":
            if name != self._spec.reference:
                self._out[name] = str(status)
            return
        self._walls[name].append(float(line["wall_s"]))
        for key, figures in line["samples"].items():
            seen, processes = self._constant.get(key, (set(), 0))
            # Two are as good as many to tell that they differ.
            kept = set(sorted(seen | set(figures))[:2])
            self._constant[key] = kept, processes + 1
        if pair > 0:
            value = objective(line["samples"], self._spec.weights, self._spec.check.direction)
            self._objectives.setdefault(pair, {})[name] = value

    def _ratios(self, name: str) -> List[float]:
        reference = self._spec.reference
        cycles = [self._objectives[pair] for pair in sorted(self._objectives)]
        return [c[name] - c[reference] for c in cycles if name in c and reference in c]

    def _others(self, name: str) -> List[List[float]]:
        return [self._ratios(other) for other in self._spec.challengers if other != name]

    def _expected_wall(self, name: str) -> float:
        """The longest so far; the first, a cold start, only where there is no other."""
        walls = self._walls[name]
        return max(walls[1:] or walls or [0.0])

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _line(
    name: str, pair: int, order: int, status: str, check: Mapping[str, Any]
) -> Dict[str, Any]:
    """A line of result.jsonl for a process that did not run."""
    return {
        "config": name,
        "pair": pair,
        "order": order,
        "t_utc": utc(),
        "samples": {},
        "check": check,
        "readback": {},
        "exit": None,
        "signal": None,
        "load": {},
        "status": status,
    }


def _why_not(config: Config, command: Sequence[str], error: Exception) -> str:
    program = [*config.argv, *command][0]
    if isinstance(error, subprocess.SubprocessError):
        allowed = sorted(os.sched_getaffinity(0))
        return "%s %s: binding %s, allowed are %s" % (
            UNSTARTABLE,
            program,
            config.binding,
            allowed,
        )
    number = error.errno if isinstance(error, OSError) else None
    return "%s %s: %s" % (UNSTARTABLE, program, os.strerror(number) if number else error)


def judge(
    name: str, process: Process, ended: str, over: str, check: Check, wrote: str = ""
) -> Dict[str, Any]:
    """The line of a finished process; `over` is the status of one that took too long, `wrote` what
    is in the files that it is to be read from."""
    printed = Printed("", Check({}))
    if ended == "timeout":
        status, message = over, "%s after %.3g s" % (over, process.wall_s)
    elif ended == "flood":
        status, message = "failed", "%s: more than %d bytes" % (FLOOD, STDOUT_CAP_BYTES)
    elif process.signal is not None:
        status, message = "failed", "killed by signal %d" % process.signal
    elif process.exit:
        said = last_line(process.stdout)
        message = "exit code %d" % process.exit + ("; stdout: %s" % said if said else "")
        status = "failed"
    else:
        printed = Printed(process.stdout + wrote, check, process.wall_s)
        status, message = printed.verdict()
        found = elsewhere(printed.missing, process.stdout + wrote, process.stderr)
        message += "; %s" % found if found else ""
    if status != "ok" and process.stderr:
        message = "%s; stderr: %s" % (message, process.stderr)
    verdict = {"passed": status == "ok", "residuals": printed.residuals, "message": message}
    line = _line(name, 0, 0, status, verdict)
    line.update(
        samples=printed.samples,
        further=printed.further,
        readback=dict(printed.readback, maxrss_bytes=process.maxrss_bytes),
        exit=process.exit,
        signal=process.signal,
        wall_s=process.wall_s,
        meters=process.usage,
    )
    return line


def work(path: str) -> int:
    """Do the unit whose spec is at `path`; the exit code. Raises End."""
    began = time.monotonic()
    spec = read_spec(path)
    directory = os.path.dirname(os.path.abspath(path))
    builds = not spec.weights  # compiles something: two of them do not disturb each other
    node = NodeLock(builds, WAIT_SHARE * spec.budget_s, directory)

    def measure(log: Log, signals: Signals, told: Dict[str, Any]) -> str:
        work = Round(spec, log, signals, began, directory)
        try:
            return work.run()
        finally:
            told.update(work.notes())

    return under_claim(directory, measure, "worker", node)


def under_claim(
    directory: str, do: Callable[[Log, Signals, Dict[str, Any]], str], name: str, node: NodeLock
) -> int:
    """Let `do` work with the unit's claim and the node held; write done.json; the exit code.

    `do` gives one line for done.json, and adds what else that is to hold. Raises End where there
    is nothing to say in it.
    """
    began = time.monotonic()
    done = os.path.join(directory, "done.json")
    signals = Signals()
    claim = None if os.path.exists(done) else Claim(directory)
    if claim is None or os.path.exists(done):
        raise End(0, "%s exists; nothing to do" % done, done=False)
    told: Dict[str, Any] = {}
    try:
        node.take(signals)
        code, reason = 0, do(Log(directory, claim), signals, told)
    except End as end:
        if not end.done:
            raise
        code, reason = end.code, str(end)
    claim.check()
    value = {"exit": code, "finished_utc": utc(), "reason": reason, **node.told(), **told}
    value["elapsed_s"] = round(time.monotonic() - began, 3)
    value.update((key, claim.owner[key]) for key in ("host", "boot_id", "node", "claimed_utc"))
    write_json(done, value)
    sys.stderr.write("%s: %s\n" % (name, reason))
    return code


def main(argv: Sequence[str]) -> int:
    if len(argv) != 2:
        sys.stderr.write("usage: worker.py SPEC.json\n")
        return EXIT_SPEC
    try:
        return work(argv[1])
    except End as end:
        sys.stderr.write("worker: %s\n" % end)
        return end.code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
