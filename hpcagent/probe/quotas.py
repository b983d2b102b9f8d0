"""Disk quotas of a user: `quota -w` (local file systems and NFS), `lfs quota -q` (Lustre)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# name, blocks of 1 KiB ("*": over quota), soft, hard limit; the rest is about files
_LINE = re.compile(
    r"\s*(\S.*?)\s+([0-9]{1,18})\*?\s+([0-9]{1,18})k?\s+([0-9]{1,18})k?(?:\s+.*)?", re.ASCII
)


@dataclass(frozen=True)
class Quota:
    """`source` is the device or server's folder (quota) or the path (lfs); `limit_bytes` None: no
    limit. The hard limit counts; where there is only a soft one, that."""

    source: str
    used_bytes: int
    limit_bytes: int | None


def parse_quotas(text: str) -> tuple[Quota, ...]:
    """The lines of `quota -w` or `lfs quota -q` that tell blocks and two limits."""
    quotas = []
    # lfs breaks the line behind a path of more than 15 characters.
    for line in re.sub(r"\n {10,}", "  ", text).splitlines():
        found = _LINE.fullmatch(line)
        if found and "/" in found.group(1):
            source, used, soft, hard = found.groups()
            limit = int(hard) or int(soft)
            quotas.append(Quota(source, int(used) * 1024, limit * 1024 if limit else None))
    return tuple(quotas)
