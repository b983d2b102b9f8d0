"""A real OpenBLAS source for the tests: Debian's, fetched once with apt-get and kept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from hpcagent.toolchain import sourcefiles

ORIG = re.compile(r"openblas_[0-9.]+(?:\+ds)?\.orig\.tar\.xz\Z")


def cache() -> Path:
    """A folder of the user's that outlives the suite; what is in it is found by content."""
    root = os.environ.get("HPCAGENT_CACHE") or Path.home() / ".cache" / "hpcagent"
    folder = Path(root) / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def openblas_source() -> tuple[Path, str]:
    """The upstream archive and the SHA-256 that Debian's signed description states."""
    folder = cache() / "openblas-source"
    if not folder.exists():
        _fetch(folder)
    archive = next(path for path in folder.iterdir() if ORIG.match(path.name))
    described = next(folder.glob("*.dsc")).read_text()
    found = re.search(rf"^ ([0-9a-f]{{64}}) \d+ {re.escape(archive.name)}$", described, re.M)
    assert found is not None
    assert sourcefiles.file_digest(str(archive)) == found.group(1)
    return archive, found.group(1)


def _fetch(folder: Path) -> None:
    """`apt-get source`, with a list of sources derived from the machine's own."""
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("no OpenBLAS source: that takes root and apt-get")
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        options = _options(work)
        for command in (["update"], ["source", "--download-only", "openblas"]):
            done = subprocess.run(
                ["apt-get", *options, *command], cwd=work, capture_output=True, timeout=600
            )
            if done.returncode != 0:
                pytest.skip(f"apt-get {command[0]} failed: {done.stderr[-300:]!r}")
        kept = Path(tempfile.mkdtemp(dir=folder.parent))
        for path in work.glob("openblas_*"):
            shutil.move(str(path), kept / path.name)
        if not folder.exists():
            kept.rename(folder)


def _options(work: Path) -> list[str]:
    """Sources lists that name source packages too; lists and cache of their own."""
    for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        if not path.is_file():  # newer systems have no sources.list
            continue
        if path.suffix == ".sources":
            text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", path.read_text())
        elif path.suffix == ".list":
            text = re.sub(r"(?m)^deb\s", "deb-src ", path.read_text())
        else:
            continue
        (work / "lists.d").mkdir(exist_ok=True)
        (work / "lists.d" / path.name).write_text(text)
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(work / "lists.d"),
        "Dir::State::lists": str(work / "lists"),
        "Dir::Cache": str(work / "cache"),
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
