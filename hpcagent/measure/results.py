"""What the in-job worker left behind: result.jsonl and done.json as frozen records."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hpcagent.measure import worker
from hpcagent.records import Failure

_EVIDENCE_CHARACTERS = 500
_SHELL_SIGNAL_BASE = 128  # a shell reports a command killed by signal n as 128 + n

# What reading a file may raise that a job, or somebody, has spoilt.
_SPOILT = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

_UNLOCKED = "other units of this user may have run on the node"

_BY_SIGNAL = {
    int(signal.SIGILL): "illegal_instruction",
    int(signal.SIGSEGV): "segmentation_fault",
    int(signal.SIGKILL): "killed",
    int(signal.SIGABRT): "aborted",
    int(signal.SIGFPE): "floating_point_exception",
    int(signal.SIGBUS): "bus_error",
}

_BY_STATUS = {
    "timeout": ("run", "timeout"),
    "abandoned": ("run", "abandoned"),
    "implausible": ("numerics", "implausible"),
    "unreadable": ("run", "unreadable_result"),
}


@dataclass(frozen=True)
class Run:
    """One process as the worker saw it.

    `pair` is 0 for a warm-up and 1, 2, ... for cycles, `order` the position in the cycle (-1: no
    process). `medians` maps a key to the median of its figures, in seconds unless they are rates;
    `objective` is worker.objective of them (lower is better), None unless `status` is "ok";
    `steal` is the share of CPU time that a hypervisor took meanwhile, `load1` the load average
    after it. A line that cannot be read is a Run of no config with the status "unreadable".

    `mhz` is the mean frequency of its CPUs, `celsius` the hottest package at its end, `joules` the
    energy of all packages of the node (whoever used it), `cpu_s` user and system time; None where
    it could not be had. `further` maps each further figure that was asked for to worker.objective
    of it. `maxrss_bytes` and `cpu_s` are wait4(2)'s: of the process and of those
    descendants that were waited for. `note` says what was odd without being a failure.
    """

    config: str
    pair: int
    order: int
    status: str
    medians: Mapping[str, float] = field(default_factory=dict)
    objective: float | None = None
    readback: Mapping[str, str] = field(default_factory=dict)
    exit: int | None = None
    signal: int | None = None
    message: str = ""
    max_residual: float | None = None
    maxrss_bytes: int | None = None
    t_utc: str = ""
    wall_s: float | None = None
    steal: float | None = None
    load1: float | None = None
    mhz: float | None = None
    celsius: float | None = None
    joules: float | None = None
    cpu_s: float | None = None
    note: str = ""
    further: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok" and self.objective is not None


@dataclass(frozen=True)
class Done:
    """The worker's own end: its exit code (see worker.py), when, where and why.

    `node` is the batch system's name of the host, `claimed_utc` when the work began, `elapsed_s`
    how long it lasted by a clock that nobody sets. `waited_s` it waited for the node, which
    `waited_for` had. `meters` maps each meter that could not be had to the reason; `notes` is what
    was odd.
    """

    exit: int
    finished_utc: str
    host: str
    boot_id: str
    reason: str = ""
    node: str = ""
    claimed_utc: str = ""
    elapsed_s: float | None = None
    waited_s: float = 0.0
    waited_for: str = ""
    meters: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def parse_results(
    text: str,
    weights: Mapping[str, float],
    direction: str = worker.MIN,
    further: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Run, ...]:
    """All runs in the order they ended; a torn last line (a killed worker) is no run.

    `weights` maps each key to its weight in the objective, `direction` is that of the figures;
    `further` maps each further figure to its own direction. An "ok" line is not trusted: one whose
    keys are not all there, or with a figure that is not finite
    and positive, is no longer ok. Nothing here relies on the order of the time stamps: a clock may
    be set while the worker runs.
    """
    *lines, last = text.split("\n")
    if _whole(last):
        lines.append(last)
    asked = _Asked(weights, direction, further)
    runs = [_parse_line(line, number, asked) for number, line in enumerate(lines, start=1)]
    return tuple(run for run in runs if run is not None)


def parse_done(text: str) -> Done | None:
    """done.json, or None where it is not whole."""
    try:
        data = json.loads(text)
        return Done(
            exit=int(data["exit"]),
            finished_utc=str(data["finished_utc"]),
            host=str(data["host"]),
            boot_id=str(data["boot_id"]),
            reason=str(data.get("reason", "")),
            node=str(data.get("node", "")),
            claimed_utc=str(data.get("claimed_utc", "")),
            elapsed_s=_optional_float(data.get("elapsed_s")),
            waited_s=_optional_float(data.get("waited_s")) or 0.0,
            waited_for=str(data.get("waited_for", "")),
            meters={str(k): str(v) for k, v in (data.get("meters") or {}).items()},
            notes=_notes(data),
        )
    except _SPOILT:
        return None


def _notes(data: Mapping[str, Any]) -> tuple[str, ...]:
    notes = tuple(str(note) for note in data.get("notes") or ())
    return (*notes, f"{_UNLOCKED}: {data['unlocked']}") if data.get("unlocked") else notes


def failure_of(run: Run) -> Failure | None:
    """The failure that this run is, with its evidence; None for one that is ok or was dropped."""
    if run.status in ("ok", "dropped"):
        return None
    stage, kind = _kind(run)
    seen = [f"{run.status} in pair {run.pair}"]
    if run.exit:
        seen.append(f"exit code {run.exit}")
    if run.signal:
        seen.append(f"signal {_signal_name(run.signal)}")
    evidence = ", ".join(seen) + (f": {run.message}" if run.message else "")
    return Failure(stage, kind, evidence[:_EVIDENCE_CHARACTERS])


def _kind(run: Run) -> tuple[str, str]:
    if run.status in _BY_STATUS:
        return _BY_STATUS[run.status]
    if run.status == "wrong":
        no_figure = "no figure for " in run.message
        return ("run", "no_figure") if no_figure else ("numerics", "wrong_result")
    if run.message.startswith(worker.FLOOD):
        return "run", "too_much_output"
    if run.message.startswith(worker.UNSTARTABLE):
        return "run", "cannot_start"
    number = run.signal
    if number is None and run.exit is not None and run.exit > _SHELL_SIGNAL_BASE:
        number = run.exit - _SHELL_SIGNAL_BASE
    if number in _BY_SIGNAL:
        return "run", _BY_SIGNAL[number]
    return "run", "signal" if run.signal else "exit_nonzero"


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except _SPOILT:
        return False


@dataclass(frozen=True)
class _Asked:
    weights: Mapping[str, float]
    direction: str
    further: Mapping[str, str]


def _parse_line(line: str, number: int, asked: _Asked) -> Run | None:
    if not line.strip():
        return None
    try:
        return _run(json.loads(line), asked)
    except _SPOILT as error:
        message = f"result.jsonl, line {number} cannot be read ({error}): {line[:200]}"
        return Run("", -1, -1, "unreadable", message=message)


def _run(data: Mapping[str, Any], asked: _Asked) -> Run:
    weights, direction = asked.weights, asked.direction
    check, meters = data["check"], data.get("meters") or {}
    samples = _figures(data["samples"])
    further = {
        name: _figures((data.get("further") or {}).get(name) or {}) for name in asked.further
    }
    status, message = str(data["status"]), str(check.get("message") or "")
    if status == "ok":
        status, message = _distrust(samples, weights, direction, message)
    for name, figures in further.items():
        if status == "ok":
            status, message = _distrust(figures, weights, asked.further[name], message, name)
    ok = status == "ok"
    readback = {str(k): str(v) for k, v in data["readback"].items() if k != "maxrss_bytes"}
    residuals = [_optional_float(r) for r in check.get("residuals", {}).values()]
    return Run(
        config=str(data["config"]),
        pair=int(data["pair"]),
        order=int(data["order"]),
        status=status,
        medians={key: worker.median(s) for key, s in samples.items()} if ok else {},
        objective=worker.objective(samples, weights, direction) if ok and weights else None,
        readback=readback,
        exit=_optional_int(data["exit"]),
        signal=_optional_int(data["signal"]),
        message=message,
        max_residual=max((r for r in residuals if r is not None), default=None),
        maxrss_bytes=_optional_int(data["readback"].get("maxrss_bytes")),
        t_utc=str(data["t_utc"]),
        wall_s=_optional_float(data.get("wall_s")),
        steal=_optional_float((data.get("load") or {}).get("steal")),
        load1=_optional_float((data.get("load") or {}).get("avg1")),
        mhz=_optional_float(meters.get("mhz")),
        celsius=_optional_float(meters.get("celsius")),
        joules=_optional_float(meters.get("joules")),
        cpu_s=_optional_float(meters.get("cpu_s")),
        note=_note(_optional_float(data.get("clock_step_s"))),
        further={
            name: worker.objective(figures, weights, asked.further[name])
            for name, figures in further.items()
            if ok and weights
        },
    )


def _figures(data: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    return {str(key): tuple(float(value) for value in values) for key, values in data.items()}


def _note(clock_step_s: float | None) -> str:
    return "" if not clock_step_s else f"the clock was set by {clock_step_s:+.1f} s meanwhile"


def _distrust(
    samples: Mapping[str, tuple[float, ...]],
    weights: Mapping[str, float],
    direction: str,
    message: str,
    name: str = "",
) -> tuple[str, str]:
    what = name or ("a rate" if direction == worker.MAX else "a time in seconds")
    of = f"{name} of " if name else ""
    for key in weights:
        if not samples.get(key):
            return "wrong", f"no figure for {of}{key}"
    for key, values in samples.items():
        for value in values:
            if not 0.0 < value < worker.LARGEST:
                return "implausible", f"{key}: {value} is not {what}"
        if not values:
            return "wrong", f"no figure for {of}{key}"
    return "ok", message


def _optional_int(value: Any) -> int | None:
    return None if value is None else int(value)


def _optional_float(value: Any) -> float | None:
    """ValueError for what no journal can hold."""
    if value is not None and not math.isfinite(float(value)):
        raise ValueError(f"{value} is not a finite number")
    return None if value is None else float(value)
