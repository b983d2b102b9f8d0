"""A bundle that is damaged, or for another machine, is told before anything is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import Bundle, make_bundle, this_platform

from hpcagent.bootstrap import install_check as check
from hpcagent.bootstrap.install_manifest import (
    NAME,
    SAFE_PATH,
    Manifest,
    Member,
    Package,
    dump,
    load,
)
from hpcagent.bootstrap.needs import SetupError


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle")


def refused(bundle: Bundle, tmp_path: Path, *words: str) -> str:
    """What is said where an installation is refused; nothing is written anywhere."""
    prefix = tmp_path / "prefix"
    before = sorted(tmp_path.iterdir())
    done = bundle.install("--prefix", str(prefix), *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert not prefix.exists()
    assert sorted(tmp_path.iterdir()) == before
    assert list((tmp_path / "home").iterdir()) == []
    return done.stderr


# --- hashes --------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def to_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "one bit": (flip, "changed: models/a b.gguf has another SHA-256"),
    "shorter": (
        lambda path: path.write_bytes(b"GG"),
        "changed: models/a b.gguf has 2 bytes, not 4",
    ),
    "missing": (lambda path: path.unlink(), "missing: models/a b.gguf"),
    "a link": (to_link, "changed: models/a b.gguf is not a plain file"),
    "surplus": (lambda path: path.with_name("b").write_text(""), "surplus: models/b"),
    "surplus link": (lambda path: path.with_name("b").symlink_to("/etc"), "surplus: models/b"),
    "surplus wheel": (
        lambda path: (path.parents[1] / "wheels" / "evil-1.whl").write_text(""),
        "surplus: wheels/evil-1.whl",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_told_with_the_file(
    bundle: Bundle, tmp_path: Path, damage: str
) -> None:
    act, words = DAMAGES[damage]
    act(bundle.folder / "models" / "a b.gguf")
    said = refused(bundle, tmp_path)
    assert words in said
    assert "nothing was written" in said


def test_verify_alone_needs_no_prefix_and_tells_the_same(bundle: Bundle) -> None:
    done = bundle.install("--verify")
    assert done.returncode == 0
    assert bundle.sha256 in done.stderr
    flip(bundle.folder / "wheels" / "tiny_thing-1.0-py3-none-any.whl")
    done = bundle.install("--verify")
    assert done.returncode == 3
    assert "changed: wheels/tiny_thing-1.0-py3-none-any.whl" in done.stderr


def test_the_manifests_own_hash_is_compared_where_it_is_given(
    bundle: Bundle, tmp_path: Path
) -> None:
    assert bundle.install("--verify", "--sha256", bundle.sha256.upper()).returncode == 0
    said = refused(bundle, tmp_path, "--sha256", "0" * 64)
    assert bundle.sha256 in said
    assert "0" * 64 in said


def test_many_problems_are_counted(bundle: Bundle, tmp_path: Path) -> None:
    for number in range(25):
        (bundle.folder / f"more-{number}").write_text("")
    said = refused(bundle, tmp_path)
    assert said.count("surplus: ") == check.MAX_TOLD
    assert f"and {25 - check.MAX_TOLD} more" in said


def test_a_manifest_that_is_none_is_told(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / NAME).write_text("{}")
    assert "is not a manifest" in refused(bundle, tmp_path)
    (bundle.folder / NAME).unlink()
    assert "No such file" in refused(bundle, tmp_path)


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
NAMES = st.from_regex(SAFE_PATH, fullmatch=True).filter(
    lambda name: not {".", ".."} & set(name.split("/"))
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    files = [Member("wheels/pip.whl", 1, "0" * 64, False)]
    for name in draw(st.lists(NAMES, unique=True, max_size=3)):
        digest = draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
        files.append(Member(name, draw(st.integers(0, 2**50)), digest, draw(st.booleans())))
    return Manifest(
        version="1.2",
        revision=draw(TEXT),
        platform=this_platform(cpu_flags=draw(st.lists(TEXT)), glibc=draw(TEXT)),
        requirements=draw(st.lists(TEXT, max_size=3)),
        llama_cmake_args=draw(st.lists(TEXT, max_size=3)),
        installed_bytes=draw(st.integers(0, 2**50)),
        packages=[Package("pip", "1", "pip.whl", draw(TEXT))],
        files=files,
    )


@given(manifests())
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    assert load(dump(manifest), "m") == manifest


@given(manifests(), st.data())
def test_a_broken_manifest_is_refused_and_never_a_crash(
    manifest: Manifest, data: st.DataObject
) -> None:
    raw = dump(manifest)
    at = data.draw(st.integers(0, len(raw) - 2))
    with pytest.raises(SetupError):
        load(raw[:at], "m")
    changed = json.loads(raw)
    key = data.draw(st.sampled_from(sorted(set(changed) - {"llama_cmake_args", "requirements"})))
    changed[key] = data.draw(st.sampled_from([None, 1.5j.imag + 0.25, {"a": 1}, [1], "\n"]))
    if key == "installed_bytes" and isinstance(changed[key], float):
        return
    if key == "revision" and changed[key] == "\n":
        return
    with pytest.raises(SetupError):
        load(json.dumps(changed).encode(), "m")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../b", "a//b", "a/./b", "a\nb", "", "-n\0"])
def test_a_name_that_leads_out_of_the_bundle_is_refused(name: str) -> None:
    member = Member(name, 0, "0" * 64, False)
    pip = Member("wheels/pip.whl", 1, "0" * 64, False)
    manifest = Manifest(
        "1", "", this_platform(), [], [], 0, [Package("pip", "1", "pip.whl", "")], [pip, member]
    )
    with pytest.raises(SetupError, match="file name"):
        load(dump(manifest), "m")


# --- the machine ---------------------------------------------------------------------------------

OTHERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "machine": ({"machine": "riscv128"}, ["for linux on riscv128", os.uname().machine]),
    "python": ({"python": "3.99"}, ["for Python 3.99", sys.version.split()[0], "--python"]),
    "abi": ({"abi": "cpython-399t"}, ["Python ABI cpython-399t", "cpython-3"]),
    "glibc": ({"glibc": "2.999"}, ["glibc 2.999", check.read_host().glibc]),
    "cpu": (
        {"cpu": "x86-64-v9", "cpu_flags": ["avx9", "turbo"]},
        ["x86-64-v9", "lacks avx9, turbo"],
    ),
    "library": ({"libraries": {"libabsent.so.9": ""}}, ["libabsent.so.9 cannot be loaded"]),
    "old library": ({"libraries": {"libc.so.6": "GLIBC_2.999"}}, ["libc.so.6 lacks GLIBC_2.999"]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_bundle_for_another_machine_is_told_with_both_sides(tmp_path: Path, what: str) -> None:
    changes, words = OTHERS[what]
    said = refused(make_bundle(tmp_path / "bundle", **changes), tmp_path)
    assert "cannot run here; nothing was written" in said
    for word in words:
        assert word in said


def test_all_that_is_wrong_is_told_at_once() -> None:
    wanted = this_platform(machine="riscv128", python="3.99", glibc="2.999")
    problems = check.platform_problems(wanted, check.read_host())
    assert len(problems) == 3


def test_an_old_python_is_told_that_it_is_too_old() -> None:
    host = check.read_host()._replace(python="3.6.15", abi="cpython-36m", executable="/bin/p")
    (problem,) = check.platform_problems(this_platform(python="3.11"), host)
    assert "for Python 3.11, and /bin/p is 3.6.15" in problem
    assert "dnf install python3.11" in problem


def test_versions_are_compared_as_numbers() -> None:
    host = check.read_host()._replace(glibc="2.9")
    (problem,) = check.platform_problems(this_platform(glibc="2.17"), host)
    assert "glibc 2.17 or newer, and this system has 2.9" in problem
    assert check.platform_problems(this_platform(glibc="2.9"), host._replace(glibc="2.17")) == []


def test_libraries_of_a_gpu_are_a_note_only() -> None:
    problems, notes = check.library_problems({"libcudart.so.99": "", "libc.so.6": ""})
    assert problems == []
    (note,) = notes
    assert "libcudart.so.99" in note


def other_pythons() -> list[str]:
    found = [shutil.which(f"python3.{minor}") for minor in range(6, 16)]
    usable = []
    for path in filter(None, found):
        done = subprocess.run([path, "-c", "import sys; print(sys.version_info[1])"],
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode == 0 and int(done.stdout) != sys.version_info[1]:
            usable.append(path)
    return usable


def test_another_python_verifies_and_says_that_it_is_another(
    bundle: Bundle, tmp_path: Path
) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("there is one Python only")
    for python in pythons:
        assert bundle.install("--verify", "--python", python).returncode == 0
        assert "the bundle is for Python" in refused(bundle, tmp_path, "--python", python)


def test_without_a_python_the_package_is_named(bundle: Bundle, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        bundle.argv("--prefix", "x"), env={"PATH": str(tools)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert re.search(r"no Python was found; Python 3\.\d+ is needed .*dnf install", done.stderr)


@pytest.mark.parametrize("words", [("--python", "/bin/false"), ("--python=/bin/false",)])
def test_a_python_that_does_not_start_is_named(bundle: Bundle, words: tuple[str, ...]) -> None:
    done = bundle.install("--prefix", "x", *words)
    assert done.returncode == 3
    assert "/bin/false does not start a Python" in done.stderr


# --- the place -----------------------------------------------------------------------------------


def test_a_prefix_is_needed(bundle: Bundle) -> None:
    done = bundle.install()
    assert done.returncode == 2
    assert "--prefix DIR is needed" in done.stderr


@pytest.mark.parametrize("name", ["a:b", "a\nb"])
def test_a_prefix_that_cannot_be_in_path_is_refused(
    bundle: Bundle, tmp_path: Path, name: str
) -> None:
    done = bundle.install("--prefix", str(tmp_path / name))
    assert done.returncode == 3
    assert "choose another place" in done.stderr
    assert not (tmp_path / name).exists()


def test_a_prefix_below_a_file_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = bundle.install("--prefix", str(tmp_path / "file" / "x"))
    assert done.returncode == 3
    assert f"{tmp_path / 'file'} is not a folder" in done.stderr


def test_a_prefix_that_nobody_can_write_is_refused(bundle: Bundle) -> None:
    done = bundle.install("--prefix", "/proc/hpcagent")
    assert done.returncode == 3
    assert "/proc" in done.stderr


def test_too_little_space_is_told_with_the_amounts(tmp_path: Path) -> None:
    said = refused(make_bundle(tmp_path / "bundle", installed_bytes=10**15), tmp_path)
    assert re.search(r"has \d+ MB free and 1000000000 MB are needed", said)


def test_what_is_not_ours_is_never_replaced(bundle: Bundle, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "agent_job.sh").write_text("mine")
    done = bundle.install("--prefix", str(prefix), "--force")
    assert done.returncode == 3
    assert f"{prefix}/bin/agent_job.sh" in done.stderr
    assert [str(path.relative_to(prefix)) for path in prefix.rglob("*")] == [
        "bin",
        "bin/agent_job.sh",
    ]


def test_a_dry_run_writes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    done = bundle.install("--prefix", str(tmp_path / "prefix"), "--dry-run")
    assert done.returncode == 0
    assert f"{tmp_path}/prefix/lib/hpcagent/7.0" in done.stderr
    assert not (tmp_path / "prefix").exists()


NOEXEC = "mount -t tmpfs -o noexec tmpfs {place} && "


def in_mounts(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run in a mount namespace of its own; the test is skipped where that is not permitted."""
    words = ["unshare", "-m", "sh", "-c"]
    probe = subprocess.run([*words, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("no mount namespaces here")
    return subprocess.run([*words, command], env=env, capture_output=True, text=True, check=False)


def test_a_prefix_that_is_mounted_noexec_is_told(bundle: Bundle, tmp_path: Path) -> None:
    place = tmp_path / "noexec"
    place.mkdir()
    mount = NOEXEC.format(place=place)
    done = in_mounts(f"{mount} {bundle.folder}/install --prefix {place}/x", bundle.env)
    assert done.returncode == 3
    assert "mounted noexec" in done.stderr
