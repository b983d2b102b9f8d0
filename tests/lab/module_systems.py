"""Real module systems for the tests: an installed Lmod, an Environment Modules in a folder."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

LMOD_INIT = Path("/usr/share/lmod/lmod/init/bash")


def lmod_environment(folders: str, home: Path) -> dict[str, str]:
    """What a login shell with Lmod hands on."""
    if not LMOD_INIT.exists():
        pytest.skip("no Lmod here")
    package = LMOD_INIT.parents[1]
    return {
        "LMOD_CMD": str(package / "libexec" / "lmod"),
        "LMOD_PKG": str(package),
        "MODULESHOME": str(package),
        "MODULEPATH": folders,
        "HOME": str(home),
    }


def unpacked_environment_modules() -> Path:
    """Debian's package in a folder of the cache: installed it conflicts with that of Lmod.

    Its absolute paths are replaced by those below the folder; it needs tclsh.
    """
    if not shutil.which("tclsh") or not shutil.which("apt-get"):
        pytest.skip("no tclsh or apt-get for Environment Modules")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hpcagent" / "tests" / "environment-modules"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("environment-modules.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers may want it at once
        if not (folder / "complete").exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    work = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        _unpack(work, folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(work, ignore_errors=True)
        pytest.skip(f"no package of Environment Modules to be had: {error}")
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)


def _unpack(work: Path, final: Path) -> None:
    download = ["apt-get", "download", "environment-modules"]
    subprocess.run(download, cwd=work, check=True, capture_output=True, timeout=300)
    package = next(work.glob("*.deb"))
    subprocess.run(["dpkg", "-x", package, work], check=True, capture_output=True, timeout=300)
    package.unlink()
    command = next(work.glob("usr/lib/*/modulecmd.tcl"))
    moved = re.compile(
        r"(/usr/share/modules|/etc/environment-modules|/usr/lib/[a-z0-9_]+-linux-gnu\w*)"
    )
    for file in (command, work / "usr/share/modules/init/bash"):
        text = moved.sub(lambda found: str(final) + found.group(), file.read_text("latin-1"))
        file.write_text(text, "latin-1")
    (work / "complete").touch()


def environment_modules_environment(folders: str, home: Path) -> dict[str, str]:
    root = unpacked_environment_modules()
    return {
        "MODULESHOME": str(root / "usr/share/modules"),
        "MODULES_CMD": str(next(root.glob("usr/lib/*/modulecmd.tcl"))),
        "MODULEPATH": folders,
        "HOME": str(home),
    }
