"""Asking real module systems, and ones that are broken, hostile, or not there at all."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from lab.module_systems import environment_modules_environment, lmod_environment

from hpcagent.probe import collect, collect_modules, collect_software, modules
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software

SLOW_S = 60  # far more than a module system takes on a busy machine

LUA = {
    "Core/gcc/12.2.0.lua": """
        family("compiler")
        prepend_path("PATH", "/opt/gcc/bin")
        prepend_path("LD_LIBRARY_PATH", "/opt/gcc/lib64")
        prepend_path("MODULEPATH", "@ROOT@/gcc-12")
    """,
    "Core/gcc/9.5.0.lua": 'family("compiler")',
    "Core/openblas/0.3.21.lua": """
        setenv("OPENBLAS_ROOT", "/opt/openblas")
        pushenv("CC", "gcc")
        unsetenv("UNSET_ME")
    """,
    "Core/cmake/3.25.lua": 'setenv("CMAKE_IS_NOT_LOADED", "1")',
    "gcc-12/openmpi/4.1.4.lua": """
        family("mpi")
        prepend_path("LD_LIBRARY_PATH", "/opt/openmpi/lib")
        prepend_path("MODULEPATH", "@ROOT@/mpi")
    """,
    "mpi/scalapack/2.2.lua": 'setenv("SCALAPACK", "1")',
}
TCL = {
    "Core/gcc/12.2.0": """#%Module1.0
conflict gcc
prepend-path PATH /opt/gcc/bin
prepend-path LD_LIBRARY_PATH /opt/gcc/lib64
prepend-path MODULEPATH @ROOT@/gcc-12
""",
    "Core/gcc/9.5.0": "#%Module1.0\nconflict gcc\n",
    "Core/gcc/.version": '#%Module1.0\nset ModulesVersion "9.5.0"\n',
    "Core/openblas/0.3.21": """#%Module1.0
setenv OPENBLAS_ROOT /opt/openblas
setenv TEXT {two 'a' `id` $(id) "b"}
unsetenv UNSET_ME
""",
    "Core/openmpi/4.1.4": "#%Module1.0\nprereq gcc/12.2.0\n",
    "gcc-12/mpich/4.1": "#%Module1.0\nprepend-path PATH /opt/mpich/bin\n",
    "Core/blis/broken": '#%Module1.0\nputs stderr "licence server says no"\nno_such_command\n',
}


def tree(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("@ROOT@", str(root)))
    return str(root / "Core")


def looked(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], timeout_s: float = SLOW_S
) -> Software:
    """The modules alone, by the collector's own functions, through the parser."""
    for name in list(os.environ):
        if name.startswith(("LMOD_", "MODULE", "LOADEDMODULES", "_LMFILES", "__LMOD", "BASH_FUNC")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    end = time.monotonic() + 10 * SLOW_S
    wishes = {"modules_limit": 40}
    system, loads, unseen = collect_software.module_facts(collect.run, timeout_s, wishes, end)
    raw: dict[str, Any] = {"modules": {**system, "loads": loads, "not_looked_at": unseen}}
    return parse_software(raw)


def effect(software: Software, *names: str) -> Any:
    return next(x for x in software.effects if x.modules == names)


@pytest.mark.lmod
def test_lmod_with_a_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSET_ME", "1")
    software = looked(monkeypatch, lmod_environment(tree(tmp_path, LUA), tmp_path))
    system = software.modules
    assert (system.kind, system.why_not) == ("lmod", "")
    assert system.version.startswith("8.")
    assert set(system.available) == {"gcc/12.2.0", "gcc/9.5.0", "openblas/0.3.21", "cmake/3.25"}
    assert dict(system.hidden) == {
        "openmpi/4.1.4": ("gcc/12.2.0",),
        "scalapack/2.2": ("gcc/12.2.0", "openmpi/4.1.4"),
    }
    assert not [x for x in software.effects if "cmake/3.25" in x.modules]
    gcc = effect(software, "gcc/12.2.0")
    assert gcc.added["PATH"] == ("/opt/gcc/bin",)
    openblas = effect(software, "openblas/0.3.21")
    assert openblas.sets == {"OPENBLAS_ROOT": "/opt/openblas", "CC": "gcc"}
    assert openblas.unsets == ("UNSET_ME",)
    mpi = effect(software, "gcc/12.2.0", "openmpi/4.1.4")
    assert mpi.problem == ""
    assert mpi.added["LD_LIBRARY_PATH"] == ("/opt/openmpi/lib", "/opt/gcc/lib64")
    assert mpi.loaded == ("gcc/12.2.0", "openmpi/4.1.4")


@pytest.mark.lmod
def test_environment_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSET_ME", "1")
    environment = environment_modules_environment(tree(tmp_path, TCL), tmp_path)
    software = looked(monkeypatch, environment)
    system = software.modules
    assert (system.kind, system.why_not) == ("environment-modules", "")
    assert system.version.startswith("5.")
    assert {"gcc/12.2.0", "gcc/9.5.0", "openblas/0.3.21"} <= set(system.available)
    assert system.defaults == ("gcc/9.5.0",)
    assert effect(software, "gcc/12.2.0").added["PATH"] == ("/opt/gcc/bin",)
    openblas = effect(software, "openblas/0.3.21")
    assert openblas.sets == {
        "OPENBLAS_ROOT": "/opt/openblas",
        "TEXT": """two 'a' `id` $(id) "b\"""",
    }
    assert openblas.unsets == ("UNSET_ME",)
    assert effect(software, "openmpi/4.1.4").loaded == ("gcc/12.2.0", "openmpi/4.1.4")
    assert dict(system.hidden) == {"mpich/4.1": ("gcc/12.2.0",)}
    behind = effect(software, "gcc/12.2.0", "mpich/4.1")
    assert behind.added["PATH"] == ("/opt/mpich/bin", "/opt/gcc/bin")
    assert "no_such_command" in effect(software, "blis/broken").problem
    assert "no_such_command" in software.missing["module blis/broken"]


@pytest.mark.lmod
@pytest.mark.parametrize("kind", ["lmod", "environment-modules"])
def test_a_conflict_with_what_the_user_loaded_hides_no_module(kind: str, tmp_path: Path) -> None:
    files, make = {
        "lmod": ({**LUA, "Core/gcc/9.5.0.lua": 'conflict("gcc")'}, lmod_environment),
        "environment-modules": (TCL, environment_modules_environment),
    }[kind]
    environment = {**os.environ, **make(tree(tmp_path, files), tmp_path)}
    init = collect_modules.find_system(environment)["init"]
    script = f'. "{init}"; module load gcc/12.2.0; /usr/bin/env -0 >"{tmp_path}/loaded"'
    subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=SLOW_S)
    loaded = modules.parse_environment((tmp_path / "loaded").read_bytes())
    assert loaded["LOADEDMODULES"] == "gcc/12.2.0"
    record = collect_modules.load(init, ("gcc/9.5.0",), collect.run, SLOW_S, loaded, modules)
    assert (record["problem"], record["loaded"]) == ("", ["gcc/9.5.0"])
    assert record["purged"] == (kind == "environment-modules")  # Lmod swaps by itself
    assert record["change"]["removed"]["PATH"] == ["/opt/gcc/bin"]


