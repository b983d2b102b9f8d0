"""`hpcagent models list|show|verify`, as a user calls them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from mainjob import ROOT
from tiny_gguf import make_tiny_gguf

from hpcagent.cli.main import main

NAMES = ("broken.gguf", "tiny.gguf")


class Place:
    """A folder with models, a home and a site's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site.toml"
        self.site.write_text("")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HPCAGENT_", "SLURM_"))}
        self.env = {
            **kept,
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "HPCAGENT_SITE_CONFIG": str(self.site),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "COLUMNS": "80",
        }

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """In this process, since each start of another one would cost most of a second."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with (
            contextlib.chdir(self.folder),
            mock.patch.dict(os.environ, {**self.env, **more}, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main(words)
            except SystemExit as end:
                code = int(end.code or 0)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def refused(self, *words: str, **more: str) -> str:
        """The one line of an exit with 3."""
        done = self.run(*words, **more)
        assert (done.returncode, done.stdout) == (3, ""), done
        (line,) = done.stderr.splitlines()
        return line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    make_tiny_gguf(folder / "tiny.gguf")
    (folder / "broken.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 99\n")
    return Place(folder)


def test_a_list_has_a_line_for_each_model_and_its_role(place: Place) -> None:
    done = place.run("models", "list", HPCAGENT_MODEL="tiny.gguf")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    (row,) = [line for line in lines if "tiny.gguf" in line]
    told = ["141", "kB", "0.03", "M", "F32", "16384", "fits", "for", "all", "roles"]
    assert row.split()[1:] == told
    assert "not usable: not a GGUF file: this is a Git LFS pointer to 99 bytes" in done.stdout
    rows = json.loads(place.run("models", "list", "--json").stdout)["models"]
    assert [Path(row["path"]).name for row in rows] == list(NAMES)
    assert rows[1]["fits"] and rows[0]["problem"]


def test_a_list_looks_where_it_is_told(place: Place, tmp_path: Path) -> None:
    nested = tmp_path / "publisher" / "model"
    nested.mkdir(parents=True)
    for number in (1, 2):
        (nested / f"big-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    (tmp_path / "notes.txt").touch()
    there = ["models", "list", "--json"]
    rows = json.loads(place.run(*there, str(tmp_path)).stdout)["models"]
    assert [Path(row["path"]).name for row in rows] == ["big-00001-of-00002.gguf"]
    rows = json.loads(place.run(*there, HPCAGENT_MODELS_FOLDER=str(tmp_path)).stdout)["models"]
    assert len(rows) == 3
    assert "no such file" in place.refused("models", "list", "nowhere").lower()
    empty = place.run("models", "list", str(nested.parent.parent / "publisher"), "--json")
    assert empty.returncode == 0


def test_show_tells_everything_but_loads_nothing(place: Place) -> None:
    done = place.run("models", "show", "tiny.gguf")
    assert done.returncode == 0 and all(len(line) <= 80 for line in done.stdout.splitlines())
    words = " ".join(done.stdout.split())
    for told in (
        "1 layers, 2 heads (2 for keys and values) of 16, width 32",
        "354 tokens, llama",
        "needs 0.08 GiB (weights 0.00",
        "1 (a small model",
        "yes: this site has no list",
    ):
        assert told in words
    shown = json.loads(place.run("models", "show", "tiny.gguf", "--json").stdout)
    assert shown["sha256"] in done.stdout and shown["shape"]["layers"] == 1
    assert (shown["threads"], shown["allowed"]) == (1, True)


def test_the_model_that_ships_tunes_where_nothing_says_otherwise(place: Place) -> None:
    def settings(*words: str, **more: str) -> tuple[str, str]:
        done = place.run("tune", "--lib", "openblas", "--dry-run", "--json", *words, **more)
        found = json.loads(done.stdout)["settings"]
        return found["model"], found["strategy"]

    mine = place.folder / "mine.py"
    mine.write_text("def propose(space, history):\n    return 'STOP'\n")
    assert settings() == settings("--strategy", "embedded") == ("embedded", "embedded")
    assert settings("--model", "") == settings(HPCAGENT_MODEL="") == ("", "surrogate")
    assert settings("--strategy", "random") == ("", "random")
    assert settings(HPCAGENT_STRATEGY="surrogate") == ("", "surrogate")
    assert settings("--function", str(mine)) == ("", "user-function")
    (place.folder / "hpcagent.toml").write_text("[models.optimise]\ntemperature = 0.5\n")
    assert settings() == ("", "surrogate")
    (place.folder / "hpcagent.toml").write_text('[models.debug]\nfile = "tiny.gguf"\n')
    assert settings() == ("embedded", "embedded")
    (place.folder / "hpcagent.toml").unlink()


def test_a_model_that_the_site_does_not_allow_serves_nowhere(place: Place) -> None:
    digest = json.loads(place.run("models", "show", "tiny.gguf", "--json").stdout)["sha256"]
    place.site.write_text(f"model_digests = ['other={'0' * 64}']\n")
    try:
        for words in (["models", "verify", "tiny.gguf"],
                      ["tune", "--lib", "openblas", "--model", "tiny.gguf"]):  # fmt: skip
            line = place.refused(*words)
            assert digest in line and f"model_digests in {place.site}" in line
        shown = place.run("models", "show", "tiny.gguf").stdout
        assert "none of the 1 that" in " ".join(shown.split())
        place.site.write_text(f"model_digests = ['tiny={digest}']\n")
        assert "yes: tiny on the site's list" in place.run("models", "show", "tiny.gguf").stdout
    finally:
        place.site.write_text("")


def test_a_model_that_cannot_fit_is_refused_before_anything_is_run(place: Place) -> None:
    job = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "150"}
    for words in (["models", "verify"], ["tune", "--lib", "openblas", "--model"]):
        line = place.refused(*words, "tiny.gguf", **job)
        assert "needs 0.07 GiB (weights 0.00" in line and "SLURM_MEM_PER_NODE" in line
    assert "too large here" in place.run("models", "list", **job).stdout


@pytest.mark.llama
def test_verify_loads_the_model_and_gets_an_answer(place: Place) -> None:
    done = place.run("models", "verify", "tiny.gguf")
    assert done.returncode == 0 and all(len(line) <= 80 for line in done.stdout.splitlines())
    words = " ".join(done.stdout.split())
    assert '{"answer":"' in words and "it takes" in words and "on CPU" in words
    told = json.loads(place.run("models", "verify", "tiny.gguf", "--json").stdout)
    assert told["peak_bytes"] >= told["resident_bytes"] > 10_000_000
    assert json.loads(told["answer"])["answer"] in ("yes", "no")


@pytest.mark.llama
@pytest.mark.parametrize("damage", ["lluma", "cut", "absent"])
def test_verify_says_in_one_line_why_not(place: Place, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.gguf"
    whole = (place.folder / "tiny.gguf").read_bytes()
    if damage != "absent":
        path.write_bytes(whole.replace(b"llama", b"lluma") if damage == "lluma" else whole[:-9])
    done = place.run("models", "verify", str(path))
    assert done.returncode == 3 and "answers" not in done.stdout
    (line,) = done.stderr.splitlines()
    words = {
        "lluma": "unknown model architecture: 'lluma'",
        "cut": "truncated at",
        "absent": "there is no such file",
    }
    assert words[damage] in line


def test_the_model_that_ships_shows_its_card(place: Place) -> None:
    done = place.run("models", "show", "embedded")
    assert done.returncode == 0, done.stderr
    assert "What it changes" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    told = json.loads(place.run("models", "show", "embedded", "--json").stdout)
    assert told["card"]["sha256"] == told["sha256"]


def test_a_projector_without_a_model_is_told(place: Place) -> None:
    told = place.folder / "hpcagent.toml"
    told.write_text('[models.vision]\nmmproj = "tiny.gguf"\n')
    try:
        done = place.run("config", "check")
        assert done.returncode == 2
        assert "error model" in (words := " ".join(done.stdout.split()))
        assert "not a projector" in words
        assert "vision: none" in " ".join(place.run("config", "show").stdout.split())
    finally:
        told.unlink()


def test_a_list_says_which_roles_a_model_serves(place: Place) -> None:
    done = place.run("models", "list", "--json", HPCAGENT_MODEL_DEBUG="tiny.gguf")
    rows = json.loads(done.stdout)["models"]
    assert [row["role"] for row in rows if row["path"].endswith("tiny.gguf")] == ["debug"]
