"""Run directories: their names, their making and how RUN on the command line is understood."""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.study.durable import (
    TEMPORARY,
    json_bytes,
    parse_object,
    problem,
    sync_directory,
    utc_now,
    utc_text,
    write_atomic,
)
from hpcagent.study.runplace import RECORD, not_a_directory, occupied, require_empty

SCHEMA = 1
_PARTS = (
    "journal.jsonl", "lease.json", "lease.lock", "asked.json", "llm.jsonl",
    "inbox", "work", "result",
)  # fmt: skip
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_UNIT = re.compile(r"ha[a-z2-7]{12}")
_ATTEMPTS = 100


@dataclass(frozen=True)
class RunDir:
    """A run on disk; the folders below it are made when they are asked for."""

    path: Path
    id: str
    kind: str
    created_utc: str
    version: str

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def asked(self) -> Path:
        """When the scheduler is asked next (pacing.py); no part of the run's state."""
        return self.path / "asked.json"

    @property
    def llm_log(self) -> Path:
        return self.path / "llm.jsonl"

    @property
    def result(self) -> Path:
        """The folder of the result files, made where it is missing."""
        return _folder(self.path / "result")

    def unit(self, name: str) -> Path:
        """`work/<name>`, which may not exist yet; UsageError for what is no unit name."""
        if not _UNIT.fullmatch(name):
            raise UsageError(f"unit {name!r}: a unit is called ha and 12 base32 characters")
        return self.path / "work" / name

    def make_unit(self, name: str) -> Path:
        """`work/<name>`, made where it is missing."""
        folder = self.unit(name)
        _folder(folder.parent)
        return _folder(folder)


def runs_root(env: Mapping[str, str]) -> Path:
    """Where runs are kept: `$HPCAGENT_RUNS`, else `runs` below the current directory."""
    return Path(env.get("HPCAGENT_RUNS") or "runs").absolute()


