"""The launcher and the set-up of its environment: real shells, real pip, no network."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import io
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hpcagent.bootstrap import llama, needs, screen

ROOT = Path(__file__).resolve().parents[1]
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
TIMEOUT_S = 120

# --- a checkout of its own -----------------------------------------------------------------------

MAIN = """
import os, sys
import {module}
def main():
    print(repr([sys.argv[1:], {module}.__file__, os.getcwd()]))
"""


def make_checkout(root: Path, requirement: str = "tiny-thing >= 1", module: str = "tiny") -> Path:
    """The launcher and bootstrap as they are, around an hpcagent that needs one package."""
    (root / "bin").mkdir(parents=True)
    shutil.copy2(ROOT / "bin" / "hpcagent", root / "bin")
    package = root / "hpcagent"
    shutil.copytree(
        ROOT / "hpcagent" / "bootstrap",
        package / "bootstrap",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (package / "__init__.py").write_text("", encoding="utf-8")
    shutil.copy2(ROOT / "hpcagent" / "__main__.py", package)
    (package / "cli.py").write_text(MAIN.format(module=module), encoding="utf-8")
    (root / "setup.cfg").write_text(
        f"[options]\ninstall_requires =\n    {requirement}\n", encoding="utf-8"
    )
    return root


WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def metadata(name: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"


def make_wheel(house: Path, name: str, module: str, text: str) -> Path:
    """A wheel of version 1.0 that holds one module."""
    house.mkdir(exist_ok=True)
    path = house / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module}.py", text)
        wheel.writestr(f"{info}/METADATA", metadata(name))
        wheel.writestr(f"{info}/WHEEL", WHEEL)
        wheel.writestr(f"{info}/RECORD", "")
    return path


class Launch:
    """Starts of `bin/hpcagent` with nothing in the environment but what is given."""

    def __init__(self, checkout: Path, **env: str) -> None:
        self.command = checkout / "bin" / "hpcagent"
        home = checkout.parent / "new home"
        self.env = {
            "PATH": SYSTEM_PATH,
            "HOME": str(home),
            "HPCAGENT_PYTHON": sys.executable,
            **env,
        }

    def popen(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.command, *words],
            env=self.env | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(
        self, *words: str, cwd: str | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.command, *words],
            env=self.env | more,
            cwd=cwd,
            text=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "a checkout")


def answer(done: subprocess.CompletedProcess[str]) -> tuple[list[str], str, str]:
    """The words, the file of the imported package and the folder that the stand-in printed."""
    assert done.returncode == 0, done.stderr
    words, file, cwd = ast.literal_eval(done.stdout)
    return words, file, cwd


def only_line(done: subprocess.CompletedProcess[str], exit_code: int = 3) -> str:
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


# --- which Python --------------------------------------------------------------------------------


def fake_python(folder: Path, name: str, answer_line: str, exit_code: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{answer_line}'\nexit {exit_code}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def tools(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        found = shutil.which(name, path=SYSTEM_PATH)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_without_any_python_the_package_to_install_is_named(checkout: Path, tmp_path: Path) -> None:
    path = str(tools(tmp_path / "tools", "bash", "readlink"))
    line = only_line(Launch(checkout)(PATH=path, HPCAGENT_PYTHON=""))
    assert "no Python was found" in line
    assert "apt install python3 python3-venv" in line
    assert "dnf install python3.11" in line


def test_a_python_that_is_too_old_is_named_with_its_version(checkout: Path, tmp_path: Path) -> None:
    path = tools(tmp_path / "tools", "bash")
    fake_python(path, "python3", "3.9 False True /opt/old/python3.9")
    line = only_line(Launch(checkout)(PATH=str(path), HPCAGENT_PYTHON=""))
    assert "/opt/old/python3.9 is only Python 3.9" in line
    assert "3.11 or newer" in line


def test_a_shim_that_fails_is_passed_over(checkout: Path, tmp_path: Path) -> None:
    path = tools(tmp_path / "tools", "bash")
    fake_python(path, "python3.14", "", exit_code=127)
    fake_python(path, "python3.13", "3.13 True False /opt/bare/python3.13")
    line = only_line(Launch(checkout)(PATH=str(path), HPCAGENT_PYTHON=""))
    assert "/opt/bare/python3.13 has no ensurepip" in line
    assert "apt install python3.13-venv" in line


def test_a_python_named_by_the_user_that_does_not_start_is_told(checkout: Path) -> None:
    line = only_line(Launch(checkout)(HPCAGENT_PYTHON="/bin/false"))
    assert "HPCAGENT_PYTHON=/bin/false" in line


# --- refusals before anything is made ------------------------------------------------------------


def test_cmake_arguments_that_cannot_be_split_are_told(checkout: Path) -> None:
    done = Launch(checkout)(HPCAGENT_LLAMA_CMAKE_ARGS='-DGGML_CUDA=ON "-DX=1')
    assert done.returncode == 3
    assert 'HPCAGENT_LLAMA_CMAKE_ARGS=-DGGML_CUDA=ON "-DX=1: No closing' in done.stderr


def test_a_wheelhouse_that_is_no_folder_is_told(checkout: Path, tmp_path: Path) -> None:
    done = Launch(checkout)(HPCAGENT_WHEELHOUSE=str(tmp_path / "none"))
    assert done.returncode == 3
    assert f"HPCAGENT_WHEELHOUSE={tmp_path / 'none'} is not a folder" in done.stderr
    assert not (checkout / ".venv" / "bin").exists()


def test_a_folder_with_other_things_in_it_is_never_touched(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x", encoding="utf-8")
    line = only_line(Launch(checkout)(HPCAGENT_VENV=str(tmp_path / "mine")))
    assert "is not empty and was not made by hpcagent" in line
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_made_is_told(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    line = only_line(Launch(checkout)(HPCAGENT_VENV=str(tmp_path / "file" / "venv")))
    assert f"{tmp_path / 'file'}" in line
    assert "Not a directory" in line


def test_a_missing_compiler_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout", "llama-cpp-python >= 1", "llama_cpp")
    path = tools(tmp_path / "tools", "bash", "gcc", "ld", "as")
    done = Launch(checkout)(PATH=str(path), CC="gcc", HPCAGENT_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert "a C++ compiler is needed and none was found" in done.stderr
    assert "apt install build-essential" in done.stderr
    assert "dnf install gcc gcc-c++ make" in done.stderr
    assert not (checkout / ".venv" / "bin").exists()


def test_too_little_space_is_told_with_the_amounts(tmp_path: Path) -> None:
    with pytest.raises(needs.SetupError, match=r"MB free and 1000000000 MB are needed.*TMPDIR"):
        needs.check_space(str(tmp_path / "not" / "yet"), 10**15, "TMPDIR")


def test_the_bootstrap_parses_where_python_is_old() -> None:
    for path in (ROOT / "hpcagent" / "bootstrap").glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))


# --- one at a time -------------------------------------------------------------------------------


def test_a_second_start_waits_and_uses_what_the_first_made(checkout: Path) -> None:
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    with (venv / "hpcagent.lock").open("w") as lock:
        lock.write("process 1 on elsewhere")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = Launch(checkout).popen("word")
        assert second.stderr is not None
        said = second.stderr.readline()
        assert "process 1 on elsewhere is setting this environment up; waiting" in said
        fake_python(venv / "bin", "python", "started")
        head = f"hpcagent environment 1, {os.uname().machine}, {checkout}\n"
        setup_cfg = (checkout / "setup.cfg").read_text(encoding="utf-8")
        (venv / "hpcagent.stamp").write_text(head + setup_cfg, encoding="utf-8")
    out, err = second.communicate(timeout=TIMEOUT_S)
    assert (out, err, second.returncode) == ("started\n", "", 0)


# --- pure parts ----------------------------------------------------------------------------------


def test_requirements_are_those_of_setup_cfg_with_the_extra(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    a >= 1, < 2\n\n    b%c\n"
        "[options.extras_require]\ntest =\n    d\n",
        encoding="utf-8",
    )
    assert needs.requirements(str(tmp_path), "") == ["a >= 1, < 2", "b%c"]
    assert needs.requirements(str(tmp_path), "test") == ["a >= 1, < 2", "b%c", "d"]
    assert needs.name_of("Llama_cpp.python>=0.3") == "llama-cpp-python"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  [37/140] /usr/bin/g++ -c x.cpp", "compiling 37/140 (26 %)"),
        ("  [ 26%] Building CXX object x.o", "compiling 26 %"),
        ("Collecting numpy>=1.26", "collecting numpy>=1.26"),
        ("  Downloading https://example.org/a/b-1.whl (2 kB)", "downloading b-1.whl"),
        ("Installing collected packages: a, b", "installing"),
        ("  *** Configuring CMake...", ""),
    ],
)
def test_progress_is_read_from_the_output(line: str, expected: str) -> None:
    assert screen.compile_detail(line) == expected


def test_plain_progress_has_no_control_characters() -> None:
    stream = io.StringIO()
    shown = screen.Screen(stream, live=False, phases=4)
    with shown.phase("packages"):
        shown.detail = "collecting numpy"
        shown.shown -= 60
        shown.tick()
        shown.tick()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  1/4 packages"
    assert re.fullmatch(r"  1/4 packages: collecting numpy, \d+ s", lines[1])
    assert re.fullmatch(r"  1/4 packages: done, \d+ s", lines[2])
    assert len(lines) == 3


def test_reasons_of_a_failed_pip() -> None:
    absent = (
        "ERROR: Could not find a version that satisfies the requirement PyYAML>=6.0 "
        "(from versions: none)\nERROR: No matching distribution found for PyYAML>=6.0\n"
    )
    offline = "WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/\n"
    assert needs.pip_trouble(absent, "/w").startswith("the wheelhouse /w has no PyYAML>=6.0 for")
    assert needs.pip_trouble(absent, "").startswith("the package index has no PyYAML>=6.0 for")
    assert "HPCAGENT_WHEELHOUSE" in needs.pip_trouble(offline + absent, "")
    full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert needs.pip_trouble(full, "") == "the disk is full, or over quota"
    assert needs.pip_trouble("ERROR: odd thing\n", "") == "pip failed: ERROR: odd thing"


def test_a_build_is_portable_and_the_users_arguments_come_last() -> None:
    v3 = ["fpu", "avx", "avx2", "bmi2", "f16c", "fma", "avx512f"]
    args, note = llama.cmake_arguments("x86_64", v3, ["-DGGML_AVX2=OFF"])
    assert (args[0], args[-1], note) == ("-DGGML_NATIVE=OFF", "-DGGML_AVX2=OFF", "")
    assert "-DGGML_AVX2=ON" in args
    assert not any("AVX512" in arg for arg in args)


def test_an_old_cpu_gets_the_older_baseline_and_is_told() -> None:
    args, note = llama.cmake_arguments("x86_64", ["fpu", "avx", "sse4_2"], [])
    assert "-DGGML_AVX2=OFF" in args
    assert "-DGGML_SSE42=ON" in args
    assert "x86-64-v2" in note


def test_other_architectures_get_no_x86_arguments() -> None:
    args, note = llama.cmake_arguments("aarch64", [], [])
    assert not any("AVX" in arg or "SSE" in arg for arg in args)
    assert note == ""


def test_the_cache_tells_builds_apart() -> None:
    same = llama.cache_folder("/c", "llama-cpp-python >= 0.3", ["-DA=ON"])
    assert same == llama.cache_folder("/c", "llama-cpp-python >= 0.3", ["-DA=ON"])
    assert same != llama.cache_folder("/c", "llama-cpp-python >= 0.3", ["-DA=OFF"])
    assert same != llama.cache_folder("/c", "llama-cpp-python >= 0.4", ["-DA=ON"])
    assert platform.machine() in Path(same).name


def test_a_damaged_wheel_in_the_cache_is_passed_over(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "cache", "tiny_thing", "tiny", "x = 1\n" * 100)
    assert llama.whole_wheel(str(wheel.parent)) == str(wheel)
    wheel.write_bytes(wheel.read_bytes()[:-60])
    assert llama.whole_wheel(str(wheel.parent)) is None


# --- whole set-ups -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel house")
    make_wheel(folder, "tiny_thing", "tiny", "")
    return folder


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, house: Path) -> Launch:
    """A checkout that was set up from a wheelhouse, against settings that would lead pip astray."""
    folder = tmp_path_factory.mktemp("set up")
    checkout = make_checkout(folder / "a checkout")
    launch = Launch(checkout, HPCAGENT_WHEELHOUSE=str(house))
    done = launch(
        "first",
        "start",
        PIP_USER="1",
        PIP_REQUIRE_VIRTUALENV="1",
        PIP_TARGET=str(folder / "target"),
        PYTHONPATH="/nowhere",
        PYTHONHOME="/nowhere",
    )
    words, file, _ = answer(done)
    assert words == ["first", "start"]
    assert file.startswith(f"{checkout}/.venv/")
    phases = re.findall(r"^  (\d/4) .+: done", done.stderr, re.M)
    assert phases == ["1/4", "2/4", "3/4", "4/4"]
    return launch


def moved(ready: Launch, to: Path, requirement: str, module: str) -> Launch:
    """A copy of the checkout that is ready, with its environment, that needs something else."""
    shutil.copytree(ready.command.parents[1], to, symlinks=True)
    (to / "hpcagent" / "cli.py").write_text(MAIN.format(module=module), encoding="utf-8")
    (to / "setup.cfg").write_text(
        f"[options]\ninstall_requires =\n    {requirement}\n", encoding="utf-8"
    )
    return Launch(to, **{**ready.env, "HPCAGENT_CACHE": str(to.parent / "cache")})


@pytest.mark.wheel
def test_later_starts_say_nothing_and_keep_the_users_folder(ready: Launch, tmp_path: Path) -> None:
    done = ready("a b", "", "--x=$HOME", cwd=str(tmp_path))
    words, _, cwd = answer(done)
    assert (words, cwd, done.stderr) == (["a b", "", "--x=$HOME"], str(tmp_path), "")


@pytest.mark.wheel
def test_the_users_python_settings_do_not_matter(ready: Launch, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    hostile = {"PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "VIRTUAL_ENV": str(tmp_path)}
    done = ready(cwd=str(tmp_path), **hostile)
    answer(done)
    assert done.stderr == ""


@pytest.mark.wheel
def test_it_starts_through_symbolic_links(ready: Launch, tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(ready.command)
    (tmp_path / "two").symlink_to("one")
    done = subprocess.run(
        ["sh", "two", "x"], cwd=tmp_path, env=ready.env, capture_output=True, text=True, check=False
    )
    assert answer(done)[0] == ["x"]
    assert done.stderr == ""


@pytest.mark.wheel
def test_a_moved_checkout_uses_its_own_environment(ready: Launch, tmp_path: Path) -> None:
    launch = moved(ready, tmp_path / "moved", "tiny-thing >= 1", "tiny")
    assert answer(launch())[1].startswith(f"{tmp_path}/moved/.venv/")
    assert launch().stderr == ""


@pytest.mark.wheel
def test_a_package_that_the_wheelhouse_lacks_is_named(
    ready: Launch, house: Path, tmp_path: Path
) -> None:
    done = moved(ready, tmp_path / "moved", "absent-thing >= 7", "tiny")()
    assert done.returncode == 3
    assert f"the wheelhouse {house} has no absent-thing>=7 for Python" in done.stderr
    log = re.search(r"the whole output is in (.+)", done.stderr)
    assert log is not None
    assert "absent-thing" in Path(log.group(1)).read_text(encoding="utf-8")


def kill_the_set_up(launch: Launch, venv: Path, at: str) -> None:
    started = launch.popen()
    assert started.stderr is not None
    for line in started.stderr:
        if line.startswith(at):
            break
    else:
        pytest.fail(f"the set-up never came to {at!r}")
    holder = re.match(r"process (\d+) ", (venv / "hpcagent.lock").read_text(encoding="utf-8"))
    assert holder is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(holder.group(1)), signal.SIGKILL)
    started.communicate(timeout=TIMEOUT_S)


@pytest.mark.wheel
def test_a_killed_set_up_is_mended_at_the_next_start(checkout: Path, house: Path) -> None:
    launch = Launch(checkout, HPCAGENT_WHEELHOUSE=str(house))
    for at in ("  1/4", "  2/4", "  4/4"):
        kill_the_set_up(launch, checkout / ".venv", at)
        assert not (checkout / ".venv" / "hpcagent.stamp").exists()
    answer(launch("again"))
    assert not (checkout / ".venv" / "hpcagent.unfinished").exists()
    assert launch().stderr == ""


# --- llama.cpp from source -----------------------------------------------------------------------

# A build backend inside the source archive: what pip does with it is real, the compile is not.
BACKEND = """
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    print("*** Configuring CMake...", flush=True)
    print("[1/2] cc -c a.c", flush=True)
    {fail}
    name = "llama_cpp_python-1.0-py3-none-any.whl"
    info = "llama_cpp_python-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("llama_cpp.py", "args = %r" % os.environ["CMAKE_ARGS"])
        wheel.writestr(info + "METADATA", {metadata!r})
        wheel.writestr(info + "WHEEL", {wheel!r})
        wheel.writestr(info + "RECORD", "")
    return name
