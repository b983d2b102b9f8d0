"""The command line as a user meets it: help, bad input, dry run, exit codes."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mainjob import ROOT, WITH_DEFAULT_MODEL, Bench, Inside, busy_queue, make_bench
from tiny_gguf import make_tiny_gguf

from hpcagent.cli.interrupt import interruptible
from hpcagent.search.function_file import EXAMPLE
from hpcagent.study.chain import chain_folder
from hpcagent.study.lease import Lease
from hpcagent.study.rundir import create_run
from hpcagent.study.session import open_tune
from hpcagent.study.settings import TuneSettings

GIVEN = ROOT / "hpcagent" / "codegen" / "tasks" / "triad-c" / "candidates"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def inside(bench: Bench) -> Inside:
    return Inside(bench.folder, bench.env)


def as_user(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with the rights of an ordinary user, whoever tests."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may look at everything, and setpriv is not here to take that away")
    less = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    return subprocess.run(
        [*(less if os.geteuid() == 0 else ()), *bench.argv(*words)],
        cwd=bench.folder, env=bench.env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with `code` and one line on standard error that holds all the words."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


def test_help_teaches_and_fits_80_columns(bench: Bench) -> None:
    for words in (["--help"], ["tune", "--help"], ["resume", "--help"], ["status", "-h"]):
        done = bench.hpcagent(*words)
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Exit codes" in bench.hpcagent("--help").stdout
    assert "Begin with:      hpcagent tune --lib openblas" in bench.hpcagent().stderr
    assert "hpcagent tune --lib openblas --budget" in bench.hpcagent("tune", "--help").stdout


def test_a_run_is_listed_by_the_name_that_commands_take(inside: Inside) -> None:
    """A folder of one's own (`--run-dir runs/mine`) is not named as the run's id."""
    run = create_run("tune", "1", inside.folder / "runs", inside.folder / "runs" / "mine")
    open_tune(run, TuneSettings("openblas", 1, "local", "surrogate", 6, 4), "1")
    inside.env.pop("HPCAGENT_RUNS", None)
    assert inside.hpcagent("status").stdout.startswith("mine: ")
    alone = "no process drives it now"
    assert alone in inside.hpcagent("status").stdout
    told = inside.hpcagent("status", "mine").stdout
    assert f"{alone}; go on with: hpcagent resume" in " ".join(told.split())
    with Lease.acquire(run.path):
        assert alone not in inside.hpcagent("status", "mine").stdout
        assert alone not in inside.hpcagent("status").stdout
    (run.path / "agent").mkdir(exist_ok=True)
    chain_folder(run.path).mkdir(exist_ok=True)
    (chain_folder(run.path) / "chain.json").write_text('{"next_job": "77"}')
    assert "job 77, the next link of its chain" in inside.hpcagent("status", "mine").stdout


def test_help_imports_nothing_heavy(bench: Bench) -> None:
    code = (
        "import sys\nfrom hpcagent.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'llama_cpp', 'matplotlib', 'jinja2', 'rich', 'yaml', 'sh'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=bench.env, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"


def test_unknown_things_are_named(inside: Inside) -> None:
    one_line(inside.hpcagent("tune", "--lib", "mkl"), 2, "unknown library 'mkl'", "openblas")
    one_line(inside.tune("--strategy", "magic"), 2, "'magic'", "surrogate")
    one_line(inside.tune("--scheduler", "lsf"), 2, "'lsf'", "local")
    one_line(inside.hpcagent("resume", "nowhere"), 2, "nowhere")
    one_line(inside.hpcagent("tune"), 2, "--lib", "hpcagent tune --help")
    one_line(inside.hpcagent("tune", "--lib", "openblas", "--sed", "1"), 2, "--sed", "--seed")
    one_line(inside.hpcagent("tnue"), 2, "tnue", "hpcagent --help")
    one_line(inside.tune("--challengers", "many"), 2, "--challengers", "many")
    assert not inside.run.exists()


@pytest.mark.parametrize(
    ("budget", "code", "words"),
    [
        ("rounds=0", 5, "at least one round is needed (--budget rounds=1)"),
        ("wall=0", 5, "nothing can be done with that: leave it out"),
        ("rounds=2.5", 2, "whole number"),
        ("rounds=-1", 2, "must be above 0"),
        ("wall=-5m", 2, "must be above 0"),
        ("rounds=-x", 2, "not a number"),
        ("rounds=99999", 2, "up to 1000"),
        ("hours=2", 2, "rounds=N, core-hours=X or wall=30m"),
        ("core-hours=2h", 2, "not a number"),
        ("wall=$(id)", 2, "not a number"),
    ],
)
def test_bad_budgets(inside: Inside, budget: str, code: int, words: str) -> None:
    one_line(inside.tune("--budget", budget), code, words)
    assert not inside.run.exists()


def test_bad_models(inside: Inside) -> None:
    missing = inside.folder / "none.gguf"
    one_line(inside.tune("--model", str(missing)), 3, "none.gguf", "no such file")
    text = inside.folder / "text.gguf"
    text.write_text("this is not a model")
    one_line(inside.tune("--model", str(text)), 3, "text.gguf", "GGUF")
    one_line(inside.tune("--model", str(inside.folder)), 3, "not a regular file")
    one_line(inside.tune("--strategy", "model"), 2, "--model FILE")
    assert not inside.run.exists()


def test_bad_transcripts(inside: Inside) -> None:
    one_line(inside.tune("--replay", "nothing"), 3, "nothing", "no such transcript")
    (inside.folder / "empty.jsonl").write_text("{}\n")
    one_line(inside.tune("--replay", "empty.jsonl"), 3, "holds no answer of a model")
    both = ("--replay", "empty.jsonl", "--model", "x.gguf")
    one_line(inside.tune(*both), 2, "--replay and --model exclude each other")
    assert not inside.run.exists()


def test_a_bad_workload_names_file_line_and_field(inside: Inside) -> None:
    (inside.folder / "mix.yaml").write_text("cases:\n  - {routine: dgemm, m: -1, n: 2, k: 3}\n")
    one_line(inside.tune(), 2, "mix.yaml:2: m: -1")
    (inside.folder / "mix.yaml").write_text("cases:\n  - {routine: zgemm3m, m: 1}\n")
    one_line(inside.tune(), 2, "mix.yaml:2: routine", "zgemm3m")
    assert not inside.run.exists()


def test_bad_values(inside: Inside) -> None:
    one_line(inside.tune("--openblas-prefix", "/no/such\nplace"), 2, "control characters")
    one_line(inside.tune("--openblas-prefix", "/no/such"), 3, "/no/such")
    for key, value, words in (
        ("confirm_pairs", 5, "at least 9"),
        ("challengers", 0, "at least 1"),
        ("challengers", 99, "at most 16"),
        ("ahead", 100, "at most 8"),
        ("pack", 17, "at most 16"),
    ):
        (inside.folder / "hpcagent.toml").write_text(f"{key} = {value}\n")
        one_line(inside.hpcagent("tune", "--lib", "openblas", "--dry-run"), 2, key, words)


def test_an_unusable_run_directory(inside: Inside) -> None:
    (inside.folder / "file").write_text("x")
    words = ["tune", "--lib", "openblas", "--run-dir"]
    one_line(inside.hpcagent(*words, str(inside.folder / "file")), 3, "file")
    full = inside.folder / "full"
    full.mkdir()
    (full / "mine").write_text("precious")
    one_line(inside.hpcagent(*words, str(full)), 3, "full")
    assert (full / "mine").read_text() == "precious"


def test_a_run_directory_that_cannot_be_written(inside: Inside) -> None:
    """/proc takes no new folders, not even from root."""
    one_line(inside.hpcagent("tune", "--lib", "openblas", "--run-dir", "/proc/run"), 3, "/proc/run")
    runs = Inside(inside.folder, {**inside.env, "HPCAGENT_RUNS": "/proc/runs"})
    one_line(runs.hpcagent("tune", "--lib", "openblas"), 3, "/proc/runs")


def test_no_compiler_is_told_before_a_run_is_made(inside: Inside) -> None:
    empty = inside.folder / "bin"
    empty.mkdir()
    for name in ("make", "bash", "sh"):
        found = shutil.which(name)
        assert found is not None
        (empty / name).symlink_to(found)
    poor = Inside(inside.folder, {**inside.env, "PATH": str(empty)})
    one_line(poor.tune(), 3, "no C compiler", "build-essential")
    (empty / "make").unlink()
    one_line(poor.tune(), 3, "make is missing")
    assert not inside.run.exists()


def test_dry_run_shows_everything_and_does_nothing(bench: Bench) -> None:
    before = sorted(bench.folder.rglob("*"))
    done = bench.tune("--dry-run")
    assert done.returncode == 0, done.stderr
    for name in ("collect.py", "worker.py", "job.sh", "driver.c", "Makefile", "workload.txt"):
        assert f"-- {name}" in done.stdout
    assert "submit to local" in done.stdout
    data = json.loads(bench.tune("--dry-run", "--json").stdout)
    purposes = [unit["purpose"] for unit in data["units"]]
    assert purposes == ["probe", "build", "feasibility", "round-1", "confirm"]
    assert "int main" in data["units"][1]["files"]["driver.c"]
    assert sorted(bench.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("configured", "words", "strategy", "model"),
    [
        ('model = "tiny.gguf"', ["--strategy", "random"], "random", ""),
        ('model = "tiny.gguf"', ["--strategy", "embedded"], "embedded", "embedded"),
        ('model = "tiny.gguf"', [], "model", "tiny.gguf"),
        ('model = "embedded"', ["--strategy", "surrogate"], "surrogate", ""),
        ('model = "embedded"', ["--function", "mine.py"], "user-function", ""),
        ('model = ""', ["--strategy", "embedded"], "embedded", "embedded"),
        ('function = "mine.py"', ["--strategy", "hillclimb"], "hillclimb", ""),
        ('function = "mine.py"', ["--model", "embedded"], "embedded", "embedded"),
        ('function = "mine.py"', ["--model", "tiny.gguf"], "guided", "tiny.gguf"),
        ('strategy = "random"', ["--model", "tiny.gguf"], "model", "tiny.gguf"),
    ],
)
def test_an_option_goes_before_what_is_configured_for_another(
    inside: Inside, configured: str, words: list[str], strategy: str, model: str
) -> None:
    make_tiny_gguf(inside.folder / "tiny.gguf")
    (inside.folder / "mine.py").write_text(EXAMPLE.read_text())
    (inside.folder / "hpcagent.toml").write_text(f"{WITH_DEFAULT_MODEL}{configured}\n")
    done = inside.tune("--dry-run", "--json", *words)
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)["settings"]
    assert (settings["strategy"], Path(settings["model"]).name) == (strategy, model)
    assert bool(settings["function"]) == (strategy in ("user-function", "guided"))


def test_options_that_exclude_each_other_are_both_named(inside: Inside) -> None:
    make_tiny_gguf(inside.folder / "tiny.gguf")
    (inside.folder / "mine.py").write_text(EXAMPLE.read_text())
    for words in (
        ("--strategy random", "--model tiny.gguf", "language model"),
        ("--model embedded", "--function mine.py", "user-function"),
        ("--strategy surrogate", "--function mine.py", "--function"),
    ):
        done = inside.tune("--dry-run", *words[0].split(), *words[1].split())
        one_line(done, 2, words[0].split()[1], words[2], "leave one of them out")


def test_dry_run_also_checks_its_input(inside: Inside) -> None:
    (inside.folder / "mix.yaml").write_text("cases: 3\n")
    one_line(inside.tune("--dry-run"), 2, "mix.yaml:1")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("file", "is not a directory"),
        ("file/a/b", "Not a directory"),
        ("away/a", "is not a directory"),
        ("full", "not empty"),
        ("compared", "holds a run already"),
        ("x" * 300, "too long"),
        ("a" + "/b" * 3000, "too long"),
        ("private/a/b", "Permission denied"),
        ("readonly/a", "Permission denied"),
        ("looped/a", "symbolic links"),
    ],
)
def test_a_dry_run_refuses_a_place_as_the_run_would(inside: Inside, where: str, words: str) -> None:
    """With the same line and code; and it leaves everything as it was, as the run does, too."""
    folder = inside.folder
    (folder / "file").write_text("x")
    (folder / "away").symlink_to(folder / "gone")
    (folder / "looped").symlink_to("looped")
    (folder / "full").mkdir()
    (folder / "full" / "thesis.tex").touch()
    for name, mode in (("private", 0), ("readonly", 0o555)):
        (folder / name).mkdir(mode=mode)
    create_run("compare", "1", folder, folder / "compared")
    before = sorted(folder.rglob("*"))
    command = ("tune", "--lib", "openblas", "--run-dir", str(folder / where))
    rights = "Permission" in words
    real, dry = (
        as_user(inside, *command, *more) if rights else inside.hpcagent(*command, *more)
        for more in ((), ("--dry-run",))
    )  # fmt: skip
    one_line(dry, 3, words)
    assert (dry.stderr, dry.stdout) == (real.stderr, real.stdout)
    assert sorted(folder.rglob("*")) == before


def test_every_dry_run_looks_at_its_place(inside: Inside) -> None:
    (inside.folder / "file").write_text("x")
    where = ("--run-dir", str(inside.folder / "file"), "--dry-run")
    for words in (
        ("probe",),
        ("doctor",),
        ("codegen", "triad-c", "--candidates", str(GIVEN)),
        ("codegen", "triad-c", "--candidates", str(GIVEN), "--json"),
    ):
        one_line(inside.hpcagent(*words, *where), 3, "file is not a directory")
    configured = Inside(inside.folder, {**inside.env, "HPCAGENT_RUNS": "file"})
    one_line(configured.hpcagent("probe", "--dry-run"), 3, "file is not a directory")


def test_a_dry_run_names_the_place_that_the_run_would_have(inside: Inside) -> None:
    data = json.loads(inside.tune("--dry-run", "--json").stdout)
    assert {Path(unit["folder"]).parent for unit in data["units"]} == {inside.run / "work"}
    assert f"== result: {inside.run}/result/" in inside.tune("--dry-run").stdout
    elsewhere = Inside(inside.folder, {**inside.env, "HPCAGENT_RUNS": "elsewhere"})
    told = elsewhere.hpcagent("probe", "--dry-run").stdout
    assert f"{inside.folder}/elsewhere/probe-DATE-TIME-ID/work/" in told


def test_output_into_a_closed_pipe_is_no_traceback(bench: Bench) -> None:
    command = " ".join(map(repr, bench.argv(*bench.tune_words("--dry-run"))))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"], cwd=bench.folder, env=bench.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_a_reader_that_is_gone_is_no_failure(bench: Bench) -> None:
    """Whatever the size of the output, and whether or not it fits into the pipe."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            bench.argv("config", "show"), cwd=bench.folder, env=bench.env,
            stdout=write, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.openblas
