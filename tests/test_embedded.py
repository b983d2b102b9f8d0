"""The OpenBLAS of last resort, where neither the machine nor an index has one."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest
import sh

ROOT = Path(__file__).resolve().parent.parent
ASK = """
from hpcagent.errors import HpcagentError
from hpcagent.probe.embedded import embedded_library_path, install_embedded
assert embedded_library_path() is None
try:
    print(install_embedded(120))
except HpcagentError as error:
    print(error)
    raise SystemExit(error.exit_code)
"""


@pytest.mark.wheel
def test_no_library_and_no_index_is_told_with_the_cure(tmp_path: Path) -> None:
    bare, modules, wheelhouse = (tmp_path / name for name in ("venv", "modules", "wheelhouse"))
    venv.create(bare, with_pip=True)
    modules.mkdir()
    wheelhouse.mkdir()
    (modules / "sh.py").symlink_to(str(sh.__file__))
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{modules}",
        "HPCAGENT_WHEELHOUSE": str(wheelhouse),
    }
    done = subprocess.run(
        [bare / "bin" / "python", "-c", ASK], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.count("\n") == 1
    assert str(wheelhouse) in done.stdout
    assert "--openblas-prefix" in done.stdout
    assert not list(bare.rglob("scipy_openblas32*"))