"""
FAIL = 'print("a.c:1:1: error: unknown type name", flush=True); raise SystemExit(1)'
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def make_source(house: Path, fail: str = "") -> Path:
    house.mkdir()
    base = "llama_cpp_python-1.0"
    files = {
        "pyproject.toml": PYPROJECT,
        "backend.py": BACKEND.format(fail=fail, metadata=metadata("llama_cpp_python"), wheel=WHEEL),
        "PKG-INFO": metadata("llama_cpp_python"),
    }
    with tarfile.open(house / f"{base}.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{base}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return house


def built_with(checkout: Path) -> str:
    python = checkout / ".venv" / "bin" / "python"
    code = "import llama_cpp; print(llama_cpp.args)"
    return subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.wheel
def test_llama_is_compiled_once_and_then_taken_from_the_cache(
    ready: Launch, tmp_path: Path
) -> None:
    house = make_source(tmp_path / "sources")
    env = {"HPCAGENT_WHEELHOUSE": str(house), "HPCAGENT_LLAMA_CMAKE_ARGS": "-DMORE=1"}
    first = moved(ready, tmp_path / "first", "llama-cpp-python >= 1", "llama_cpp")
    answer(first(CMAKE_ARGS="-DGGML_NATIVE=ON", **env))
    args = built_with(tmp_path / "first")
    assert args.startswith("-DGGML_NATIVE=OFF ")
    assert "-DMORE=1" in args
    assert "NATIVE=ON" not in args

    (house / "llama_cpp_python-1.0.tar.gz").unlink()
    second = moved(ready, tmp_path / "second", "llama-cpp-python >= 1", "llama_cpp")
    answer(second(**env))
    assert built_with(tmp_path / "second") == args


@pytest.mark.wheel
def test_a_failed_compile_quotes_its_errors_and_a_wheel_mends_it(
    ready: Launch, tmp_path: Path
) -> None:
    house = make_source(tmp_path / "sources", FAIL)
    launch = moved(ready, tmp_path / "first", "llama-cpp-python >= 1", "llama_cpp")
    done = launch(HPCAGENT_WHEELHOUSE=str(house))
    assert done.returncode == 3
    assert "a.c:1:1: error: unknown type name" in done.stderr
    assert str(tmp_path / "first" / ".venv" / "hpcagent-setup.log") in done.stderr

    make_wheel(house, "llama_cpp_python", "llama_cpp", "args = 'ready made'")
    answer(launch(HPCAGENT_WHEELHOUSE=str(house)))
    assert built_with(tmp_path / "first") == "ready made\n"
    assert not (tmp_path / "cache").exists()
