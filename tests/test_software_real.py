"""The collector as a job runs it, with the compilers, MPIs and BLAS that are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab.module_systems import lmod_environment

from hpcagent.probe import collect_software, openmp
from hpcagent.probe.software import BlasFound, Software
from hpcagent.probe.software_facts import digest, parse_software
from hpcagent.report.software_text import catalogue

pytestmark = pytest.mark.toolchain

HOME = Path(collect_software.__file__).parent
TRIPLET = Path("/usr/lib/x86_64-linux-gnu")
RUNNER = """
import importlib.util, json, sys
def load(name):
    spec = importlib.util.spec_from_file_location(name, name + ".py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
request = json.load(open("request.json"))
facts = load("collect_software").collect(request, load("collect").run)
json.dump(facts, open("facts.json", "w"))
"""


def oldest_python() -> str:
    """3.6 is the oldest that nodes may have; the collector runs on it where it is."""
    found = sorted(Path.home().glob(".pyenv/versions/3.[67].*/bin/python"))
    return str(found[0]) if found else sys.executable


def collected(folder: Path, environment: dict[str, str]) -> Any:
    """Copies of the files beside each other, as on a node without hpcagent."""
    for name in ("collect.py", "collect_software.py", *collect_software.BESIDE):
        shutil.copy(HOME / name, folder / name)
    (folder / "request.json").write_text(json.dumps({"timeout_s": 120, "look_s": 900}))
    subprocess.run(
        [oldest_python(), "-I", "-c", RUNNER], cwd=folder, env=environment, check=True, timeout=600
    )
    return json.loads((folder / "facts.json").read_text())


def plain_environment() -> dict[str, str]:
    unwanted = ("LMOD", "MODULE", "LOADEDMODULES", "_LM", "LD_LIBRARY_PATH", "LIBRARY_PATH")
    return {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BLAS of the site's own behind a hierarchy: a compiler, then openblas, then an MPI."""
    root = tmp_path_factory.mktemp("site")
    (root / "modules/Core/gcc").mkdir(parents=True)
    (root / "modules/gcc/openblas").mkdir(parents=True)
    for folder in ("bin", "lib", "include", "gccbin"):
        (root / "opt" / folder).mkdir(parents=True)
    (root / "modules/Core/gcc/12.2.0.lua").write_text(
        f'prepend_path("PATH", "{root}/opt/gccbin")\n'
        f'prepend_path("MODULEPATH", "{root}/modules/gcc")\n'
    )
    (root / "modules/gcc/openblas/9.9.lua").write_text(
        f'prepend_path("LD_LIBRARY_PATH", "{root}/opt/lib")\n'
        f'setenv("OPENBLAS_ROOT", "{root}/opt")\n'
    )
    (root / "opt/gccbin/gcc").symlink_to("/usr/bin/gcc-12")
    (root / "opt/include/openblas_config.h").write_text(
        '#define OPENBLAS_VERSION " OpenBLAS 9.9 "\n'
    )
    source = root / "own.c"
    # Without a name that tells, with 64-bit integers and without a suffix.
    source.write_text(
        'char *openblas_get_config(void) { return "OpenBLAS 9.9 USE64BITINT MAX_THREADS=8"; }\n'
        "int openblas_get_parallel(void) { return 1; }\n"
        "void dgemm_(void) {}\nvoid cblas_dgemm(void) {}\nvoid xerbla_(void) {}\n"
        "double ddot_(long *n, double *x, long *i, double *y, long *j)\n"
        "{ return *n > 0 ? x[0] * y[0] : 0; }\n"
    )
    library = root / "opt/lib/libfastmath.so"
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True, timeout=300)
    (root / "opt/lib/libcrash.so").write_bytes(b"")
    crash = root / "crash.c"
    crash.write_text(
        "#include <signal.h>\n"
        "__attribute__((constructor)) static void die(void) { raise(SIGILL); }\n"
        "void dgemm_(void) {}\nvoid openblas_get_config(void) {}\n"
    )
    library = root / "opt/lib/libcrash.so"
    subprocess.run(["gcc", "-shared", "-fPIC", crash, "-o", library], check=True, timeout=300)
    (root / "opt/lib/libbroken.so").write_bytes(b"\x7fELF\x02\x01" + bytes(200))
    return root


