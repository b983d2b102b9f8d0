"""Nothing else of the same user's builds or measures on a node while a worker measures there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.worker_unit import PYTHON, Unit, wait_for

from hpcagent.measure import worker
from hpcagent.toolchain import steps

HANG = 'echo $$ > "$HERE/child.new"; mv "$HERE/child.new" "$HERE/child"; exec sleep 300'


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two places of this test's own for the lock."""
    found = [tmp_path / "one", tmp_path / "two"]
    for place in found:
        place.mkdir()
    monkeypatch.setenv(worker.PLACES_VARIABLE, ":".join(map(str, found)))
    return [place / f"hpcagent-{os.geteuid()}" for place in found]


@pytest.fixture
def units(tmp_path: Path, places: list[Path]) -> Iterator[list[Unit]]:
    found = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        found.append(Unit(tmp_path / name, {"ref": {}, "a": {}}, "fixed"))
    yield found


def spans(units: list[Unit]) -> list[tuple[str, float, float]]:
    """When the processes of each unit ran, by the clock of the machine."""
    found = []
    for unit in units:
        for start, end in (line.split() for line in (unit.path / "times").read_text().splitlines()):
            found.append((unit.path.name, float(start), float(end)))
    return sorted(found, key=lambda span: span[1])


def test_two_units_on_a_node_measure_one_after_the_other(units: list[Unit]) -> None:
    for unit in units:
        for config in unit.spec["configs"]:
            config["env"]["BEFORE"] = (
                'start=$(cut -d" " -f1 /proc/uptime); sleep 0.05; '
                'echo "$start $(cut -d" " -f1 /proc/uptime)" >> "$HERE/times"'
            )
    started = [unit.start() for unit in units]
    for process in started:
        process.communicate(timeout=300)
    assert [unit.done()["exit"] for unit in units] == [0, 0]
    order = [name for name, _, _ in spans(units)]
    assert order == sorted(order) or order == sorted(order, reverse=True)
    waited = sorted(units, key=lambda unit: unit.done()["waited_s"])
    assert waited[0].done()["waited_s"] == 0.0
    assert "waited_for" not in waited[0].done()
    assert waited[1].done()["waited_s"] > 0.0
    assert str(waited[0].path) in waited[1].done()["waited_for"]


def test_one_that_cannot_wait_longer_says_for_whom_it_waited(units: list[Unit]) -> None:
    first, second = units
    first.config("ref")["env"]["BEFORE"] = HANG
    holder = first.start()
    wait_for((first.path / "child").exists)
    second.spec["budget_s"] = 1.0
    code, stderr = second.run()
    assert code == worker.EXIT_BUSY == second.done()["exit"]
    words = f"the node was in use by {first.path} (process {holder.pid})"
    assert words in stderr
    assert words in second.done()["reason"]
    assert second.done()["waited_s"] >= 0.5
    assert not (second.path / "starts").exists()
    holder.kill()
    holder.communicate()


def test_the_kernel_gives_the_node_back_when_a_worker_is_killed(units: list[Unit]) -> None:
    first, second = units
    first.config("ref")["env"]["BEFORE"] = HANG
    holder = first.start()
    wait_for((first.path / "child").exists)
    holder.kill()
    holder.communicate()
    assert second.run()[0] == 0
    assert second.done()["waited_s"] == 0.0


def test_a_stop_signal_ends_the_wait(units: list[Unit], places: list[Path]) -> None:
    with held(places[0], fcntl.LOCK_EX):
        process = units[0].start()
        wait_for((units[0].path / "claim" / "owner.json").exists)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert units[0].done()["exit"] == 143
    assert not (units[0].path / "starts").exists()


