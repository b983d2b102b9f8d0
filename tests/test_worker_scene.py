"""The in-job worker with an application: where its processes run, and how they are read."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab.worker_unit import Unit, gone, wait_for

from hpcagent.measure import worker
from hpcagent.measure.results import Run, parse_results

# Reads its own files, leaves some, says what the configuration tells it to.
PROGRAM = """#!/bin/sh
echo "left before: $(ls | tr '\\n' ' ')"
cat given.txt set.txt
date > restart
mkdir -p deep
echo "rate 7.5 per second" > deep/log
echo "seed $1"
eval "$SAY"
"""


class Application(Unit):
    def __init__(self, path: Path, configs: dict[str, str], **check: Any) -> None:
        super().__init__(path, {name: {"SAY": say} for name, say in configs.items()})
        program, given = path / "program", path / "given"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        given.write_text("from beside the card\n")
        self.spec["command"] = []
        for config in self.spec["configs"]:
            config["argv"] = [str(program), "{seed}"]
            config["files"] = {"set.txt": f"set {config['id']} {{seed}}\n"}
        self.spec["scene"] = {"links": {"given.txt": str(given)}, "outputs": []}
        self.spec["check"] = {"keys": ["run"], "figure": r"took (?P<value>\S+)", **check}
        self.spec["weights"] = {"run": 1.0}

    def runs(self) -> list[Run]:
        code, stderr = self.run()
        assert code == 0, stderr
        text = (self.path / "result.jsonl").read_text()
        return list(
            parse_results(text, self.spec["weights"], self.spec["check"].get("direction", "min"))
        )


def test_each_process_has_a_new_folder_with_its_files(tmp_path: Path) -> None:
    say = 'echo "took 0.1"; cat set.txt | grep -q "^set $CONFIG [0-9]*$" || exit 3'
    readback = {"found": "left before: (.*)", "seed": r"seed (\d+)", "given": "(from beside.*)"}
    unit = Application(tmp_path, {"a": say, "b": say}, readback=readback)
    for config in unit.spec["configs"]:
        config["env"]["CONFIG"] = config["id"]
    runs = unit.runs()
    assert len(runs) >= 8
    assert {run.status for run in runs} == {"ok"}
    assert {run.readback["found"] for run in runs} == {"given.txt set.txt "}
    assert {run.readback["given"] for run in runs} == {"from beside the card"}
    by_pair = {run.pair: run.readback["seed"] for run in runs}
    assert len(set(by_pair.values())) == len(by_pair), "each pair has inputs of its own"
    # The last one's is kept, to be looked at.
    last = {path.name for path in (tmp_path / "run").iterdir()}
    assert last == {"given.txt", "set.txt", "restart", "deep"}


@pytest.mark.parametrize(
    ("say", "told"),
    [
        ("echo it took 0.1", "it is within a line, and patterns begin where a line does"),
        ("echo took 0.1 >&2", "it is on standard error, which is not read (2>&1): 'took 0.1'"),
        ("echo bad size; exit 2", "exit code 2; stdout: bad size"),
    ],
)
def test_what_a_pattern_misses_is_looked_for_elsewhere(tmp_path: Path, say: str, told: str) -> None:
    unit = Application(tmp_path, {"a": "echo took 0.1", "b": say})
    [message] = {run.message for run in unit.runs() if run.config == "b"}
    assert told in message


def test_looking_elsewhere_takes_no_time_with_long_lines() -> None:
    """A search within a line may take the square of its length; none of this is timed."""
    long = "\r".join(f"{n} %" for n in range(400_000))
    found = worker.elsewhere([re.compile(r".*.*x time (?P<value>\S+)")], long, "")
    assert found == ""
    found = worker.elsewhere([re.compile(r"(?:\d+.*)*time (?P<value>\S+)")], "it took time 3\n", "")
    assert "it is within a line" in found


def test_a_line_of_another_case_is_not_taken_for_one_that_begins_wrongly(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "echo a took 1; echo b took 1", "b": "echo a took 1"})
    unit.spec["check"] |= {"keys": ["a", "b"], "figure": r"(?P<key>\w+) took (?P<value>\S+)"}
    unit.spec["weights"] = {"a": 1.0, "b": 1.0}
    [message] = {run.message for run in unit.runs() if run.config == "b"}
    assert message.startswith("no figure for b: no line with that key matches")
    assert "within a line" not in message


def test_figures_without_a_key_are_of_the_run(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "echo took 0.1; echo took 0.3", "b": "echo took 0.4"})
    runs = unit.runs()
    assert {run.medians["run"] for run in runs if run.config == "a"} == {0.2}
    assert {run.medians["run"] for run in runs if run.config == "b" and run.ok} == {0.4}


def test_what_is_written_into_files_is_read_as_if_it_were_printed(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": ":", "b": "rm deep/log"}, figure=r"rate (?P<value>\S+) per")
    unit.spec["scene"]["outputs"] = ["deep/log", "absent"]
    unit.spec["check"]["direction"] = "max"
    runs = unit.runs()
    good = [run for run in runs if run.config == "a"]
    assert {run.medians["run"] for run in good} == {7.5}
    assert {run.objective for run in good} == {-math.log(7.5)}
    assert [run.message for run in runs if run.config == "b"] == [
        r"no figure for run: no line matches rate (?P<value>\S+) per"
    ]


def test_the_time_of_the_whole_process_can_be_the_figure(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "sleep 0.05", "b": "sleep 0.3"}, figure="")
    runs = [run for run in unit.runs() if run.status != "dropped"]
    assert all(run.ok for run in runs)
    assert all(run.medians["run"] == run.wall_s for run in runs)
    assert min(run.medians["run"] for run in runs if run.config == "b") >= 0.3


@pytest.mark.parametrize(
    ("say", "value", "tolerance", "status", "words"),
    [
        ("echo energy -1.5", -1.5, 0.0, "ok", ""),
        ("echo energy -1.5005", -1.5, 1e-3, "ok", ""),
        ("echo energy -1.502", -1.5, 1e-3, "wrong", "the answer -1.502 is more than 0.0015 away"),
        ("echo energy 1.5", -1.5, 1e-3, "wrong", "the answer 1.5 is more than"),
        ("echo energy 9; echo energy -1.5", -1.5, 0.0, "ok", ""),
        ("echo energy -1.5; echo energy 9", -1.5, 0.1, "wrong", "the answer 9 is"),
        ("echo energy nan", -1.5, 1e9, "wrong", "'nan' is no finite number"),
        ("echo energy 1e400", None, 0.0, "wrong", "no finite number"),
        ("echo power -1.5", -1.5, 0.1, "wrong", "no line matches energy"),
        ("echo energy 3e-7", 0.0, 1e-6, "ok", ""),
        ("echo energy 3e-6", 0.0, 1e-6, "wrong", "is more than 1e-06 away from 0"),
        ("echo energy 12", None, 0.0, "ok", ""),
    ],
)
def test_a_result_is_held_to_the_answer(
    tmp_path: Path, say: str, value: float | None, tolerance: float, status: str, words: str
) -> None:
    answer = {"pattern": r"energy (?P<value>\S+)", "value": value, "tolerance": tolerance}
    unit = Application(tmp_path, {"a": f"echo took 1; {say}"}, answer=answer)
    unit.spec["mode"] = "once"
    (run,) = unit.runs()
    assert (run.status, words in run.message) == (status, True), run
    if status == "ok":
        assert run.readback["answer"] == say.split()[-1]


@pytest.mark.parametrize(
    ("says", "status", "words"),
    [
        ("1.5 2.5", "ok", ""),
        ("1.5 2.6", "wrong", "the answer of large 2.6 is more than 0.025 away from 2.5"),
        ("2.5 1.5", "wrong", "the answer of large 1.5 is more than"),
        ("1.5", "wrong", "no line of large matches"),
        ("1.5 x", "wrong", "the answer of large 'x' is no finite number"),
    ],
)
def test_each_case_has_figures_and_an_answer_of_its_own(
    tmp_path: Path, says: str, status: str, words: str
) -> None:
    lines = [
        f"echo {name} took {seconds} energy {answer}"
        for name, seconds, answer in zip(("small", "large"), (1, 3), says.split(), strict=False)
    ]
    more = ["echo large took 3"] if len(lines) == 1 else []
    answer = {
        "pattern": r"(?P<key>\S+) took \S+ energy (?P<value>\S+)", "value": None,
        "values": {"small": 1.5, "large": 2.5}, "tolerance": 1e-2,
    }  # fmt: skip
    say = "; ".join(("echo other took 9 energy 9", *lines, *more))
    figure = r"(?P<key>\S+) took (?P<value>\S+)"
    unit = Application(tmp_path, {"a": say}, figure=figure, answer=answer)
    unit.spec["check"]["keys"] = ["large", "small"]
    unit.spec["weights"] = {"large": 0.5, "small": 0.5}
    unit.spec["mode"] = "once"
    (run,) = unit.runs()
    assert (run.status, words in run.message) == (status, True), run
    assert "answer of other" not in run.readback
    if status == "ok":
        assert run.medians == {"small": 1.0, "large": 3.0}
        assert run.objective == pytest.approx(math.log(3) / 2)


def test_numbers_of_fortran_are_numbers(tmp_path: Path) -> None:
    answer = {"pattern": r"energy (?P<value>\S+)", "value": -1500.0, "tolerance": 0.0}
    say = "echo took 1.5D-01; echo energy -0.15D+04"
    unit = Application(tmp_path, {"a": say}, answer=answer)
    unit.spec["mode"] = "once"
    (run,) = unit.runs()
    assert (run.status, run.medians["run"]) == ("ok", 0.15)


def test_a_group_that_took_no_part_is_no_number(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "echo took n/a"}, figure=r"took (?:(?P<value>\d+)|n/a)")
    unit.spec["mode"] = "once"
    (run,) = unit.runs()
    assert run.status == "implausible"


def test_variables_of_the_application_s_own_stay(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "echo took 1"}, readback={"set": "set (.*)"})
    unit.spec["mode"] = "once"
    unit.spec["configs"][0]["files"] = {"set.txt": "set ${seed} {seed}\n"}
    (run,) = unit.runs()
    assert run.readback["set"].startswith("${seed} ")
    assert run.readback["set"].split()[1].isdigit()


def test_links_lead_nothing_out_of_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "p.in").write_text("the user's own")
    unit = Application(tmp_path, {"a": "echo took 1"})
    unit.spec["scene"]["links"]["data"] = str(data)
    for name in ("data/p.in", "data/new", "given.txt"):
        unit.spec["configs"][0]["files"] = {name: "x"}
        code, stderr = unit.run()
        assert (code, "cannot fill" in stderr) == (5, True), stderr
    assert [path.name for path in data.iterdir()] == ["p.in"]
    assert (data / "p.in").read_text() == "the user's own"
    assert (tmp_path / "given").read_text() == "from beside the card\n"


def test_what_a_process_left_behind_is_ended(tmp_path: Path) -> None:
    """As the ranks that outlive their launcher: each in a session of its own."""
    say = "setsid sleep 300 & echo $! > $PIDS/$$; echo took 1"
    unit = Application(tmp_path, {"a": say, "b": say})
    pids = tmp_path / "pids"
    pids.mkdir()
    for config in unit.spec["configs"]:
        config["env"]["PIDS"] = str(pids)
    other = subprocess.Popen(["sleep", "300"])
    try:
        assert all(run.ok for run in unit.runs())
        assert len(list(pids.iterdir())) >= 8
        assert all(gone(path) for path in pids.iterdir())
        assert other.poll() is None, "nobody else's"
    finally:
        other.kill()
        other.wait()


def test_a_worker_that_takes_over_ends_what_the_killed_one_had_started(tmp_path: Path) -> None:
    say = "setsid sleep 300 & echo $! > $PIDS/$$; wait"
    unit = Application(tmp_path, {"a": say})
    unit.spec["mode"] = "once"
    pids = tmp_path / "pids"
    pids.mkdir()
    unit.spec["configs"][0]["env"]["PIDS"] = str(pids)
    worker = unit.start()
    wait_for(lambda: any(path.read_text() for path in pids.iterdir()))
    [first] = pids.iterdir()
    worker.kill()
    worker.wait()
    assert not gone(first), "a session of its own outlives the worker"
    unit.spec["timeout_s"] = 0.5
    unit.run()
    assert gone(first)


MODULES = """module() {
  sleep 0.4
  echo "$2" >> "$COUNTED"
  case $2 in
    mpi/4) export MPI_HOME=/opt/mpi GREETING="two
