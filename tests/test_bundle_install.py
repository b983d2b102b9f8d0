"""Whole installations of a small bundle: all or nothing, one at a time, without a trace left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from test_bundle_verify import in_mounts
from tiny_bundle import Bundle, make_bundle, snapshot

from hpcagent.bootstrap.install_tree import SITE_FILES

pytestmark = pytest.mark.wheel

TREE = Path("lib") / "hpcagent" / "7.0"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("a bundle") / "b")


def succeed(bundle: Bundle, *words: str) -> str:
    done = bundle.install(*words)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def installed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation in a prefix with blanks, reached through a link."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "real place").mkdir()
    (folder / "a link").symlink_to("real place")
    prefix = folder / "a link" / "pre fix"
    succeed(bundle, "--prefix", str(prefix), "--module-dir", str(folder / "modules"))
    return prefix


@pytest.fixture(scope="module")
def original(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed against settings that would lead Python and pip astray."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "pip.conf").write_text("[global]\nindex-url = http://127.0.0.1:9/\nuser = true\n")
    hostile = {
        "PIP_CONFIG_FILE": str(folder / "pip.conf"),
        "PIP_TARGET": str(folder / "astray"),
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": str(folder),
        "VIRTUAL_ENV": str(folder),
    }
    for name in ("argparse.py", "tiny.py"):
        (folder / name).write_text("raise SystemExit('the wrong one')")
    succeed(replace(bundle, env={**bundle.env, **hostile}), "--prefix", str(folder / "p"))
    assert not (folder / "astray").exists()
    return folder / "p"


@pytest.fixture
def prefix(original: Path, tmp_path: Path) -> Path:
    """An installation to change: a copy, as no file of it holds its path but the modulefiles."""
    return Path(shutil.copytree(original, tmp_path / "p", symlinks=True))


def started(program: Path, *words: str, **env: str) -> str:
    done = subprocess.run(
        [program, *words],
        env={"PATH": os.defpath, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_installed_starts_from_anywhere(installed: Path, tmp_path: Path) -> None:
    expected = f"tiny 7.0 ['a b', '$x'] {os.path.realpath(installed)}/{TREE}/venv\n"
    program = installed / "bin" / "hpcagent"
    (tmp_path / "link").symlink_to(program)
    for path in (program, tmp_path / "link", installed / TREE / "bin" / "hpcagent"):
        assert started(path, "a b", "$x") == expected
    assert started(program, "a b", "$x", PYTHONPATH="/none", PYTHONHOME="/none") == expected
    found = subprocess.run(
        ["sh", "-c", "hpcagent 'a b' '$x'"], env={"PATH": f"{installed}/bin:{os.defpath}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == expected


def test_every_promised_file_is_there(installed: Path) -> None:
    names = [name % {"version": "7.0"} for name in SITE_FILES]
    names += ["share/hpcagent/licences/LIST.txt", "share/hpcagent/models/a b.gguf"]
    names += ["share/hpcagent/sources/x.tar"]
    for name in names:
        assert (installed / name).is_file(), name
    for name in ("agent_job.sh", "agent_job.pbs"):
        assert started(installed / "bin" / name) == "job\n"
    modules = installed.parents[1] / "modules" / "hpcagent"
    assert {path.name for path in modules.iterdir()} == {"7.0", "7.0.lua"}
    assert (modules / "7.0").read_text() == f"{installed / TREE}\n"


def test_no_file_knows_the_temporary_name_and_home_is_untouched(
    installed: Path, bundle: Bundle
) -> None:
    for path in installed.rglob("*"):
        if path.is_file():
            assert b".7.0.partial" not in path.read_bytes(), path
    assert list(Path(bundle.env["HOME"]).iterdir()) == []


def test_tracebacks_name_the_final_files(installed: Path) -> None:
    python = installed / TREE / "venv" / "bin" / "python"
    code = "import hpcagent.bootstrap.llama as m; print(m.cpu_flags.__code__.co_filename)"
    said = started(python, "-I", "-c", code).strip()
    assert os.path.realpath(said).startswith(os.path.realpath(installed / TREE))
    assert Path(said).is_file()


def test_a_second_installation_changes_nothing(bundle: Bundle, installed: Path) -> None:
    before = snapshot(installed)
    assert "is installed in" in succeed(bundle, "--prefix", str(installed))
    assert snapshot(installed) == before


def test_verify_of_an_installation_names_what_changed(bundle: Bundle, prefix: Path) -> None:
    assert "as it was installed" in succeed(bundle, "--verify", "--prefix", str(prefix))
    (prefix / TREE / "bin" / "agent_job.sh").write_text("other")
    (prefix / TREE / "bin" / "new").write_text("")
    (prefix / TREE / "manifest.json").unlink()
    (prefix / "bin" / "hpcagent").unlink()
    done = bundle.install("--verify", "--prefix", str(prefix))
    assert done.returncode == 3
    for words in (
        "changed: bin/agent_job.sh", "surplus: bin/new", "missing: manifest.json",
        f"missing: {prefix}/bin/hpcagent",
    ):  # fmt: skip
        assert words in done.stderr


@pytest.mark.parametrize(("umask", "forbidden"), [(0o022, 0o022), (0o027, 0o027)])
def test_modes_are_as_the_umask_says(
    bundle: Bundle, tmp_path: Path, umask: int, forbidden: int
) -> None:
    prefix = tmp_path / "p"
    done = subprocess.run(
        bundle.argv("--prefix", str(prefix)), env=bundle.env, umask=umask, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path in [prefix, *prefix.rglob("*")]:
        mode = path.lstat().st_mode
        if path.is_symlink() or path.name == ".lock":
            continue
        assert mode & forbidden == 0, path
        readable = 0o555 if path.is_dir() else 0o444
        assert mode & readable == readable & ~umask, path
    assert ("others cannot use it" in done.stderr) == (umask != 0o022)


# --- all or nothing ------------------------------------------------------------------------------


def stop_at(process: subprocess.Popen[str], phase: str, number: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(phase):
            break
    else:
        pytest.fail(f"the installation never came to {phase!r}")
    process.send_signal(number)
    process.communicate(timeout=300)


@pytest.mark.parametrize("phase", ["  2/6", "  4/6", "  6/6"])
def test_a_killed_installation_leaves_nothing_usable_and_is_repeated(
    bundle: Bundle, tmp_path: Path, phase: str
) -> None:
    prefix = tmp_path / "p"
    stop_at(bundle.popen("--prefix", str(prefix)), phase, signal.SIGKILL)
    assert not (prefix / "bin").exists()
    assert not (prefix / TREE).exists()
    succeed(bundle, "--prefix", str(prefix))
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 7.0")
    assert not list((prefix / "lib" / "hpcagent").glob(".7.0*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation_clears_up(
    bundle: Bundle, tmp_path: Path, number: signal.Signals
) -> None:
    process = bundle.popen("--prefix", str(tmp_path / "new" / "p"))
    stop_at(process, "  3/6", number)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_killed_replacement_keeps_or_brings_back_the_old_one(
    bundle: Bundle, prefix: Path
) -> None:
    stop_at(bundle.popen("--prefix", str(prefix), "--force"), "  4/6", signal.SIGKILL)
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 7.0")
    # Killed between the two renames: the old tree has its temporary name.
    (prefix / TREE).rename(prefix / "lib" / "hpcagent" / ".7.0.old")
    assert "is installed in" in succeed(bundle, "--prefix", str(prefix))
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 7.0")


def test_a_tree_whose_links_were_not_made_yet_is_completed(bundle: Bundle, prefix: Path) -> None:
    before = snapshot(prefix)
    shutil.rmtree(prefix / "bin")
    (prefix / "share" / "man" / "man1" / "hpcagent.1").unlink()
    succeed(bundle, "--prefix", str(prefix))
    assert snapshot(prefix) == before


def test_a_package_that_does_not_load_is_told_and_nothing_stays(tmp_path: Path) -> None:
    broken = make_bundle(tmp_path / "b", module="raise OSError('libexotic.so: not here')\n")
    done = broken.install("--prefix", str(tmp_path / "p"))
    assert done.returncode == 3
    assert "OSError: libexotic.so: not here" in done.stderr
    log = Path(done.stderr.rpartition("the whole output is in ")[2].strip())
    assert "libexotic.so" in log.read_text()
    log.unlink()
    assert not (tmp_path / "p").exists()


def test_two_at_once_end_with_one_installation(bundle: Bundle, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    both = [bundle.popen("--prefix", str(prefix)) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("already; --force replaces it" in words for words in said) == 1
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 7.0")


def test_it_installs_from_a_file_system_that_is_mounted_noexec(
    bundle: Bundle, tmp_path: Path
) -> None:
    place = tmp_path / "noexec"
    place.mkdir()
    command = (
        f"mount -t tmpfs -o noexec tmpfs '{place}' && cp -a '{bundle.folder}' '{place}/b' && "
        f"export TMPDIR='{place}' && sh '{place}/b/install' --prefix '{tmp_path}/p'"
    )
    done = in_mounts(command, bundle.env)
    assert done.returncode == 0, done.stderr
    assert started(tmp_path / "p" / "bin" / "hpcagent").startswith("tiny 7.0")


# --- replaced, side by side, removed -------------------------------------------------------------


def test_another_bundle_of_the_same_version_needs_force(
    bundle: Bundle, prefix: Path, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", module="y = 2\n")
    before = snapshot(prefix)
    done = other.install("--prefix", str(prefix))
    assert done.returncode == 3
    assert "from another bundle" in done.stderr
    assert snapshot(prefix) == before
    succeed(other, "--prefix", str(prefix), "--force")
    python = prefix / TREE / "venv" / "bin" / "python"
    assert started(python, "-I", "-c", "import tiny; print(tiny.y)") == "2\n"


def test_uninstalling_leaves_exactly_what_was_there(bundle: Bundle, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    for name in ("bin/mine", "share/man/man1/mine.1", "modulefiles/mine/1.lua", "lib/mine.so"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text("mine")
    (prefix / "share" / "zsh").mkdir()
    before = snapshot(tmp_path)
    modules = tmp_path / "modules"
    for program in (bundle.argv("--uninstall", "--prefix", str(prefix)), None):
        succeed(bundle, "--prefix", str(prefix), "--module-dir", str(modules))
        argv = program or [str(prefix / TREE / "uninstall")]
        done = subprocess.run(argv, env=bundle.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert snapshot(tmp_path) == before


def test_what_was_added_or_replaced_by_others_is_left_and_named(
    bundle: Bundle, prefix: Path
) -> None:
    added = prefix / TREE / "share" / "notes.txt"
    added.write_text("mine")
    replaced = prefix / "modulefiles" / "hpcagent" / "7.0.lua"
    replaced.unlink()
    replaced.write_text("our site's own")
    said = succeed(bundle, "--uninstall", "--prefix", str(prefix))
    left = [path for path in prefix.rglob("*") if not path.is_dir()]
    assert set(left) == {added, replaced}
    for path in left:
        assert str(path) in said


def test_two_versions_live_side_by_side(bundle: Bundle, prefix: Path, tmp_path: Path) -> None:
    newer = make_bundle(tmp_path / "newer", version="8.0")
    succeed(newer, "--prefix", str(prefix))
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 8.0")
    assert started(prefix / TREE / "bin" / "hpcagent").startswith("tiny 7.0")
    succeed(bundle, "--uninstall", "--prefix", str(prefix))
    assert started(prefix / "bin" / "hpcagent").startswith("tiny 8.0")
    succeed(newer, "--uninstall", "--prefix", str(prefix))
    assert not prefix.exists()


def test_uninstalling_what_is_not_there_is_told(bundle: Bundle, tmp_path: Path) -> None:
    done = bundle.install("--uninstall", "--prefix", str(tmp_path / "p"))
    assert done.returncode == 3
    assert "there is no installation of hpcagent 7.0" in done.stderr
    assert not (tmp_path / "p").exists()


def test_a_damaged_record_removes_nothing(bundle: Bundle, prefix: Path) -> None:
    (prefix / TREE / "installed.json").write_text(json.dumps({"links": 3}))
    before = snapshot(prefix)
    done = bundle.install("--uninstall", "--prefix", str(prefix))
    assert done.returncode == 3
    assert "is damaged" in done.stderr
    assert snapshot(prefix) == before
