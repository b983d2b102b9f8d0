"""Run directories: made whole, private, found by path or id, never two in one place."""

from __future__ import annotations

import json
import os
import re
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.study import durable, rundir
from hpcagent.study.rundir import (
    create_run,
    list_runs,
    new_run_id,
    open_run,
    resolve,
    unit_name,
)

MOMENT = datetime(2026, 11, 22, 1, 53, 1, tzinfo=UTC)


def make(root: Path, directory: Path | None = None, n: int = 0) -> Path:
    run = create_run(
        "tune",
        "0.1.0",
        root,
        directory,
        clock=lambda: MOMENT,
        entropy=lambda size: bytes([n] * size),
    )
    return run.path


def test_an_id_says_what_and_when() -> None:
    run_id = new_run_id("tune", lambda: MOMENT, lambda size: b"\xff" * size)
    assert run_id == "tune-20261122-015301-7777"
    assert new_run_id("tune") != new_run_id("tune")


@pytest.mark.parametrize("kind", ["", "Tune", "a b", "../x", "a\n"])
def test_a_kind_that_is_no_word_is_refused(kind: str) -> None:
    with pytest.raises(UsageError):
        new_run_id(kind)


def test_a_new_run_is_private_and_can_be_opened(tmp_path: Path) -> None:
    run = create_run("tune", "0.1.0", tmp_path / "a" / "runs")
    assert run.path == tmp_path / "a" / "runs" / run.id
    assert run.path.stat().st_mode & 0o077 == 0
    assert set(json.loads((run.path / "run.json").read_text())) == {
        "schema",
        "id",
        "kind",
        "created_utc",
        "version",
    }
    assert open_run(run.path) == run
    unit = unit_name(run.id, 1)
    assert run.unit(unit) == run.path / "work" / unit
    assert not run.unit(unit).exists()
    assert run.make_unit(unit).is_dir()
    assert run.make_unit(unit) == run.unit(unit)
    assert run.result.is_dir()


@given(st.text(), st.integers(0, 10**6))
def test_a_unit_name_is_short_safe_and_always_the_same(run_id: str, n: int) -> None:
    name = unit_name(run_id, n)
    assert re.fullmatch(r"ha[a-z2-7]{12}", name)
    assert name == unit_name(run_id, n)
    assert name != unit_name(run_id, n + 1)


def test_unit_names_never_change_between_versions() -> None:
    assert unit_name("tune-20261122-015301-k3f9", 1) == "hasc4tqdha3pgb"


@pytest.mark.parametrize("name", ["", "..", "../../etc", "ha", "haAAAAAAAAAAAA", "ha0189aaaaaaaa"])
def test_what_is_no_unit_has_no_folder(tmp_path: Path, name: str) -> None:
    run = open_run(make(tmp_path))
    with pytest.raises(UsageError):
        run.unit(name)


def test_two_runs_of_one_second_get_two_places(tmp_path: Path) -> None:
    draws = iter([b"\0" * 5, b"\0" * 5, b"\1" * 5])
    first = create_run("tune", "1", tmp_path, clock=lambda: MOMENT, entropy=lambda _: b"\0" * 5)
    second = create_run("tune", "1", tmp_path, clock=lambda: MOMENT, entropy=lambda _: next(draws))
    assert first.id != second.id
    assert {run.id for run in list_runs(tmp_path)} == {first.id, second.id}


def test_an_empty_directory_can_be_named(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir(mode=0o755)
    (place / f"{durable.TEMPORARY}left-by-a-kill").touch()
    assert make(tmp_path, place) == place
    assert place.stat().st_mode & 0o077 == 0


def test_of_two_that_make_a_run_in_one_place_the_later_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the quicker one has taken away what the later one was writing."""
    place = tmp_path / "mine"

    def link(source: Path, target: Path) -> None:
        monkeypatch.undo()
        make(tmp_path, place)
        Path(source).unlink()
        os.link(source, target)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(rundir, "require_empty", lambda path: None)
    with pytest.raises(EnvironmentProblem, match="holds a run already"):
        make(tmp_path, place, n=1)
    assert open_run(place).id.endswith("aaaa")


def test_a_place_in_use_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    make(tmp_path, place)
    before = (place / "run.json").read_bytes()
    with pytest.raises(EnvironmentProblem, match=r"holds a run already.*hpcagent resume"):
        make(tmp_path, place, n=1)
    assert (place / "run.json").read_bytes() == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(EnvironmentProblem, match="not empty"):
        make(tmp_path, other)
    assert [entry.name for entry in other.iterdir()] == ["thesis.tex"]
    with pytest.raises(EnvironmentProblem, match="not a directory"):
        make(tmp_path, other / "thesis.tex")


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (Path("/proc/runs"), tmp_path / "file" / "runs"):
        with pytest.raises(EnvironmentProblem) as caught:
            make(place)
        assert str(place) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_no_run(tmp_path: Path) -> None:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
    try:
        with pytest.raises(EnvironmentProblem, match=r"run\.json"):
            make(tmp_path, tmp_path / "mine")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list((tmp_path / "mine").iterdir()) == []
    make(tmp_path, tmp_path / "mine")


# --- finding -----------------------------------------------------------------------------------


def test_a_run_is_found_by_id_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "runs")
    env = {"HPCAGENT_RUNS": str(tmp_path / "runs")}
    assert resolve(path.name, env).path == path
    assert resolve(str(path), {}).path == path
    monkeypatch.chdir(tmp_path)
    assert resolve(path.name, {}).path == path
    assert resolve(f"runs/{path.name}", env).path == path
    monkeypatch.chdir(tmp_path / "runs")
    assert resolve(path.name, {}).path == path
    monkeypatch.chdir(path)
    assert resolve(".", {}).path == path


def test_a_missing_run_lists_near_names(tmp_path: Path) -> None:
    name = make(tmp_path).name
    env = {"HPCAGENT_RUNS": str(tmp_path)}
    for near in (name[:-1], name[:8], name.replace("tune", "tnue")):
        with pytest.raises(UsageError, match=f"did you mean {name}"):
            resolve(near, env)
    with pytest.raises(UsageError, match=f"the latest are {name}"):
        resolve("zzz", env)
    with pytest.raises(UsageError, match="holds no runs"):
        resolve("zzz", {"HPCAGENT_RUNS": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "text", ["", "\0", "a\nb", "x" * 5000, "../" * 3000, "-rf", "/no/such", "."]
)
def test_a_hostile_run_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        resolve(text, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"schema": "1"}, "schema"), ({"schema": 0}, "schema"), ({"id": 5}, "field id")],
)
def test_a_damaged_run_names_the_field(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = make(tmp_path) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=words):
        open_run(path.parent)
    assert list_runs(tmp_path) == ()


def test_a_run_of_a_newer_version_is_told(tmp_path: Path) -> None:
    path = make(tmp_path) / "run.json"
    path.write_text(json.dumps({"schema": 2, "version": "9.9.9"}))
    with pytest.raises(EnvironmentProblem, match=r"9\.9\.9"):
        open_run(path.parent)


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    late = create_run("tune", "1", tmp_path, clock=lambda: MOMENT.replace(year=2027))
    early = create_run("tune", "1", tmp_path, clock=lambda: MOMENT)
    (tmp_path / "something else").mkdir()
    assert list_runs(tmp_path) == (early, late)