def new_run_id(
    kind: str,
    clock: Callable[[], datetime] = utc_now,
    entropy: Callable[[int], bytes] = os.urandom,
) -> str:
    """For instance `tune-20261122-015301-k3f9`: kind, UTC and 20 random bits."""
    if not _KIND.fullmatch(kind):
        raise UsageError(f"run kind {kind!r}: use lower-case letters, digits and dashes")
    moment = clock().astimezone(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{kind}-{moment}-{_base32(entropy(5))[:4]}"


def unit_name(run_id: str, n: int) -> str:
    """The job name of unit `n` of a run: `ha` and 12 base32 characters of a SHA-256 (60 bits)."""
    return "ha" + _base32(hashlib.sha256(f"{run_id}\0{n}".encode()).digest())[:12]


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").lower()


def create_run(
    kind: str,
    version: str,
    root: Path,
    directory: Path | None = None,
    clock: Callable[[], datetime] = utc_now,
    entropy: Callable[[int], bytes] = os.urandom,
) -> RunDir:
    """Make a run below `root`, or in `directory`, which must be missing or empty.

    Raises EnvironmentProblem where that cannot be done; nothing is left half made: a directory
    is a run from the moment its run.json is there.
    """
    run_id = new_run_id(kind, clock, entropy)
    if directory is not None:
        path = directory.absolute()
        _claim(path)
    else:
        run_id, path = _fresh(kind, root.absolute(), run_id, clock, entropy)
    run = RunDir(path, run_id, kind, utc_text(clock()), version)
    record = {
        "schema": SCHEMA,
        "id": run.id,
        "kind": run.kind,
        "created_utc": run.created_utc,
        "version": run.version,
    }
    try:
        write_atomic(path / RECORD, json_bytes(record), exclusive=True)
        sync_directory(path.parent)
    except OSError as error:
        # Another that is quicker may have cleared up, too, what was to become ours.
        late = isinstance(error, FileExistsError | FileNotFoundError)
        if late and (path / RECORD).exists():
            raise occupied(path) from None
        raise problem("write", path / RECORD, error) from None
    _folder(path / "inbox")
    _folder(path / "work")
    return run


def remove_run(run: RunDir, but_the_folder: bool) -> bool:
    """Remove what a run has made; False where it is kept.

    It is kept where others have put something there, and remains a run where something cannot be
    removed.
    """
    try:
        entries = {entry.name: entry for entry in run.path.iterdir()}
        record = entries.pop(RECORD, None)
        if any(n not in _PARTS and not n.startswith(TEMPORARY) for n in entries):
            return False
        for entry in entries.values():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if record is not None:
            record.unlink()
        if not but_the_folder:
            run.path.rmdir()
    except OSError:
        return False
    return True


def _fresh(
    kind: str,
    root: Path,
    run_id: str,
    clock: Callable[[], datetime],
    entropy: Callable[[int], bytes],
) -> tuple[str, Path]:
    _make(root, parents=True)
    for _ in range(_ATTEMPTS):
        path = root / run_id
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            run_id = new_run_id(kind, clock, entropy)
        except OSError as error:
            raise problem("create", path, error) from None
        else:
            return run_id, path
    raise EnvironmentProblem(f"cannot find a free name for a run in {root}; name one: --run-dir")


def _claim(path: Path) -> None:
    """An empty private directory at `path`."""
    _make(path, parents=True)
    require_empty(path)
    try:
        path.chmod(0o700)
    except OSError as error:
        raise problem("use", path, error) from None


def _make(path: Path, parents: bool = False) -> None:
    try:
        path.mkdir(mode=0o700, parents=parents, exist_ok=True)
    except FileExistsError:
        raise not_a_directory(path) from None
    except OSError as error:
        raise problem("create", path, error) from None


def _folder(path: Path) -> Path:
    _make(path)
    return path


def open_run(path: Path) -> RunDir:
    """The run at `path`.

    Raises UsageError where there is none or run.json is damaged, EnvironmentProblem where it
    cannot be read or is of a newer version.
    """
    path = path.absolute()
    record_path = path / RECORD
    try:
        raw = record_path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path} is not a run: it has no run.json") from None
    except OSError as error:
        raise problem("read", record_path, error) from None
    try:
        record = parse_object(raw)
        schema = record.get("schema")
        if type(schema) is not int or schema < 1:
            raise ValueError(f"field schema is {schema!r}")
        if schema > SCHEMA:
            raise EnvironmentProblem(
                f"{record_path}: written by hpcagent {record.get('version', 'unknown')!s} in "
                f"format {schema}, this one knows format {SCHEMA}: use that version or a newer one"
            )
        fields = [_text(record, name) for name in ("id", "kind", "created_utc", "version")]
    except ValueError as error:
        raise UsageError(f"{record_path} is damaged: {error}") from None
    return RunDir(path, *fields)


def _text(record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f"field {name} is missing or not text")
    return value


def list_runs(root: Path) -> tuple[RunDir, ...]:
    """All runs directly below `root`, oldest first; what cannot be opened as one is left out.

    EnvironmentProblem where `root` is no folder, or cannot be read.
    """
    runs = []
    for path in _entries(root):
        try:
            runs.append(open_run(path))
        except (UsageError, EnvironmentProblem):
            continue
    return tuple(sorted(runs, key=lambda run: (run.created_utc, run.id)))


def _entries(root: Path) -> list[Path]:
    try:
        return sorted(root.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise problem("read", root, error) from None


def resolve(text: str, env: Mapping[str, str]) -> RunDir:
    """The run that RUN on the command line means: a path, or an id below `runs_root`.

    Raises UsageError that lists similar names where there is no such run.
    """
    if not text or "\0" in text:
        raise UsageError(f"RUN {text!r}: give the path of a run directory, or the id of a run")
    root = runs_root(env)
    is_path = os.sep in text or text in (".", "..")
    places = [Path(text)] if is_path else [root / text, Path(text)]
    for place in places:
        if os.path.lexists(place):
            return open_run(place)
    if is_path:
        raise UsageError(f"RUN {text!r}: there is no such directory")
    raise UsageError(f"RUN {text!r}: there is no such run in {root}{_near(text, root)}")


def _near(text: str, root: Path) -> str:
    names = [run.path.name for run in reversed(list_runs(root))]
    like = [name for name in names if name.startswith(text)]
    like += difflib.get_close_matches(text, names, n=5, cutoff=0.6)
    choices = list(dict.fromkeys(like))[:5]
    if choices:
        return f"; did you mean {', '.join(choices)}?"
    return f"; the latest are {', '.join(names[:5])}" if names else "; it holds no runs"
