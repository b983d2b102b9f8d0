"""What is installed from a wheel has the templates too, also when it was made from an sdist."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("buildtemplates", "jobscripts", "modulefiles")
LEFT_OUT = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "dist", "runs", "tests", "*.egg-info"
)

pytestmark = pytest.mark.wheel


def python(*words: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in, with a deep folder and with what must stay out of a wheel."""
    copy = tmp_path_factory.mktemp("wheel") / "checkout"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    for folder in SHARED:
        deep = copy / folder / "one" / "two"
        deep.mkdir(parents=True)
        (deep / "file.j2").write_text("{{ x }}\n", encoding="utf-8")
        (copy / folder / "__pycache__").mkdir()
        (copy / folder / "__pycache__" / "old.pyc").write_bytes(b"old")
    return copy


def build(folder: Path, kind: str, out: Path) -> Path:
    python("-m", "build", "--no-isolation", f"--{kind}", "-o", str(out), cwd=folder)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module", params=["checkout", "sdist"])
def wheel(
    request: pytest.FixtureRequest, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if request.param == "checkout":
        return build(checkout, "wheel", tmp_path_factory.mktemp("out"))
    sdist = build(checkout, "sdist", tmp_path_factory.mktemp("out"))
    unpacked = tmp_path_factory.mktemp("sdist")
    shutil.unpack_archive(sdist, unpacked)
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("out"))


def test_a_wheel_holds_every_file_of_the_package_and_the_templates(
    wheel: Path, checkout: Path
) -> None:
    expected = {
        f"hpcagent/share/{path.relative_to(checkout).as_posix()}"
        for folder in SHARED
        for path in (checkout / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    expected |= {
        path.relative_to(checkout).as_posix()
        for path in (checkout / "hpcagent").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected


def test_an_installed_wheel_finds_its_templates(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "a venv"
    python("-m", "venv", "--without-pip", str(venv), cwd=tmp_path)
    inside = venv / "bin" / "python"
    pip = ("-m", "pip", "--python", str(inside), "install", "--no-deps", "--no-index", str(wheel))
    python(*pip, cwd=tmp_path)
    for folder in SHARED:
        code = f"from hpcagent.templates import share; print(share({folder!r}))"
        done = subprocess.run(
            [inside, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        found = Path(done.stdout.strip())
        assert found.is_relative_to(venv)
        assert (found / "one" / "two" / "file.j2").read_text(encoding="utf-8") == "{{ x }}\n"
    assert (venv / "bin" / "hpcagent").exists()
