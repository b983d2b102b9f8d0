"""What bin/bundle makes of its parts: hashes, licences, needs, one archive that never varies."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import PATH, ROOT, this_platform

from hpcagent.bootstrap import bundle_archive as archive
from hpcagent.bootstrap import bundle_elf as elf
from hpcagent.bootstrap import bundle_wheels, llama
from hpcagent.bootstrap.bundle_licences import read_licence, write_licences
from hpcagent.bootstrap.install_check import read_host
from hpcagent.bootstrap.install_manifest import Manifest, Package, read_bundle
from hpcagent.bootstrap.needs import SetupError

# --- what libraries need -------------------------------------------------------------------------


def extension() -> Path:
    """A shared library that this Python brings with it."""
    spec = importlib.util.find_spec("_ctypes")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def test_the_needs_of_a_real_library_are_met_by_this_system() -> None:
    needs = elf.read_needs(extension().read_bytes())
    assert needs is not None
    assert "libc.so.6" in needs.libraries
    glibc = elf.newest(needs.versions["libc.so.6"], "GLIBC")
    assert (2, 2) <= elf.number(glibc) <= elf.number(read_host().glibc)


def test_they_are_what_readelf_says() -> None:
    tool = subprocess.run(
        ["sh", "-c", 'readelf -dW "$0"', str(extension())], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if tool.returncode != 0:
        pytest.skip("no readelf here")
    needed = {
        line.split("[")[1].split("]")[0] for line in tool.stdout.splitlines() if "(NEEDED)" in line
    }
    needs = elf.read_needs(extension().read_bytes())
    assert needs is not None
    assert needs.libraries == needed


@given(st.data())
def test_a_damaged_library_is_never_a_crash(data: st.DataObject) -> None:
    raw = bytearray(extension().read_bytes()[:4096])
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, 600))] = data.draw(st.integers(0, 255))
    try:
        elf.read_needs(bytes(raw[: data.draw(st.integers(0, 4096))]))
    except ValueError as error:
        assert str(error)


def test_a_table_beyond_all_memory_is_a_broken_file() -> None:
    raw = bytearray(extension().read_bytes()[:4096])
    raw[32:40] = b"\xff" * 8
    with pytest.raises(ValueError, match="a broken ELF file"):
        elf.read_needs(bytes(raw))


def test_needs_leave_out_what_the_wheels_bring(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.write(extension(), "a/x.so")
        wheel.writestr("a.libs/libffi.so.8", b"not elf")
    needs = elf.wheel_needs([str(tmp_path / "a.whl")])
    assert "libc.so.6" in needs
    assert "libffi.so.8" not in needs


def test_the_newest_version_counts_as_a_number() -> None:
    needs = {
        "libc.so.6": {"GLIBC_2.9", "GLIBC_2.17", "GLIBC_PRIVATE"},
        "libstdc++.so.6": {"GLIBCXX_3.4.9", "GLIBCXX_3.4.30", "CXXABI_1.3"},
        "libz.so.1": set[str](),
    }
    assert elf.summary(needs) == ("2.17", {"libstdc++.so.6": "GLIBCXX_3.4.30", "libz.so.1": ""})


# --- what a build runs on ------------------------------------------------------------------------

V3 = ["avx", "avx2", "bmi2", "f16c", "fma", "sse4_2", "avx512f"]


@pytest.mark.parametrize(
    ("flags", "more", "cpu", "has", "lacks"),
    [
        (V3, [], "x86-64-v3", "avx2", "avx512f"),
        (["sse4_2"], [], "x86-64-v2", "sse4_2", "avx2"),
        (V3, ["-DGGML_AVX512=ON"], "own", "avx512f", "amx_tile"),
        (V3, ["-DGGML_AVX2=off", "-DGGML_BMI2:BOOL=0"], "own", "avx", "avx2"),
        (V3, ["-DGGML_NATIVE=ON"], "native", "avx512f", "fpu"),
    ],
)
def test_the_cpu_that_a_build_needs(
    flags: list[str], more: list[str], cpu: str, has: str, lacks: str
) -> None:
    args, _ = llama.cmake_arguments("x86_64", flags, more)
    level, needed = llama.cpu_baseline("x86_64", flags, args)
    assert level == cpu
    assert has in needed
    assert lacks not in needed


def test_other_architectures_have_no_level() -> None:
    args, _ = llama.cmake_arguments("aarch64", ["asimd"], [])
    assert llama.cpu_baseline("aarch64", ["asimd"], args) == ("generic", [])


@pytest.mark.parametrize(
    ("args", "gpu"),
    [
        ([], "none"),
        (["-DGGML_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=80;90"], "cuda"),
        (["-DGGML_CUDA=ON", "-DGGML_CUDA=OFF"], "none"),
        (["-DGGML_HIP=1"], "hip"),
        (["-DGGML_VULKAN=true"], "vulkan"),
    ],
)
def test_the_gpu_variant_is_in_the_arguments(args: list[str], gpu: str) -> None:
    assert llama.gpu_variant(args) == gpu


def test_a_variant_has_its_own_wheel_in_the_cache() -> None:
    plain, _ = llama.cmake_arguments("x86_64", V3, [])
    cuda, _ = llama.cmake_arguments("x86_64", V3, ["-DGGML_CUDA=ON"])
    assert llama.cache_folder("/c", "x", plain) != llama.cache_folder("/c", "x", cuda)


# --- licences ------------------------------------------------------------------------------------


def licensed_wheel(folder: Path, name: str, head: str, files: dict[str, str]) -> str:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{head}\n"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", text)
        for inside, content in files.items():
            wheel.writestr(inside.replace("INFO", f"{name}-1.0.dist-info"), content)
    return str(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("License-Expression: MIT AND BSD-3-Clause", "MIT AND BSD-3-Clause"),
        ("License: Apache 2.0", "Apache 2.0"),
        ("Classifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("License: UNKNOWN", "see its files"),
    ],
)
def test_licences_are_read_from_the_metadata(tmp_path: Path, head: str, words: str) -> None:
    assert read_licence(licensed_wheel(tmp_path, "a_b", head, {})).licence == words


def test_every_licence_file_is_kept_and_listed(tmp_path: Path) -> None:
    files = {
        "INFO/licenses/LICENSE.txt": "one",
        "INFO/licenses/sub/LICENSE.txt": "two",
        "pkg/vendor/COPYING": "three",
        "INFO/licenses/Grant": "four",
        "pkg/license.py": "no licence",
    }
    path = licensed_wheel(tmp_path, "a_b", "License: X\nLicense-File: Grant", files)
    bare = licensed_wheel(tmp_path, "bare", "License: Y", {})
    without = write_licences(str(tmp_path / "out"), [read_licence(path), read_licence(bare)])
    assert without == ["bare"]
    kept = {p.read_text() for p in (tmp_path / "out" / "a-b-1.0").iterdir()}
    assert kept == {"one", "two", "three", "four"}
    listed = (tmp_path / "out" / "LIST.txt").read_text()
    for found in (tmp_path / "out" / "a-b-1.0").iterdir():
        assert f"a-b-1.0/{found.name}\n" in listed


def test_llama_cpp_keeps_the_licence_of_what_is_compiled_in(tmp_path: Path) -> None:
    files = {"INFO/licenses/LICENSE.md": "MIT terms"}
    path = licensed_wheel(tmp_path, "llama_cpp_python", "License: MIT", files)
    text = read_licence(path).files["llama.cpp-and-ggml.txt"].decode()
    assert "The ggml authors" in text
    assert text.endswith("MIT terms")


# --- the archive ---------------------------------------------------------------------------------


def make_entries(folder: Path) -> list[archive.Entry]:
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "pip.whl").write_text("pip")
    (folder / "install").write_text("#!/bin/sh\n")
    (folder / "install").chmod(0o700)
    return archive.folder_entries(str(folder), "")


def write(folder: Path, output: Path, entries: list[archive.Entry]) -> tuple[Manifest, str]:
    files = archive.members(entries, lambda count: None)
    packages = [Package("pip", "1", "pip.whl", "MIT")]
    manifest = Manifest("1", "", this_platform(), [], [], 1, packages, files)
    sources = {entry.path: entry.source for entry in entries}
    digest = archive.write_archive(
        str(output), "top", manifest, sources, 1_700_000_000, lambda count: None
    )
    return manifest, digest


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, tmp_path / f"{name}.tar", make_entries(tmp_path / name))
        os.utime(tmp_path / name / "install", (0, 0))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_archive_holds_what_its_manifest_says(tmp_path: Path) -> None:
    manifest, digest = write(tmp_path / "in", tmp_path / "b.tar", make_entries(tmp_path / "in"))
    subprocess.run(["tar", "xf", "b.tar"], cwd=tmp_path, check=True)
    assert read_bundle(str(tmp_path / "top")) == (manifest, digest)
    assert os.access(tmp_path / "top" / "install", os.X_OK)
    with tarfile.open(tmp_path / "b.tar") as made:
        assert {(info.uid, info.gid, info.mtime) for info in made} == {(0, 0, 1_700_000_000)}


def test_a_file_that_changes_meanwhile_ends_without_an_archive(tmp_path: Path) -> None:
    entries = make_entries(tmp_path / "in")
    files = archive.members(entries, lambda count: None)
    packages = [Package("pip", "1", "pip.whl", "MIT")]
    manifest = Manifest("1", "", this_platform(), [], [], 1, packages, files)
    (tmp_path / "in" / "wheels" / "pip.whl").write_text("pop")
    sources = {entry.path: entry.source for entry in entries}
    with pytest.raises(SetupError, match="changed while it was being bundled"):
        archive.write_archive(str(tmp_path / "b.tar"), "top", manifest, sources, 1, lambda n: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["a\nb", "a\udcff", "ä", "a;b"])
def test_a_name_that_does_not_travel_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(SetupError, match="name it with letters"):
        archive.members(archive.folder_entries(str(tmp_path), ""), lambda count: None)


def test_programs_that_need_a_checkout_stay_behind(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    for name in ("hpcagent", "test", "bundle", "agent_job.sh", "agent_job.pbs"):
        (root / "bin" / name).write_text("#!/bin/sh\n")
        (root / "bin" / name).chmod(0o755)
    (root / "hpcagent").symlink_to(ROOT / "hpcagent")
    bundle_wheels.stage_programs(str(root), str(tmp_path / "out"))
    names = {path.name for path in (tmp_path / "out" / "bin").iterdir()}
    assert names == {"agent_job.sh", "agent_job.pbs"}
    installer = tmp_path / "out" / "installer" / "hpcagent" / "bootstrap"
    assert (installer / "install.py").exists()
    assert not list(installer.glob("bundle*"))


# --- the command ---------------------------------------------------------------------------------


def bundle(tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "bin" / "bundle", *words],
        env={
            "PATH": PATH,
            "HOME": str(tmp_path / "home"),
            "HPCAGENT_PYTHON": sys.executable,
            **env,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_teaches(tmp_path: Path) -> None:
    done = bundle(tmp_path, "--help")
    assert done.returncode == 0
    for words in ("--model FILE", "-DGGML_CUDA=ON", "install --prefix DIR", "exit codes"):
        assert words in done.stdout
    assert "--root" not in done.stdout


def test_a_dry_run_shows_the_parts_and_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    words = ("--dry-run", "--model", "m.gguf", "--llama-cmake-args", "-DGGML_CUDA=ON")
    before = sorted(tmp_path.iterdir())
    done = bundle(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    for word in ("numpy", "llama-cpp-python", "scipy-openblas32", "m.gguf", "-cuda.tar",
                 "-DGGML_NATIVE=OFF", "-DGGML_CUDA=ON", "to be compiled"):  # fmt: skip
        assert word in done.stdout
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "none/x.tar"), "there is no folder"),
        (("-o", "old.tar"), "old.tar exists; --force replaces it"),
        (("--model", "none.gguf"), "--model none.gguf: No such file or directory"),
        (("--model", "old.tar"), "this is no GGUF file"),
        (("--source", "a;b"), "name it with letters"),
        (("--source", "old.tar", "--source", "sub/old.tar"), "old.tar is named twice"),
        (("--llama-cmake-args", "'x"), "--llama-cmake-args"),
    ],
)
def test_bad_requests_are_told_before_any_work(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("old.tar", "a;b", "sub/old.tar"):
        (tmp_path / name).write_text("mine")
    done = bundle(tmp_path, *words)
    assert done.returncode == 3
    assert said in done.stderr
    assert (tmp_path / "old.tar").read_text() == "mine"
    assert not (tmp_path / "home").exists()


def test_a_gpu_build_without_its_compiler_is_told(tmp_path: Path) -> None:
    if bundle_wheels.tool_for("hip") == "":
        pytest.skip("hipcc is here")
    done = bundle(tmp_path, "--llama-cmake-args=-DGGML_HIP=ON")
    assert done.returncode == 3
    assert "a hip build of llama.cpp needs hipcc" in done.stderr


@pytest.mark.wheel
def test_an_index_that_cannot_be_reached_is_told_with_the_cure(tmp_path: Path) -> None:
    done = bundle(
        tmp_path, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES="1",
    )  # fmt: skip
    assert done.returncode == 3
    assert "the package index cannot be reached; set HPCAGENT_WHEELHOUSE" in done.stderr
    assert not list(tmp_path.glob("*.tar*"))