def test_a_run_whose_progress_nobody_reads_any_more_is_interrupted(bench: Bench) -> None:
    """And not done: a script that goes on after it would take the result for there."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            bench.argv(*bench.tune_words("--budget", "rounds=1", "--no-wait", "--json")),
            cwd=bench.folder, env=bench.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        resumed = subprocess.run(
            bench.argv("resume", str(bench.run)), cwd=bench.folder, env=bench.env,
            stdout=subprocess.PIPE, stderr=write, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (resumed.returncode, resumed.stdout) == (130, "")
    assert bench.outcome() == ""
    assert bench.hpcagent("cancel", str(bench.run)).returncode == 0


@pytest.mark.parametrize("words", [("explain", "-"), ("history", "import", "-")])
def test_a_closed_standard_input_is_one_line(bench: Bench, words: tuple[str, ...]) -> None:
    command = " ".join(map(shlex.quote, bench.argv(*words)))
    done = subprocess.run(
        ["bash", "-c", f"{command} <&-"], cwd=bench.folder, env=bench.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    one_line(done, 2, "standard input is closed")


def without(streams: str, argv: list[str], bench: Bench) -> int:
    """How the command ends with these standard streams closed."""
    shut = " ".join(f"{number}>&-" for number in streams)
    return subprocess.run(
        ["bash", "-c", f"exec {' '.join(map(shlex.quote, argv))} {shut}"],
        cwd=bench.folder, env=bench.env, timeout=300, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ).returncode  # fmt: skip


@pytest.mark.openblas
def test_a_run_needs_no_standard_streams(bench: Bench) -> None:
    """As some daemons start it: it ended with exit code 1, and nobody was told why."""
    with busy_queue(bench):
        assert without("2", bench.argv(*bench.tune_words("--no-wait")), bench) == 0
        assert without("012", bench.argv("step", str(bench.run)), bench) == 0
    assert bench.events("unit_submitted")
    assert bench.hpcagent("cancel", str(bench.run)).returncode == 0


def test_no_file_gets_the_number_of_a_closed_stream(bench: Bench) -> None:
    """What a library writes to standard error must not go into a journal."""
    code = (
        "import os, sys\nfrom hpcagent.cli.streams import hold_standard_streams\n"
        "hold_standard_streams()\nfile = os.open('file', os.O_CREAT | os.O_WRONLY)\n"
        "os.write(2, b'a warning')\nprint('words', flush=True)\nsys.stderr.write('more')\n"
        "sys.exit(0 if file > 2 and all(map(os.get_inheritable, range(3))) else 3)\n"
    )
    for streams in ("2", "01", "012"):
        assert without(streams, [sys.executable, "-c", code], bench) == 0, streams
        assert (bench.folder / "file").read_text() == ""


def test_a_full_disk_under_the_errors_leaves_the_exit_code(bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        codes = [
            subprocess.run(
                bench.argv(*words), cwd=bench.folder, env=bench.env,
                stdout=full, stderr=full, check=False,
            ).returncode
            for words in (("status", "nosuch"), ("status", "--nosuch"), ("config", "show"))
        ]  # fmt: skip
    assert codes == [2, 2, 3]


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "{private}/make.log"),
        ("tune", "--lib", "openblas", "--replay", "{private}"),
        ("tune", "--lib", "openblas", "--openblas-prefix", "{private}/lib"),
        ("codegen", "{private}/task"),
        ("explain", "x" * 300),
    ],
)
def test_what_may_not_be_looked_at_is_one_line(bench: Bench, words: tuple[str, ...]) -> None:
    """Also where a folder on the way may not be searched."""
    private = bench.folder / "private"
    private.mkdir(mode=0)
    said = [word.format(private=private) for word in words]
    done = as_user(bench, *said)
    assert done.returncode in (2, 3), done.stderr
    one_line(done, done.returncode, said[-1])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("explain", ""), 2, "the name is empty"),
        (("tune", "--lib", "openblas", "--run-dir", ""), 2, "'--run-dir': it is empty"),
        (("tune", "--lib", "openblas", "--workload", ""), 2, "'--workload': it is empty"),
        (("build", "--lib", "openblas", "--app", "x.yaml"), 2, "exclude each other"),
        (("models", "list", "nosuch"), 3, "/nosuch: No such file or directory\n"),
        (("history", "import", "."), 3, "cannot read .: Is a directory\n"),
    ],
)
def test_a_wrong_name_is_told_as_what_it_is(
    inside: Inside, words: tuple[str, ...], code: int, told: str
) -> None:
    done = inside.hpcagent(*words)
    one_line(done, code)
    assert told in done.stderr
    assert not (inside.folder / "run.json").exists(), "an empty name is not the current folder"


def test_a_folder_of_runs_that_is_none_is_told(inside: Inside) -> None:
    """And not that it holds no runs: there is nothing to begin there."""
    (inside.folder / "file").touch()
    wrong = Inside(inside.folder, {**inside.env, "HPCAGENT_RUNS": "file"})
    for words in (("status",), ("status", "--json"), ("resume", "x")):
        one_line(wrong.hpcagent(*words), 3, "cannot read", "file: Not a directory")


def test_what_may_not_be_read_needs_no_directory_to_write_to(bench: Bench) -> None:
    run = create_run("tune", "1", bench.folder, bench.run)
    (run.path / "run.json").chmod(0)
    done = as_user(bench, "status", str(run.path))
    one_line(done, 3, "run.json: Permission denied; mend its permissions")


def test_output_onto_a_full_disk_is_one_line(bench: Bench) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            bench.argv("config", "show"), cwd=bench.folder, env=bench.env,
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "cannot write the output: No space left" in done.stderr


@pytest.mark.openblas
def test_a_budget_too_small_for_one_round(bench: Bench) -> None:
    one_words = ["--budget", "core-hours=0.000001"]
    done = bench.tune(*one_words)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "too small for one round" in done.stdout
    assert not [e for e in bench.events("unit_intent") if e["data"]["purpose"] == "round-1"]
    shutil.rmtree(bench.run)
    told = " ".join(done.stdout.split())
    advised = told.partition("would have done: try --budget ")[2].split()[0]
    assert bench.tune("--budget", advised, "--budget", "rounds=1").returncode == 0
    assert [e for e in bench.events("unit_intent") if e["data"]["purpose"] == "round-1"]


@pytest.mark.openblas
def test_no_usable_library_under_the_prefix(bench: Bench) -> None:
    (bench.folder / "empty").mkdir()
    done = bench.tune("--openblas-prefix", str(bench.folder / "empty"))
    assert done.returncode == 3
    assert "no usable OpenBLAS under" in done.stdout
    broken = bench.folder / "broken" / "lib"
    broken.mkdir(parents=True)
    (broken / "libopenblas.so").write_text("not a library")
    shutil.rmtree(bench.run)
    done = bench.tune("--openblas-prefix", str(broken.parent))
    assert done.returncode == 3
    assert "libopenblas.so" in "".join(done.stdout.split())


@pytest.mark.openblas
def test_a_full_disk_keeps_what_was_there(bench: Bench) -> None:
    """A file-size limit stands in for the full disk: writing fails with an error, not a signal."""
    assert bench.tune("--budget", "rounds=1").returncode == 0
    lines = (bench.run / "journal.jsonl").read_text().splitlines(keepends=True)
    kept = "".join(lines[: len(lines) // 2])
    (bench.run / "journal.jsonl").write_text(kept)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 10, len(kept) + 10))

    done = subprocess.run(
        bench.argv("resume", str(bench.run)), cwd=bench.folder, env=bench.env,
        capture_output=True, text=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert (bench.run / "journal.jsonl").read_text() == kept
    assert bench.hpcagent("resume", str(bench.run)).returncode == 0


HOSTILE = "-a b'c\"$(touch pwned)`touch pwned`;touch pwned&#é"


@pytest.mark.openblas
def test_hostile_folder_names_run_nothing_of_theirs(tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    bench = make_bench(folder)
    done = bench.tune("--budget", "rounds=1")
    assert done.returncode == 0, done.stderr
    assert bench.events()[-1]["data"]["outcome"] in ("improved", "nothing better")
    assert not list(tmp_path.rglob("pwned"))


def test_a_folder_that_was_removed_is_told(bench: Bench) -> None:
    gone = bench.folder / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir(os.getcwd()); os.execv({sys.executable!r}, {bench.argv('status')})"
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, env=bench.env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "does not exist any more" in done.stderr


def test_control_characters_in_a_folder_name_are_refused(bench: Bench) -> None:
    words = ["tune", "--lib", "openblas", "--run-dir", str(bench.folder / "a\nb")]
    one_line(bench.hpcagent(*words), 2, "--run-dir", "control characters")
    assert not list(bench.folder.glob("a*"))


@pytest.mark.openblas
def test_the_configured_runs_folder_holds_for_every_command(bench: Bench) -> None:
    (bench.folder / "hpcagent.toml").write_text(
        (bench.folder / "hpcagent.toml").read_text() + "runs = 'elsewhere'\n"
    )
    words = ["tune", "--lib", "openblas", "--workload", "mix.yaml", "--budget", "rounds=1"]
    assert bench.hpcagent(*words).returncode == 0
    (run,) = (bench.folder / "elsewhere").iterdir()
    assert bench.hpcagent("report", run.name).returncode == 0
    assert run.name in bench.hpcagent("status").stdout


def test_the_command_that_asks_for_the_same_is_understood(bench: Bench) -> None:
    """What the report gives to reproduce a run leads to the same settings."""
    words = ["--budget", "rounds=3", "--budget", "wall=90m", "--budget", "core-hours=2.5",
             "--seed", "9", "--strategy", "random", "--confirm-jobs", "1",
             "--dry-run", "--json"]  # fmt: skip
    settings = json.loads(bench.tune(*words).stdout)["settings"]
    assert settings["confirm_jobs"] == 1
    again = TuneSettings.from_json(settings).command()
    told = json.loads(bench.hpcagent(*again[1:], "--dry-run", "--json").stdout)["settings"]
    assert told == settings
    assert settings["wall_s"] == 5400


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_drops_is_not_lost(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # as outside of pytest

    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with interruptible() as check:
        check()
        Dropping()  # its exception is dropped
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert "Exception ignored" not in capfd.readouterr().err
    assert sys.unraisablehook is sys.__unraisablehook__
