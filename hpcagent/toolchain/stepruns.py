"""What steps.py left behind: result.jsonl as frozen records."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepRun:
    """One step as its runner saw it.

    `status` is ok, failed, timeout, signal, skipped or unstartable; `output` the beginning and the
    end of what it printed, `log` the file below the unit's folder that has (nearly) all of it.
    """

    step: str
    status: str
    exit: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    t_utc: str = ""
    output: str = ""
    log: str = ""
    message: str = ""
    maxrss_bytes: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_steps(text: str) -> tuple[StepRun, ...]:
    """The last line of each step, in the order of these; lines that are damaged are left out."""
    found: dict[str, StepRun] = {}
    for line in text.splitlines():
        run = _parsed(line)
        if run is not None:
            found.pop(run.step, None)
            found[run.step] = run
    return tuple(found.values())


def _parsed(line: str) -> StepRun | None:
    try:
        row = json.loads(line)
        return StepRun(
            step=str(row["step"]),
            status=str(row["status"]),
            exit=_whole(row.get("exit")),
            signal=_whole(row.get("signal")),
            seconds=float(row.get("seconds") or 0.0),
            t_utc=str(row.get("t_utc") or ""),
            output=str(row.get("output") or ""),
            log=str(row.get("log") or ""),
            message=str(row.get("message") or ""),
            maxrss_bytes=_whole(row.get("maxrss_bytes")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
