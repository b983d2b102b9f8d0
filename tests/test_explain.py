"""The command explain as a user meets it: logs, standard input, runs, JSON and mistakes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hpcagent.cli.explain import explain
from hpcagent.cli.main import main
from hpcagent.records import Resources
from hpcagent.study.journal import JournalWriter
from hpcagent.study.lease import Lease
from hpcagent.study.rundir import RunDir, create_run, unit_name
from hpcagent.study.session import open_tune
from hpcagent.study.settings import TuneSettings
from hpcagent.toolchain.stepruns import StepRun

LOG = (
    b"gcc -c main.c\n/usr/bin/ld: main.o: in function `main':\n"
    b"main.c:(.text+0x97): undefined reference to `dgemm_'\n"
    b"collect2: error: ld returned 1 exit status\nmake: *** [Makefile:5: app] Error 1\n"
)


def called(*args: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(explain, list(args), input=data, standalone_mode=False)


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "make.log"
    path.write_bytes(LOG)
    return str(path)


def test_a_log_is_explained_in_eighty_columns(log: str) -> None:
    result = called(log)
    assert result.return_value == 0
    assert result.output.startswith("link.blas  (confidence 0.8")
    assert "line   3: main.c:(.text+0x97): undefined reference to `dgemm_'" in result.output
    assert re.search(r"cure   .*-lopenblas", result.output)
    assert "repair parameter integers: set lp64" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert "\x1b" not in result.output


def test_json_has_ranked_causes(log: str) -> None:
    row = json.loads(called(log, "--json").output)
    assert row["failed"] is True
    first = row["causes"][0]
    assert {"id", "stage", "kind", "confidence", "line", "quote", "meaning", "cure"} <= set(first)
    assert (first["id"], first["line"]) == ("link.blas", 3)
    assert first["repair"]["name"] == "integers"
    assert row["lines"] == 5


def test_standard_input_and_the_filter(log: str) -> None:
    noise = b"gcc -O2 -c a.c\n" * 5000
    result = called("-", "--filter", "--tokens", "100", data=noise + LOG)
    assert "undefined reference to `dgemm_'" in result.output
    assert len(result.output) <= 401


def test_a_log_without_trouble_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ok.log"
    path.write_text("a.c:1:2: warning: this error is none [-Wextra]\nall done\n")
    result = called(str(path))
    assert (result.return_value, result.output) == (0, f"{path}: nothing wrong was found\n")


def test_a_complaint_that_nobody_knows_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "odd.log"
    path.write_text("reading\nERROR: the frobnicator is out of order\nbye\n")
    result = called(str(path))
    assert result.return_value == 0
    assert "nothing shows that it failed, and no cause is known; if it did, see" in result.output
    assert "2: ERROR: the frobnicator is out of order" in result.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ": it is empty"),
        (bytes(range(256)) * 40, ": it is no text but other data"),
        ("déjà vu, tout va bien\n".encode("latin-1"), ""),
    ],
)
def test_a_file_that_is_no_log_says_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(content + (b"" if words else b"all is well here\n" * 9))
    assert called(str(path)).output == f"{path}: nothing wrong was found{words}\n"


def test_the_exit_code_helps_where_words_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("step 1\n")
    assert "run.segfault" in called(str(path), "--exit", "139").output
    assert "nothing wrong" in called(str(path), "--exit", "0").output


@pytest.mark.parametrize("make", ["missing", "folder", "binary"])
def test_what_cannot_be_read_is_one_line_and_two(
    tmp_path: Path, make: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    elif make == "binary":
        path.write_bytes(b"\x7fELF\2\1\1\0")
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(path)])
    assert ended.value.code == 2
    words = capsys.readouterr().err
    assert words.startswith("hpcagent: error: ")
    assert words.count("\n") == 1


# --- runs ----------------------------------------------------------------------------------------


class Made:
    """A run with a journal, to which units are added as the agent would."""

    def __init__(self, tmp_path: Path) -> None:
        self.run: RunDir = create_run("tune", "1", tmp_path)
        open_tune(self.run, TuneSettings("openblas", 1, "local", "surrogate", 6, 4), "1")
        self._count = 0

    def unit(self, purpose: str, failure: dict[str, str] | None = None, **result: Any) -> Path:
        name = unit_name(self.run.id, self._count)
        self._count += 1
        folder = self.run.make_unit(name)
        spec = {"steps": []} if "steps" in result else {"reference": "x"}
        intent = {
            "unit": name, "kind": "build", "purpose": purpose, "attempt": 1,
            "resources": asdict(Resources(60)), "spec": spec,
        }  # fmt: skip
        ended = {"unit": name, "state": "COMPLETED", "job_seconds": 1.0, "failure": failure}
        lease = Lease.acquire(self.run.path)
        with lease, JournalWriter(self.run.journal, lease.check) as journal:
            journal.append("unit_intent", intent)
            journal.append("unit_result", ended | result)
        return folder


def test_a_failed_step_of_a_run_is_explained_from_its_log(tmp_path: Path) -> None:
    made = Made(tmp_path)
    step = StepRun("make", "failed", exit=2, output="see the log", log="logs/make.log")
    skipped = StepRun("install", "skipped")
    folder = made.unit("build-1", steps=[step.to_json(), skipped.to_json()])
    (folder / "logs").mkdir()
    (folder / "logs" / "make.log").write_bytes(LOG)
    result = called(str(made.run.path))
    assert "step make failed, exit code 2" in result.output
    assert "link.blas" in result.output
    assert "logs/make.log:3: main.c" in result.output
    rows = json.loads(called(str(made.run.path), "--json").output)["failures"]
    assert [row["causes"][0]["id"] for row in rows] == ["link.blas"]


def test_a_step_without_its_log_is_explained_from_what_was_kept(tmp_path: Path) -> None:
    made = Made(tmp_path)
    step = StepRun("run", "signal", signal=4, output="starting\n", log="logs/run.log")
    made.unit("check", steps=[step.to_json()])
    assert "run.illegal_instruction" in called(str(made.run.path)).output


def test_a_failed_unit_is_explained_from_err_or_by_its_own_failure(tmp_path: Path) -> None:
    made = Made(tmp_path)
    failure = {"stage": "scheduler", "kind": "failed", "evidence": "job 7 ended as FAILED"}
    folder = made.unit("round-1", failure)
    words = "python3: error while loading shared libraries: libz.so.1: cannot open shared object"
    (folder / "err").write_text(f"{words} file: No such file or directory\n")
    other = {"stage": "scheduler", "kind": "out_of_memory", "evidence": "job 8"}
    made.unit("round-2", other)
    rows = json.loads(called(str(made.run.path), "--json").output)["failures"]
    assert rows[0]["causes"][0]["id"] == "load.missing_library"
    assert rows[0]["causes"][0]["file"] == "err"
    assert [cause["id"] for cause in rows[1]["causes"]] == ["scheduler.out_of_memory"]


def test_a_failure_that_a_later_attempt_made_good_is_left_out(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.unit("round-1", {"stage": "scheduler", "kind": "node_fail", "evidence": "n1"})
    made.unit("round-1")
    result = called(str(made.run.path))
    assert "nothing wrong was found" in result.output
    assert result.return_value == 0
