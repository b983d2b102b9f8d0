"""Rendering: golden bytes, quoting that real programs accept, refusals in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcagent import templates
from hpcagent.apps import render
from hpcagent.errors import UsageError
from hpcagent.records import Compiler, Library

GOLDEN = Path(__file__).parent / "golden"
ALL_ROUTINES = tuple(p + family for p in "ds" for family in render.FAMILIES)
GENERATORS = ["Unix Makefiles", *(["Ninja"] if shutil.which("ninja") else [])]
CC = shutil.which("cc") or "/usr/bin/cc"

WORDS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
    | st.sampled_from(
        ["", "-n", "--", "$(touch canary)", "`touch canary`", "; touch canary", "'; touch canary '"]
    )
    | st.sampled_from(['"', "'", "\\", "a b", "$HOME", "*", "~", "!x", "#", "é", "😀", "a'b\"c\\"])
)
EVERY_ALLOWED = "".join(chr(c) for c in range(33, 127) if chr(c) not in ';\\|$:,"/')


def library(path: str = "/opt/openblas/lib/libopenblas.so.0", **changes: object) -> Library:
    values: dict[str, object] = {
        "source": "prefix",
        "version": "0.3.21",
        "config": "OpenBLAS 0.3.21",
        "dynamic_arch": True,
        "threading": "pthreads",
        "max_threads": 64,
        "default_threads": 2,
        "interface": "lp64",
        "symbol_prefix": "",
        "symbol_suffix": "",
        "core": "SkylakeX",
        "routines": ALL_ROUTINES,
    }
    return Library(path=path, **{**values, **changes})  # type: ignore[arg-type]


def compiler(path: str = "/usr/bin/gcc") -> Compiler:
    return Compiler("c", "gcc", path, "12.2.0")


def golden_renderings() -> dict[str, str]:
    """Every template, with plain and with demanding values."""
    results = (
        "20250101-openblas",
        "2025-01-01T00:00:00Z",
        "/opt/openblas/lib/libopenblas.so.0",
    )
    files = {
        f"driver-lp64/{name}": text
        for name, text in render.driver_files(library(), compiler(), ("-O2", "-Wall")).items()
    }
    reduced = library(
        "/opt/my blas's/lib/libscipy_openblas64_.so",
        interface="ilp64",
        symbol_prefix="scipy_",
        symbol_suffix="64_",
        routines=("sgemv", "dgemm"),
    )
    for name, text in render.driver_files(reduced, compiler("/opt/c c/gcc"), ("-O2",)).items():
        files[f"driver-ilp64/{name}"] = text
    files["job/job.sh"] = render.job_script(
        ["#SBATCH --job-name=haabcdefghijkl", "#SBATCH --time=00:10:00"],
        ["module load python"],
        "/scratch/o'brien/work/haabcdefghijkl",
        ["python3", "worker.py", "$(touch canary)", ""],
    )
    files["job/pack.sh"] = render.pack_script(
        ["#PBS -N haabcdefghijkl"],
        ["module load python"],
        ["/scratch/o'brien/work/haabcdefghijkl", "/scratch/$(touch canary)/ha2"],
        ["python3", "worker.py", "spec.json"],
    )
    tuned = render.result_files(
        *results,
        "1.084 times as fast as the default (99.5 % interval 1.071 to 1.097)",
        [("OPENBLAS_CORETYPE", "SkylakeX"), ("OPENBLAS_NUM_THREADS", "2")],
        ["numactl", "--interleave=all"],
        [3, 0, 1],
    )
    files |= {f"tuned/{name}": text for name, text in tuned.items()}
    nothing = render.result_files(*results, "Nothing is better than the default.", [], [], [])
    return files | {f"nothing/{name}": text for name, text in nothing.items()}


def test_renderings_are_the_golden_bytes() -> None:
    rendered = golden_renderings()
    if os.environ.get("HPCAGENT_UPDATE_GOLDEN") == "1":
        for name, text in rendered.items():
            (GOLDEN / "render" / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / "render" / name).write_bytes(text.encode())
    kept = {
        str(path.relative_to(GOLDEN / "render")): path.read_bytes().decode()
        for path in (GOLDEN / "render").rglob("*")
        if path.is_file()
    }
    assert rendered == kept


def test_an_unknown_name_in_a_template_is_an_error() -> None:
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        templates.render(templates.share("jobscripts") / "best.env.j2", {})


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "\x1b[0m", "a\u2028b", "a\x85b", "\udc80"])
def test_control_characters_never_pass_a_filter(text: str) -> None:
    quotes = [templates.quote_sh, templates.quote_make, templates.quote_cmake]
    for quote in [*quotes, templates.quote_lua, templates.quote_tcl]:
        with pytest.raises(UsageError) as caught:
            quote(text)
        assert "\n" not in str(caught.value)


# --- job scripts ---------------------------------------------------------------------------------


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(argv=st.lists(WORDS, max_size=5), folder=WORDS.filter(lambda w: w not in ("", ".", "..")))
def test_bash_runs_exactly_the_command(tmp_path: Path, argv: list[str], folder: str) -> None:
    unit = tmp_path / folder.replace("/", "_")[:60].encode()[:200].decode(errors="ignore")
    unit.mkdir(exist_ok=True)
    show = "import os, sys; print(repr((os.getcwd(), sys.argv[1:])))"
    text = render.job_script(["#SBATCH x"], [], str(unit), [sys.executable, "-c", show, *argv])
    script = tmp_path / "job.sh"
    script.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["bash", str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "CDPATH": "/"},
    )
    assert done.stderr == ""
    assert done.stdout == repr((str(unit), argv)) + "\n"
    assert not list(tmp_path.rglob("canary"))


def test_units_that_share_a_job_run_whatever_the_others_do(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a 'b'", "gone", "$(touch canary)", "last")]
    for folder in folders:
        if folder.name != "gone":
            folder.mkdir()
    argv = ["sh", "-c", 'pwd; [ $(basename "$PWD") != last ] || exit 3; exit 9']
    script = tmp_path / "job.sh"
    script.write_text(render.pack_script([], [], [str(f) for f in folders], argv))
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    assert "gone" in done.stderr
    for folder in folders:
        if folder.name != "gone":
            assert (folder / "out").read_text() == f"{folder}\n"
    assert not list(tmp_path.rglob("canary"))


def test_directives_come_before_every_command() -> None:
    lines = render.job_script(["#PBS -l x", "#PBS -N y"], ["module load a"], "/w", ["x"])
    assert lines.splitlines()[:3] == ["#!/bin/bash", "#PBS -l x", "#PBS -N y"]


def test_a_job_without_its_folder_runs_nothing(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(render.job_script([], [], str(tmp_path / "gone"), ["touch", "canary"]))
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, capture_output=True)
    assert done.returncode != 0
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("directives", "prologue", "folder", "argv", "word"),
    [
        (["touch canary"], [], "/w", ["x"], "directive"),
        (["#SBATCH\ntouch canary"], [], "/w", ["x"], "directive"),
        ([], ["a\nb"], "/w", ["x"], "prologue"),
        ([], [], "relative", ["x"], "folder"),
        ([], [], "/w\n", ["x"], "shell word"),
        ([], [], "/w", [], "command"),
        ([], [], "/w", [""], "command"),
    ],
)
def test_bad_job_values_are_refused_in_one_line(
    directives: list[str], prologue: list[str], folder: str, argv: list[str], word: str
) -> None:
    with pytest.raises(UsageError) as caught:
        render.job_script(directives, prologue, folder, argv)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


# --- results -------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).map("HA_".__add__)
VALUES = st.from_regex(r"([!-~]([ -~]{0,20}[!-~])?)?", fullmatch=True)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pairs=st.dictionaries(NAMES, VALUES, max_size=4), headline=WORDS)
def test_shells_read_the_tuned_environment(
    tmp_path: Path, pairs: dict[str, str], headline: str
) -> None:
    files = render.result_files("r1", "d", "/l", headline, list(pairs.items()), [], [])
    (tmp_path / "best.env").write_text(files["best.env"], encoding="utf-8")
    snippet = files["snippet.sh"].replace("your_program", "env -0")
    (tmp_path / "snippet.sh").write_text(snippet, encoding="utf-8")
    for command in ("set -a; . ./best.env; env -0", ". ./snippet.sh"):
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            check=True,
        )
        seen = dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if item)
        assert {name: seen[name] for name in pairs} == pairs
        assert done.stderr == b""
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"environment": [("A-B", "1")]}, "environment variable"),
        ({"environment": [("A", "x\ny")]}, "environment variable A"),
        ({"environment": [("A", " x")]}, "environment variable A"),
        ({"run_id": "../x"}, "run id"),
        ({"run_id": "x.lua"}, "run id"),
        ({"run_id": "x\n"}, "run id"),
        ({"headline": "x\nrm"}, "headline"),
        ({"library_path": "x\nrm"}, "library"),
        ({"date_utc": "x\nrm"}, "date"),
        ({"prefix": ["x\nrm"]}, "shell word"),
        ({"binding": [-1]}, "binding"),
    ],
)
def test_bad_result_values_are_refused_in_one_line(changes: dict[str, object], word: str) -> None:
    values: dict[str, object] = {
        "run_id": "r1",
        "date_utc": "d",
        "library_path": "/l",
        "headline": "h",
        "environment": [],
        "prefix": [],
        "binding": [],
    }
    with pytest.raises(UsageError) as caught:
        render.result_files(**{**values, **changes})  # type: ignore[arg-type]
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sets(st.integers(0, 300)))
def test_cpu_lists_name_the_same_cpus(cpus: set[int]) -> None:
    named: list[int] = []
    for part in filter(None, render.cpu_list(cpus).split(",")):
        first, _, last = part.partition("-")
        named.extend(range(int(first), int(last or first) + 1))
    assert named == sorted(cpus)


# --- build files ---------------------------------------------------------------------------------


def toy_library(folder: Path, name: str = "libtoy.so.0") -> Path:
    """A library with a `dgemm_` and a soname like OpenBLAS's."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "toy.c"
    source.write_text("void dgemm_(void) {}\n")
    words = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
    subprocess.run([CC, *words], check=True)
    return folder / name


