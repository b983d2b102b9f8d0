from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcagent.config import Settings, digests
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.llm import digests as kept
from hpcagent.llm.progress import Tell
from hpcagent.study.admission import forbidden

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
OTHER = "0" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file that is old enough to be remembered."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"abc")
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read in full."""
    seen: list[Path] = []
    real: Callable[[Path, Tell], str] = kept.sha256

    def counted(path: Path, tell: Tell) -> str:
        seen.append(path)
        return real(path, tell)

    monkeypatch.setattr(kept, "sha256", counted)
    return seen


def test_a_file_is_read_once_while_it_stays_the_same(
    model: Path, tmp_path: Path, reads: list[Path]
) -> None:
    cache = tmp_path / "cache"
    assert kept.digest_of([model], cache) == ABC
    assert kept.digest_of([model], cache) == ABC
    assert len(reads) == 1
    assert [path.stat().st_mode & 0o077 for path in (cache, *cache.iterdir())] == [0, 0]


@pytest.mark.parametrize("change", ["content", "replaced", "in place with its time set back"])
def test_a_changed_file_is_read_again(
    model: Path, tmp_path: Path, reads: list[Path], change: str
) -> None:
    cache = tmp_path / "cache"
    kept.digest_of([model], cache)
    if change == "replaced":
        (tmp_path / "new").write_bytes(b"abd")
        (tmp_path / "new").replace(model)
    else:
        model.write_bytes(b"abd" if change != "content" else b"abcd")
    os.utime(model, ns=(10**18, 10**18))
    assert kept.digest_of([model], cache) == hashlib.sha256(model.read_bytes()).hexdigest() != ABC


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b"[" * 900, b'{"sha256": "x"}', b"\xff\xfe", b"x" * 2000]
)
def test_a_damaged_entry_is_passed_over(model: Path, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "cache"
    kept.digest_of([model], cache)
    (entry,) = cache.iterdir()
    entry.write_bytes(damage)
    assert kept.digest_of([model], cache) == ABC
    assert json.loads(entry.read_text())["sha256"] == ABC


def test_a_file_written_in_this_instant_is_not_remembered(model: Path, tmp_path: Path) -> None:
    os.utime(model)
    assert kept.digest_of([model], tmp_path / "cache") == ABC
    assert not (tmp_path / "cache").exists()


def test_where_nothing_can_be_kept_the_digest_is_still_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert kept.digest_of([model], tmp_path / "file" / "cache") == ABC
    assert kept.digest_of([model], None) == ABC
    assert kept.cache_folder({}) is None
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        kept.digest_of([tmp_path / "absent"], None)


def test_many_writers_leave_whole_entries(tmp_path: Path) -> None:
    models = []
    for index in range(4):
        path = tmp_path / f"{index}.gguf"
        path.write_bytes(bytes([index]) * 5000)
        os.utime(path, ns=(10**18, 10**18))
        models.append(path)
    cache = tmp_path / "cache"
    code = (
        "import sys; from pathlib import Path; from hpcagent.llm.digests import digest_of\n"
        "for _ in range(40):\n"
        "    for path in sys.argv[2:]: digest_of([Path(path)], Path(sys.argv[1]))\n"
        "    for entry in Path(sys.argv[1]).glob('*.json'): entry.unlink(missing_ok=True)\n"
        "for path in sys.argv[2:]: digest_of([Path(path)], Path(sys.argv[1]))\n"
    )
    argv = [sys.executable, "-c", code, str(cache), *map(str, models)]
    running = [subprocess.Popen(argv) for _ in range(3)]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    for path in models:
        assert kept.digest_of([path], cache) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not list(cache.glob("*.partial"))


def test_a_model_that_is_not_on_the_site_s_list_is_refused_in_one_line() -> None:
    site = Settings(model_digests=(f"tuner = sha256:{OTHER}",), sources={"model_digests": "/s"})
    words = forbidden(Path("/m.gguf"), ABC, site)
    assert words.startswith(f"model /m.gguf: its SHA-256 is {ABC}, which is none of the 1 ")
    assert "model_digests in /s" in words and "\n" not in words
    assert forbidden(Path("/m.gguf"), OTHER, site) == ""
    assert forbidden(Path("/m.gguf"), ABC, Settings()) == ""


def test_the_lines_of_the_list() -> None:
    assert digests([ABC.upper(), f"a = b={OTHER}"]) == {ABC: "", OTHER: "a = b"}
    with pytest.raises(UsageError, match="site: model_digests: 'abc': write 64 hexadecimal"):
        digests(["abc"], "site")
