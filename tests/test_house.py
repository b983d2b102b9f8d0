"""The packaging lists in setup.cfg name everything that is in the checkout."""

from __future__ import annotations

import configparser
import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hpcagent"
SHARED = ("buildtemplates", "jobscripts", "modulefiles")


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def words(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip()}


def test_every_package_is_listed(setup_cfg: configparser.ConfigParser) -> None:
    found = {".".join(init.parent.relative_to(ROOT).parts) for init in PACKAGE.rglob("__init__.py")}
    shared = {f"hpcagent.share.{name}" for name in SHARED}
    assert words(setup_cfg["options"]["packages"]) == found | shared


def test_every_data_file_is_listed(setup_cfg: configparser.ConfigParser) -> None:
    patterns = setup_cfg["options.package_data"]
    for path in PACKAGE.rglob("*"):
        if path.is_dir() or path.suffix in {".py", ".pyc"}:
            continue
        home = path.parent
        while not (home / "__init__.py").exists():
            home = home.parent
        package = ".".join(home.relative_to(ROOT).parts)
        name = path.relative_to(home).as_posix()
        listed = words(patterns.get(package, ""))
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in listed), path


def test_every_requirement_has_a_lower_bound(setup_cfg: configparser.ConfigParser) -> None:
    for requirement in words(setup_cfg["options"]["install_requires"]):
        assert ">=" in requirement, requirement
