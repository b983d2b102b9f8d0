"""How long `hpcagent --help` takes, side by side with other starts in the same run."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from harness import environment, finish, options, scratch, table, tell


def main() -> None:
    chosen = options(
        __doc__,
        ("peers", str, "", "folder with the programs optuna and reframe, to compare with"),
        ("launcher", str, "", "bin/hpcagent whose environment (HPCAGENT_VENV) is complete"),
        ("venv", str, "", "HPCAGENT_VENV for --launcher"),
    )
    commands = _commands(chosen.extra)
    repeats = 5 if chosen.quick else 40
    with scratch() as folder:
        env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment(folder)}
        if chosen.extra["venv"]:
            env["HPCAGENT_VENV"] = chosen.extra["venv"]
        seconds = _measure(commands, env, repeats)
    base = statistics.median(seconds["python -c pass"])
    rows = []
    for name, values in seconds.items():
        low, _, high = statistics.quantiles(values, n=4)
        middle = statistics.median(values)
        rows.append((name, 1e3 * middle, 1e3 * low, 1e3 * high, 1e3 * min(values), middle / base))
    table(("start", "median ms", "lower quartile", "upper quartile", "min", "ratio"), rows)
    finish(chosen, {"repeats": repeats, "seconds": seconds})


def _commands(extra: Mapping[str, str]) -> dict[str, list[str]]:
    python = sys.executable
    found = {
        "python -c pass": [python, "-c", "pass"],
        "python -c 'import click'": [python, "-c", "import click"],
        "python -m hpcagent --help": [python, "-m", "hpcagent", "--help"],
        "python -m hpcagent tune --help": [python, "-m", "hpcagent", "tune", "--help"],
    }
    if extra["launcher"]:
        found["bin/hpcagent --help"] = [extra["launcher"], "--help"]
    for peer in ("optuna", "reframe"):
        program = shutil.which(peer, path=extra["peers"]) if extra["peers"] else None
        if program:
            found[f"{peer} --help"] = [program, "--help"]
    return found


def _measure(
    commands: Mapping[str, Sequence[str]], env: Mapping[str, str], repeats: int
) -> dict[str, list[float]]:
    """Wall seconds of each start, all commands in turn; the first time fills the page cache."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for index in range(repeats + 1):
        for name, argv in commands.items():
            began = time.perf_counter()
            subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
            if index:
                seconds[name].append(time.perf_counter() - began)
        if index % 10 == 0:
            tell(f"{index} of {repeats}")
    return seconds


if __name__ == "__main__":
    main()
