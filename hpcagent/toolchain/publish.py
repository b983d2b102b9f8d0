#!/usr/bin/env python3
"""Puts a finished build in its place, whole, with a manifest of what it was made from.

Usage: python3 publish.py [--absent] PUBLISH.json

Standard library only, python3 >= 3.6: it runs in the job. What is in `staged` is hashed, the
manifest is written into it, and the folder is renamed to `prefix`: a reader never sees half a
build, and of two builders the first one's stays. With --absent it only tells whether there is a
whole build in that place already.

Exit codes: 0 done (with --absent: it is not there), 2 usage, 3 something is missing or cannot be
written, 10 with --absent: it is there.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from typing import Any, Dict, List, Mapping

SCHEMA = 1
MANIFEST = "manifest.json"
CONTENTS = "contents"  # a word before the digest of what was built, in what this prints
THERE = 10
CHUNK = 1024 * 1024
_SECOND = "%s is there already: another builder was first"


class Problem(Exception):
    """The build cannot be published; one line that says why."""


def publish(plan: Mapping[str, Any]) -> str:
    """Do it; one line that says what was done."""
    staged, prefix = str(plan["staged"]), str(plan["prefix"])
    if finished(prefix):
        shutil.rmtree(staged, ignore_errors=True)
        return _SECOND % prefix
    absent = [name for name in plan["required"] if not os.path.exists(os.path.join(staged, name))]
    if absent:
        raise Problem("the build did not make %s" % ", ".join(absent))
    for name, text in sorted(plan["texts"].items()):
        _write(os.path.join(staged, name), text)
    manifest = dict(plan["manifest"])
    manifest.update(
        schema=SCHEMA,
        prefix=prefix,
        built_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        node=_node(),
        compilers_say={path: _version(path) for path in plan["compilers"]},
        modules_loaded=[name for name in os.environ.get("LOADEDMODULES", "").split(":") if name],
        environment={n: os.environ[n] for n in sorted(plan["environment"]) if n in os.environ},
        files=hashes(staged),
    )
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    _write(os.path.join(staged, MANIFEST), text)
    return _move(staged, prefix)


def finished(prefix: str) -> bool:
    """Whether a whole build is there: its manifest, and every file that it lists."""
    try:
        with open(os.path.join(prefix, MANIFEST), encoding="utf-8") as stream:
            files = json.load(stream)["files"]
        return all(_as_listed(os.path.join(prefix, name), row) for name, row in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def found(plan: Mapping[str, Any]) -> str:
    """What is told of a whole build that is in the plan's place; empty where none is."""
    prefix = str(plan["prefix"])
    return "%s is there already\n%s" % (prefix, _told(plan)) if finished(prefix) else ""


def _told(plan: Mapping[str, Any]) -> str:
    return "%s %s" % (CONTENTS, contents(plan))


def contents(plan: Mapping[str, Any]) -> str:
    """A digest of the names and contents of what was built, wherever it is; what only tells where
    it is (`texts`) left out."""
    with open(os.path.join(str(plan["prefix"]), MANIFEST), encoding="utf-8") as stream:
        files = json.load(stream)["files"]
    own = {name: row for name, row in files.items() if name not in plan["texts"]}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode("utf-8")).hexdigest()


def _as_listed(path: str, row: Mapping[str, Any]) -> bool:
    if "link" in row:
        return os.path.islink(path) and os.readlink(path) == str(row["link"])
    return os.lstat(path).st_size == int(row["bytes"])


def hashes(root: str) -> Dict[str, Any]:
    """Every file below `root`: {bytes, sha256}, or {link} for a symbolic link."""
    found: Dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in files + [f for f in folders if os.path.islink(os.path.join(folder, f))]:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if os.path.islink(path):
                found[relative] = {"link": os.readlink(path)}
            elif relative != MANIFEST and stat.S_ISREG(os.lstat(path).st_mode):
                found[relative] = {"bytes": os.path.getsize(path), "sha256": _digest(path)}
    return found


def _digest(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()


def _move(staged: str, prefix: str) -> str:
    """Rename into place; what lies there and is no whole build gives way."""
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    for _ in range(3):
        try:
            _rename(staged, prefix)
            return "%s is finished" % prefix
        except OSError as error:
            if not os.path.lexists(prefix):
                raise Problem("cannot make %s: %s" % (prefix, error.strerror)) from None
        if finished(prefix):
            shutil.rmtree(staged, ignore_errors=True)
            return _SECOND % prefix
        broken = _beside(prefix, "broken")
        os.rename(prefix, broken)
        shutil.rmtree(broken, ignore_errors=True)
    raise Problem("cannot make %s: something else makes it again and again" % prefix)


def _rename(staged: str, prefix: str) -> None:
    """As os.rename, also from another file system."""
    try:
        os.rename(staged, prefix)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    partial = _beside(prefix, "partial")
    try:
        shutil.copytree(staged, partial, symlinks=True)
        os.rename(partial, prefix)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(staged, ignore_errors=True)


def _beside(prefix: str, what: str) -> str:
    return "%s.%s-%s-%d" % (prefix, what, platform.node() or "host", os.getpid())


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _node() -> Dict[str, str]:
    libc = platform.libc_ver()
    return {
        "host": platform.node(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "libc": " ".join(libc).strip(),
    }


def _version(path: str) -> str:
    """The first line that a compiler says of itself, or why there is none."""
    words = [path, "--version"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return "cannot be asked: %s" % error
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:200] if lines else ""


def main(argv: List[str]) -> int:
    ask = argv[1:2] == ["--absent"]
    if len(argv) != 2 + ask:
        sys.stderr.write("usage: publish.py [--absent] PUBLISH.json\n")
        return 2
    try:
        with open(argv[-1], encoding="utf-8") as stream:
            plan = json.load(stream)
        if ask:
            there = found(plan)
            print(there or "%s is not there" % plan["prefix"])
            return THERE if there else 0
        print(publish(plan))
        print(_told(plan))
    except Problem as error:
        sys.stderr.write("publish: %s\n" % error)
        return 3
    except OSError as error:
        sys.stderr.write("publish: %s: %s\n" % (error.filename or "", error.strerror))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