def build_folder(root: Path, path: Path, cc: Path | str, flags: tuple[str, ...]) -> Path:
    root.mkdir(exist_ok=True)
    lib = library(str(path), routines=("dgemm",))
    for name, text in render.driver_files(lib, compiler(str(cc)), flags).items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def loaded(driver: Path) -> str:
    done = subprocess.run([driver, "--info"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].removeprefix("library ")


def hostile_case(root: Path, name: str) -> tuple[Path, Path]:
    """A library and a compiler that live in folders of that name."""
    path = toy_library(root / "lib" / name)
    cc = root / "cc" / name / name
    cc.parent.mkdir(parents=True, exist_ok=True)
    cc.write_text(f'#!/bin/sh\nexec {CC} "$@"\n')
    cc.chmod(0o755)
    return path, cc


PATH_NAMES = (
    st.text(
        st.sampled_from(EVERY_ALLOWED + " éλ中"),
        min_size=1,
        max_size=20,
    )
    .filter(lambda name: name not in (".", ".."))
    .map("x".__add__)
)


@pytest.mark.openblas
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=PATH_NAMES)
def test_make_builds_whatever_is_not_refused(tmp_path: Path, name: str) -> None:
    path, cc = hostile_case(tmp_path, name)
    folder = build_folder(tmp_path / "build", path, cc, ("-O0", '-DSAID="it\'s 5% (of) #1"'))
    subprocess.run([*render.BUILD_COMMAND[:-1], "-B", "driver"], cwd=folder, check=True)
    assert loaded(folder / "driver") == str(path)


