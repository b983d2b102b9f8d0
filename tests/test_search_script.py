"""tests/benchmarks/search.py as a command: what it refuses, what it keeps, what its tables show."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import search_peers  # noqa: E402
from search_kept import BadFile, Kept  # noqa: E402
from search_options import BadOption, arguments  # noqa: E402
from search_tables import Run  # noqa: E402
from surface_files import load  # noqa: E402

SIZES = (1, 2, 4, 8, 16)
RUN = Run("s", "random", 0, (0.5, 0.5, 0.5, 0.5), (31, 31), 0, 0.1)


def surface(folder: Path, name: str = "s", best: int = 0, values: tuple[Any, ...] = SIZES) -> Path:
    """Each step away from the value that is the `best` one takes twice as long."""
    folder.mkdir(exist_ok=True)
    choices = ("x", "y", "z")
    params = [
        {"name": "a", "kind": "ordinal", "values": values},
        {"name": "b", "kind": "categorical", "values": choices},
    ]
    head = {"name": name, "objective": {"unit": "s", "direction": "min"}, "params": params}
    rows = ["a,b,status,samples"]
    for (n, a), b in itertools.product(enumerate(values), choices):
        rows.append(f"{a},{b},ok,{2.0 ** abs(n - best) * (1 + choices.index(b) / 10)}")
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(head), encoding="utf-8")
    path.with_suffix(".csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    return folder


def search(*words: object, out: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(BENCHMARKS / "search.py"), *map(str, words), "--processes", "1"]
    return subprocess.run(argv, stdout=out, stderr=subprocess.PIPE, text=True)


def line(ran: subprocess.CompletedProcess[str]) -> str:
    """What a refusal says."""
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("search.py: ") and ran.stderr.count("\n") == 1
    return ran.stderr


def test_one_family_alone_lacks_other_programs_only(tmp_path: Path) -> None:
    folder = surface(surface(tmp_path / "s", "f_1"), "f_2")
    ran = search(folder, "--history", "--seeds", 1, "--budget", 6)
    assert ran.returncode == 0, ran.stderr
    told = [row for row in ran.stdout.splitlines() if "hpcagent, of other programs" in row]
    assert len(told) == 1 and told[0].startswith("left out: ")
    assert "== over hpcagent: " in ran.stdout and "hpcagent, history (2 surfaces)" in ran.stdout
    assert "== over hill climbing, from their best: " in ran.stdout

    ran = search(folder, "--history", "--only", "hpcagent, of other programs")
    assert ran.returncode == 2 and "none of these can be compared" in ran.stderr


def test_earlier_runs_can_be_of_another_machine(tmp_path: Path) -> None:
    here, there = surface(tmp_path / "here", "f_1"), surface(tmp_path / "there", "f_1")
    words = ["--seeds", 2, "--budget", 6, "--only", "hpcagent", "--only", "hpcagent, history"]
    runs = {}
    for trust in (0, 1):
        path = tmp_path / f"{trust}.json"
        ran = search(
            here, "--history", "--earlier", there, "--trust", trust, *words, "--json", path
        )
        assert ran.returncode == 0, ran.stderr
        assert "hpcagent, history (1 surfaces)" in ran.stdout
        told = json.loads(path.read_text())
        runs[trust] = [
            [run["needed"] for run in told if run["method"] == name]
            for name in ("hpcagent", "hpcagent, history")
        ]
    assert runs[0][0] == runs[0][1], "what is not trusted changes nothing"
    assert sum(n[0] for n in runs[1][1]) < sum(n[0] for n in runs[1][0])
    assert "--earlier" in line(search(here, "--earlier", there))
    assert "--trust" in line(search(here, "--trust", "0.4"))
    assert "searched there now" in line(search(here, "--history", "--earlier", here))
    assert "--trust 2" in line(search(here, "--history", "--trust", 2))


def test_ordinals_of_words_have_earlier_runs(tmp_path: Path) -> None:
    folder = surface(tmp_path / "s", "f_1", values=("small", "medium", "large"))
    surface(folder, "f_2", values=("small", "mid", "big"), best=2)
    ran = search(folder, "--history", "--seeds", 1, "--budget", 4)
    assert ran.returncode == 0, ran.stderr


def test_nothing_is_lost_where_the_tables_cannot_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    with Path("/dev/full").open("w") as full:
        words = ["--only", "random", "--seeds", 2, "--json", path]
        assert search(surface(tmp_path / "s"), *words, out=full).returncode != 0
    assert [run["seed"] for run in json.loads(path.read_text())] == [0, 1]


@pytest.mark.parametrize("more", [[], ["--only", "random"], ["--history"]])
def test_an_unknown_competitor_is_refused_with_those_that_are(
    more: list[str], tmp_path: Path
) -> None:
    words = line(search(surface(tmp_path / "s"), "--only", "typo", *more))
    assert "'typo'" in words and "'hpcagent'" in words
    assert ("'hpcagent, history'" in words) is ("--history" in more)


def test_a_bad_surface_is_refused_in_one_line_without_its_control_characters(
    tmp_path: Path,
) -> None:
    folder = surface(tmp_path / "\x1b[31ms")
    (folder / "0.csv.gz").write_bytes(b"\x1f\x8b")
    assert "\\x1b[31ms/0.csv.gz: " in line(search(folder))


def test_a_name_cannot_command_the_terminal(tmp_path: Path) -> None:
    ran = search(surface(tmp_path / "s", "red\x1b[31m\nname"), "--only", "random", "--seeds", 1)
    assert ran.returncode == 0
    assert ran.stdout.startswith("== red\\x1b[31m\\nname: 15 points")
    assert "\x1b" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(("budget", "shown", "hidden"), [(5, 5, 10), (3, 3, 5), (25, 20, 30)])
def test_tables_end_with_the_budget_and_one_seed_has_no_interval(
    budget: int, shown: int, hidden: int, tmp_path: Path
) -> None:
    words = ["--only", "hpcagent", "--only", "random", "--seeds", 1, "--budget", budget]
    ran = search(surface(tmp_path / "s"), *words)
    head = ran.stdout.splitlines()[1]
    assert f"q@{shown} " in head and f"lower quartile @{shown} " in head
    assert f"@{hidden}" not in head
    last = next(row for row in reversed(ran.stdout.splitlines()) if row.startswith("random"))
    assert last.split()[-1] == "-"


def test_kept_runs_of_other_data_do_not_count(tmp_path: Path) -> None:
    kept, words = tmp_path / "kept", ["--only", "random", "--seeds", 2]
    search(surface(tmp_path / "one"), *words, "--keep", kept)
    first = kept.read_text()
    assert first.count("\n") == 2
    search(tmp_path / "one", *words, "--keep", kept)
    assert kept.read_text() == first

    other = surface(tmp_path / "two", best=3)
    for name, more in (("with", ["--keep", kept]), ("without", [])):
        search(other, *words, *more, "--json", tmp_path / name)
    found = {
        name: [run["quality"] for run in json.loads((tmp_path / name).read_text())]
        for name in ("with", "without")
    }
    assert found["with"] == found["without"]
    assert found["with"] != [json.loads(line)["quality"] for line in first.splitlines()]
    assert kept.read_text().count("\n") == 4


def test_kept_lines_without_a_digest_or_of_another_budget_do_not_count(tmp_path: Path) -> None:
    (data,) = load(surface(tmp_path / "s"))
    path = tmp_path / "kept"
    Kept(path, 30, {"s": data}).add(RUN)
    assert list(Kept(path, 30, {"s": data}).runs.values()) == [RUN]
    assert not Kept(path, 20, {"s": data}).runs
    path.write_text(json.dumps({"budget": 30, **vars(RUN)}) + "\n")
    assert not Kept(path, 30, {"s": data}).runs


WHOLE = json.dumps({"budget": 30, "data": "", **vars(RUN)})


@pytest.mark.parametrize(
    "damaged",
    ["[]\n", "{}\n", "\0\0\n", "notes of mine", WHOLE.replace("0.5,", "null,", 1) + "\n"],
)
def test_a_damaged_line_of_kept_runs_is_named(damaged: str, tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text(WHOLE + "\n" + damaged)
    with pytest.raises(BadFile, match=f"{path}:2: no run as --keep writes it; remove the line"):
        Kept(path, 30, {})


@pytest.mark.parametrize("torn", [WHOLE[:40], WHOLE])
def test_a_line_that_a_kill_tore_is_made_again(torn: str, tmp_path: Path) -> None:
    (data,) = load(surface(tmp_path / "s"))
    path = tmp_path / "kept"
    Kept(path, 30, {"s": data}).add(RUN)
    path.write_text(path.read_text() + torn)
    kept = Kept(path, 30, {"s": data})
    assert list(kept.runs.values()) == [RUN]
    kept.add(replace(RUN, seed=1))
    assert {run.seed for run in Kept(path, 30, {"s": data}).runs.values()} == {0, 1}


def test_a_full_disk_under_kept_runs_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data,) = load(surface(tmp_path / "s"))
    kept = Kept(tmp_path / "kept", 30, {"s": data})
    monkeypatch.setattr(kept, "_path", Path("/dev/full"))
    with pytest.raises(BadFile, match="/dev/full: No space left on device; choose another --keep"):
        kept.add(RUN)


@pytest.mark.parametrize("option", ["--json", "--keep"])
@pytest.mark.parametrize("place", ["none/file", "."])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    option: str, place: str, tmp_path: Path
) -> None:
    folder = surface(tmp_path / "s")
    assert str(tmp_path / place) in line(search(folder, option, tmp_path / place))


def test_a_refusal_leaves_no_empty_file(tmp_path: Path) -> None:
    line(search(tmp_path, "--json", tmp_path / "runs.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    ["--seeds 0", "--seeds -1", "--budget 0", "--budget -3", "--batch 0", "--batch -1",
     "--processes 0", "--first-seed -5", "--first-seed 9999999999", "--minutes nan"],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", "folder", *words.split()])
    with pytest.raises(BadOption, match=f"{words.split()[0]} .*: expected "):
        arguments(None)


def test_competitors_whose_package_is_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"optuna": True, "torch": False, "skopt": True, "llama_cpp": False}
    monkeypatch.setattr(search_peers.importlib.util, "find_spec", lambda name: there[name])
    without = {"hpcagent, embedded": "llama_cpp", "Optuna GP": "torch"}
    assert search_peers.lacking() == without
    assert not without.keys() & search_peers.competitors(1).keys()
    assert {"hpcagent", "Optuna TPE", "forest (skopt)"} <= search_peers.competitors(1).keys()
