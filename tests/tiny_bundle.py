"""Makes unpacked bundles of small wheels: the real installer, pip and venv in about two seconds."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import shutil
import subprocess
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpcagent.bootstrap.bundle_archive import folder_entries, members
from hpcagent.bootstrap.bundle_entry import install_script
from hpcagent.bootstrap.install_check import read_host
from hpcagent.bootstrap.install_manifest import NAME, Manifest, Package, Platform, dump

ROOT = Path(__file__).resolve().parents[1]
PATH = "/usr/local/bin:/usr/bin:/bin"
VERSION = "7.0"
MAIN = "import sys\nprint('tiny', {version!r}, sys.argv[1:], sys.prefix)\n"
SITEFILES = """
import argparse, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--root"); parser.add_argument("--out")
given = parser.parse_args()
for name in {names!r}:
    path = pathlib.Path(given.out, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(given.root + chr(10))
"""


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: Own\n"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
        archive.writestr(f"{info}/METADATA", head)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/LICENSE", "do as you like\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pip_wheel() -> Path:
    """The one that Python brings with it."""
    bundled = Path(ensurepip.__file__).parent / "_bundled"
    system = Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/nonexistent")
    for folder in (bundled, system):
        for path in sorted(folder.glob("pip-*.whl")):
            return path
    pytest.skip("this Python brings no wheel of pip")


def own_files(version: str) -> dict[str, str]:
    """A stand-in of hpcagent with the real installer in it."""
    from hpcagent.bootstrap.install_tree import SITE_FILES

    names = [name % {"version": version} for name in SITE_FILES]
    files = {
        "hpcagent/__init__.py": "",
        "hpcagent/__main__.py": MAIN.format(version=version),
        "hpcagent/cli/__init__.py": "",
        "hpcagent/cli/sitefiles.py": SITEFILES.format(names=names),
    }
    for path in sorted((ROOT / "hpcagent" / "bootstrap").glob("*.py")):
        files[f"hpcagent/bootstrap/{path.name}"] = path.read_text(encoding="utf-8")
    return files


def this_platform(**changes: Any) -> Platform:
    host = read_host()
    platform = Platform(
        system=host.system,
        machine=host.machine,
        python=host.python.rsplit(".", 1)[0],
        abi=host.abi,
        glibc="2.17",
        cpu="generic",
        cpu_flags=[],
        gpu="none",
        libraries={"libc.so.6": ""},
    )
    return platform._replace(**changes)


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle; `env` is all that the installer sees."""

    folder: Path
    env: dict[str, str]

    def argv(self, *words: str) -> list[str]:
        return [str(self.folder / "install"), *words]

    def install(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), env=self.env, capture_output=True, text=True, timeout=300,
            check=False, **more,
        )  # fmt: skip

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words), env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @property
    def sha256(self) -> str:
        return hashlib.sha256((self.folder / NAME).read_bytes()).hexdigest()


def make_bundle(
    folder: Path, version: str = VERSION, module: str = "x = 1\n", installed_bytes: int = 10**6,
    **platform: Any,
) -> Bundle:  # fmt: skip
    """A bundle of a stand-in and one package `tiny`, whose module has the given text."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    pip = shutil.copy(pip_wheel(), wheels)
    own = wheel(wheels, "hpcagent", version, own_files(version))
    tiny = wheel(wheels, "tiny_thing", "1.0", {"tiny.py": module})
    for name, text in (
        ("models/a b.gguf", "GGUF"),
        ("sources/x.tar", "x"),
        ("licences/LIST.txt", ""),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "bin").mkdir()
    for name in ("agent_job.sh", "agent_job.pbs"):
        (folder / "bin" / name).write_text("#!/bin/sh\necho job\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "install").write_text(install_script(this_platform().python))
    (folder / "install").chmod(0o755)
    ignored = shutil.ignore_patterns("__pycache__")
    package = folder / "installer" / "hpcagent"
    shutil.copytree(ROOT / "hpcagent" / "bootstrap", package / "bootstrap", ignore=ignored)
    (package / "__init__.py").write_text("")
    manifest = Manifest(
        version=version,
        revision="",
        platform=this_platform(**platform),
        requirements=["tiny-thing"],
        llama_cmake_args=[],
        installed_bytes=installed_bytes,
        packages=[
            Package("pip", "1", Path(pip).name, "MIT"),
            Package("hpcagent", version, own.name, "Own"),
            Package("tiny-thing", "1.0", tiny.name, "Own"),
        ],
        files=members(folder_entries(str(folder), ""), lambda count: None),
    )
    (folder / NAME).write_bytes(dump(manifest))
    home, temporary = folder.parent / "home", folder.parent / "temporary"
    home.mkdir(exist_ok=True)
    temporary.mkdir(exist_ok=True)
    python = Path(os.path.realpath(sysconfig.get_config_var("BINDIR"))) / "python3"
    env = {
        "PATH": PATH,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "HPCAGENT_PYTHON": str(python),
    }
    return Bundle(folder, env)


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder: kind, mode and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = oct(path.lstat().st_mode)
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"link {path.readlink()}"
        elif path.is_dir():
            found[str(path.relative_to(folder))] = f"folder {mode}"
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"file {mode} {digest}"
    return found
