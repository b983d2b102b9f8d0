"""The tasks of code generation: the best hand-written variant of each, beside its reference.

Each task runs as shipped, `hpcagent codegen TASK --candidates` its own, with all of the gate; the
figure is the confirmation's: fresh interleaved pairs, fixed in number. For the matrix
product the same is done with OpenBLAS as the reference (one thread, by the allowed library), and
the other way round where OpenBLAS is the faster one. Tasks that are in FILE (--json) already are
not run again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import ROOT, Options, finish, options, scratch, table, tell

TASKS = ROOT / "hpcagent" / "codegen" / "tasks"
OPENBLAS = Path(__file__).resolve().parent / "kernels" / "gemm_openblas.c"
GEMMS = ("gemm-c", "gemm-fortran")
QUICK = ["gemm-c"]


@dataclass(frozen=True)
class Row:
    """`ratio` is the time of `beside` over that of `best`; `rates` their figures in the largest
    case. `claimed`: from fresh pairs; else from the measurement that chose the best."""

    task: str
    best: str
    beside: str
    ratio: float | None
    low: float | None
    high: float | None
    pairs: int
    claimed: bool
    rates: str
    failed: str
    load: float


def main() -> None:
    chosen = options(
        __doc__,
        ("tasks", str, "", "names, with commas between; empty: all"),
        ("lock", str, "", "a folder for the node's lock, where others measure on it anyway"),
    )
    names = [path.name for path in sorted(TASKS.iterdir()) if (path / "task.yaml").is_file()]
    wanted = [name for name in chosen.extra["tasks"].split(",") if name]
    names = wanted or (QUICK if chosen.quick else names)
    rows = recorded(chosen)
    with scratch() as folder:
        if chosen.extra["lock"]:
            os.environ["HPCAGENT_NODE_LOCK"] = chosen.extra["lock"]
        for name in [name for name in names if name not in {row.task for row in rows}]:
            rows.append(beside_reference(folder, name, chosen.quick))
            rows += beside_openblas(folder, name, chosen.quick) if name in GEMMS else []
            tell(str(rows[-1]))
            finish(chosen, {"rows": [asdict(row) for row in rows]})
    head = ("task", "best", "beside", "ratio", "low", "high", "pairs", "claimed", "rates", "failed",
            "load")  # fmt: skip
    table(head, [tuple("-" if v is None else v for v in asdict(row).values()) for row in rows])


def recorded(chosen: Options) -> list[Row]:
    """What an earlier call left in its file, so that the tasks in it are not run again."""
    if chosen.json is None or not chosen.json.exists():
        return []
    return [Row(**row) for row in json.loads(chosen.json.read_text(encoding="utf-8"))["rows"]]


def beside_reference(folder: Path, name: str, quick: bool) -> Row:
    """Of a task with a checker: beside the first of its candidates that passed."""
    place = copied(folder, name, name, quick)
    found = run(place, place / "candidates")
    first = next((a["label"] for a in found["attempts"] if a["rates"]), "none")
    judged = "checker:" in (place / "task.yaml").read_text()
    return row_of(name, found, first if judged else "reference")


def beside_openblas(folder: Path, name: str, quick: bool) -> list[Row]:
    """The fastest of the candidates against OpenBLAS; turned round where nothing was claimed."""
    place = copied(folder, name, f"{name}-openblas", quick)
    edit(place, "reference:", "reference: openblas.c\nlibraries: [m, openblas]")
    shutil.copy(OPENBLAS, place / "openblas.c")
    row = row_of(name, run(place, place / "candidates"), "OpenBLAS")
    if row.claimed or not row.best:
        return [row]
    best = place / "candidates" / row.best
    source = best if best.is_file() else next(best.glob("kernel.*"))
    shutil.copy(source, place / f"best{source.suffix}")
    edit(place, "reference:", f"reference: best{source.suffix}")
    edit(place, "language:", "language: c")
    (place / "other").mkdir()
    shutil.copy(OPENBLAS, place / "other")
    return [row, row_of(name, run(place, place / "other"), row.best)]


def copied(folder: Path, name: str, as_name: str, quick: bool) -> Path:
    place = folder / as_name
    shutil.copytree(TASKS / name, place)
    if quick:
        text = (place / "task.yaml").read_text()
        short = text.replace("budget: {", "budget: {max_pairs: 3, confirm_pairs: 9, ")
        short += "" if "repeats:" in text else "repeats: 3\n"
        (place / "task.yaml").write_text(short)
    return place


def edit(place: Path, start: str, line: str) -> None:
    """Put `line` in the place of the task's line that starts so."""
    path = place / "task.yaml"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line if row.startswith(start) else row for row in lines) + "\n")


def run(place: Path, candidates: Path) -> Any:
    """The run's summary, as `--json` gives it."""
    words = ["codegen", str(place / "task.yaml"), "--candidates", str(candidates), "--json"]
    words += ["--run-dir", str(place / f"run-{candidates.name}")]
    done = subprocess.run(
        [sys.executable, "-m", "hpcagent", *words], cwd=place, capture_output=True, text=True
    )
    if done.returncode not in (0, 7):
        raise SystemExit(f"{place.name}: {done.stderr.strip()}")
    return json.loads(done.stdout)["targets"][0]["codegen"]


def row_of(name: str, found: Any, beside: str) -> Row:
    attempts, claim = found["attempts"], found["claim"]
    failed = "; ".join(
        f"{a['label']}: {a['failure']['stage']}.{a['failure']['kind']}"
        for a in attempts if a["failure"]
    )  # fmt: skip
    load = round(os.getloadavg()[0], 1)
    if found["best"] is None:
        return Row(name, "", beside, None, None, None, 0, False, "", failed, load)
    best = attempts[found["best"]]
    beside_it = next(a for a in attempts if a["rates"])
    rates = rates_of(found["unit"], (beside_it, best))
    if claim is None:
        return Row(name, best["label"], beside, best["speedup"], None, None, 0, False, rates,
                   failed, load)  # fmt: skip
    figures = (claim["speedup"], claim["low"], claim["high"], claim["pairs"])
    return Row(name, best["label"], beside, *figures, True, rates, failed, load)


def rates_of(unit: str, two: Sequence[Any]) -> str:
    cases = two[1]["rates"]
    return ", ".join(f"{c} {two[0]['rates'][c]:.4g} to {cases[c]:.4g} {unit}" for c in cases)


if __name__ == "__main__":
    main()
