"""The log filter: megabytes a second beside grep -E, memory, and tokens left of real build logs.

grep gets the same patterns, one a line, in its own syntax (extended regular expressions know no
groups without capture and no flags). The logs are those in --logs (real ones that went well), else
that of a small generated project, built here with make. Into each, documented failures are planted
at random lines; counted is whether the planted one is named first, and whether its line is kept
when the filter may use one token for each hundred of the log.
"""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
from pathlib import Path

from harness import finish, options, scratch, table, tell

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CHILD = """
import resource, sys, time
from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.logfilter import filter_log
with open(sys.argv[1], "rb") as stream:
    diagnose(stream)
before = time.process_time(), time.perf_counter()
with open(sys.argv[2], "rb") as stream:
    filter_log(diagnose(stream, 1))
print(time.process_time() - before[0], time.perf_counter() - before[1],
      resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
LEAST_TOKENS = 150


def main() -> None:
    chosen = options(
        __doc__,
        ("logs", Path, None, "a folder of real build logs, *.log"),
        ("megabytes", int, 200, "size of the log for the speeds"),
        ("seed", int, 1, "of the places where errors are planted"),
    )
    megabytes = 20 if chosen.quick else chosen.extra["megabytes"]
    with scratch() as folder:
        logs = _logs(chosen.extra["logs"], folder)
        speed = _speed(logs, megabytes, folder)
        memory = _memory(logs, (20, megabytes, 4 * megabytes), folder)
    reduction = _reduction(logs, chosen.extra["seed"], every=8 if chosen.quick else 1)
    finish(chosen, {"speed": speed, "memory": memory, "reduction": reduction})


def _logs(given: Path | None, folder: Path) -> dict[str, bytes]:
    if given is not None:
        return {path.name: path.read_bytes() for path in sorted(given.glob("*.log"))}
    tell("building a project of 150 files")
    for index in range(150):
        body = f"int f{index}(int a) {{ int unused; unsigned b = a; return b - {index}; }}\n"
        (folder / f"part_{index}.c").write_text(body, encoding="utf-8")
    objects = " ".join(f"part_{index}.o" for index in range(150))
    rule = "CFLAGS = -O1 -Wall -Wextra -Wconversion -fdiagnostics-color=always\n"
    (folder / "Makefile").write_text(f"{rule}all: {objects}\n", encoding="utf-8")
    done = subprocess.run(["make", "-C", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return {"generated project": done.stdout}


def _sized(logs: dict[str, bytes], megabytes: int, path: Path) -> Path:
    whole = b"".join(logs.values())
    with path.open("wb") as stream:
        while stream.tell() < megabytes * 1_000_000:
            stream.write(whole)
    return path


def _speed(logs: dict[str, bytes], megabytes: int, folder: Path) -> dict[str, list[float]]:
    """Megabytes a second of each, in turns."""
    path = _sized(logs, megabytes, folder / "large")
    warm = _sized(logs, 1, folder / "small")
    patterns = folder / "patterns"
    patterns.write_text("\n".join(_extended()), encoding="utf-8")
    size = path.stat().st_size / 1e6
    rates: dict[str, list[float]] = {}
    for _ in range(3):
        cpu, wall, _ = _child(warm, path)
        rates.setdefault("hpcagent, scan and filter", []).append(size / cpu)
        rates.setdefault("hpcagent, wall time", []).append(size / wall)
        words = "error|fail|fatal|cannot|undefined|not found"
        rates.setdefault("grep -E -i -c, six words", []).append(
            size / _grep(["-E", "-i", words], path)
        )
    # Once and on a tenth: it takes minutes.
    path = _sized(logs, max(1, megabytes // 10), folder / "large")
    part = path.stat().st_size / 1e6
    rates["grep -E -c, all patterns"] = [part / _grep(["-E", "-f", patterns], path)]
    rows = [(name, max(v), min(v)) for name, v in rates.items()]
    print(f"{size:.0f} MB, load average {os.getloadavg()[0]:.1f}; by CPU time but for wall time")
    table(("what", "MB/s, best of 3", "worst"), rows)
    return rates


def _extended() -> list[str]:
    """The patterns in grep's syntax; (?i) is dropped, since it holds for all or none there."""
    from hpcagent.toolchain.signatures import catalogue

    texts = {place.pattern.match for place in catalogue().places}
    plain = (t.replace("(?i)", "").replace("(?:", "(").replace(r"[^\n]", ".") for t in texts)
    return sorted(re.sub(r"\\s", " ", text) for text in plain)


def _grep(words: list[object], path: Path) -> float:
    # Into a pipe: grep that writes to /dev/null stops at its first match.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    try:
        done = subprocess.run(
            ["grep", "-c", "-a", *map(str, words), str(path)],
            stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}, timeout=300,
        )  # fmt: skip
        if done.returncode > 1:
            raise SystemExit("grep does not take the patterns")
    except subprocess.TimeoutExpired:
        tell("grep was stopped after 300 s")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def _child(warm: Path, path: Path) -> tuple[float, float, float]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(warm), str(path)],
        stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    cpu, wall, peak = map(float, done.stdout.split())
    return cpu, wall, peak


def _memory(logs: dict[str, bytes], sizes: tuple[int, ...], folder: Path) -> dict[str, float]:
    warm = _sized(logs, 1, folder / "small")
    found = {}
    for megabytes in sizes:
        path = _sized(logs, megabytes, folder / "large")
        found[f"{megabytes} MB"] = _child(warm, path)[2] / 1e6
    table(("log", "peak MB of the process"), list(found.items()))
    return found


def _reduction(logs: dict[str, bytes], seed: int, every: int) -> list[dict[str, object]]:
    from diagnosis_cases import blocks

    from hpcagent.toolchain.diagnosis import diagnose
    from hpcagent.toolchain.logfilter import filter_log, tokens_of

    randomly = random.Random(seed)
    planted = [b for b in blocks("documented.txt") if b[0] not in ("numerics.residual",)][::every]
    rows = []
    for name, log in logs.items():
        budget = max(LEAST_TOKENS, tokens_of(len(log)) // 100)
        lines = log.splitlines(keepends=True)
        first = kept = 0
        factors = []
        for wanted, text in planted:
            at = randomly.randrange(len(lines) + 1)
            whole = b"".join([*lines[:at], text.encode(), *lines[at:]])
            found = diagnose(whole, 1)
            filtered = filter_log(found, budget)
            first += bool(found.causes) and found.causes[0].id == wanted
            kept += _telling_line(text) in filtered.text
            factors.append(filtered.log_tokens / filtered.tokens)
        rows.append({
            "log": name, "tokens": tokens_of(len(log)), "left": budget,
            "times fewer": min(factors), "planted": len(planted), "kept": kept, "first": first,
        })  # fmt: skip
        tell(name)
    table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    return rows


def _telling_line(text: str) -> str:
    """The line of a planted failure that its own diagnosis quotes."""
    from hpcagent.toolchain.diagnosis import diagnose

    return diagnose(text.encode(), 1).causes[0].quote


if __name__ == "__main__":
    main()