@pytest.mark.openblas
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("name", [EVERY_ALLOWED, "a b  é中😀"])
def test_cmake_builds_whatever_is_not_refused(tmp_path: Path, generator: str, name: str) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake here")
    path, cc = hostile_case(tmp_path, name)
    folder = build_folder(tmp_path / "build", path, cc, ("-O0", '-DSAID="it\'s 5% (of) #1"'))
    environment = {**os.environ, "CFLAGS": "-no-such-flag", "LDFLAGS": "-no-such-flag"}
    for words in (["-G", generator, "-S", ".", "-B", "out"], ["--build", "out"]):
        subprocess.run([cmake, *words], cwd=folder, env=environment, check=True)
    assert loaded(folder / "out" / "driver") == str(path)


@pytest.mark.openblas
@pytest.mark.parametrize(
    "environment",
    [
        {"CFLAGS": "-no-such-flag", "CC": "false", "LDFLAGS": "-no-such-flag", "LDLIBS": "-lno"},
        {"MAKEFLAGS": "n"},
        {"MAKEFLAGS": "e -- CC=false SHELL=/bin/false", "SHELL": "/bin/false"},
        {"MAKEFILES": "/no/such/file", "GNUMAKEFLAGS": "-t"},
    ],
)
def test_the_environment_does_not_change_the_build(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = toy_library(tmp_path / "lib")
    folder = build_folder(tmp_path / "build", path, CC, ("-O0",))
    words = [render.BUILD_COMMAND, ("make",)]
    for command in words:
        (folder / "driver").unlink(missing_ok=True)
        subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True)
        assert loaded(folder / "driver") == str(path)


@pytest.mark.parametrize(
    ("lib", "cc", "flags", "word"),
    [
        *((library(f"/opt/a{c}b/libx.so"), compiler(), (), "library") for c in ';\\|$:,"\n\x7f'),
        *((library(), compiler(f"/opt/a{c}b/gcc"), (), "compiler") for c in ';\\|$:,"\n\x7f'),
        *((library(), compiler(), (f"-DA{c}",), "compiler flag") for c in ";\\|$\n"),
        (library("lib/libx.so"), compiler(), (), "absolute"),
        (library("/"), compiler(), (), "absolute"),
        (library(), compiler("gcc"), (), "absolute"),
        (library(), compiler(), ("driver.o",), "compiler flag"),
        (library(), compiler(), ("@file",), "compiler flag"),
        (library(symbol_prefix="a-b"), compiler(), (), "symbol prefix"),
        (library(symbol_suffix='64_"'), compiler(), (), "symbol suffix"),
        (library(interface="ilp32"), compiler(), (), "interface"),
        (library(routines=("zgemm",)), compiler(), (), "none of the routines"),
    ],
)
def test_bad_build_values_are_refused_in_one_line(
    lib: Library, cc: Compiler, flags: tuple[str, ...], word: str
) -> None:
    with pytest.raises(UsageError) as caught:
        render.driver_files(lib, cc, flags)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)
