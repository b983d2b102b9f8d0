"""Software by hand, small enough that a doctor's visit takes seconds, and such a visit for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpcagent.measure import worker
from hpcagent.probe.software import BlasFound, CompilerFound, ModuleSystem, MpiFound, Software
from hpcagent.records import Machine
from hpcagent.toolchain import steps
from hpcagent.toolchain.cellspec import DoctorPlan
from hpcagent.toolchain.ranking import judge
from hpcagent.toolchain.verdict import DoctorResult

COMMANDS = {
    "gcc": {"c": "gcc", "c++": "g++", "fortran": "gfortran"},
    "clang": {"c": "clang", "c++": "clang++"},
}
NO_MODULES = ModuleSystem("none", why_not="no module system is installed here")
BARE = Machine(
    host="node1",
    architecture="x86_64",
    cpu_model="",
    microarchitecture="",
    features=(),
    cpus=(),
    cpus_allowed=(0, 1),
    cpu_quota_cores=None,
    threads_per_core=1,
    sockets=1,
    max_mhz=None,
    caches=(),
    memory_bytes=None,
    memory_limit_bytes=None,
    huge_pages=None,
    kernel="",
    glibc=None,
    compilers=(),
    schedulers=(),
    tools={},
    missing={},
)


def compiler(family: str, language: str, version: str = "12.2.0", **more: str) -> CompilerFound:
    given = more.pop("command", "")
    command = COMMANDS.get(family, {}).get(language) or given or "cc"
    path = shutil.which(command) or f"/opt/{family}/bin/{command}"
    return CompilerFound(family, language, command, path, version, **more)


def mpi(family: str = "openmpi", launcher: str = "", **more: Any) -> MpiFound:
    """Debian's: /usr/bin/mpicc.FAMILY and so on."""
    wrappers = {
        language: f"/usr/bin/{name}.{family}"
        for language, name in (("c", "mpicc"), ("c++", "mpicxx"), ("fortran", "mpifort"))
    }
    behind = dict(COMMANDS["gcc"])
    started = launcher or f"/usr/bin/mpirun.{family}"
    values = {"wrappers": wrappers, "compiles_with": behind, **more}
    return MpiFound(family, "4.0", family, launcher=started, **values)


def blas(
    family: str = "openblas",
    path: str = "/opt/blas/libopenblas.so.0",
    threading: str = "serial",
    **more: Any,
) -> BlasFound:
    values: dict[str, Any] = {
        "kind": "shared",
        "interface": "lp64",
        "symbol_prefix": "",
        "symbol_suffix": "",
        "has_cblas": bool(more.get("headers")),
        "has_lapack": False,
        **more,
    }
    return BlasFound(family, "0.3.21", path, os.path.realpath(path), threading=threading, **values)


def debian_blas(folder: str, threading: str = "serial", **more: Any) -> BlasFound:
    """OpenBLAS or another one of /usr/lib/*/FOLDER, or a skip."""
    family = "blis" if folder.startswith("blis") else folder.split("-")[0].rstrip("64")
    for path in sorted(Path("/usr/lib").glob(f"*/{folder}/lib{family}*.so")):
        return blas(family, str(path), threading, **more)
    pytest.skip(f"no {folder} here")


def headers(folder: str) -> str:
    """The include folder of one of Debian's BLAS, or a skip."""
    for path in Path("/usr/include").glob(f"*/{folder}"):
        return str(path)
    pytest.skip(f"no headers of {folder} here")


def software(*found: CompilerFound | MpiFound | BlasFound, **more: Any) -> Software:
    return Software(
        **{
            "modules": NO_MODULES,
            "loaded": (),
            "compilers": tuple(x for x in found if isinstance(x, CompilerFound)),
            "mpis": tuple(x for x in found if isinstance(x, MpiFound)),
            "blas": tuple(x for x in found if isinstance(x, BlasFound)),
            "openmp": (),
            "missing": {},
            **more,
        }
    )


def cpu_features() -> tuple[str, ...]:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return tuple(words.split())
    return ()


def visit(
    plan: DoctorPlan, folder: Path, env: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Do the unit of a plan in a folder, as a job would; the lines of its result.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in plan.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "spec.json").write_text(json.dumps(dict(plan.spec)), encoding="utf-8")
    for program in (steps, worker):
        shutil.copy(program.__file__, folder)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "OPENBLAS", "LD"))}
    subprocess.run(
        [sys.executable, "steps.py", "spec.json"],
        cwd=folder,
        env={**inherited, **(env or {})},
        check=True,
        stderr=subprocess.DEVNULL,
        timeout=300,
    )
    lines = (folder / "result.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def visited(
    plan: DoctorPlan,
    facts: Software,
    machine: Machine,
    folder: Path,
    env: Mapping[str, str] | None = None,
) -> DoctorResult:
    return judge(plan, facts, machine, visit(plan, folder, env))
