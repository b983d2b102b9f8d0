"""Sources of the user's own, as attempts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcagent.codegen.taskfile import SUFFIXES, TaskFile, read_source
from hpcagent.errors import UsageError
from hpcagent.yamlfile import load_yaml

BUILD = "build.yaml"
_MOST = 200


def read_candidates(task: TaskFile, folder: Path) -> tuple[dict[str, Any], ...]:
    """An attempt for each source in the folder, by name; a folder in it holds one source and, in
    build.yaml, build parameters. UsageError where there is none, or one cannot be used."""
    ends = SUFFIXES[task.language]
    if folder.is_file():
        if folder.suffix not in ends:
            raise UsageError(f"--candidates {folder}: it has to end in {' or '.join(ends)}")
        return (_candidate(task, folder.name, folder, None),)
    if not folder.is_dir():
        raise UsageError(f"--candidates {folder}: there is no such folder")
    rows = []
    for path in sorted(folder.iterdir()):
        if path.suffix in ends and path.is_file():
            rows.append(_candidate(task, path.name, path, None))
        elif path.is_dir() and not path.name.startswith((".", "__")):
            inside = sorted(p for p in path.iterdir() if p.suffix in ends)
            if len(inside) != 1:
                raise UsageError(f"{path}: it has to hold one source that ends in {ends[0]}")
            build = path / BUILD
            rows.append(_candidate(task, path.name, inside[0], build if build.exists() else None))
    if not rows:
        raise UsageError(f"--candidates {folder}: nothing in it ends in {' or '.join(ends)}")
    if len(rows) > _MOST:
        raise UsageError(f"--candidates {folder}: more than {_MOST} sources")
    return tuple(rows)


def _candidate(task: TaskFile, label: str, path: Path, build: Path | None) -> dict[str, Any]:
    text = read_source(path, "--candidates")
    files = {task.stem + (path.suffix or SUFFIXES[task.language][0]): text}
    return {"label": label, "files": files, "parameters": _parameters(task, build)}


def _parameters(task: TaskFile, path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    document = load_yaml(path)
    choices = task.choices()
    if not isinstance(document.data, dict):
        raise UsageError(f"{path}: write lines such as optimisation: O2")
    for name, value in document.data.items():
        if name not in choices or value not in choices[name]:
            there = ", ".join(f"{n}: {' '.join(v)}" for n, v in choices.items())
            raise UsageError(f"{document.where(name)}: {name}: {value}; there are {there}")
    return dict(document.data)