@pytest.fixture(scope="module")
def facts(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not shutil.which("gcc"):
        pytest.skip("no compilers here")
    home = tmp_path_factory.mktemp("home")
    modules = lmod_environment(str(site / "modules/Core"), home)
    return collected(tmp_path_factory.mktemp("unit"), {**plain_environment(), **modules})


@pytest.fixture(scope="module")
def software(facts: Any) -> Software:
    return parse_software(facts)


def find(software: Software, path: Path) -> BlasFound:
    """The entry of the file behind a path."""
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    real = str(path.resolve())
    return next(x for x in software.blas if x.realpath == real)


def test_compilers_of_the_system_and_of_a_module(software: Software, site: Path) -> None:
    for command, language, family in (
        *(("gcc", "c", "gcc"), ("g++", "c++", "gcc"), ("gfortran", "fortran", "gcc")),
        *(("clang", "c", "clang"), ("clang++", "c++", "clang")),
    ):
        if not shutil.which(command):
            pytest.skip(f"no {command} here")
        found = next(x for x in software.compilers if x.command == command and not x.module)
        assert (found.language, found.family) == (language, family)
        assert found.target.startswith("x86_64")
        told = subprocess.run([command, "-dumpversion"], capture_output=True, text=True, check=True)
        assert found.version.startswith(told.stdout.strip())
    own = next(x for x in software.compilers if x.module)
    assert (own.module, own.path) == ("gcc/12.2.0", str(site / "opt/gccbin/gcc"))


@pytest.mark.parametrize(
    ("name", "family", "abi"), [("openmpi", "openmpi", "openmpi"), ("mpich", "mpich", "mpich")]
)
def test_mpis(software: Software, name: str, family: str, abi: str) -> None:
    if not shutil.which(f"mpicc.{name}"):
        pytest.skip(f"no mpicc.{name} here")
    found = next(x for x in software.mpis if x.family == family)
    assert found.abi == abi
    assert found.wrappers["c"] == f"/usr/bin/mpicc.{name}"
    assert found.compiles_with["c"] == "gcc"
    assert found.launcher == f"/usr/bin/mpirun.{name}"
    assert found.version.count(".") == 2
    default = Path("/usr/bin/mpicc")
    if default.exists():
        assert found.default == (f"/mpicc.{name}" in str(_hop(default)))


def _hop(path: Path) -> Path:
    return path.readlink().readlink()


@pytest.mark.parametrize(
    ("folder", "name", "family", "interface", "threading", "runtime"),
    [
        ("openblas-pthread", "libopenblas.so", "openblas", "lp64", "pthreads", ""),
        ("openblas-openmp", "libopenblas.so", "openblas", "lp64", "openmp", "gomp"),
        ("openblas-serial", "libopenblas.so", "openblas", "lp64", "serial", ""),
        ("openblas-pthread", "libopenblas.a", "openblas", "lp64", "pthreads", ""),
        ("openblas-openmp", "libopenblas.a", "openblas", "lp64", "openmp", ""),
        ("openblas-serial", "libopenblas.a", "openblas", "lp64", "serial", ""),
        ("openblas64-pthread", "libopenblas64.so", "openblas", "ilp64", "pthreads", ""),
        ("openblas64-pthread", "libopenblas64.a", "openblas", "ilp64", "pthreads", ""),
        ("blis-openmp", "libblis.so", "blis", "lp64", "openmp", "gomp"),
        ("blis-openmp", "libblas.so", "blis", "lp64", "openmp", "gomp"),
        ("blis-openmp", "libblis.a", "blis", "lp64", "openmp", ""),
        ("blis64-openmp", "libblis64.so", "blis", "ilp64", "openmp", "gomp"),
        ("blas", "libblas.so", "reference", "lp64", "serial", ""),
        ("blas", "libblas.a", "reference", "lp64", "serial", ""),
        ("atlas", "libblas.so.3", "atlas", "lp64", "serial", ""),
    ],
)
def test_blas_of_debian(
    software: Software,
    folder: str,
    name: str,
    family: str,
    interface: str,
    threading: str,
    runtime: str,
) -> None:
    found = find(software, TRIPLET / folder / name)
    assert (found.family, found.interface, found.threading) == (family, interface, threading)
    assert found.openmp_runtime == runtime
    assert found.kind == ("static" if name.endswith(".a") else "shared")
    assert found.version or (family, name) == ("blis", "libblas.so")
    assert found.has_cblas
    assert str(TRIPLET / folder / name) in found.aliases
    if family in ("openblas", "blis") and (Path("/usr/include/x86_64-linux-gnu") / folder).exists():
        assert found.headers == f"/usr/include/x86_64-linux-gnu/{folder}"
    assert found.module == ""


def test_what_the_alternatives_lead_to(software: Software) -> None:
    for name in ("libblas.so.3", "libopenblas.so.0"):
        found = find(software, TRIPLET / name)
        assert str(TRIPLET / name) in found.aliases
        assert f"{name} is {found.family}" in " ".join(catalogue(software).split())


def test_a_blas_of_a_module_is_told_by_its_symbols_and_not_its_name(
    software: Software, site: Path
) -> None:
    found = find(software, site / "opt/lib/libfastmath.so")
    assert (found.family, found.version, found.threading) == ("openblas", "9.9", "pthreads")
    assert (found.interface, found.symbol_suffix) == ("ilp64", "")
    assert found.evidence["interface"] == "ddot_ reads 64-bit integers"
    assert found.module == "gcc/12.2.0 openblas/9.9"
    assert found.headers == str(site / "opt/include")
    assert software.modules.hidden == {"openblas/9.9": ("gcc/12.2.0",)}


def test_a_library_that_crashes_is_told_by_its_symbols_alone(
    software: Software, site: Path
) -> None:
    found = find(software, site / "opt/lib/libcrash.so")
    assert (found.family, found.interface) == ("openblas", "unknown")
    assert "SIGILL" in software.missing[f"answers of {site}/opt/lib/libcrash.so"]
    assert not [x for x in software.blas if "broken" in x.path]


def test_openmp_runtimes(software: Software) -> None:
    by_family = {x.family: x for x in software.openmp}
    assert by_family["gomp"].soname == "libgomp.so.1"
    if (TRIPLET / "libomp.so.5").exists():
        assert by_family["omp"].soname == "libomp.so.5"
    closure = find(software, TRIPLET / "openblas-openmp/libopenblas.so").loads
    assert openmp.conflict(closure, software.openmp) == ()
    other = str(TRIPLET / "libomp.so.5")
    assert openmp.conflict([*closure, other], software.openmp) == ("gomp", "omp")


def test_the_catalogue_fits_and_the_digest_holds(
    software: Software, facts: Any, site: Path
) -> None:
    text = catalogue(software)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "module load gcc/12.2.0 openblas/9.9" in " ".join(text.split())
    assert digest(software) == digest(parse_software(json.loads(json.dumps(facts))))