lines"; export LOADEDMODULES="${LOADEDMODULES-}:$2" ;;
    *) echo "Lmod: no module $2" >&2; return 1 ;;
  esac
}
"""


def test_modules_are_loaded_once_and_no_clock_runs_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    (tmp_path / "init").write_text(MODULES)
    say = 'test "$MPI_HOME" = /opt/mpi && test "$MINE" = own && echo "$GREETING" | wc -l >> lines'
    unit = Application(tmp_path, {"a": ":", "b": say}, figure="")
    unit.spec["module_init"] = str(tmp_path / "init")
    for config in unit.spec["configs"]:
        config["env"]["MINE"] = "own"
    unit.spec["configs"][1]["modules"] = ["mpi/4"]
    runs = [run for run in unit.runs() if run.status != "dropped"]
    assert all(run.ok for run in runs), runs
    assert (tmp_path / "counted").read_text() == "mpi/4\n"
    assert max(run.wall_s or 0.0 for run in runs if run.config == "b") < 0.4


def test_a_module_that_cannot_be_loaded_fails_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    (tmp_path / "init").write_text(MODULES)
    unit = Application(tmp_path, {"a": "echo took 1", "b": "echo took 1"})
    unit.spec["module_init"] = str(tmp_path / "init")
    unit.spec["configs"][1]["modules"] = ["absent/1"]
    runs = unit.runs()
    assert {run.status for run in runs if run.config == "a"} == {"ok"}
    [failed] = [run for run in runs if run.config == "b"]
    assert failed.status == "failed"
    assert "absent/1 could not be loaded: Lmod: no module absent/1" in failed.message


def test_a_run_that_fails_is_no_answer(tmp_path: Path) -> None:
    answer = {"pattern": r"energy (?P<value>\S+)", "value": 1.0, "tolerance": 0.0}
    unit = Application(tmp_path, {"a": "echo took 1; echo energy 1; exit 5"}, answer=answer)
    unit.spec["mode"] = "once"
    (run,) = unit.runs()
    assert (run.status, run.exit, run.readback) == ("failed", 5, {})


def test_a_scene_that_cannot_be_set_ends_the_unit_in_one_line(tmp_path: Path) -> None:
    unit = Application(tmp_path, {"a": "echo took 1"})
    unit.spec["configs"][0]["files"] = {"given.txt/x": "a file where a link is"}
    code, stderr = unit.run()
    assert code == 5
    assert "cannot fill" in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not (tmp_path / "done.json").exists()
    assert json.loads((tmp_path / "spec.json").read_text())["scene"]["links"]