HOSTILE_LUA = {
    "Core/gcc/1-noise.lua": """
        io.stdout:write("echo PATH=/evil; LOADED=1;\\n")
        io.stderr:write("PATH=/evil\\0OTHER=1\\0\\n")
        setenv("QUOTES", [[a'b"c $HOME `id` $(id)]])
        prepend_path("PATH", "/opt/right/bin")
    """,
    "Core/gcc/2-exit.lua": 'execute{cmd="echo going away >&2; exit 3", modeA={"load"}}',
    "Core/gcc/3-error.lua": 'LmodError("this node has no licence")',
    "Core/gcc/4-syntax.lua": "this is not Lua (",
    "Core/gcc/5-env.lua": 'setenv("LD_PRELOAD", "/nowhere/x.so"); setenv("PYTHONHOME", "/nowhere")',
    "Core/gcc/$(touch canary).lua": 'setenv("A", "1")',
    "Core/gcc/`touch canary`.lua": 'setenv("A", "1")',
    "Core/gcc/a;touch canary.lua": 'setenv("A", "1")',
}


@pytest.mark.lmod
def test_hostile_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    software = looked(monkeypatch, lmod_environment(tree(tmp_path, HOSTILE_LUA), tmp_path))
    noise = effect(software, "gcc/1-noise")
    assert noise.added == {"PATH": ("/opt/right/bin",)}
    assert noise.sets["QUOTES"] == """a'b"c $HOME `id` $(id)"""
    assert "exit code 3" in effect(software, "gcc/2-exit").problem
    assert "this node has no licence" in effect(software, "gcc/3-error").problem
    assert effect(software, "gcc/4-syntax").problem
    assert effect(software, "gcc/5-env").sets["PYTHONHOME"] == "/nowhere"
    assert not list(tmp_path.rglob("canary"))
    assert all(modules.is_name(name) for name in software.modules.available)


