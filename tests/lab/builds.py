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

from hpcagent.measure import worker
from hpcagent.probe.software import BlasFound, CompilerFound, LapackFound, MpiFound
from hpcagent.toolchain import steps
from hpcagent.toolchain.recipe import Unit, json_text, source_of

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
    scripts = {f"{m.__name__.rpartition('.')[2]}.py": source_of(m) for m in (steps, worker)}
    for name, text in {**unit.files, **scripts}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "spec.json").write_text(json_text({**unit.spec, "unit": "haaaaaaaaaaaaa"}))


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


LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
HEADERS = Path("/usr/include/x86_64-linux-gnu")


def mpi(family: str) -> MpiFound:
    """Debian's Open MPI or MPICH, by the names that do not depend on the alternatives."""
    names = {"c": "mpicc", "c++": "mpicxx", "fortran": "mpifort"}
    wrappers = {language: f"/usr/bin/{name}.{family}" for language, name in names.items()}
    behind = {"c": "gcc", "c++": "g++", "fortran": "gfortran"}
    shows = {language: _shown(path) for language, path in wrappers.items()}
    launcher = f"/usr/bin/mpirun.{family}"
    return MpiFound(family, "4", family, wrappers, behind, launcher, shows=shows)


def _shown(wrapper: str) -> str:
    if not Path(wrapper).exists():
        return ""
    return subprocess.run([wrapper, "-show"], capture_output=True, text=True).stdout


def blas(name: str, kind: str = "shared") -> BlasFound:
    """One of Debian's BLAS libraries: openblas-pthread, blis-openmp, blas (reference), ..."""
    ilp64 = "64" in name
    stem = {"openblas": "openblas", "blis": "blis", "blas": "blas", "lapack": "lapack"}[
        re.split(r"64|-", name)[0]
    ] + ("64" if ilp64 else "")
    path = LIBRARIES / name / f"lib{stem}.{'so' if kind == 'shared' else 'a'}"
    threads = next((t for t in ("pthread", "openmp", "serial") if name.endswith(t)), "serial")
    openmp = threads == "openmp"
    return BlasFound(
        family={"blas": "reference", "lapack": "reference"}.get(
            stem.rstrip("64"), name.split("-")[0].rstrip("64")
        ),
        version="",
        path=str(path),
        realpath=str(path.resolve()),
        kind=kind,
        interface="ilp64" if ilp64 else "lp64",
        threading="pthreads" if threads == "pthread" else threads,
        symbol_prefix="",
        symbol_suffix="",
        has_cblas=name != "lapack",
        has_lapack=name.startswith("openblas") or name == "lapack",
        openmp_runtime="gomp" if openmp and kind == "shared" else "",
        headers=str(HEADERS / name) if (HEADERS / name).is_dir() else "",
    )


def lapack() -> LapackFound:
    """The reference LAPACK of Debian, without a BLAS."""
    path = str(LIBRARIES / "lapack" / "liblapack.so")
    return LapackFound(path, "shared", (path,), ("libblas.so.3",))


def missing(program: str) -> bool:
    return shutil.which(program) is None
