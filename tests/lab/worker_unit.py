"""Units of the in-job worker on a small stand-in for a benchmark, with the real process.

HPCAGENT_TEST_PYTHON names another interpreter to run the worker with (python3.6, say).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcagent.measure import worker

SOURCE = Path(worker.__file__)
PYTHON = os.environ.get("HPCAGENT_TEST_PYTHON", sys.executable)

# A stand-in for a benchmark: what it does is told by its environment; $1 is the seed of the inputs.
DRIVER = """#!/bin/sh
echo "$CONFIG $1" >> "$HERE/starts"
eval "$BEFORE"
echo "library /lib/libexample.so"
echo "core ${CORE-unset}"
echo "threads_busy 2"
grep Cpus_allowed_list /proc/self/status
echo "time k ${T-0.1}"
echo "time k ${T-0.1}"
echo "residual k ${R-1.5}"
echo "${LAST-done}"
"""

RULE = {
    "min_pairs": 3,
    "max_pairs": 6,
    "pairs": 4,
    "drop_ratio": 0.02,
    "abandon_multiple": 4.0,
    "confidence": 0.95,
    "resolution": 0.005,
}


class Unit:
    """A unit directory with the worker beside its spec."""

    def __init__(self, path: Path, configs: dict[str, dict[str, str]], mode: str = "paired"):
        self.path = path
        driver = path / "driver.sh"
        driver.write_text(DRIVER)
        driver.chmod(0o755)
        (path / "worker.py").write_text(SOURCE.read_text())
        ids = list(configs)
        self.spec: dict[str, Any] = {
            "schema": 1,
            "unit": "haabcdefghijkl",
            "mode": mode,
            "reference": ids[0],
            "configs": [
                {
                    "id": name,
                    "argv": [],
                    "env": {"CONFIG": name, "HERE": str(path), **env},
                    "binding": None,
                }
                for name, env in configs.items()
            ],
            "unset": [],
            "command": [str(driver), "{seed}"],
            "timeout_s": 60,
            "check": {
                "figure": r"^time (?P<key>\S+) (?P<value>\S+)$",
                "residual": {"pattern": r"^residual (?P<key>\S+) (?P<value>\S+)$", "max": 30.0},
                "minimum": {"k": 1e-3},
                "keys": ["k"],
                "success": ["^done$"],
                "readback": {
                    "library": "^library (.+)$",
                    "core": "^core (.+)$",
                    "threads_busy": r"^threads_busy (\d+)$",
                    "affinity": r"^Cpus_allowed_list:\s*(.+)$",
                },
            },
            "weights": {"k": 1.0},
            "budget_s": 300,
            "seed": 7,
            # The small programs here must not be abandoned on a busy machine.
            "stop_rule": {**RULE, "abandon_multiple": 2000.0},
        }

    def config(self, name: str) -> dict[str, Any]:
        return next(c for c in self.spec["configs"] if c["id"] == name)

    def start(self, *under: str) -> subprocess.Popen[str]:
        """The worker, started by the command `under` where one is given."""
        (self.path / "spec.json").write_text(json.dumps(self.spec))
        return subprocess.Popen(
            [*under, PYTHON, str(self.path / "worker.py"), str(self.path / "spec.json")],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "STRANGER": "from outside"},
        )

    def run(self) -> tuple[int, str]:
        process = self.start()
        _, stderr = process.communicate(timeout=300)
        assert "Traceback" not in stderr
        return process.returncode, stderr

    def lines(self) -> list[dict[str, Any]]:
        text = (self.path / "result.jsonl").read_text()
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["config"] == name]

    def done(self) -> dict[str, Any]:
        return json.loads((self.path / "done.json").read_text())

    def outcome(self, name: str) -> tuple[str, str]:
        """Status and message of the only run of a configuration that is out after one."""
        self.run()
        (line,) = self.of(name)
        return line["status"], line["check"]["message"]


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def gone(pid_file: Path) -> bool:
    return worker.start_ticks(int(pid_file.read_text())) is None