@pytest.mark.lmod
def test_a_module_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'execute{cmd="sleep 1000", modeA={"load"}}'
    environment = lmod_environment(tree(tmp_path, {"Core/gcc/1.lua": text}), tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    record = collect_modules.load(
        str(collect_modules.find_system(dict(os.environ))["init"]),
        ("gcc/1",),
        collect.run,
        3,
        dict(os.environ),
        modules,
    )
    assert record["problem"].startswith("timed out after 3 s")


# --- systems that are made up: no real one is needed ----------------------------------------------


def system_of(folder: Path, init: str) -> dict[str, str]:
    """A module system whose init file is `init`."""
    (folder / "init").mkdir()
    (folder / "init" / "bash").write_text(init)
    (folder / "lmod").touch()
    return {"LMOD_PKG": str(folder), "LMOD_CMD": str(folder / "lmod"), "LMOD_DIR": str(folder)}


def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_modules, "PROFILES", [])
    monkeypatch.setattr(collect_modules, "LMOD_INITS", [])
    monkeypatch.setattr(collect_modules, "TCL_INITS", [])


def test_no_module_system(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere(monkeypatch)
    found = collect_modules.find_system({})
    assert (found["kind"], found["problem"]) == ("none", "")
    software = parse_software({"modules": found})
    assert software.modules.why_not == "no module system is installed here"


def test_a_job_without_a_module_path_asks_as_a_login_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere(monkeypatch)
    profile = tmp_path / "lmod.sh"
    profile.touch()
    monkeypatch.setattr(collect_modules, "PROFILES", [str(profile)])
    assert collect_modules.find_system({})["init"] == str(profile)
    assert collect_modules.find_system({"MODULEPATH": "/m"})["kind"] == "none"


def test_a_half_installed_lmod_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere(monkeypatch)
    gone = str(tmp_path / "gone" / "libexec" / "lmod")
    found = collect_modules.find_system({"LMOD_CMD": gone, "MODULESHOME": str(tmp_path)})
    software = parse_software({"modules": found})
    assert software.modules.kind == "none"
    assert software.modules.why_not == f"LMOD_CMD names {gone}, which is not there"


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("module() { sleep 1000; }", "timed out after 1 s"),
        ("sleep 1000", "timed out after 1 s"),
        ("module() { echo 'lmod: lua: not found'; return 127; }", "lua: not found"),
        ("exit 5", "exit code 5"),
        ("return 1", "exit code 91"),
        ("module() { :; }", "it lists no modules"),
        ("this is (( not bash", "exit code"),
        ("module() { yes | head -c 9000000; }", "it lists no modules"),
    ],
)
def test_a_broken_system_is_a_reason(
    init: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout_s = 1 if "1000" in init else SLOW_S
    software = looked(monkeypatch, system_of(tmp_path, init), timeout_s)
    assert software.modules.kind == "lmod"
    assert words in software.modules.why_not
    assert software.modules.available == ()


def test_values_of_several_lines_are_not_taken_for_others(tmp_path: Path) -> None:
    """Made up: real module systems do not quote a newline, so that a shell executes the rest."""
    init = r"""
    module() {
        export TEXT=$'one\nPATH=/evil\ntwo' LOADEDMODULES=gcc/1
        printf 'OTHER=1\0PATH=/evil\0'
    }
    """
    system = system_of(tmp_path, init)
    environment = {**os.environ, **system}
    environment.pop("LOADEDMODULES", None)
    script = f"{system['LMOD_PKG']}/init/bash"
    record = collect_modules.load(script, ("gcc/1",), collect.run, SLOW_S, environment, modules)
    assert record["problem"] == ""
    assert record["change"]["set"] == {"TEXT": "one\nPATH=/evil\ntwo"}
    assert record["change"]["added"] == {}


def test_time_that_runs_out_is_told(tmp_path: Path) -> None:
    chosen = [("gcc/1",), ("gcc/2", "openmpi/4")]
    system = {"init": str(tmp_path / "none")}
    records, late = collect_modules.load_all(
        system, chosen, collect.run, SLOW_S, time.monotonic(), modules
    )
    assert (records, late) == ([], ["gcc/1", "gcc/2 openmpi/4"])
    software = parse_software({"modules": {"kind": "lmod", "not_looked_at": late}})
    assert software.not_looked_at == ("gcc/1", "gcc/2 openmpi/4")
    assert software.missing["modules"] == "2 that may matter were not loaded"


def test_the_whole_collector_ends_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call of a compiler hangs, and there are many."""
    for name in ("gcc", "clang", "gfortran", "mpicc", "mpicxx", "mpifort", "icx", "nvc"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\nexec /bin/sleep 1000\n")
        path.chmod(0o755)
    nowhere(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    request = {"timeout_s": 1, "look_s": 3}
    facts = collect_software.collect(request, collect.run)
    software = parse_software(facts)
    assert software.missing[f"compiler {tmp_path}/clang"] == "--version: timed out after 1 s"
    asked = [x for x in software.missing.values() if x.endswith("not asked: out of time")]
    assert asked
