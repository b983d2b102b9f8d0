"""The lease: exactly one process writes to a run, and one that wakes up late is fenced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import hpcagent
from hpcagent.errors import EnvironmentProblem, Fenced, RunFailed, RunInUse
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.lease import Identity, Lease, process_start, read_holder

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ELSEWHERE = Identity("node7", "boot-of-node7", 4242, 99)
CONTENDER = """
import pathlib, sys
from hpcagent.errors import RunInUse
from hpcagent.study.lease import Lease
sys.stdin.readline()
try:
    lease = Lease.acquire(pathlib.Path(sys.argv[1]))
except RunInUse:
    print("busy", flush=True)
else:
    print("won", lease.epoch, flush=True)
sys.stdin.readline()
"""


def contender(run: Path) -> subprocess.Popen[str]:
    root = str(Path(hpcagent.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", CONTENDER, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


def ask(process: subprocess.Popen[str]) -> str:
    """Let a contender try; its answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def lease_json(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "lease.json").read_text())
    return found


def change(run: Path, **fields: object) -> None:
    (run / "lease.json").write_text(json.dumps({**lease_json(run), **fields}))


def at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


def test_the_file_says_who_holds_the_run(tmp_path: Path) -> None:
    with Lease.acquire(tmp_path) as lease:
        found = lease_json(tmp_path)
        assert found["pid"] == os.getpid()
        assert found["epoch"] == lease.epoch == 1
        assert {"host", "boot_id", "heartbeat_utc"} <= set(found)
        lease.check()
        holder = read_holder(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert read_holder(tmp_path) is None


def test_a_run_in_use_is_told_with_host_and_process(tmp_path: Path) -> None:
    with Lease.acquire(tmp_path, clock=at(NOON)), pytest.raises(RunInUse) as caught:
        Lease.acquire(tmp_path)
    words = str(caught.value)
    assert str(os.getpid()) in words
    assert lease_json(tmp_path)["host"] in words
    assert "2026-11-22T12:00:00" in words
    assert "kill -INT" in words


def test_after_release_the_next_gets_a_higher_epoch(tmp_path: Path) -> None:
    first = Lease.acquire(tmp_path)
    first.release()
    first.release()
    with pytest.raises(Fenced):
        first.check()
    with Lease.acquire(tmp_path) as second:
        assert second.epoch == 2
        second.check()


def test_the_lease_is_released_by_an_error_as_well(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Lease.acquire(tmp_path):
        raise ZeroDivisionError
    Lease.acquire(tmp_path).release()


def test_of_eight_processes_one_wins(tmp_path: Path) -> None:
    racers = [contender(tmp_path) for _ in range(8)]
    try:
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    finally:
        for racer in racers:
            racer.communicate()
    assert sorted(answers) == ["busy"] * 7 + ["won 1"]


def test_a_killed_holder_is_replaced_at_once(tmp_path: Path) -> None:
    holder = contender(tmp_path)
    assert ask(holder) == "won 1"
    with pytest.raises(RunInUse):
        Lease.acquire(tmp_path)
    holder.kill()
    holder.communicate()
    with Lease.acquire(tmp_path) as lease:
        assert lease.epoch == 2


def test_a_zombie_holds_nothing(tmp_path: Path) -> None:
    holder = contender(tmp_path)
    assert ask(holder) == "won 1"
    os.kill(holder.pid, signal.SIGKILL)
    while process_start(holder.pid) is not None:
        time.sleep(0.01)
    with Lease.acquire(tmp_path) as lease:
        assert lease.epoch == 2
    holder.communicate()


def test_a_stopped_holder_still_holds(tmp_path: Path) -> None:
    holder = contender(tmp_path)
    assert ask(holder) == "won 1"
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        with pytest.raises(RunInUse):
            Lease.acquire(tmp_path)
    finally:
        holder.kill()
        holder.communicate()


def forge(run: Path, identity: Identity, heartbeat: datetime) -> None:
    Lease.acquire(run, clock=at(heartbeat), identity=identity, heartbeat_s=1e6)


def test_a_reused_process_number_is_not_the_holder(tmp_path: Path) -> None:
    me = Identity.current()
    forge(tmp_path, replace(me, start_ticks=me.start_ticks - 1), utc_now())
    with Lease.acquire(tmp_path) as lease:
        assert lease.epoch == 2


def test_a_reused_number_is_told_by_the_heartbeat_where_the_start_is_not_on_record(
    tmp_path: Path,
) -> None:
    me = replace(Identity.current(), start_ticks=0)
    forge(tmp_path, me, utc_now())
    with pytest.raises(RunInUse):
        Lease.acquire(tmp_path)
    change(tmp_path, heartbeat_utc=utc_text(utc_now() - timedelta(days=2000)))
    with Lease.acquire(tmp_path) as lease:
        assert lease.epoch == 2


def test_a_holder_before_the_last_boot_is_gone(tmp_path: Path) -> None:
    forge(tmp_path, replace(Identity.current(), boot_id="the boot before"), utc_now())
    with Lease.acquire(tmp_path) as lease:
        assert lease.epoch == 2


@pytest.mark.parametrize(("age_s", "gone"), [(0, False), (299, False), (301, True)])
def test_another_host_loses_the_run_after_ten_missed_heartbeats(
    tmp_path: Path, age_s: int, gone: bool
) -> None:
    forge(tmp_path, ELSEWHERE, NOON)
    clock = at(NOON + timedelta(seconds=age_s))
    if gone:
        with Lease.acquire(tmp_path, clock=clock) as lease:
            assert lease.epoch == 2
    else:
        with pytest.raises(RunInUse, match="process 4242 on node7 since 2026-11-22T12:00:00"):
            Lease.acquire(tmp_path, clock=clock)


def test_a_clock_that_went_back_neither_keeps_nor_takes_the_run_of_another_host(
    tmp_path: Path,
) -> None:
    forge(tmp_path, ELSEWHERE, NOON)
    yesterday = at(NOON - timedelta(days=1))
    with pytest.raises(RunInUse):
        Lease.acquire(tmp_path, clock=yesterday)
    long_ago = time.time() - 301
    os.utime(tmp_path / "lease.json", (long_ago, long_ago))
    with Lease.acquire(tmp_path, clock=yesterday) as lease:
        assert lease.epoch == 2


def test_a_clock_that_steps_keeps_the_run_of_this_host(tmp_path: Path) -> None:
    for moment in (NOON - timedelta(days=9000), NOON + timedelta(days=9000)):
        with Lease.acquire(tmp_path, clock=at(moment)) as lease:
            with pytest.raises(RunInUse):
                Lease.acquire(tmp_path)
            lease.check()


# --- what a kill in the middle of a write leaves --------------------------------------------------

LEFT = (".tmp-lease.json-0123abcd", ".tmp-asked.json-0123abcd", ".tmp-run.json-ffffffff",
        ".tmp-clock-00000000")  # fmt: skip
OTHERS = (".tmp-lease.json", ".tmp-lease.json-0123abcg", ".tmp-notes.txt-0123abcd",
          "lease.json-0123abcd")  # fmt: skip


def leave(run: Path) -> None:
    for name in (*LEFT, *OTHERS):
        (run / name).write_text("{")


def left(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()} & {*LEFT, *OTHERS}


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    """And nothing whose name is not ours, nor what has such a name and is no file."""
    leave(tmp_path)
    (tmp_path / ".tmp-lease.json-00000001").mkdir()
    (tmp_path / ".tmp-lease.json-00000002").symlink_to("lease.json")
    process = contender(tmp_path)
    try:
        assert ask(process) == "won 1"
        assert left(tmp_path) == {*OTHERS}
        leave(tmp_path)
        with pytest.raises(RunInUse):
            Lease.acquire(tmp_path)
        assert left(tmp_path) == {*LEFT, *OTHERS}, "its holder lives, and may be writing them"
    finally:
        process.kill()
        process.wait()
    with Lease.acquire(tmp_path):
        assert left(tmp_path) == {*OTHERS}
    leave(tmp_path)
    with Lease.acquire(tmp_path):
        assert left(tmp_path) == {*OTHERS}
    assert (tmp_path / ".tmp-lease.json-00000001").is_dir()
    assert (tmp_path / ".tmp-lease.json-00000002").is_symlink()


def test_a_silent_holder_elsewhere_may_still_be_writing(tmp_path: Path) -> None:
    forge(tmp_path, ELSEWHERE, NOON)
    leave(tmp_path)
    with Lease.acquire(tmp_path, clock=at(NOON + timedelta(hours=1))):
        assert left(tmp_path) == {*LEFT, *OTHERS}


def test_a_writer_that_wakes_up_late_is_fenced(tmp_path: Path) -> None:
    late = Lease.acquire(tmp_path, clock=at(NOON), identity=ELSEWHERE, heartbeat_s=30)
    taker = Lease.acquire(tmp_path, clock=at(NOON + timedelta(hours=1)))
    with pytest.raises(Fenced, match=f"process {os.getpid()}"):
        late.check()
    late.release()
    taker.check()
    assert read_holder(tmp_path) is not None
    taker.release()


def test_a_late_heartbeat_does_not_undo_a_take_over(tmp_path: Path) -> None:
    late = Lease.acquire(tmp_path, clock=at(NOON), identity=ELSEWHERE, heartbeat_s=0.05)
    with Lease.acquire(tmp_path, clock=at(NOON + timedelta(hours=1))) as taker:
        limit = time.monotonic() + 300
        while late._thread.is_alive():
            assert time.monotonic() < limit
            time.sleep(0.01)
        taker.check()


def test_the_heart_beats_while_the_run_is_held(tmp_path: Path) -> None:
    beats = threading.Semaphore(0)
    moments = iter(NOON + timedelta(seconds=n) for n in range(10**6))

    def clock() -> datetime:
        beats.release()
        return next(moments)

    with Lease.acquire(tmp_path, clock=clock, heartbeat_s=0.01) as lease:
        first = lease_json(tmp_path)["heartbeat_utc"]
        for _ in range(6):
            assert beats.acquire(timeout=60)
        lease.check()
        assert str(lease_json(tmp_path)["heartbeat_utc"]) > str(first)
        assert lease_json(tmp_path)["epoch"] == 1


def test_a_lease_file_that_vanished_fences(tmp_path: Path) -> None:
    with Lease.acquire(tmp_path) as lease:
        (tmp_path / "lease.json").unlink()
        with pytest.raises(Fenced):
            lease.check()


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"pid": "x"}'])
def test_a_damaged_lease_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    with pytest.raises(RunFailed, match=r"lease\.json is damaged"):
        Lease.acquire(tmp_path)


def test_a_run_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="gone"):
        Lease.acquire(tmp_path / "gone")
