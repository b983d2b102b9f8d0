"""Configuration from files and the environment: site < user < project < environment < flags.

Files are TOML. Some keys may be set by the site only, so that a project file cannot loosen them.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.errors import UsageError

SITE_FILE = Path("/etc/hpcagent.toml")


@dataclass(frozen=True)
class Settings:
    """What can be configured; `sources` says where each value that was set came from."""

    runs: str = "runs"
    scheduler: str = "local"
    partition: str = ""  # a PBS queue
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    gres: str = ""
    licenses: str = ""
    hint: str = ""
    memory: str = ""  # of a node, for instance 8G
    memory_per_cpu: str = ""
    exclusive: bool = True  # whole nodes: measuring beside strangers is no measuring
    scheduler_options: tuple[str, ...] = ()  # further ones, in the scheduler's own words
    ahead: int = 1  # rounds that may be out at once
    pack: int = 1  # rounds in one job
    poll_seconds: float = 0.0  # least time between two queries; 0: the scheduler's own pace
    settle_seconds: float = 0.0  # for a job whose submission got no answer to show; 0: likewise
    grace_seconds: float = 90.0  # for a file that another node wrote to become visible
    lost_seconds: float = 300.0  # until a job that no query knows is lost
    max_wait_hours: float = 336.0  # until a job that does not start is taken back; 0: for ever
    strategy: str = "surrogate"
    model: str = ""
    openblas_prefix: str = ""
    python: str = ""
    rounds: int = 6
    challengers: int = 4
    core_hours: float = 0.0  # 0: no limit of its own
    wall_minutes: float = 0.0  # 0: no limit of its own
    process_seconds: float = 1.5  # what one timed process of the workload should take
    max_pairs: int = 8  # of a challenger with the incumbent, in one round
    confirm_pairs: int = 20  # fresh pairs behind a claim
    minimum_effect: float = 0.01  # smaller improvements are not claimed
    approve_core_hours: float = 0.0  # more waits for `hpcagent approve`; 0: nothing waits
    prologue: tuple[str, ...] = ()
    max_core_hours: float = 0.0  # 0: the site sets no limit
    sources: Mapping[str, str] = field(default_factory=dict)


SITE_ONLY = frozenset({"prologue", "max_core_hours"})
_TRUTH: Mapping[str, bool] = MappingProxyType(
    {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
)
_KINDS: dict[str, type] = {
    f.name: type(getattr(Settings(), f.name)) for f in fields(Settings) if f.name != "sources"
}


def load_settings(environment: Mapping[str, str], folder: Path) -> Settings:
    """Merge the layers for a process started in `folder`; UsageError names file and key."""
    settings = Settings()
    site = environment.get("HPCAGENT_SITE_CONFIG")
    layers = [
        (Path(site) if site else SITE_FILE, True),
        (_user_file(environment), False),
        (folder / "hpcagent.toml", False),
    ]
    for path, is_site in layers:
        if path.is_file():
            settings = _merge(settings, _read(path), str(path), is_site)
        elif is_site and site:
            raise UsageError(f"HPCAGENT_SITE_CONFIG names {path}, which is not a file")
    return _from_environment(settings, environment)


def _user_file(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or "/nonexistent")
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home / ".config") / "hpcagent" / "config.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _merge(settings: Settings, values: Mapping[str, Any], source: str, is_site: bool) -> Settings:
    for key, value in values.items():
        if key not in _KINDS:
            raise UsageError(f"{source}: unknown key {key!r}; known: {', '.join(sorted(_KINDS))}")
        if key in SITE_ONLY and not is_site:
            raise UsageError(f"{source}: {key!r} can be set in the site's configuration only")
        typed = _typed(key, value, source)
        settings = replace(settings, **{key: typed}, sources={**settings.sources, key: source})
    return settings


def _from_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    for key in _KINDS:
        name = "HPCAGENT_" + key.upper()
        text = environment.get(name)
        if text is None or key in SITE_ONLY:
            continue
        settings = _merge(settings, {key: _parsed(key, text, name)}, name, is_site=False)
    return settings


def _parsed(key: str, text: str, source: str) -> Any:
    kind = _KINDS[key]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise UsageError(f"{source}: {text!r} is not a number") from None
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise UsageError(f"{source}: {text!r} is not one of {', '.join(_TRUTH)}")
        return _TRUTH[text.lower()]
    if kind is tuple:
        return _words(text, source)
    return text


def _words(text: str, source: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{source}: {text!r}: {error}") from None


def _typed(key: str, value: Any, source: str) -> Any:
    kind = _KINDS[key]
    if kind is tuple:
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return tuple(value)
        raise UsageError(f"{source}: {key!r} must be a list of strings")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{source}: {key!r} must be of type {kind.__name__}")
    if isinstance(value, int | float) and not 0 <= value < 1e9:
        raise UsageError(f"{source}: {key!r} is out of range: {value}")
    return value
