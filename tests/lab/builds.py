"""Runs a build's unit as a job would, and finds real compilers for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hpcagent.probe.software import CompilerFound
from hpcagent.toolchain.recipe import Unit, json_text

COMMANDS = {
    ("gcc", "c"): "gcc",
    ("gcc", "c++"): "g++",
    ("gcc", "fortran"): "gfortran",
    ("clang", "c"): "clang",
    ("clang", "c++"): "clang++",
}


def compiler(family: str = "gcc", language: str = "c") -> CompilerFound:
    """The real one, or a plausible one where it is not installed (nothing runs it then)."""
    command = COMMANDS[family, language]
    path = shutil.which(command)
    if path is None:
        return CompilerFound(family, language, command, f"/usr/bin/{command}", "12.2.0")
    words = [path, "-dumpfullversion", "-dumpversion"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    version = re.match(r"[0-9.]+", said)
    return CompilerFound(family, language, command, path, version.group() if version else "")


def write_unit(folder: Path, unit: Unit) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in unit.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "spec.json").write_text(json_text(unit.spec))


def run_unit(folder: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """Each step's line, by its id."""
    subprocess.run(
        [sys.executable, "steps.py", "spec.json"],
        cwd=folder,
        env={**os.environ, **environment},
        check=True,
        timeout=3000,
    )
    lines = (folder / "result.jsonl").read_text().splitlines()
    return {row["step"]: row for row in map(json.loads, lines)}
