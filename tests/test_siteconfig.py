"""`hpcagent config`: the written file, what is shown, and what is tested."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab.pbs_lab import PbsLab
from lab.slurm_lab import Cluster
from mainjob import ROOT, Bench, Inside, make_bench
from openai_server import Server, serving

from hpcagent.cli.configtext import EXAMPLES, configuration, duration, proposal, toml
from hpcagent.cli.surroundings import (
    LMOD,
    MODULES,
    Batch,
    Found,
    ModuleSystem,
    module_system,
    system_python,
)
from hpcagent.config import SITE_ONLY, Settings, keys, load_settings
from hpcagent.errors import UsageError
from hpcagent.probe.filesystems import mount_of, parse_mountinfo
from hpcagent.records import Queue

KINDS = ("site", "user", "project")
ODD = [
    '"',
    "\\",
    "'''",
    "a\nb",
    "a\rb\tc",
    "\x00\x7f\x85\u2028",
    "# x",
    "\U0001f680",
    "\u202eexe",
    "",
]
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ODD)
queues = st.builds(
    Queue, texts, st.integers(0, 10**6), st.integers(1, 512), st.none() | st.integers(0, 10**8),
    st.none() | st.integers(0, 2**50), st.booleans(), st.booleans(), texts,
)  # fmt: skip
found_things = st.builds(
    Found, texts, st.integers(1, 512),
    st.builds(
        Batch, st.sampled_from(["", "slurm", "pbs"]), st.lists(queues, max_size=5).map(tuple),
        st.lists(texts, max_size=4).map(tuple), texts,
        st.lists(st.tuples(st.just("slurm"), texts), max_size=2).map(tuple),
    ),
    st.just(ModuleSystem()) | st.builds(ModuleSystem, st.just(LMOD), texts, st.just("/it's/init")),
    st.tuples(texts, texts),
)  # fmt: skip


def loaded(text: str, kind: str) -> Settings:
    """What the file means where hpcagent looks for it; `sources` left out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            "site": folder / "site.toml",
            "user": folder / "hpcagent" / "config.toml",
            "project": folder / "hpcagent.toml",
        }
        files[kind].parent.mkdir(exist_ok=True)
        files[kind].write_text(text, encoding="utf-8", newline="")
        env = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": str(folder)}
        if kind == "site":
            env["HPCAGENT_SITE_CONFIG"] = str(files[kind])
        return replace(load_settings(env, folder), sources={})


# --- the table of keys ---------------------------------------------------------------------------


def test_every_key_is_told_once_in_one_line_of_words() -> None:
    names = [f.name for f in fields(Settings) if f.name not in ("sources", "models")]
    assert [key.name for key in keys()] == names
    for key in keys():
        assert key.default == getattr(Settings(), key.name)
        assert len(f"# {key.meaning}") <= 80 and key.meaning.isprintable() and key.meaning.strip()
        assert key.site_only == (key.name in SITE_ONLY)
    assert {key.section for key in keys() if key.site_only}.isdisjoint(
        key.section for key in keys() if not key.site_only
    )


def test_the_readme_says_the_same() -> None:
    """Its rows name known keys with their defaults; one of a single key begins as the table."""
    known = {key.name: key for key in keys()}
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Configuration\n")[1]
    rows = re.findall(r"^\| (`.+`) \| (.*) \| (.*) \|$", section.split("\n## ")[0], re.MULTILINE)
    assert len(rows) >= 5
    for left, default, meaning in rows:
        names = re.findall(r"`(\w+)`", left)
        assert set(names) <= set(known)
        values = {toml(known[name].default).removesuffix(".0") for name in names}
        said = {value.strip(" `") for value in default.split(",")} - {""}
        assert said <= values | {'""', "[]"}, left
        if len(names) == 1:
            assert known[names[0]].meaning.startswith(meaning.split(";")[0].split(" (")[0]), left


# --- the text ------------------------------------------------------------------------------------


@given(texts | st.lists(texts).map(tuple) | st.booleans() | st.integers(0, 10**9)
       | st.floats(0, 1e9))  # fmt: skip
