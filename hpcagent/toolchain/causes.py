"""Why a step of a cell failed: by what its runner says of it, else by its output's diagnosis."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.records import Failure
from hpcagent.toolchain.diagnosis import diagnose

_QUOTE = 300


@dataclass(frozen=True)
class Finding:
    """A trouble of a cell: `grave` ones fail it, others leave it usable with care."""

    failure: Failure
    grave: bool
    cure: str


@dataclass(frozen=True)
class _Cause:
    id: str
    pattern: re.Pattern[str]
    cure: str


def _causes(*rows: tuple[str, str, str]) -> tuple[_Cause, ...]:
    return tuple(_Cause(id_, re.compile(pattern), cure) for id_, pattern, cure in rows)


# What steps.py itself says, which no tool does.
_CAUSES = _causes(
    ("environment.module_failed", r"a module of .* could not be loaded",
     "load it by hand in a new shell and read what it says; module spider NAME helps"),
    ("environment.no_module_system", r"the node has no module system",
     "the node lacks the module system that another node has: ask the site, or use its own tools"),
    ("environment.missing_program", r"No such file or directory: '",
     "the node lacks this program: install it there or load its module in the job"),
)  # fmt: skip
# Below this the words of the output are a guess.
_SURE = 0.5
_STAGE_CURE = {
    "compile": "see the compiler's words",
    "link": "see the linker's words",
    "load": "see the loader's words",
    "run": "see what it printed",
    "mpi": "see what the launcher printed",
}


def step_failure(stage: str, result: Mapping[str, Any]) -> Finding:
    """What a step that did not end well ran into; `stage` is used where nothing is known better."""
    own = _of_runner(result)
    if own is not None:
        return own
    text = _text(result)
    number = signal_of(result)
    code = 128 + number if number else result.get("exit")
    causes = diagnose(text.encode("utf-8", "replace"), code or 1).causes
    if causes and causes[0].line and causes[0].confidence >= _SURE:
        found = causes[0]
        failure = Failure(found.stage, found.kind, found.quote[:_QUOTE])
        return Finding(failure, True, found.cure)
    stage, kind, evidence = _by_status(stage, result, text)
    return Finding(Failure(stage, kind, evidence), True, _STAGE_CURE.get(stage, ""))


def _of_runner(result: Mapping[str, Any]) -> Finding | None:
    message, output = str(result.get("message") or ""), str(result.get("output") or "")
    for cause in _CAUSES:
        if cause.pattern.search(message):
            stage, _, kind = cause.id.partition(".")
            said = error_line(output) if kind == "module_failed" else ""  # Lmod has its own words
            evidence = f"{message}: {said}" if said else message
            return Finding(Failure(stage, kind, evidence[:_QUOTE]), True, cause.cure)
    return None


def _text(result: Mapping[str, Any]) -> str:
    return f"{result.get('output') or ''}\n{result.get('message') or ''}"


def _by_status(stage: str, result: Mapping[str, Any], text: str) -> tuple[str, str, str]:
    """(stage, kind, evidence) where nothing better is known than how the step ended."""
    status, last = str(result.get("status")), last_line(str(result.get("output") or ""))
    if status == "timeout":
        limit = str(result.get("message") or "its time was over")
        return stage, "timeout", f"{limit}; last line: {last}" if last else limit
    if status == "unstartable":
        return "environment", "missing_program", last_line(text)
    number = signal_of(result)
    if number:
        words = f"killed by {signal_name(number)}"
        return "run", "signal", f"{words}; last line: {last}" if last else words
    return stage, "failed", error_line(text) or f"exit code {result.get('exit')}"


def signal_of(result: Mapping[str, Any]) -> int:
    """The signal that ended a step, or that its shell or launcher tells of (128 + n); 0: none."""
    if result.get("signal"):
        return int(result["signal"])
    code = result.get("exit")
    return code - 128 if isinstance(code, int) and 128 < code < 160 else 0


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def line_at(text: str, place: int) -> str:
    """The line around a place, without its blanks at the ends, shortened."""
    begin = text.rfind("\n", 0, place) + 1
    end = text.find("\n", place)
    return text[begin : end if end >= 0 else len(text)].strip()[:_QUOTE]


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_QUOTE] if lines else ""


def error_line(text: str) -> str:
    """The first line that speaks of an error, else the last one."""
    match = re.search(r"(?i)\b(error|fatal|cannot|undefined)\b", text)
    return line_at(text, match.start()) if match else last_line(text)
