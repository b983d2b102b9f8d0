"""Sources that users name: good ones unpack to exactly what is in them, bad ones are refused."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.toolchain import sourcefiles, unpack
from hpcagent.toolchain.archive import inspect_source

FILES = {"lib-1/Makefile": b"all:\n", "lib-1/src/a.c": b"int a;\n" * 500}


def tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo, mode: str = "w:xz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def why(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        inspect_source(path, sourcefiles.digest(str(path)))
    assert "\n" not in str(caught.value)
    with pytest.raises(sourcefiles.Refused):  # in the job as well, and nothing is left there
        unpack.unpack(str(path), sourcefiles.digest(str(path)), str(path.parent / "out"))
    assert {p.name for p in path.parent.iterdir()} <= {path.name, "victim"}
    return str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip", "folder"])
def test_a_source_becomes_the_folder_that_it_holds(tmp_path: Path, mode: str) -> None:
    files = {**FILES, "lib-1/run.sh": b"#!/bin/sh\n"}
    path = tmp_path / "source"
    if mode == "folder":
        for name, data in files.items():
            (path / name[6:]).parent.mkdir(parents=True, exist_ok=True)
            (path / name[6:]).write_bytes(data)
        (path / ".git").mkdir()
        (path / ".git" / "HEAD").write_text("not part of the source")
    elif mode == "zip":
        zipped(path, files)
    else:
        tar(path, files, member("lib-1/docs", tarfile.SYMTYPE, "src"), mode=mode)
    source = inspect_source(path, sourcefiles.digest(str(path)), frozenset({"Makefile", "absent"}))
    assert (source.files, source.texts) == (3, {"Makefile": "all:\n"})
    target = tmp_path / "out"
    words = [sys.executable, unpack.__file__, str(path), source.sha256, str(target)]
    subprocess.run(words, check=True)
    found = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert {f"lib-1/{name}": data for name, data in found.items() if "docs" not in name} == files
    if mode.startswith("w"):
        assert (target / "docs").readlink() == Path("src")
        assert os.access(target / "run.sh", os.X_OK)
        assert not os.access(target / "Makefile", os.X_OK)
    subprocess.run(words, check=True)  # a second time: it is there


@pytest.mark.parametrize("kind", ["tar", "zip", "folder"])
def test_files_are_as_old_as_the_source_says(tmp_path: Path, kind: str) -> None:
    """By their times make knows that what a release holds ready made need not be made again."""
    old, older, ahead = 1_500_000_000, 1_400_000_000, 4_000_000_000
    path, times = tmp_path / "source", {"configure": old, "configure.ac": older, "late": ahead}
    if kind == "folder":
        path.mkdir()
        for name, when in times.items():
            (path / name).write_text("x")
            os.utime(path / name, (when, when))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, when in times.items():
                archive.writestr(zipfile.ZipInfo(f"l-1/{name}", time.localtime(when)[:6]), "x")
    else:
        rows = [member(f"l-1/{name}", size=1) for name in times]
        for row, when in zip(rows, times.values(), strict=True):
            row.mtime = when
        tar(path, {}, *rows)
    began = int(time.time())
    unpack.unpack(str(path), sourcefiles.digest(str(path)), str(tmp_path / "out"))
    found = {name: (tmp_path / "out" / name).stat().st_mtime for name in times}
    assert (found["configure"], found["configure.ac"]) == (old, older)
    assert began <= found["late"] <= time.time(), "nothing is from the future"


@pytest.mark.parametrize("when", ["nan", "inf", "-1", "1e300"])
def test_a_time_that_is_none_is_no_time(tmp_path: Path, when: str) -> None:
    row = member("l-1/a", size=1)
    row.pax_headers = {"mtime": when}
    path = tar(tmp_path / "source", {}, row)
    unpack.unpack(str(path), sourcefiles.digest(str(path)), str(tmp_path / "out"))
    assert abs((tmp_path / "out" / "a").stat().st_mtime - time.time()) < 60


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (member("/etc/passwd"), "absolute path"),
        (member("lib-1/../../evil"), "leads out with '..'"),
        (member("lib-1/a", tarfile.SYMTYPE, "/etc/passwd"), "leads out"),
        (member("lib-1/a", tarfile.SYMTYPE, "../../x"), "leads out"),
        (member("lib-1/a", tarfile.SYMTYPE, "../x"), "leads out"),
        (member("lib-1/a", tarfile.SYMTYPE, "src/../.."), "leads out"),
        (member("lib-1/a", tarfile.LNKTYPE, "lib-1/Makefile"), "hard link"),
        (member("lib-1/dev", tarfile.CHRTYPE), "neither a file"),
        (member("lib-1/pipe", tarfile.FIFOTYPE), "neither a file"),
        (member("lib-1/Makefile"), "twice"),
        (member("lib-1/Makefile/x"), "no folder"),
        (member("lib-1/a\nb"), "control character"),
        (member("lib-1/a\udc80b"), "not UTF-8"),
        (member("lib-1//b"), "unusable name"),
        (member("lib-1/" + "n" * 1100), "endless name"),
        (member("lib-1/a\\b"), "unusable name"),
    ],
)
def test_what_could_leave_its_folder_is_refused(
    tmp_path: Path, more: tarfile.TarInfo, word: str
) -> None:
    assert word in why(tar(tmp_path / "source", FILES, more))


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    link = member("lib-1/out", tarfile.SYMTYPE, "src")
    path = tar(tmp_path / "source", FILES, link, member("lib-1/out/file", size=1))
    assert "no folder" in why(path)
    assert not list((tmp_path / "victim").iterdir())


def test_links_that_lead_out_only_together_are_refused(tmp_path: Path) -> None:
    chain = [member("lib-1/x", tarfile.SYMTYPE, "."), member("lib-1/y", tarfile.SYMTYPE, "x/x/..")]
    assert "leads out" in why(tar(tmp_path / "source", FILES, *chain))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, mode: str) -> None:
    whole = tmp_path / "whole"
    zipped(whole, FILES) if mode == "zip" else tar(whole, FILES, mode=mode)
    data = whole.read_bytes()
    whole.unlink()
    cuts = {len(data) * part // 23 for part in range(1, 23)} | {len(data) - 1, 512, 1024, 1536}
    for cut in sorted(c for c in cuts if 0 < c < len(data)):
        rest = data[cut:]
        if mode == "w" and len(rest) < 10240 and not rest.strip(b"\0"):
            continue  # only padding is missing
        path = tmp_path / "source"
        path.write_bytes(data[:cut])
        why(path)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = tar(tmp_path / "source", FILES, mode="w")
    data = bytearray(path.read_bytes())
    at = data.index(b"lib-1/src/a.c")
    data[at + 148 : at + 154] = b"999999"  # its checksum
    path.write_bytes(data)
    assert "damaged" in why(path)


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "source"
    with gzip.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        info = member("lib-1/zeros", size=80 * 1024**2)
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert "unpacks to more than 64 MiB" in why(path)
    path.unlink()
    zipped(path, {"a/zeros": bytes(80 * 1024**2)})
    assert "unpacks to more than 64 MiB" in why(path)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "no archive"),
        (b"<html>404 Not Found</html>", "no archive"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"\x1f\x8b" + b"x" * 100, "damaged"),
        (b"PK\x03\x04" + b"x" * 100, "damaged"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, data: bytes, word: str) -> None:
    (tmp_path / "source").write_bytes(data)
    assert word in why(tmp_path / "source")


def test_another_hash_and_no_hash_are_refused_with_the_right_one(tmp_path: Path) -> None:
    path = tar(tmp_path / "source", FILES)
    found = sourcefiles.file_digest(str(path))
    for given_hash, word in [("", found), ("0" * 64, found), ("12", "64 hexadecimal digits")]:
        with pytest.raises(UsageError, match=word):
            inspect_source(path, given_hash)
    with pytest.raises(sourcefiles.Refused, match="SHA-256"):
        unpack.unpack(str(path), "0" * 64, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_hash_of_a_folder_sees_every_change(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_text("1")
    changes: list[Callable[[], object]] = [
        lambda: (folder / "a").write_text("2"),
        lambda: (folder / "a").chmod(0o755),
        lambda: (folder / "a").rename(folder / "b"),
        lambda: (folder / "c").symlink_to("b"),
        lambda: (folder / "d").write_text(""),
    ]
    found = {sourcefiles.tree_digest(str(folder))}
    for change in changes:
        change()
        found.add(sourcefiles.tree_digest(str(folder)))
    assert len(found) == 6
    os.mkfifo(folder / "pipe")
    with pytest.raises(UsageError, match="neither a file"):
        inspect_source(folder, "")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.sampled_from("fdl"), st.text(max_size=8)), max_size=6
    )
)
def test_whatever_is_accepted_stays_inside(rows: list[tuple[str, str, str]]) -> None:
    rules = sourcefiles.Rules(1000)
    kinds = {"f": sourcefiles.FILE, "d": sourcefiles.FOLDER, "l": sourcefiles.LINK}
    try:
        for name, kind, target in rows:
            rules.look(sourcefiles.Member(name, kinds[kind], 0, target, False, 0))
    except sourcefiles.Refused as error:
        assert "\n" not in str(error)
        return
    for name, kind, target in rows:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        if kind == "l":
            inside = os.path.normpath(str(Path(name).parent / target))
            assert not inside.startswith(("/", "../"))
            assert inside != ".."
