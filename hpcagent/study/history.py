"""The store of earlier runs: what a search begins with that is not the first of its kind.

A folder with one file a run, `RUN.jsonl`, to which only the holder of that run's lease appends; the
last whole line counts. So runs at the same time cannot spoil each other, on whatever file system. A
line that was torn by a crash, or that a newer version wrote, is passed over with a note.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.study.durable import json_bytes, parse_object, problem, write_atomic
from hpcagent.study.history_fold import folded_to
from hpcagent.study.history_record import RUN_PATTERN, SCHEMA, Record, record_from

OFF = "off"
MOST_RUNS = 200
_MOST_BYTES = 1 << 20  # of one run's file; a record takes some ten thousand
_MOST_WORDS = 160  # characters of what is wrong with a line
_SUFFIX = ".jsonl"
_RUN = re.compile(RUN_PATTERN)


@dataclass(frozen=True)
class Found:
    """What a store holds, the oldest run first, and what was passed over, in words."""

    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Records of one text, in the order of its lines; how many were damaged or too new.

    `first` tells the first damaged one: its line, and what is wrong there.
    """

    records: tuple[Record, ...]
    damaged: int
    newer: int
    first: str = ""


def default_folder(environment: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/hpcagent/history`, else below `~/.local/share`."""
    home = environment.get("HOME") or "/nonexistent"
    base = environment.get("XDG_DATA_HOME") or f"{home}/.local/share"
    return Path(base) / "hpcagent" / "history"


def store_folder(configured: str, environment: Mapping[str, str]) -> Path | None:
    """Where the user's history is; None where it is switched off."""
    if configured == OFF:
        return None
    return Path(configured).absolute() if configured else default_folder(environment)


def parse_lines(raw: bytes) -> Lines:
    """Whatever the bytes are, the whole and valid records in them."""
    found, damaged, newer, first = [], 0, 0, ""
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_object(line)
            schema = row.get("schema")
            if type(schema) is int and schema > SCHEMA:
                newer += 1
                continue
            found.append(record_from(row))
        except ValueError as error:
            damaged += 1
            first = first or f"line {number}: {str(error)[:_MOST_WORDS]}"
    return Lines(tuple(found), damaged, newer, first)


def line_of(record: Record) -> bytes:
    return json_bytes(record.to_json())


def exported(records: Iterable[Record]) -> bytes:
    return b"".join(line_of(record) for record in records)


def read(folders: Sequence[Path]) -> Found:
    """What the stores hold; where several know a run, the first one's counts.

    A folder that is not there holds nothing; one that cannot be read is a note.
    """
    records: dict[str, Record] = {}
    notes: list[str] = []
    for folder in folders:
        found = _read_one(folder)
        notes += found.notes
        for record in found.records:
            records.setdefault(record.run, record)
    merged = {run for record in records.values() for run in record.folded}
    kept = [record for run, record in records.items() if run not in merged]
    return Found(tuple(sorted(kept, key=lambda r: (r.t_utc, r.run))), tuple(notes))


def _read_one(folder: Path) -> Found:
    records, damaged, newer, notes = [], 0, 0, []
    try:
        paths = sorted(path for path in folder.iterdir() if _names_a_run(path))
    except FileNotFoundError:
        return Found(())
    except OSError as error:
        return Found((), (str(problem("read", folder, error)),))
    for path in paths:
        try:
            with path.open("rb") as stream:
                lines = parse_lines(stream.read(_MOST_BYTES))
        except FileNotFoundError:  # folded or forgotten meanwhile
            continue
        except OSError as error:
            notes.append(str(problem("read", path, error)))
            continue
        damaged, newer = damaged + lines.damaged, newer + lines.newer
        own = [record for record in lines.records if record.run == path.name[: -len(_SUFFIX)]]
        records += own[-1:]
    return Found(tuple(records), (*notes, *_passed_over(folder, damaged, newer)))


def _passed_over(folder: Path, damaged: int, newer: int) -> Iterator[str]:
    if damaged:
        yield f"{folder}: {damaged} damaged line{'s' * (damaged > 1)} passed over"
    if newer:
        yield f"{folder}: {newer} line{'s' * (newer > 1)} of a newer hpcagent passed over"


def _names_a_run(path: Path) -> bool:
    return path.name.endswith(_SUFFIX) and bool(_RUN.fullmatch(path.name[: -len(_SUFFIX)]))


def add(folder: Path, record: Record) -> bool:
    """Keep a record in place of an older one of the same run; False where it is there already.

    EnvironmentProblem where the folder cannot be written to.
    """
    path, line = folder / f"{record.run}{_SUFFIX}", line_of(record)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = _content(path)
        if old == line or old.endswith(b"\n" + line):
            return False
        if len(old) + len(line) > _MOST_BYTES:
            write_atomic(path, line)
        else:
            _append(path, (b"\n" if old and not old.endswith(b"\n") else b"") + line)
    except OSError as error:
        raise problem("keep the history in", folder, error) from None
    return True


def _content(path: Path) -> bytes:
    """Nothing where it is not there: another run may have folded it a moment ago."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _append(path: Path, data: bytes) -> None:
    """In one write, so that a file system that is full leaves a torn line at worst."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as stream:
        written = stream.write(data)
        if written != len(data):
            stream.write(data[written:])
        os.fsync(stream.fileno())


def tidy(folder: Path, most: int = MOST_RUNS) -> None:
    """Fold old runs of the same machine and library until no more than `most` are left.

    The merged record is written before what it replaces is removed, under a name made from the
    runs in it: killed in between, or done twice at once, it loses and doubles nothing.
    """
    records = read([folder]).records
    while len(records) > most:
        merged, gone = folded_to(records)
        if merged is not None:
            add(folder, merged)
        _remove(folder, gone)
        left = [record for record in records if record.run not in gone]
        records = tuple(left if merged is None else [*left, merged])


def forget(folder: Path, run: str) -> None:
    """Remove a run; UsageError where it is not there, or only merged with others."""
    if not _RUN.fullmatch(run):
        raise UsageError(f"{run!r} is no id of a run; see: hpcagent history list")
    if (folder / f"{run}{_SUFFIX}").exists():
        _remove(folder, [run])
        return
    holder = next((r.run for r in read([folder]).records if run in r.folded), None)
    if holder is not None:
        raise UsageError(f"{run} was merged with older runs: forget {holder}, which holds them all")
    raise UsageError(f"{run} is not in {folder}; see: hpcagent history list")


def _remove(folder: Path, runs: Iterable[str]) -> None:
    for run in runs:
        path = folder / f"{run}{_SUFFIX}"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise problem("remove", path, error) from None