@example("\ue000\ufffe\U0010ffff")
def test_a_value_is_one_line_of_toml(value: str | bool | int | float | tuple[str, ...]) -> None:
    text = toml(value)
    assert len(f"k = {text}".splitlines()) == 1
    read = tomllib.loads(f"k = {text}")["k"]
    assert (tuple(read) if isinstance(value, tuple) else read) == value
    assert isinstance(read, list if isinstance(value, tuple) else type(value))


def test_text_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid text"):
        toml("a\udc80")


@given(found_things, st.sampled_from(KINDS))
def test_a_written_file_means_what_was_proposed(found: Found, kind: str) -> None:
    text = configuration(found, kind, "1.0")
    assert loaded(text, kind) == replace(Settings(), **proposal(found, kind))
    assert all(line.isprintable() for line in text.split("\n"))


@given(found_things, st.sampled_from(KINDS))
def test_a_line_that_is_commented_out_shows_the_default_or_an_example(
    found: Found, kind: str
) -> None:
    text = configuration(found, kind, "1.0")
    shown = re.findall(r"^(?:# )?([a-z_]+) = ", text, re.MULTILINE)
    assert shown == [key.name for key in keys() if kind == "site" or not key.site_only]
    found_lines = re.findall(r"^# (([a-z_]+) = .*)$", text, re.MULTILINE)
    lines = {key: line for line, key in found_lines}
    examples = {key: lines.pop(key) for key in EXAMPLES if key in lines}
    assert loaded("\n".join(lines.values()), kind) == Settings()
    assert examples == {key: f"{key} = {toml(value)}" for key, value in EXAMPLES.items()
                        if key not in proposal(found, kind)}  # fmt: skip


SLURM = Batch(
    "slurm",
    (
        Queue("fat", 4, 96, None, 2**40),
        Queue("main", 900, 48, 86400, 192 * 2**30, default=True),
        Queue("off", 2, 48, 60, available=False, why_not="the partition is down"),
    ),
    ("proj", "other"),
)


def test_the_default_partition_and_account_are_proposed() -> None:
    found = Found(batch=SLURM)
    assert proposal(found, "site") == {"scheduler": "slurm", "partition": "main"}
    assert proposal(found, "user")["account"] == "proj"
    text = configuration(found, "user", "1.0")
    assert re.search(r'^#   "main" +900 +48 +192\.0 GiB +1-00:00:00  default$', text, re.MULTILINE)
    assert re.search(r'^#   "fat" +4 +96 +1024\.0 GiB +none$', text, re.MULTILINE)
    assert re.search(r'^#   "off" .* the partition is down$', text, re.MULTILINE)
    assert 'you may charge: "proj" (your default), "other"' in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_default_partition_that_takes_no_jobs_is_not_proposed() -> None:
    down = Queue("main", 1, 1, default=True, available=False, why_not="the partition is down")
    found = Found(batch=Batch("slurm", (down, Queue("free", 1, 1))))
    assert proposal(found, "site") == {"scheduler": "slurm"}
    assert "choose one" in configuration(found, "site", "1.0")


def test_what_gave_no_answer_is_a_comment_with_its_reason() -> None:
    found = Found(batch=Batch(silent=(("slurm", "slurm: sinfo: connect failure\nx = 1"),)))
    text = configuration(found, "site", "1.0")
    assert proposal(found, "site") == {}
    assert "slurm is installed, but gave no answer: sinfo: connect failure\\nx = 1" in re.sub(
        r"\n# +", " ", text
    )
    assert 'scheduler = "slurm"' in text


def test_time_limits_as_people_write_them() -> None:
    assert duration(None) == "none"
    assert duration(90061) == "1-01:01:01"


