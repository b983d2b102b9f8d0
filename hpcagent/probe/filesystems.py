"""Where folders lie: mountinfo, `df -PTk`, and whether other nodes see the same files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# File systems that are served to many nodes, and those that are one node's own. What is in neither
# (a FUSE program, 9p, virtiofs: whatever is behind it) is not known.
_SHARED = frozenset(
    [
        *("nfs", "nfs3", "nfs4", "lustre", "gpfs", "beegfs", "beegfs_nodev", "fhgfs", "ceph"),
        *("fuse.ceph", "cifs", "smb3", "smbfs", "panfs", "wekafs", "pvfs2", "orangefs", "afs"),
        *("openafs", "glusterfs", "fuse.glusterfs", "gfs2", "ocfs2", "cvfs", "snfs", "dvs"),
        *("fuse.dfuse", "fuse.juicefs", "fuse.quobyte", "fuse.mfs", "fuse.moosefs", "fuse.sshfs"),
        "quobyte",
    ]
)
_LOCAL = frozenset(
    [
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "rootfs", "overlay"),
        *("aufs", "f2fs", "bcachefs", "jfs", "reiserfs", "vfat", "exfat", "ntfs", "ntfs3"),
        *("squashfs", "iso9660", "erofs", "devtmpfs", "hugetlbfs"),
    ]
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_DF = re.compile(r"(.+?)\s+(\S+)\s+([0-9]{1,18})\s+([0-9]{1,18})\s+(-?[0-9]{1,18})\s+\S+\s+(/.*)")


@dataclass(frozen=True)
class Mount:
    """One mount of /proc/self/mountinfo (proc(5)); `options` are the mount's own."""

    point: str
    kind: str
    source: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """One line of df, sizes in bytes; `free_bytes` is what this user may still write."""

    source: str
    kind: str
    size_bytes: int
    free_bytes: int
    mount: str


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    mounts = []
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if dash and len(left) >= 6 and len(right) >= 2 and left[4].startswith("/"):
            options = tuple(left[5].split(","))
            mounts.append(Mount(_plain(left[4]), right[0], _plain(right[1]), options))
    return tuple(mounts)


def mount_of(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """The mount that holds an absolute path: the longest point above it, the last such line."""
    best: Mount | None = None
    for mount in mounts:
        above = mount.point.rstrip("/")
        inside = path == mount.point or path.startswith(above + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def parse_df(text: str) -> Space | None:
    """The last file system in `df -P -T -k PATH`."""
    for line in reversed(text.splitlines()):
        found = _DF.fullmatch(line.rstrip())
        if found:
            source, kind, size, _, free, mount = found.groups()
            return Space(source, kind, int(size) * 1024, max(0, int(free)) * 1024, mount)
    return None


def is_shared(kind: str) -> bool | None:
    """Whether other nodes see the same files; None where the type does not tell."""
    if kind in _SHARED:
        return True
    return False if kind in _LOCAL else None


def _plain(text: str) -> str:
    r"""Blanks, tabs, newlines and backslashes are written as octal numbers: "\040"."""
    return _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), text)
