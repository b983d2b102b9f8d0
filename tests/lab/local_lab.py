"""A local queue of its own for a test; nothing of it is left afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcagent.schedulers import local_shepherd


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment names the queue until the generator is closed."""
    queue = tmp_path / "the queue"
    monkeypatch.setenv("HPCAGENT_QUEUE", str(queue))
    yield
    executor = local_shepherd.read_json(str(queue / "executor.json"))
    if executor:
        local_shepherd.send(executor["pid"], executor["start"], signal.SIGKILL)
    for path in queue.glob("jobs/*/claim.json"):
        claim = local_shepherd.read_json(str(path)) or {}
        for who in (claim.get("leader"), claim.get("shepherd")):
            if who and local_shepherd.is_alive(who):
                local_shepherd.Session(who).signal(signal.SIGKILL)
