#!/usr/bin/env python3
"""The in-job worker: measures configurations interleaved, each in a fresh process.

Usage: python3 worker.py SPEC.json

One file, standard library only, python3 >= 3.6, so that a compute node needs nothing else. Beside
the spec it makes claim/ (who cannot make it leaves), appends result.jsonl (one line a process,
fsynced) and renames done.json into place at the end.

Exit codes: 0 done, or somebody else has the claim; 2 bad spec; 3 the claim is held by a worker
whose end cannot be verified from here; 4 the reference failed twice in a row; 5 a file could not
be written (disk full); 6 a process survived SIGKILL; 128 + n stopped by signal n.
"""

import errno
import functools
import json
import math
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import time
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Pattern,
    Sequence,
    Tuple,
)

SCHEMA = 1
EXIT_SPEC, EXIT_CLAIMED, EXIT_REFERENCE, EXIT_WRITE, EXIT_STUCK = 2, 3, 4, 5, 6
STDOUT_CAP_BYTES = 8 * 1024 * 1024
STDERR_TAIL_BYTES = 2048
GRACE_S = 2.0  # between SIGTERM and SIGKILL
REAP_S = 30.0  # a process in uninterruptible sleep (a hung file system) outlives SIGKILL
ABANDON_FLOOR_S = 1.0  # below it, start-up noise decides instead of the configuration
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
FLOOD = "too much output"
UNSTARTABLE = "cannot start"


# --- the rule: pure functions, imported by the rest of the package -------------------------------


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle values."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def objective(samples: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> float:
    """Sum of weight x ln(median seconds) over the keys: the log of a weighted geometric mean."""
    return math.fsum(weight * math.log(median(samples[key])) for key, weight in weights.items())


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
    ],
)


class Check:
    """The correctness check and the figures: patterns that are applied line by line."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        residual = data.get("residual") or {}
        self.keys: List[str] = list(data.get("keys", ()))
        self.figure: Pattern[str] = re.compile(data.get("figure") or "(?!)")
        self.residual: Optional[Pattern[str]] = (
            re.compile(residual["pattern"]) if residual else None
        )
        self.residual_max = float(residual["max"]) if residual else math.inf
        self.minimum = {key: float(s) for key, s in data.get("minimum", {}).items()}
        self.success: List[Pattern[str]] = [re.compile(p) for p in data.get("success", ())]
        self.readback = {name: re.compile(p) for name, p in data.get("readback", {}).items()}


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
            config = Config(c["id"], c.get("argv") or [], c.get("env") or {}, c.get("binding"))
            self.configs[config.id] = config
        self.reference: str = data["reference"]
        if self.mode != "once" and self.reference not in self.configs:
            raise ValueError("reference %r is not among the configs" % self.reference)
        self.challengers = [name for name in self.configs if name != self.reference]
        self.unset: List[str] = list(data.get("unset", ()))
        self.command: List[str] = list(data["command"])
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
    """The figures, residuals and read-back in the output of a process that exited with 0."""

    def __init__(self, text: str, check: Check) -> None:
        self.samples: Dict[str, List[float]] = {}
        self.residuals: Dict[str, Optional[float]] = {}
        self.readback: Dict[str, Any] = {}
        self._wrong: List[str] = []
        self._implausible: List[str] = []
        lines = [line.rstrip("\r") for line in text.split("\n")]
        for line in lines:
            self._read_figure(line, check)
            self._read_residual(line, check)
            for name, pattern in check.readback.items():
                found = pattern.match(line)
                if found:
                    self.readback[name] = found.group(1)
        for pattern in check.success:
            if not any(pattern.match(line) for line in lines):
                self._wrong.append("no line matches %s" % pattern.pattern)
        self._require(check)

    def verdict(self) -> Tuple[str, str]:
        """(status, message): a wrong result outweighs an implausible time."""
        status = "wrong" if self._wrong else "implausible" if self._implausible else "ok"
        return status, "; ".join((self._wrong + self._implausible)[:5])

    def _read_figure(self, line: str, check: Check) -> None:
        found = check.figure.match(line)
        if not found or found.group("key") not in check.keys:
            return
        key, seconds = found.group("key"), _number(found.group("value"))
        if seconds is None or seconds <= 0.0:
            self._implausible.append("not a time: %r" % line[:200])
            return
        if seconds < check.minimum.get(key, 0.0):
            fastest = check.minimum[key]
            self._implausible.append("%s: %g s is below %g s, the peak" % (key, seconds, fastest))
        self.samples.setdefault(key, []).append(seconds)

    def _read_residual(self, line: str, check: Check) -> None:
        found = check.residual.match(line) if check.residual else None
        if not found or found.group("key") not in check.keys:
            return
        key, value = found.group("key"), _number(found.group("value"))
        previous = self.residuals.get(key, 0.0)
        if value is None or abs(value) > check.residual_max:
            self._wrong.append("%r is above %g" % (line[:200], check.residual_max))
        worst = None if value is None or previous is None else max(abs(value), previous)
        self.residuals[key] = worst

    def _require(self, check: Check) -> None:
        for key in check.keys:
            if key not in self.samples and not self._implausible:
                self._wrong.append("no figure for %s" % key)
            if check.residual and key not in self.residuals:
                self._wrong.append("no residual for %s" % key)


def _number(word: str) -> Optional[float]:
    try:
        value = float(word)
    except ValueError:
        return None
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
        "claimed_utc": utc(),
    }


def job_id() -> str:
    """The batch system's number of the job this runs in; empty outside one."""
    for name in ("SLURM_JOB_ID", "PBS_JOBID"):
        if os.environ.get(name):
            return os.environ[name]
    return ""


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


