#!/usr/bin/env python3
"""Unpacks a source, after it was checked, into a folder that is there whole or not at all.

Usage: python3 unpack.py SOURCE SHA256 TARGET, with sourcefiles.py beside it

SOURCE is a tar archive (plain, gzip, bzip2, xz), a zip archive or a folder; SHA256 that of the
file, or of a folder's tree (`tree_digest`). Standard library only, python3 >= 3.6: it runs in the
job. The single folder that most archives consist of is left out: TARGET is that folder.

Exit codes: 0 done (also when TARGET is there already), 2 usage, 3 the source is refused.
"""

import os
import shutil
import sys
import time
from typing import Any, List

if __package__:
    from hpcagent.toolchain import sourcefiles
else:
    import sourcefiles  # type: ignore[import-not-found,no-redef]


def unpack(source: str, sha256: str, target: str) -> None:
    """Make `target` from `source`; a target that is there is whole, and kept."""
    if os.path.isdir(target):
        return
    found = sourcefiles.digest(source)
    if found != sha256:
        raise sourcefiles.Refused("has the SHA-256 %s and not %s" % (found, sha256))
    partial = "%s.%d.partial" % (target, os.getpid())
    os.mkdir(partial)
    try:
        if os.path.isdir(source):
            _copy_tree(source, partial)
            os.rename(partial, target)
        else:
            with sourcefiles.telling_damage():
                kept = _write_members(source, partial)
            os.rename(kept, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_tree(source: str, partial: str) -> None:
    for member in sourcefiles.tree_members(source):
        if member.kind == sourcefiles.FILE:
            with open(os.path.join(source, member.name), "rb") as stream:
                _write(partial, member, stream)
        else:
            _write(partial, member, None)


def _write_members(source: str, partial: str) -> str:
    """The folder to keep: the only one that the archive has at its top, or all of it."""
    rules = sourcefiles.Rules(os.path.getsize(source))
    for member, stream in sourcefiles.members(source, rules):
        _write(partial, member, stream)
    return os.path.join(partial, rules.top) if rules.top else partial


def _write(root: str, member: sourcefiles.Member, stream: Any) -> None:
    path = os.path.join(root, member.name)
    if member.kind == sourcefiles.FOLDER:
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.kind == sourcefiles.LINK:
        os.symlink(member.target, path)
        return
    with open(path, "xb") as written:
        shutil.copyfileobj(stream, written, sourcefiles.CHUNK)
    os.chmod(path, 0o755 if member.runs else 0o644)
    # As tar does: make takes what a release holds ready made for older than what it is made from
    # otherwise, and calls autoconf. Nothing is from the future: make would warn, and build it anew.
    if member.modified > 0:
        modified = min(member.modified, int(time.time()))
        os.utime(path, (modified, modified))


def main(argv: List[str]) -> int:
    if len(argv) != 4:
        sys.stderr.write("usage: unpack.py SOURCE SHA256 TARGET\n")
        return 2
    try:
        unpack(argv[1], argv[2], argv[3])
    except sourcefiles.Refused as error:
        sys.stderr.write("%s %s\n" % (argv[1], error))
        return 3
    except OSError as error:
        sys.stderr.write("%s: %s\n" % (error.filename or argv[1], error.strerror))
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