# --- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "files", "kind", "init"),
    [
        ({"LMOD_PKG": "/a/lmod"}, ["/a/lmod/init/bash"], LMOD, "/a/lmod/init/bash"),
        ({"LMOD_CMD": "/a/lmod/libexec/lmod"}, ["/a/lmod/init/bash"], LMOD, "/a/lmod/init/bash"),
        ({"MODULESHOME": "/m"}, ["/m/init/bash"], MODULES, "/m/init/bash"),
        ({"MODULESHOME": "/m", "LMOD_VERSION": "8"}, ["/m/init/bash"], LMOD, "/m/init/bash"),
        ({}, ["/usr/share/Modules/init/bash"], MODULES, "/usr/share/Modules/init/bash"),
        ({"LMOD_PKG": "/a\nb"}, ["/a\nb/init/bash"], "", ""),
        ({"MODULESHOME": "relative"}, ["relative/init/bash"], "", ""),
        ({"MODULESHOME": "/gone"}, [], "", ""),
    ],
)
def test_module_systems(env: dict[str, str], files: list[str], kind: str, init: str) -> None:
    found = module_system(env, files.__contains__)
    assert (found.kind, found.init) == (kind, init)


def test_loaded_modules_are_quoted_in_the_prologue() -> None:
    env = {"MODULESHOME": "/it's here", "LOADEDMODULES": "gcc/12:a b;touch x:c\nd"}
    prologue = module_system(env, lambda path: True).prologue()
    assert [shlex.split(line) for line in prologue] == [
        ["set", "+u"],
        [".", "/it's here/init/bash"],
        ["module", "load", "gcc/12"],
        ["module", "load", "a b;touch x"],
        ["set", "-u"],
    ]


@pytest.mark.lmod
def test_the_proposed_prologue_gives_a_job_the_command_module() -> None:
    found = module_system(os.environ)
    if not found.kind:
        pytest.skip("neither Lmod nor Environment Modules is installed")
    loads = [line for line in found.prologue() if not line.startswith("module load")]
    script = "\n".join(["set -u", *loads, "type -t module", "module --version", 'echo "$-"'])
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(["bash", "-c", script], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("function\n")
    assert "u" in done.stdout.splitlines()[-1]


def test_the_python_of_jobs_is_not_that_of_the_own_environment(tmp_path: Path) -> None:
    own = Path(sys.prefix) / "bin"
    path, version = system_python({"PATH": f"{own}:{Path(sys.base_prefix) / 'bin'}"})
    assert Path(path).parent != own or sys.prefix == sys.base_prefix
    assert re.fullmatch(r"3\.\d+\.\d+", version)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /home rw - nfs4 srv:/home rw
31 30 0:27 / /home/my\\040runs rw - lustre 10.0.0.1@tcp:/l rw
32 22 0:28 / /scratch rw - tmpfs tmpfs rw
33 22 0:29 / /scratch rw master:5 - lustre 10.0.0.1@tcp:/s rw
34 22 0:30 / /homes rw - xfs /dev/sdb rw
a broken line
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/opt/x", ("/", "ext4")),
        ("/home", ("/home", "nfs4")),
        ("/home/my runs/a", ("/home/my runs", "lustre")),
        ("/homestead", ("/", "ext4")),
        ("/scratch/a", ("/scratch", "lustre")),
    ],
)
def test_the_file_system_of_a_path(path: str, mount: tuple[str, str]) -> None:
    found = mount_of(path, parse_mountinfo(MOUNTS))
    assert found is not None
    assert (found.point, found.kind) == mount


# --- the commands --------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Without a batch system, whatever is installed here."""
    made = make_bench(tmp_path)
    (tmp_path / "hpcagent.toml").unlink()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    return Inside(tmp_path, {**made.env, "PATH": str(tmp_path / "bin")})


@pytest.fixture
def pbs(bench: Bench) -> Iterator[tuple[Bench, PbsLab]]:
    """With the stand-in of a PBS."""
    with PbsLab(bench.folder / "lab") as lab:
        yield Inside(bench.folder, {**bench.env, "PATH": f"{lab.bin}:{bench.env['PATH']}"}), lab


def config(bench: Bench, *words: str, code: int = 0) -> str:
    """What it printed, its lines joined where it wrapped them."""
    done = bench.hpcagent("config", *words)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == (code != 0 and not done.stdout)
    return re.sub(r"\n {8,}", " ", done.stdout + done.stderr)