# --- processes -----------------------------------------------------------------------------------


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


class Process:
    """A child that leads a process group of its own; its output is kept within bounds."""

    def __init__(self, config: Config, command: Sequence[str], unset: Sequence[str]) -> None:
        environment = dict(os.environb)
        for name in unset:
            environment.pop(name.encode("utf-8"), None)
        for name, value in config.env.items():
            environment[name.encode("utf-8")] = value.encode("utf-8")
        self.started = time.monotonic()
        self._child = subprocess.Popen(
            [word.encode("utf-8") for word in (*config.argv, *command)],
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
        self._chunks: List[bytes] = []
        self._size = 0
        self._tail = b""
        self.wall_s = 0.0
        self.maxrss_bytes = 0
        self.exit: Optional[int] = None
        self.signal: Optional[int] = None

    @property
    def stdout(self) -> str:
        return b"".join(self._chunks).decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._tail.decode("utf-8", "replace").strip()

    def run(self, signals: Signals, timeout_s: float) -> str:
        """Wait for the end and reap: "exit", "timeout", "flood" or "stopped"."""
        ended = self._wait(signals, timeout_s, interruptible=True)
        if ended != "exit":
            self._signal_group(signal.SIGTERM)
            self._wait(signals, GRACE_S, interruptible=False)
        # The leader is not reaped yet, so the group is still ours: what it left behind goes too.
        self._signal_group(signal.SIGKILL)
        if self._wait(signals, REAP_S, interruptible=False) != "exit":
            raise End(EXIT_STUCK, "process %d survives SIGKILL" % self._child.pid)
        self.wall_s = time.monotonic() - self.started
        self._read(list(self._open), everything=True)
        if self._size > STDOUT_CAP_BYTES and ended == "exit":
            ended = "flood"
        self._reap()
        return ended

    def _wait(self, signals: Signals, seconds: float, interruptible: bool) -> str:
        deadline = time.monotonic() + seconds
        while True:
            if os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return "exit"
            if interruptible and signals.stop:
                return "stopped"
            if interruptible and self._size > STDOUT_CAP_BYTES:
                return "flood"
            left = deadline - time.monotonic()
            if left <= 0.0:
                return "timeout"
            self._read(signals.wait(self._open, left))

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
            self._chunks.append(piece)
            self._size += len(piece)
        if not piece or self._size > STDOUT_CAP_BYTES:
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


# --- the round -----------------------------------------------------------------------------------


class Round:
    """The measurements of one unit. Its state is a fold over the lines of result.jsonl."""

    def __init__(self, spec: Spec, log: Log, signals: Signals) -> None:
        self._spec = spec
        self._log = log
        self._signals = signals
        self._began = time.monotonic()
        self._objectives: Dict[int, Dict[str, float]] = {}
        self._walls: Dict[str, List[float]] = {name: [] for name in spec.configs}
        self._out: Dict[str, str] = {}
        self._last = 0
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
        ticks, t_utc = cpu_ticks(), utc()
        try:
            process = Process(config, command, self._spec.unset)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            check = {"passed": False, "residuals": {}, "message": _why_not(config, command, error)}
            return dict(_line(config.id, pair, order, "failed", check), t_utc=t_utc, seed=seed)
        ended = process.run(self._signals, limit_s)
        # A batch system signals the whole job: the child's end may be seen before our own signal.
        self._stop_if_asked(GRACE_S if process.signal in (*STOP_SIGNALS, signal.SIGKILL) else 0.0)
        line = judge(config.id, process, ended, over, self._spec.check)
        line.update(pair=pair, order=order, t_utc=t_utc, seed=seed, load=load_since(ticks))
        return line

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
        if pair > 0:
            value = objective(line["samples"], self._spec.weights)
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


def judge(name: str, process: Process, ended: str, over: str, check: Check) -> Dict[str, Any]:
    """The line of a finished process; `over` is the status of one that took too long."""
    printed = Printed("", Check({}))
    if ended == "timeout":
        status, message = over, "%s after %.3g s" % (over, process.wall_s)
    elif ended == "flood":
        status, message = "failed", "%s: more than %d bytes" % (FLOOD, STDOUT_CAP_BYTES)
    elif process.signal is not None:
        status, message = "failed", "killed by signal %d" % process.signal
    elif process.exit:
        status, message = "failed", "exit code %d" % process.exit
    else:
        printed = Printed(process.stdout, check)
        status, message = printed.verdict()
    if status != "ok" and process.stderr:
        message = "%s; stderr: %s" % (message, process.stderr)
    verdict = {"passed": status == "ok", "residuals": printed.residuals, "message": message}
    line = _line(name, 0, 0, status, verdict)
    line.update(
        samples=printed.samples,
        readback=dict(printed.readback, maxrss_bytes=process.maxrss_bytes),
        exit=process.exit,
        signal=process.signal,
        wall_s=process.wall_s,
    )
    return line


def work(path: str) -> int:
    """Do the unit whose spec is at `path`; the exit code. Raises End."""
    spec = read_spec(path)
    directory = os.path.dirname(os.path.abspath(path))
    return under_claim(directory, lambda log, signals: Round(spec, log, signals).run(), "worker")


def under_claim(directory: str, do: Callable[[Log, Signals], str], name: str) -> int:
    """Let `do` work with the unit's claim held and write done.json at its end; the exit code.

    `do` gives one line for done.json. Raises End where there is nothing to say in it.
    """
    done = os.path.join(directory, "done.json")
    signals = Signals()
    claim = None if os.path.exists(done) else Claim(directory)
    if claim is None or os.path.exists(done):
        raise End(0, "%s exists; nothing to do" % done, done=False)
    try:
        code, reason = 0, do(Log(directory, claim), signals)
    except End as end:
        if not end.done:
            raise
        code, reason = end.code, str(end)
    claim.check()
    value = {"exit": code, "finished_utc": utc(), "reason": reason}
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
