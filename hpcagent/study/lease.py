"""The lease of a run: one writer at a time, and a fence for a writer that wakes up late."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from hpcagent.errors import EnvironmentProblem, Fenced, RunFailed, RunInUse
from hpcagent.study.durable import (
    json_bytes,
    parse_object,
    parse_utc,
    problem,
    remove_unfinished,
    temporary_beside,
    utc_now,
    utc_text,
    write_atomic,
)

HEARTBEAT_S = 30.0
MISSED_HEARTBEATS = 10
_LOCK_TIMEOUT_S = 20.0
# What is written in the folder of a run by who holds it, or makes it; _CLOCK is never finished.
_CLOCK = "clock"
_WRITTEN = ("lease.json", "asked.json", "run.json", _CLOCK)
_REUSE_MARGIN_S = 2.0  # start times come in clock ticks, the boot time from another clock


@dataclass(frozen=True)
class Identity:
    """A process, told apart from a later one with the same number by its start (clock ticks)."""

    host: str
    boot_id: str
    pid: int
    start_ticks: int

    @classmethod
    def current(cls) -> Identity:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        pid = os.getpid()
        return cls(socket.gethostname(), boot_id, pid, process_start(pid) or 0)


@dataclass(frozen=True)
class Holder:
    """What lease.json holds; `pid` 0 means that nobody does. `start_ticks` 0: not known."""

    host: str
    boot_id: str
    pid: int
    heartbeat_utc: str
    epoch: int
    start_ticks: int = 0
    since_utc: str = ""


def process_start(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (proc(5), field 22); None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


class Lease:
    """The right to write to a run, held until `release` or the end of the `with` block."""

    def __init__(
        self, run_dir: Path, mine: Holder, clock: Callable[[], datetime], heartbeat_s: float
    ) -> None:
        self._run_dir = run_dir
        self._path = run_dir / "lease.json"
        self._mine = mine
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(
        cls,
        run_dir: Path,
        clock: Callable[[], datetime] = utc_now,
        heartbeat_s: float = HEARTBEAT_S,
        identity: Identity | None = None,
    ) -> Lease:
        """Take the run, from a holder that is gone as well.

        A holder on this host is gone when its process is; one on another host when its last
        heartbeat is more than ten heartbeats old. Raises RunInUse (host, pid, since when, how to
        stop it) or EnvironmentProblem.
        """
        me = identity or Identity.current()
        path = run_dir / "lease.json"
        with _locked(run_dir):
            old = _read(path)
            if old is not None and not _gone(old, me, path, clock(), heartbeat_s):
                raise _in_use(run_dir, old)
            if old is None or not old.pid or _gone_here(old, me):
                remove_unfinished(run_dir, _WRITTEN)  # of a holder elsewhere, it may be at it still
            now = utc_text(clock())
            epoch = old.epoch + 1 if old else 1
            mine = Holder(me.host, me.boot_id, me.pid, now, epoch, me.start_ticks, now)
            _write(path, mine)
        return cls(run_dir, mine, clock, heartbeat_s)

    @property
    def epoch(self) -> int:
        return self._mine.epoch

    def check(self) -> None:
        """The fence: raises Fenced unless this process still holds the run."""
        if self._released.is_set():
            raise Fenced(f"{self._run_dir}: this process has released the run")
        current = _read(self._path)
        if current is None or not self._is_mine(current):
            taker = f"process {current.pid} on {current.host}" if current else "somebody"
            raise Fenced(
                f"{self._run_dir}: {taker} has taken over the run; this process (epoch "
                f"{self.epoch}) stops writing: look at the run with `hpcagent status`"
            )

    def _is_mine(self, other: Holder) -> bool:
        return (other.epoch, other.pid, other.host, other.boot_id) == (
            self._mine.epoch,
            self._mine.pid,
            self._mine.host,
            self._mine.boot_id,
        )

    def _beat(self) -> None:
        while not self._released.wait(self._heartbeat_s):
            # A heartbeat that fails (disk full, file server away) is made up for by the next;
            # what is really wrong, the next `check` tells.
            with suppress(EnvironmentProblem, RunFailed):
                if not self._renew():
                    return

    def _renew(self) -> bool:
        """A heartbeat, under the lock so that it cannot undo a take-over; False after one."""
        with _locked(self._run_dir):
            current = _read(self._path)
            if self._released.is_set() or current is None or not self._is_mine(current):
                return False
            _write(self._path, replace(self._mine, heartbeat_utc=utc_text(self._clock())))
            return True

    def release(self) -> None:
        """Give the run up; the epoch stays on record so that it never falls back.

        Where that cannot be written, the end of this process says the same.
        """
        if self._released.is_set():
            return
        self._released.set()
        with suppress(EnvironmentProblem, RunFailed), _locked(self._run_dir):
            current = _read(self._path)
            if current is not None and self._is_mine(current):
                _write(self._path, replace(current, pid=0, start_ticks=0))

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def read_holder(run_dir: Path) -> Holder | None:
    """Who holds the run according to lease.json (it may be gone by now); None: nobody."""
    holder = _read(run_dir / "lease.json")
    return holder if holder and holder.pid else None


def is_driven(run_dir: Path) -> bool:
    """Whether a process that may be alive holds the run; nothing is written for that."""
    try:
        holder, me = read_holder(run_dir), Identity.current()
    except RunFailed:  # a damaged lease.json tells nothing; who wants to write is told
        return True
    if holder is None:
        return False
    gone = _gone_here(holder, me)
    if gone is not None:
        return not gone
    age = utc_now() - parse_utc(holder.heartbeat_utc)
    return age.total_seconds() <= MISSED_HEARTBEATS * HEARTBEAT_S


def _gone(old: Holder, me: Identity, path: Path, now: datetime, heartbeat_s: float) -> bool:
    if old.pid == 0:
        return True
    gone = _gone_here(old, me)
    return _age_s(old, path, now) > MISSED_HEARTBEATS * heartbeat_s if gone is None else gone


def _gone_here(old: Holder, me: Identity) -> bool | None:
    """None for a holder on another host, of whose processes nothing is known."""
    if old.host != me.host:
        return None
    return old.boot_id != me.boot_id or _process_gone(old)


def _process_gone(old: Holder) -> bool:
    start = process_start(old.pid)
    if start is None:
        return True
    if old.start_ticks:
        return start != old.start_ticks
    uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    age_s = uptime_s - start / os.sysconf("SC_CLK_TCK")
    started = utc_now() - timedelta(seconds=age_s)
    return started > parse_utc(old.heartbeat_utc) + timedelta(seconds=_REUSE_MARGIN_S)


def _age_s(old: Holder, path: Path, now: datetime) -> float:
    """Seconds since the last heartbeat of a holder on another host.

    A heartbeat in the future says that a clock was set back, or that the two hosts disagree: then
    the file system's own clock decides, which stamps the lease and a file written now.
    """
    age = (now - parse_utc(old.heartbeat_utc)).total_seconds()
    if age >= 0:
        return age
    probe = temporary_beside(path.with_name(_CLOCK))
    try:
        probe.touch(mode=0o600, exist_ok=False)
        age = probe.stat().st_mtime - path.stat().st_mtime
        probe.unlink()
    except OSError as error:
        raise problem("write", probe, error) from None
    return age


def _in_use(run_dir: Path, holder: Holder) -> RunInUse:
    since = holder.since_utc or holder.heartbeat_utc
    return RunInUse(
        f"{run_dir} is in use by process {holder.pid} on {holder.host} since {since} (last "
        f"heartbeat {holder.heartbeat_utc}): wait for it, or stop it there with "
        f"`kill -INT {holder.pid}`"
    )


def _read(path: Path) -> Holder | None:
    try:
        record = parse_object(path.read_bytes())
        return _holder(record)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunFailed(
            f"{path} is damaged: {error}; make sure that no hpcagent works on this run, "
            "then remove the file"
        ) from None
    except OSError as error:
        raise problem("read", path, error) from None


def _holder(record: Mapping[str, object]) -> Holder:
    kinds = {"host": str, "boot_id": str, "pid": int, "heartbeat_utc": str, "epoch": int}
    for name, kind in kinds.items():
        if type(record.get(name)) is not kind:
            raise ValueError(f"field {name} is missing or not of type {kind.__name__}")
    heartbeat = str(record["heartbeat_utc"])
    parse_utc(heartbeat)
    start_ticks = record.get("start_ticks", 0)
    return Holder(
        host=str(record["host"]),
        boot_id=str(record["boot_id"]),
        pid=int(str(record["pid"])),
        heartbeat_utc=heartbeat,
        epoch=int(str(record["epoch"])),
        start_ticks=start_ticks if isinstance(start_ticks, int) else 0,
        since_utc=str(record.get("since_utc", "")),
    )


def _write(path: Path, holder: Holder) -> None:
    try:
        write_atomic(path, json_bytes(asdict(holder)))
    except OSError as error:
        raise problem("write", path, error) from None


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """The critical section of every change of the lease, held for milliseconds by each."""
    path = run_dir / "lease.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise problem("open", path, error) from None
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"{path} stays locked for {_LOCK_TIMEOUT_S:g} s: is a process of yours "
                    "stopped, or the file server away?"
                ) from None
            time.sleep(0.01)
        except OSError as error:
            raise problem("lock", path, error) from None
