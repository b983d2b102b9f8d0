"""The OpenBLAS of last resort: the wheel scipy-openblas32, for machines without one."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from hpcagent import shell
from hpcagent.errors import EnvironmentProblem

REQUIREMENT = "scipy-openblas32 >= 0.3.27"


def embedded_library_path() -> Path | None:
    """The shared library of scipy-openblas32 in this interpreter; nothing of it is imported."""
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        for library in sorted(Path(folder, "lib").glob("libscipy_openblas*.so*")):
            return library.resolve()
    return None


def install_embedded(timeout_s: float) -> Path:
    """Install it with pip into this interpreter's environment, and say where it is.

    `HPCAGENT_WHEELHOUSE` names a folder of wheels to use instead of the configured index.
    Raises EnvironmentProblem where that fails.
    """
    argv = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    wheelhouse = os.environ.get("HPCAGENT_WHEELHOUSE")
    if wheelhouse:
        argv += ["--no-index", "--find-links", wheelhouse]
    ran = shell.run([*argv, REQUIREMENT], timeout_s)
    importlib.invalidate_caches()
    path = embedded_library_path() if ran.ok else None
    if path is None:
        source = f"the wheelhouse {wheelhouse}" if wheelhouse else "the package index"
        words = ran.quoted().strip().splitlines()[-1:] or ["no library in the package"]
        raise EnvironmentProblem(
            f"OpenBLAS not found, and {source} could not give the embedded one ({words[0]}); "
            "name one with --openblas-prefix"
        )
    return path