def test_init_writes_show_shows_and_check_tests(bench: Bench) -> None:
    said = config(bench, "init", "--user")
    path = bench.folder / "config" / "hpcagent" / "config.toml"
    assert f"written: {path}" in said and "hpcagent config check" in said
    assert "HPCAGENT_SITE_CONFIG" not in said
    text = path.read_text()
    assert config(bench, "init", "--user", "--dry-run") == text
    assert "no batch system" in text and tomllib.loads(text) == {}
    # Where unset is no value, a comment says what holds, and the line is an example.
    told = " ".join(line.removeprefix("# ") for line in text.splitlines())
    for key, unset in (("scheduler", "local, or what"), ("strategy", "embedded, or what"),
                       ("model", "the small model")):  # fmt: skip
        assert re.search(rf"unset: {unset}[^=]* {key} = \"[^\"]+\"", told)
    assert f"# user     {path}\n" in config(bench, "show")
    assert f"ok       files      {path}" in config(bench, "check")


def test_a_site_file_elsewhere_is_put_to_use_as_told(bench: Bench) -> None:
    path = bench.folder / "my site.toml"
    said = config(bench, "init", "--output", str(path))
    assert f"export HPCAGENT_SITE_CONFIG={shlex.quote(str(path))}" in said
    path.write_text(path.read_text() + "max_core_hours = 7.0\n")
    there = Inside(bench.folder, {**bench.env, "HPCAGENT_SITE_CONFIG": str(path)})
    assert json.loads(config(there, "show", "--json"))["settings"]["max_core_hours"]["value"] == 7
    there.env["HPCAGENT_SITE_CONFIG"] = str(bench.folder / "other.toml")
    assert "export" not in config(there, "init", "--site")
    assert (bench.folder / "other.toml").is_file()


def test_nothing_is_overwritten_unless_forced(bench: Bench) -> None:
    path = bench.folder / "hpcagent.toml"
    path.write_text("rounds = 3\n")
    path.chmod(0o640)
    link = bench.folder / "link.toml"
    link.symlink_to(path)
    assert "--force" in config(bench, "init", "--project", code=2)
    assert "--force" in config(bench, "init", "--output", "link.toml", code=2)
    assert path.read_text() == "rounds = 3\n"
    config(bench, "init", "--project", "--output", "link.toml", "--force")
    assert link.is_symlink() and "# rounds = 6" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(bench.folder.glob(".tmp-*")) == []


def test_a_file_that_appears_meanwhile_is_kept(bench: Bench) -> None:
    """Written by the command of the batch system that is asked: after the first look."""
    path = bench.folder / "hpcagent.toml"
    sinfo = bench.folder / "bin" / "sinfo"
    sinfo.write_text(f"#!/bin/sh\necho 'rounds = 3' > {shlex.quote(str(path))}\nexit 1\n")
    sinfo.chmod(0o755)
    assert "--force" in config(bench, "init", "--project", code=2)
    assert path.read_text() == "rounds = 3\n"
    assert sorted(bench.folder.glob(".tmp-*")) == []


def test_help_fits_80_columns(bench: Bench) -> None:
    for words in (["--help"], ["init", "--help"], ["show", "--help"], ["check", "--help"]):
        assert max(map(len, bench.hpcagent("config", *words).stdout.splitlines())) <= 80


def test_places_that_cannot_be_written(bench: Bench) -> None:
    assert "is a folder" in config(bench, "init", "--output", ".", code=2)
    assert "/proc/x.toml" in config(bench, "init", "--output", "/proc/x.toml", code=3)
    assert "create the directory" in config(bench, "init", "--output", "no/x.toml", code=3)
    assert "control characters" in config(bench, "init", "--output", "a\nb", code=2)
    homeless = {k: v for k, v in bench.env.items() if k not in ("HOME", "XDG_CONFIG_HOME")}
    assert "--output" in config(Inside(bench.folder, homeless), "init", "--user", code=2)


def test_show_says_where_a_value_came_from(bench: Bench) -> None:
    (bench.folder / "hpcagent.toml").write_text('partition = "a\\nb"\nrounds = 3\n')
    bench.env["HPCAGENT_ROUNDS"] = "4"
    lines = config(bench, "show").splitlines()
    rows = {line.split(" = ")[0].strip(): line for line in lines if " = " in line}
    assert set(rows) == {key.name for key in keys()}
    assert rows["rounds"].endswith("= 4                        # HPCAGENT_ROUNDS")
    assert '"a\\nb"' in rows["partition"] and str(bench.folder) in rows["partition"]
    assert rows["qos"].endswith("# default")
    told = json.loads(config(bench, "show", "--json"))["settings"]
    assert told["rounds"] == {
        "value": 4, "default": 6, "from": "variable", "source": "HPCAGENT_ROUNDS",
        "meaning": "rounds of a search",
    }  # fmt: skip
    assert told["partition"]["from"] == "file" and told["qos"]["from"] == "default"


