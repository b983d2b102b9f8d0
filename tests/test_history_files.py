"""`history export` and `import`: what becomes of the file that the user names."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from test_history import record, row

from hpcagent.cli.history import history as command
from hpcagent.study import history


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    history.add(folder, record())
    monkeypatch.setenv("HPCAGENT_HISTORY", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def asked(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def test_a_link_stays_a_link_and_its_file_keeps_its_mode(store: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old\n")
    real.chmod(0o640)
    link.symlink_to("real")
    assert asked("export", "link").exit_code == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["run"] == record().run
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_new_file_is_private(store: Path, tmp_path: Path) -> None:
    assert asked("export", "new").exit_code == 0
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_pipe_is_written_to_and_stays(store: Path, tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    assert asked("export", "pipe").exit_code == 0
    reader.join(20)
    assert pipe.is_fifo()
    assert json.loads(heard[0])["run"] == record().run


def test_a_device_that_is_full_is_a_clear_line_and_stays(store: Path, tmp_path: Path) -> None:
    """A link of the user's own: whatever happens to it, the machine's device is not at risk."""
    device = tmp_path / "full"
    device.symlink_to("/dev/full")
    found = asked("export", "full")
    assert "cannot write full: No space left on device" in str(found.exception)
    assert device.is_symlink()
    assert Path("/dev/full").is_char_device()


def lines(*rows: dict[str, Any] | str) -> str:
    return "\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lines(row(workload=[])), "line 1: workload: "),
        (lines("", row(run="../x"), "{"), "line 2: run: "),
        (lines(row(machine={"cores": 0})), "line 1: machine.cores: "),
        (lines("not JSON"), "line 1: Expecting value"),
        (lines(row(schema=2)), "its runs are of a newer hpcagent"),
    ],
)
def test_a_file_without_any_run_says_which_line_and_why(store: Path, text: str, said: str) -> None:
    Path("given").write_text(text)
    found = asked("import", "given")
    assert found.exit_code
    assert f"given: {said}" in str(found.exception).replace("no run in it that can be read, ", "")


def test_damaged_lines_beside_good_ones_are_named(store: Path) -> None:
    good = row(run="tune-other")
    Path("given").write_text(lines(good, "{", row(t_utc="\x1b[2J")))
    found = asked("import", "given")
    assert found.exit_code == 0
    assert "1 of 1 runs are new" in found.output
    assert "; 2 damaged lines passed over, the first line 2: " in found.output
    assert found.output.strip().isprintable()
