"""A finished build is found again, half a one is not; two builders do not disturb each other."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hpcagent.toolchain import publish, sourcefiles, unpack


def staged(tmp_path: Path, name: str, content: str = "library") -> dict[str, Any]:
    folder = tmp_path / name / "stage"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "libx.so.0").write_text(content)
    (folder / "lib" / "libx.so").symlink_to("libx.so.0")
    return {
        "staged": str(folder),
        "prefix": str(tmp_path / "store" / "x-1-abc"),
        "required": ["lib/libx.so"],
        "compilers": [sys.executable, "/nowhere/cc"],
        "environment": ["HA_RECORDED", "HA_ABSENT"],
        "texts": {"modulefiles-tcl/x/1": "#%Module\n"},
        "manifest": {"name": "x", "digest": "abc"},
    }


def run(tmp_path: Path, plan: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / f"{Path(plan['staged']).parent.name}.json"
    path.write_text(json.dumps(plan))
    words = [sys.executable, publish.__file__, *options, str(path)]
    environment = {**os.environ, "HA_RECORDED": "1", "LOADEDMODULES": "gcc/12:mpich/4"}
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def test_a_build_is_put_in_its_place_with_a_manifest_of_everything(tmp_path: Path) -> None:
    plan = staged(tmp_path, "one")
    assert run(tmp_path, plan, "--absent").returncode == 0
    assert run(tmp_path, plan).returncode == 0
    assert run(tmp_path, plan, "--absent").returncode == publish.THERE
    prefix = Path(plan["prefix"])
    manifest = json.loads((prefix / "manifest.json").read_text())
    hashed = hashlib.sha256(b"library").hexdigest()
    assert manifest["files"]["lib/libx.so.0"] == {"bytes": 7, "sha256": hashed}
    assert manifest["files"]["lib/libx.so"] == {"link": "libx.so.0"}
    assert set(manifest["files"]) == {"lib/libx.so", "lib/libx.so.0", "modulefiles-tcl/x/1"}
    assert manifest["environment"] == {"HA_RECORDED": "1"}
    assert manifest["modules_loaded"] == ["gcc/12", "mpich/4"]
    assert manifest["compilers_say"][sys.executable].startswith("Python 3")
    assert "cannot be asked" in manifest["compilers_say"]["/nowhere/cc"]
    assert manifest["node"]["host"]
    assert not Path(plan["staged"]).exists()


@pytest.mark.parametrize("damage", ["manifest", "file", "short", "link"])
def test_half_a_build_is_not_found_and_gives_way(tmp_path: Path, damage: str) -> None:
    plan = staged(tmp_path, "one")
    run(tmp_path, plan)
    prefix = Path(plan["prefix"])
    if damage == "manifest":
        (prefix / "manifest.json").unlink()
    elif damage == "file":
        (prefix / "lib" / "libx.so.0").unlink()
    elif damage == "short":
        (prefix / "lib" / "libx.so.0").write_text("lib")
    else:
        (prefix / "lib" / "libx.so").unlink()
    assert run(tmp_path, plan, "--absent").returncode == 0
    assert run(tmp_path, staged(tmp_path, "two")).returncode == 0
    assert (prefix / "lib" / "libx.so").read_text() == "library"
    assert sorted(p.name for p in prefix.parent.iterdir()) == [prefix.name]


def test_the_first_of_two_builders_wins(tmp_path: Path) -> None:
    plans = [staged(tmp_path, f"builder{i}", f"built by {i}") for i in range(6)]
    ends: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda p=p: ends.append(run(tmp_path, p))) for p in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end.returncode for end in ends] == [0] * 6
    assert sum("is finished" in end.stdout for end in ends) == 1
    assert sum("another builder was first" in end.stdout for end in ends) == 5
    prefix = Path(plans[0]["prefix"])
    assert publish.finished(str(prefix))
    assert [p.name for p in prefix.parent.iterdir()] == [prefix.name]


def test_nothing_is_put_in_place_where_something_is_missing(tmp_path: Path) -> None:
    plan = {**staged(tmp_path, "one"), "required": ["lib/libx.so", "include/x.h"]}
    end = run(tmp_path, plan)
    assert (end.returncode, end.stderr) == (3, "publish: the build did not make include/x.h\n")
    assert not Path(plan["prefix"]).exists()


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    plan = staged(tmp_path, "one")
    (tmp_path / "store").write_text("a file")
    end = run(tmp_path, plan)
    assert end.returncode == 3
    assert str(tmp_path / "store") in end.stderr


def test_another_file_system_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = staged(tmp_path, "one")
    real = os.rename

    def rename(old: str, new: str) -> None:
        if "partial" not in old:
            raise OSError(18, "Invalid cross-device link")
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    assert "is finished" in publish.publish(plan)
    assert publish.finished(plan["prefix"])
    assert (Path(plan["prefix"]) / "lib" / "libx.so").is_symlink()


def test_the_scripts_of_a_build_run_on_an_old_python() -> None:
    for module in (publish, unpack, sourcefiles):
        ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 6))