def test_show_says_that_the_small_model_tunes_or_what_keeps_it_out(bench: Bench) -> None:
    assert "# optimise: embedded (default)" in config(bench, "show").splitlines()
    bench.env["HPCAGENT_STRATEGY"] = "random"
    shown = json.loads(config(bench, "show", "--json"))["roles"]["optimise"]
    assert shown["why"] == "none (strategy is set by HPCAGENT_STRATEGY)"
    assert shown["model"] is None


def test_show_says_which_model_serves_what_and_why(bench: Bench) -> None:
    (bench.folder / "hpcagent.toml").write_text(
        'model = "/m/a.gguf"\n[models.review]\nendpoint = "http://localhost:1/v1"\n'
        '[models.result]\nfile = "embedded"\n[models.codegen]\n'
        'endpoint = "http://gpu01:8000/v1"\ntemperature = 0.2\napi_key_env = "LAB_KEY"\n'
    )
    bench.env["HPCAGENT_MODEL_DEBUG"] = "/m/d.gguf"
    told = " ".join(config(bench, "show").replace("#", " ").split())
    assert "debug: /m/d.gguf (HPCAGENT_MODEL_DEBUG) result: none (embedded only tunes) man" in told
    assert re.search(
        r"manager, report, vision: /m/a.gguf \(.*\); nothing uses these roles yet", told
    )
    assert "with temperature 0.2, api_key_env LAB_KEY; REFUSED: gpu01 is not on the site" in told
    assert "[models.review]); nothing uses the role yet" in told
    roles = json.loads(config(bench, "show", "--json"))["roles"]
    assert roles["review"]["model"] == {"endpoint": "http://localhost:1/v1"}
    assert (roles["debug"]["used"], roles["vision"]["used"]) == (True, False)


def test_check_asks_the_server_and_says_whom_it_serves(bench: Bench) -> None:
    with serving(Server(lambda *asked: "")) as server:
        (bench.folder / "hpcagent.toml").write_text(
            f'model = "{server.url}"\n[models.debug]\nendpoint = "{server.url}"\nname = "other"\n'
        )
        told = " ".join(config(bench, "check", code=3).split())
    assert f"ok model {server.url} answers: tiny (optimise, result, manager" in told
    assert "it has no model 'other'; it serves tiny" in told


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("roundz = 3", 2, "unknown key 'roundz'"),
        ("rounds = 'many'", 2, "must be of type int"),
        ('memory = "8Q"\nscheduler = "local"', 2, "error    jobs       --mem '8Q'"),
        ('scheduler = "lsf"', 2, "error    jobs       schedulers: 'lsf' is unknown"),
        ('partition = "x"', 3, "neither sbatch nor qsub"),
        ('python = "/no/python3"', 3, "error    python     /no/python3 cannot be executed"),
        ('python = "/bin/true"', 3, "is no python3"),
        ('runs = "/proc/runs"', 3, "error    runs       cannot write in /proc/runs"),
        ('model = "none.gguf"', 3, "error    model"),
        ('[models.debug]\nfile = "none.gguf"', 3, "error    model"),
        ('[models.debug]\nendpoint = "http://192.0.2.1/v1"', 2, "192.0.2.1 is not on the site"),
        ('[models.debug]\nendpoint = "unix:/none"', 3, "error    model"),
        ('runs = "deep/er"\nrounds = 2', 0, "ok       runs"),
        ("rounds = 2", 0, "ok       search     embedded: 2 rounds of 4 challengers"),
        ("rounds = 0", 5, "error    search     rounds: at least one round is needed"),
        ("max_pairs = 2", 2, "error    search     configuration: max_pairs is 2"),
        ("confirm_jobs = 0", 2, "error    search     configuration: confirm_jobs is 0"),
        ('strategy = "nope"', 2, "error    search     --strategy: 'nope' is unknown"),
        ('objectives = ["nope"]', 2, "error    search     --objective: 'nope' is unknown"),
        ('openblas_prefix = "/nope"', 3, "error    search     --openblas-prefix: /nope does not"),
    ],
)
def test_check_names_what_is_wrong(bench: Bench, text: str, code: int, words: str) -> None:
    (bench.folder / "hpcagent.toml").write_text(text + "\n")
    assert words in config(bench, "check", code=code)
    assert not (bench.folder / "deep").exists()


