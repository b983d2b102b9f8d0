"""The one door to outside programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcagent import shell

ROOT = Path(__file__).resolve().parent.parent
AGENT = """
import sys
from hpcagent import shell
shell.run(["sh", "-c", "echo $$ > child; exec sleep 300"], 300, dies_with_us=sys.argv[1] == "yes")
"""


def test_failures_are_data(tmp_path: Path) -> None:
    assert shell.run(["no-such-program-here"], 5).problem == "not found"
    ran = shell.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 60)
    assert (ran.exit_code, ran.stdout, ran.stderr, ran.ok) == (3, "out\n", "err\n", False)
    assert shell.run(["sh", "-c", "kill -9 $$"], 60).exit_code == -9
    assert "timed out" in shell.run(["sleep", "60"], 0.2).problem
    assert shell.run(["pwd"], 60, cwd=tmp_path).stdout == f"{tmp_path}\n"


@pytest.mark.parametrize("dies", ["yes", "no"])
def test_a_program_dies_with_us_where_it_should(tmp_path: Path, dies: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    agent = subprocess.Popen([sys.executable, "-c", AGENT, dies], cwd=tmp_path, env=env)
    child = tmp_path / "child"
    _until(lambda: child.exists() and child.read_text().endswith("\n"))
    pid = int(child.read_text())
    agent.kill()
    agent.wait()
    if dies == "yes":
        _until(lambda: not _runs(pid))
    else:
        assert _runs(pid)
        os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def _until(true: object) -> None:
    limit = time.monotonic() + 300
    while not true():  # type: ignore[operator]
        assert time.monotonic() < limit
        time.sleep(0.02)
