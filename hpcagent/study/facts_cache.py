"""Facts of nodes as they were found last, kept between runs, each dated and with its digest.

One file a place (batch system and target, or this host) below the user's cache directory: what is
shown without asking a node again, and where rates that were measured once come from. Losing it
costs a probe, nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.probe.digest import facts_digest
from hpcagent.study.durable import json_bytes, parse_object, problem, write_atomic

SCHEMA = 1


@dataclass(frozen=True)
class Kept:
    """`facts` are raw, found at `t_utc` on `node` by the run `run_id`."""

    place: str
    node: str
    t_utc: str
    digest: str
    run_id: str
    facts: Mapping[str, Any]


def cache_folder(environment: Mapping[str, str]) -> Path:
    """`$HPCAGENT_CACHE/facts`, else in `$XDG_CACHE_HOME/hpcagent` or `~/.cache/hpcagent`."""
    own = environment.get("HPCAGENT_CACHE")
    home = (
        environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME') or '/nonexistent'}/.cache"
    )
    return Path(own or f"{home}/hpcagent") / "facts"


def place_name(scheduler: str, cluster: str, label: str) -> str:
    """What names a place: `cluster` is the login host's name, or that of this machine."""
    return f"{scheduler} {cluster} {label}"


def keep(folder: Path, kept: Kept) -> None:
    """Write it; EnvironmentProblem where that cannot be done."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(_path(folder, kept.place), json_bytes({"schema": SCHEMA, **vars(kept)}))
    except OSError as error:
        raise problem("write", folder, error) from None


def kept_at(folder: Path, place: str) -> Kept | None:
    """What was kept of this place; None where nothing was, or it can no longer be read."""
    try:
        row = parse_object(_path(folder, place).read_bytes())
        if row.pop("schema") != SCHEMA:
            return None
        found = Kept(**row)
        return found if facts_digest(found.facts) == found.digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _path(folder: Path, place: str) -> Path:
    return folder / f"{hashlib.sha256(place.encode('utf-8')).hexdigest()[:24]}.json"