def test_check_tells_programs_the_same(bench: Bench) -> None:
    (bench.folder / "hpcagent.toml").write_text('model = "none.gguf"\nruns = "kept"\n')
    told = json.loads(config(bench, "check", "--json", code=3))
    levels = {finding["what"]: finding["level"] for finding in told["findings"]}
    assert told["exit_code"] == 3 and (levels["model"], levels["runs"]) == ("error", "ok")
    wrong = next(finding for finding in told["findings"] if finding["what"] == "model")
    assert wrong["exit_code"] == 3 and "none.gguf" in wrong["words"]


def test_init_replaces_no_pipe_or_device(bench: Bench) -> None:
    pipe = bench.folder / "pipe"
    os.mkfifo(pipe)
    said = config(bench, "init", "--output", "pipe", "--force", code=2)
    assert "pipe is no regular file" in said and pipe.is_fifo()


def test_a_batch_system_is_asked(pbs: tuple[Bench, PbsLab]) -> None:
    bench, lab = pbs
    config(bench, "init", "--project")
    path = bench.folder / "hpcagent.toml"
    assert tomllib.loads(path.read_text()) == {"scheduler": "pbs", "partition": "workq"}
    assert "ok       partition  workq; a job gets 32 cores" in config(bench, "check")
    bench.env["HPCAGENT_PARTITION"] = "closed"
    assert "the queue is not enabled" in config(bench, "check", code=4)
    bench.env["HPCAGENT_ACCOUNT"] = "p1"
    bench.env["HPCAGENT_PARTITION"] = "short"
    assert "warning  account    p1: could not be tested" in config(bench, "check")
    lab.set(server="down")
    assert "error    scheduler  PBS did not answer" in config(bench, "check", code=3)
    said = config(bench, "init", "--project", "--force")
    assert "silent:  PBS did not answer" in said
    assert tomllib.loads(path.read_text()) == {}
    assert "pbs is installed, but gave no answer: PBS did not" in path.read_text()


@pytest.mark.slurm
def test_a_real_slurm_is_asked(tmp_path: Path, slurm: Cluster) -> None:
    bench = Inside(tmp_path, {**make_bench(tmp_path).env, **slurm.env})
    (tmp_path / "hpcagent.toml").unlink()
    before = set(slurm.jobs())
    config(bench, "init", "--user")
    path = tmp_path / "config" / "hpcagent" / "config.toml"
    proposed = {"scheduler": "slurm", "partition": "one", "account": "proj"}
    assert tomllib.loads(path.read_text()) == proposed
    assert re.search(r'^#   "both" +2 +2 +2\.0 GiB +1-00:00:00$', path.read_text(), re.MULTILINE)
    said = config(bench, "check")
    assert "ok       account    proj" in said and "ok       trial      slurm would" in said
    for key, value, words in (
        ("PARTITION", "nope", "no partition or queue 'nope'; there are: both,"),
        ("PARTITION", "down", "the partition is down"),
        ("ACCOUNT", "theirs", "you may not charge 'theirs'"),
        ("QOS", "secret", "Invalid qos specification"),
    ):
        wrong = Inside(tmp_path, {**bench.env, f"HPCAGENT_{key}": value})
        assert words in config(wrong, "check", code=4)
    assert set(slurm.jobs()) <= before, "it was a trial"
    slurm.stop("slurmctld", signal.SIGTERM)  # it saves its state
    assert "error    scheduler  slurm: sinfo:" in config(bench, "check", code=3)
    assert "silent:  slurm: sinfo:" in config(bench, "init", "--user", "--force")
    assert tomllib.loads(path.read_text()) == {}
