"""The tuned modulefiles, loaded by a real module system."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hpcagent.apps.render import result_files

pytestmark = pytest.mark.lmod

INITS = ("/usr/share/lmod/lmod/init/bash", "/usr/share/lmod/*/init/bash", "/opt/*/lmod/init/bash")
HOSTILE = [
    "$HOME",
    "${HOME}",
    "$(touch canary)",
    "`touch canary`",
    "[exec touch canary]",
    "a;touch canary",
    "a b",
    'q"q',
    "q'q",
    "''",
    '""',
    "back\\slash",
    "two\\\\",
    "end\\",
    "\\n",
    "{",
    "} {",
    "]]",
    "!x",
    "#c",
    "%p",
    "*",
    "~",
    "false",
    "nil",
    "0",
    "-n",
    "--",
    "&|<>",
    "a:b",
    "a=b",
    "",
]


@pytest.fixture(scope="module")
def init() -> str:
    for pattern in INITS:
        for path in sorted(Path("/").glob(pattern.lstrip("/"))):
            return str(path)
    pytest.skip("no Lmod here")


def write(root: Path, run_id: str, values: list[str], headline: str = "h") -> None:
    environment = [(f"HA_{i}", value) for i, value in enumerate(values)]
    files = result_files(run_id, "d", "/l", headline, environment, ["numactl"], [0, 1])
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def module(init: str, root: Path, kind: str, commands: str, locale: str = "C") -> tuple[str, str]:
    """Standard output and standard error of commands after `module use`."""
    setup = f"source {init}; module use '{root}/modulefiles-{kind}'; {commands}"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", setup],
        cwd=root,
        env={"HOME": str(root), "PATH": os.defpath, "LC_ALL": locale},
        capture_output=True,
    )
    return done.stdout.decode(), done.stderr.decode()


def variables(text: str) -> dict[str, str]:
    items = (item.partition("=") for item in text.split("\0"))
    return {name: value for name, _, value in items if name.startswith("HA_")}


@pytest.mark.parametrize("kind", ["lua", "tcl"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_every_value_arrives_unchanged(init: str, tmp_path: Path, kind: str, locale: str) -> None:
    write(tmp_path, "r1", HOSTILE, '± 1 % "$(touch canary)" [exec touch canary] ]] {')
    load = "module load hpcagent-openblas/r1; env -0"
    out, err = module(init, tmp_path, kind, load, locale)
    assert err == ""
    assert variables(out) == {f"HA_{i}": value for i, value in enumerate(HOSTILE)}
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.parametrize("kind", ["lua", "tcl"])
def test_unloading_takes_every_variable_away(init: str, tmp_path: Path, kind: str) -> None:
    write(tmp_path, "r1", ["1", "2"])
    name = "hpcagent-openblas/r1"
    out, err = module(init, tmp_path, kind, f"module load {name}; module unload {name}; env -0")
    assert (variables(out), err) == ({}, "")


@pytest.mark.parametrize("kind", ["lua", "tcl"])
def test_two_tuned_settings_are_never_loaded_together(init: str, tmp_path: Path, kind: str) -> None:
    write(tmp_path, "r1", ["one", "left over"])
    write(tmp_path, "r2", ["two"])
    load = "module load hpcagent-openblas/r1; module load hpcagent-openblas/r2; env -0"
    out, _ = module(init, tmp_path, kind, load)
    assert variables(out) in ({"HA_0": "two"}, {"HA_0": "one", "HA_1": "left over"})
    swapped, _ = module(init, tmp_path, kind, load.replace("; module load", "; module swap", 1))
    assert variables(swapped) == {"HA_0": "two"}


@pytest.mark.parametrize("kind", ["lua", "tcl"])
def test_help_says_what_was_gained_and_how_to_start(init: str, tmp_path: Path, kind: str) -> None:
    headline = '1.08 × as fast {"so"} [far] $x'
    write(tmp_path, "r1", ["1"], headline)
    out, err = module(init, tmp_path, kind, "module help hpcagent-openblas/r1", "C.UTF-8")
    assert headline in out + err
    assert "numactl taskset -c 0-1 your_program" in out + err
    out, err = module(init, tmp_path, kind, "module whatis hpcagent-openblas/r1", "C.UTF-8")
    assert "OpenBLAS setting tuned by hpcagent" in out + err
