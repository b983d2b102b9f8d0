"""Goals through the command line: refused in one line, or carried through a real run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from mainjob import PROJECT, Bench, Inside, make_bench, until

from hpcagent.apps import card
from hpcagent.cli.main import main
from hpcagent.measure import energy
from hpcagent.study import units
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import fold
from hpcagent.study.tune import Close, Decide, next_step

Refused = Callable[..., tuple[int, str]]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """The exit code and the one line of a `hpcagent tune` with these words; no run is made."""
    bench = make_bench(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HPCAGENT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(bench.tune_words(*words))
        assert not bench.run.exists()
        (line,) = capsys.readouterr().err.splitlines()
        return int(str(ended.value.code)), line

    return run


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--objective", "speed"], 2, "'speed' is unknown: choose from time, throughput, cost"),
        (["--objective", "cv", "--objective", "cv"], 2, "cv is named twice"),
        (["--within", "cv<2"], 2, "write cv<2%, memory<500M"),
        (["--within", "cv<2%", "--within", "cv<1%"], 2, "cv is bounded twice"),
        (["--within", "speed<2"], 2, "or, without a unit, a figure of the card"),
        (["--confirm-jobs", "9"], 2, "1<=x<=8"),
        (["--constraint", "cv<2%"], 2, "is said with --within"),
        (["--objective", "time", "--objective", "memory"], 2, "confirm_pairs is 9"),
    ],
)
def test_a_goal_that_cannot_be_is_refused_in_one_line(
    refused: Refused, words: list[str], code: int, said: str
) -> None:
    found, line = refused(*words)
    assert found == code
    assert said in line


@pytest.mark.parametrize("words", [["--objective", "energy"], ["--within", "energy<5J"]])
def test_energy_is_refused_where_the_machine_does_not_tell_it(
    refused: Refused, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "why_not", lambda: "no RAPL zone")
    found, line = refused(*words)
    assert found == 3
    assert "energy cannot be measured here: no RAPL zone" in line
    assert "leave energy out" in line


@pytest.mark.openblas
def test_two_objectives_within_a_constraint(tmp_path: Path) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    project = PROJECT.replace("confirm_pairs = 9", "confirm_pairs = 10")
    (tmp_path / "hpcagent.toml").write_text(project + 'within = ["cv<90%"]\n')
    words = ["--objective", "throughput", "--objective", "memory", "--budget", "rounds=1"]
    done = bench.tune(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    goals = found["goals"]
    assert [row[0] for row in goals["objectives"]] == ["throughput", "memory"]
    assert goals["within"] == ["cv<90%"]
    assert "--within cv<90%" in " ".join(found["command"])
    assert goals["points"][0]["evaluation"] == 1
    assert any(point["front"] for point in goals["points"])
    assert (bench.run / "result" / "figures" / "pareto.svg").exists()
    assert "What it was for" in (bench.run / "result" / "report.md").read_text()
    page = bench.hpcagent("report", str(bench.run), "--width", "80").stdout
    assert "Goal         throughput (more is better), then memory (less is better)," in page
    kept = bench.hpcagent("history", "add", str(bench.run))
    assert (kept.returncode, "was not for speed alone" in kept.stderr) == (2, True)
    assert max(map(len, page.splitlines())) <= 80
    _follows_from_its_journal(bench)


ROOM = """\
  - name: room
    kind: ordinal
    meaning: what the process may take; from 100 on it is killed for it
    limit: upper
    values: ladder(1024)
    default: '"1"'
    argv: [{script}, "{{value}}"]
