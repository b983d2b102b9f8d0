"""A real bundle, installed and used in an empty home where there is no network at all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mainjob import PROJECT, WORKLOAD
from tiny_gguf import make_tiny_gguf

from hpcagent import __version__

ROOT = Path(__file__).resolve().parents[1]
# Not even the loopback interface is up in a new namespace (192.0.2.0/24 is for documentation).
REACH = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
# The compiled llama.cpp comes from the cache of the set-up; where there is none it is compiled.
pytestmark = [pytest.mark.wheel, pytest.mark.llama, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """What starts a program in a network namespace without interfaces."""
    for words in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
            tried = subprocess.run(
                [*words, sys.executable, "-c", REACH], capture_output=True, text=True, check=False
            )
            assert "Network is unreachable" in tried.stderr
            return words
    pytest.skip("network namespaces are not permitted here")


@dataclass(frozen=True)
class Site:
    """An unpacked bundle, an empty home, a prefix, and nothing else in the environment."""

    folder: Path
    bundle: Path
    prefix: Path
    alone: list[str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)}
        return subprocess.run(
            [*self.alone, *words], cwd=self.folder, env=env, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip

    def hpcagent(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(self.prefix / "bin" / "hpcagent", *words)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, alone: list[str]) -> Site:
    folder = tmp_path_factory.mktemp("site")
    make_tiny_gguf(folder / "tiny.gguf")
    command = [ROOT / "bin" / "bundle", "-o", folder, "--model", folder / "tiny.gguf"]
    env = {**os.environ, "HPCAGENT_PYTHON": sys.executable}
    made = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    found = re.search(r"manifest SHA-256 ([0-9a-f]{64})", made.stderr)
    assert found is not None
    (archive,) = folder.glob("*.tar")
    subprocess.run(["tar", "xf", archive], cwd=folder, check=True)
    (folder / "home").mkdir()
    site = Site(folder, folder / archive.stem, folder / "pre fix", alone)
    python = str(Path(sys.executable).resolve())
    done = site.run(
        site.bundle / "install", "--prefix", site.prefix, "--python", python,
        "--sha256", found.group(1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(site.home.iterdir()) == []
    return site


def test_the_manifest_names_the_parts_and_the_platform(site: Site) -> None:
    manifest = json.loads((site.bundle / "manifest.json").read_text())
    packages = {package["name"]: package for package in manifest["packages"]}
    assert {"hpcagent", "llama-cpp-python", "scipy-openblas32", "numpy", "pip"} <= set(packages)
    assert all(package["licence"] for package in packages.values())
    platform = manifest["platform"]
    assert platform["python"] == ".".join(map(str, sys.version_info[:2]))
    assert platform["gpu"] == "none"
    assert re.fullmatch(r"2\.\d+", platform["glibc"])
    assert "libstdc++.so.6" in platform["libraries"]
    listed = (site.bundle / "licences" / "LIST.txt").read_text()
    assert all(f"{name} " in listed for name in packages)


def test_the_installed_tool_says_its_version_and_plans(site: Site) -> None:
    done = site.hpcagent("--version")
    assert done.stdout == f"hpcagent, version {__version__}\n"
    done = site.hpcagent("tune", "--lib", "openblas", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "== confirm" in done.stdout


def test_the_manual_and_the_completions_are_in_place(site: Site) -> None:
    page = (site.prefix / "share" / "man" / "man1" / "hpcagent.1").read_text()
    assert ".SS tune" in page
    script = site.prefix / "share" / "bash-completion" / "completions" / "hpcagent"
    subprocess.run(["bash", "-n", script], check=True)
    module = site.prefix / "modulefiles" / "hpcagent" / f"{__version__}.lua"
    assert f"{site.prefix}/lib/hpcagent/{__version__}/bin" in module.read_text()


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "journal.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == kind]


@pytest.mark.openblas
def test_it_tunes_the_packaged_library_with_the_packaged_model(site: Site) -> None:
    (site.folder / "mix.yaml").write_text(WORKLOAD)
    (site.folder / "hpcagent.toml").write_text(PROJECT)
    (library,) = site.prefix.glob(
        f"lib/hpcagent/{__version__}/venv/lib/python3*/site-packages/scipy_openblas32/lib/*.so"
    )
    model = site.prefix / "share" / "hpcagent" / "models" / "tiny.gguf"
    run = site.folder / "run"
    done = site.hpcagent(
        "tune", "--lib", "openblas", "--workload", "mix.yaml", "--challengers", "4",
        "--budget", "rounds=1", "--openblas-prefix", library, "--model", model, "--run-dir", run,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(events(run, "run_closed")) == 1
    assert events(run, "llm_call")
    calls = [json.loads(line) for line in (run / "llm.jsonl").read_text().splitlines()]
    assert all(call["tokens_in"] > 0 for call in calls)
    assert (run / "result" / "report.html").is_file()


def test_uninstalling_leaves_nothing(site: Site, tmp_path: Path) -> None:
    prefix = tmp_path / "other"
    python = str(Path(sys.executable).resolve())
    done = site.run(site.bundle / "install", "--prefix", prefix, "--python", python)
    assert done.returncode == 0, done.stderr
    assert site.run(prefix / "bin" / "hpcagent", "--version").returncode == 0
    done = site.run(prefix / "lib" / "hpcagent" / __version__ / "uninstall")
    assert done.returncode == 0, done.stderr
    assert not prefix.exists()