class held:
    """The lock of a place, held by this process."""

    def __init__(self, folder: Path, kind: int) -> None:
        self._descriptor = worker.open_private(str(folder))
        fcntl.flock(self._descriptor, kind)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def test_a_build_runs_beside_builds_and_not_beside_a_measurement(
    units: list[Unit], places: list[Path]
) -> None:
    build = units[0]
    build.spec.update(mode="once", weights={}, budget_s=0.6)
    build.spec["check"]["keys"] = []
    with held(places[0], fcntl.LOCK_SH):
        assert build.run()[0] == 0
        assert build.done()["waited_s"] == 0.0
        units[1].spec["budget_s"] = 0.6
        assert units[1].run()[0] == worker.EXIT_BUSY
    (build.path / "done.json").unlink()
    with held(places[0], fcntl.LOCK_EX):
        assert build.run()[0] == worker.EXIT_BUSY


def test_steps_wait_for_a_measurement_and_not_for_each_other(
    tmp_path: Path, places: list[Path]
) -> None:
    for module in (steps, worker):
        source = Path(str(module.__file__))
        (tmp_path / source.name).write_text(source.read_text())
    row = {"id": "build", "argv": ["true"], "timeout_s": 20}
    spec = {"schema": 1, "unit": "haabcdefghijkl", "budget_s": 0.4, "steps": [row]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    argv = [PYTHON, "steps.py", "spec.json"]
    for kind, code in ((fcntl.LOCK_EX, worker.EXIT_BUSY), (fcntl.LOCK_SH, 0)):
        with held(places[0], kind):
            ended = subprocess.run(argv, cwd=tmp_path, timeout=300, check=False)
        assert ended.returncode == code
        (tmp_path / "done.json").unlink()


def test_one_place_in_common_is_enough(units: list[Unit], places: list[Path]) -> None:
    """As where the batch system gives every job a /tmp of its own."""
    with held(places[1], fcntl.LOCK_EX):
        units[0].spec["budget_s"] = 0.4
        assert units[0].run()[0] == worker.EXIT_BUSY
        with held(places[0], fcntl.LOCK_EX):  # nothing was kept while it waited
            pass


def test_a_place_that_is_not_ours_alone_is_not_used_nor_written(
    units: list[Unit], places: list[Path], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    places[0].symlink_to(victim)
    places[1].mkdir()
    places[1].chmod(0o777)
    assert units[0].run()[0] == 0
    done = units[0].done()
    assert "Not a directory" in done["unlocked"] or "symbolic links" in done["unlocked"]
    assert f"{places[1]}: belongs to or is open to others" in done["unlocked"]
    assert list(victim.iterdir()) == [] == list(places[1].iterdir())


def test_a_folder_that_was_swept_away_is_made_anew(units: list[Unit], places: list[Path]) -> None:
    assert units[0].run()[0] == 0
    for place in places:
        assert place.stat().st_mode & 0o777 == 0o700
        (place / "holder.json").write_text("torn")
        (place / "holder.json").unlink()
        place.rmdir()
    assert units[1].run()[0] == 0
    assert json.loads((places[0] / "holder.json").read_text())["unit"] == str(units[1].path)


def test_a_place_that_is_named_is_made_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "not" / "yet"
    monkeypatch.setenv(worker.PLACES_VARIABLE, str(named))
    node = worker.NodeLock(shared=False, wait_s=0.0, unit="a test")
    assert node.at_once()
    assert named.stat().st_mode & 0o777 == 0o700
    node.let_go()
    (tmp_path / "file").write_text("")
    for place, why in (
        (str(tmp_path / "file" / "place"), "cannot be made: Not a directory"),
        ("relative/place", "must name absolute paths"),
    ):
        monkeypatch.setenv(worker.PLACES_VARIABLE, place)
        assert node.at_once()  # nothing that could be held: it measures, and says so
        assert why in node.told()["unlocked"]
        assert "HPCAGENT_NODE_LOCK" in node.told()["unlocked"]


def test_the_places_do_not_depend_on_where_a_job_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(worker.PLACES_VARIABLE)
    before = worker.lock_places()
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/elsewhere")
    assert worker.lock_places() == before
    assert f"/dev/shm/hpcagent-{os.geteuid()}" in before