"""
KILLER = '#!/bin/sh\n[ "$1" -lt 100 ] || kill -9 $$\nshift\nexec "$@"\n'


@pytest.fixture
def own_card(tmp_path: Path) -> Path:
    """OpenBLAS with the residual as a figure of merit, and a parameter that has an upper limit."""
    text = (card._FOLDER / "openblas.yaml").read_text()
    first = "unit: s, direction: min}\n"
    second = first + "  - {name: residual, unit: eps, direction: min,\n"
    second += "     regex: '^residual (?P<key>\\S+) (?P<value>\\S+)$'}\n"
    script = tmp_path / "room.sh"
    script.write_text(KILLER)
    script.chmod(0o755)
    for old, new in (
        (first, second),
        ("\nname: openblas\n", "\nname: mine\n"),
        ("\nspace:\n", "\nspace:\n" + ROOM.format(script=script)),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "mine.yaml").write_text(text)
    return tmp_path / "mine.yaml"


@pytest.mark.openblas
def test_a_card_of_one_s_own_with_a_figure_a_bound_on_it_and_an_upper_limit(
    tmp_path: Path, own_card: Path
) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    (tmp_path / "hpcagent.toml").write_text(PROJECT.replace("= 9", "= 10"))
    words = [*bench.tune_words(), "--objective", "time", "--objective", "residual", "--within",
             "residual<29.5", "--budget", "rounds=2"]  # fmt: skip
    words[words.index("openblas")] = "mine.yaml"
    done = bench.hpcagent(*words, "--no-wait")
    assert done.returncode == 0, done.stderr
    own_card.unlink()  # a run has its card from the day it was opened
    done = bench.hpcagent("resume", str(bench.run))
    assert done.returncode == 0, done.stderr
    files = [*(bench.run / "work").glob("*/result.jsonl")]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    ran = [row for row in rows if row["status"] == "ok"]
    assert ran
    assert all(set(row["further"]["residual"]) == set(row["samples"]) for row in ran)
    page = (bench.run / "result" / "report.md").read_text()
    assert "then residual (less is better), within residual&lt;29.5" in page
    assert "--lib mine.yaml" in page
    asked = [int(p["config"]["room"]) for e in bench.events("proposed")
             for p in e["data"]["proposals"]]  # fmt: skip
    assert asked
    for index, room in enumerate(asked):  # never more than twice what is known to work
        assert room <= 2 * max([1, *(x for x in asked[:index] if x < 100)])
    _follows_from_its_journal(bench)


def _follows_from_its_journal(bench: Bench) -> None:
    """The prefix before each decision leads to it."""
    events = list(read_journal(bench.run / "journal.jsonl"))
    decided = [i for i, e in enumerate(events) if e.type == "decision"]
    for index in (*decided, len(events) - 1):
        known = Knowledge(fold(events[:index]))
        step = next_step(
            known, events[index].t_utc, None, lambda unit: str(bench.run / "work" / unit.name)
        )
        if isinstance(step, Decide):
            assert dict(events[index].data) == {"what": step.what, **step.data}
        elif isinstance(step, Close):
            assert events[index].data["text"] == step.text


@pytest.mark.openblas
def test_a_constraint_that_nothing_keeps_to_leaves_the_default(tmp_path: Path) -> None:
    bench = Inside(tmp_path, make_bench(tmp_path).env)
    done = bench.tune("--within", "memory<1M", "--budget", "rounds=1")
    assert done.returncode == 0, done.stderr
    (closed,) = bench.events("run_closed")
    assert closed["data"]["outcome"] == "nothing better"
    said = " ".join(done.stdout.split())
    assert "the default breaks memory<1M, and so does all that was measured." in said
    assert not [e for e in bench.events("unit_intent") if e["data"]["purpose"] == "confirm"]


# A process of its own, and before all others where it may: a counter that stands still while a
# measured process runs tells that this used nothing.
METER = """
import contextlib, os, pathlib, sys, time
with contextlib.suppress(PermissionError):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
counter = pathlib.Path(sys.argv[1])
fresh = counter.with_name("fresh")
while True:
    fresh.write_text(f"{round(50e6 * time.monotonic())}\\n")
    fresh.replace(counter)
    time.sleep(0.002)
"""


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Path]:
    """A root with a RAPL package that uses 50 W, whoever runs."""
    zone = tmp_path / "root/sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    counter = zone / "energy_uj"
    process = subprocess.Popen([sys.executable, "-c", METER, str(counter)])
    try:
        until(counter.exists, lambda: process.poll())
        yield tmp_path / "root"
    finally:
        process.kill()
        process.wait()


@pytest.mark.openblas
def test_energy_is_tuned_for_where_it_can_be_read(
    tmp_path: Path, meter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both the first look and the workers on the node read below another root."""
    bench = make_bench(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in bench.env.items():
        monkeypatch.setenv(name, value)
    read = units._source
    root = f'ROOT = "{meter}"'
    monkeypatch.setattr(units, "_source", lambda path: read(path).replace('ROOT = "/"', root))
    monkeypatch.setattr(energy, "why_not", partial(energy.why_not, str(meter)))
    with pytest.raises(SystemExit) as ended:
        main(bench.tune_words("--objective", "energy", "--budget", "rounds=1"))
    assert ended.value.code == 0
    assert bench.outcome() in ("improved", "nothing better")
    measured = [run for e in bench.events("unit_result") for run in e["data"]["runs"]
                if e["data"]["unit"] and run["pair"] > 0 and run["status"] == "ok"]  # fmt: skip
    assert len(measured) > 20
    watts = [run["joules"] / run["wall_s"] for run in measured]
    assert statistics.median(watts) == pytest.approx(50.0, rel=0.3)
    assert "energy (less is better)" in (bench.run / "result" / "report.md").read_text()
