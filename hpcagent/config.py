"""Configuration from files and the environment: site < user < project < environment < flags.

Files are TOML. Some keys may be set by the site only, so that a project file cannot loosen them.
Tables `[models.ROLE]` say which model serves a role; `model` and `[models.all]` are for all roles.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

from hpcagent.catalogue import CORE_HOUR, GPU_HOUR, NODE_HOUR, Rate
from hpcagent.errors import UsageError
from hpcagent.llm.address import LOOPBACK, check_hosts
from hpcagent.llm.roles import ROLES
from hpcagent.llm.routing import Route, routes
from hpcagent.llm.tables import ALL, ModelChoice, from_table, from_text, laid_over

FLAG = "--model"  # the source of what this option says
SITE_FILE = Path("/etc/hpcagent.toml")


@dataclass(frozen=True)
class Settings:
    """What can be configured; `sources` says where each value that was set came from.

    `models` are tables by role; "models.ROLE" is the name of one's source. `model` is in them too.
    The words beside a type are its one line of explanation wherever a key is told; `keys` has them.
    """

    runs: Annotated[str, "where runs are kept"] = "runs"
    scheduler: Annotated[
        str, "local, slurm or pbs; unset: local, or what is found where jobs need one"
    ] = "local"
    python: Annotated[str, "the python3 of jobs (3.6 or newer); empty: python3 on their PATH"] = ""
    partition: Annotated[str, "partition that jobs are sent to (PBS: queue)"] = ""
    account: Annotated[str, "account that is charged"] = ""
    qos: Annotated[str, "quality of service"] = ""
    reservation: Annotated[str, "advance reservation to run in"] = ""
    constraint: Annotated[str, "features that nodes must have"] = ""
    gres: Annotated[str, "generic resources a node, for instance gpu:1"] = ""
    licenses: Annotated[str, "licences to hold"] = ""
    hint: Annotated[str, "Slurm's hint, for instance nomultithread"] = ""
    memory: Annotated[str, "memory of a node, for instance 8G"] = ""
    memory_per_cpu: Annotated[str, "memory of a CPU, for instance 500M"] = ""
    exclusive: Annotated[bool, "whole nodes: measuring beside strangers is no measuring"] = True
    scheduler_options: Annotated[
        tuple[str, ...], "further options, in the scheduler's own words"
    ] = ()
    ahead: Annotated[int, "jobs with rounds that may be queued at once"] = 1
    pack: Annotated[int, "rounds measured one after the other in one job"] = 1
    poll_seconds: Annotated[
        float, "least time between two queries; 0: the scheduler's own pace"
    ] = 0.0
    settle_seconds: Annotated[
        float, "search for a job whose submission got no answer; 0: likewise"
    ] = 0.0
    grace_seconds: Annotated[float, "wait for a file of another node to become visible"] = 90.0
    lost_seconds: Annotated[float, "a job that no query has known for so long is lost"] = 300.0
    max_wait_hours: Annotated[
        float, "a job that has not started by then is taken back; 0: never"
    ] = 336.0
    compiler: Annotated[str, "compiler of builds: a family (gcc, intel ...) or a path"] = ""
    mpi: Annotated[str, "MPI of programs: a family (openmpi, mpich ...) or a wrapper's path"] = ""
    blas: Annotated[str, "BLAS of programs: openblas, openblas/openmp, mkl ... or a path"] = ""
    strategy: Annotated[
        str, "how proposals are made; unset: embedded, or what a model or function needs"
    ] = "surrogate"
    model: Annotated[str, "a GGUF file or a server's URL; unset: the small model that ships"] = ""
    models_folder: Annotated[str, "where `hpcagent models list` looks besides this folder"] = ""
    model_threads: Annotated[
        int, "threads of a model; 0: as many cores as this process was given"
    ] = 0
    function: Annotated[str, "a Python file whose function makes or guides the proposals"] = ""
    target: Annotated[str, "speed-up that is enough, for instance 1.2x; empty: none"] = ""
    openblas_prefix: Annotated[str, "folder (or .so file) of the OpenBLAS to tune"] = ""
    history: Annotated[str, "folder of earlier runs; empty: in the user's data; off: none"] = ""
    site_history: Annotated[str, "a folder of earlier runs that is only read"] = ""
    objectives: Annotated[
        tuple[str, ...], "what to make better, first things first; none: time"
    ] = ()
    within: Annotated[tuple[str, ...], 'what must hold meanwhile, for instance "cv<2%"'] = ()
    rounds: Annotated[int, "rounds of a search"] = 6
    challengers: Annotated[int, "candidates in each round"] = 4
    process_seconds: Annotated[float, "what one timed process should take"] = 1.5
    max_pairs: Annotated[int, "pairs of a candidate with the best so far, in one round"] = 8
    confirm_pairs: Annotated[int, "fresh pairs behind a claim (at least 9)"] = 20
    confirm_jobs: Annotated[int, "jobs that must confirm a claim, together and each alone"] = 2
    minimum_effect: Annotated[float, "smaller improvements are not claimed"] = 0.01
    core_hours: Annotated[float, "core-hours that a run may reserve; 0: no limit of its own"] = 0.0
    wall_minutes: Annotated[float, "time that a run may take; 0: no limit of its own"] = 0.0
    approve_core_hours: Annotated[
        float, "more core-hours wait for `hpcagent approve`; 0: nothing waits"
    ] = 0.0
    max_core_hours: Annotated[
        float, "a hard limit on the core-hours of a run; 0: the site sets none"
    ] = 0.0
    prologue: Annotated[tuple[str, ...], "lines of shell in front of every job"] = ()
    charge_rates: Annotated[
        tuple[str, ...], 'charges, for instance "gpu=2.5 per gpu-hour"; also core-, node-hour'
    ] = ()
    model_hosts: Annotated[tuple[str, ...], "hosts whose model servers may be asked"] = (LOOPBACK,)
    model_digests: Annotated[
        tuple[str, ...], 'models that may be loaded, as "SHA256" or "NAME=SHA256"; none: all'
    ] = ()
    models: Mapping[str, ModelChoice] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A key of the configuration; `section` is the heading that it stands below."""

    name: str
    default: str | bool | int | float | tuple[str, ...]
    meaning: str
    section: str
    site_only: bool


SITE_ONLY = frozenset(
    {"prologue", "max_core_hours", "charge_rates", "model_hosts", "model_digests"}
)
_TABLES = "models"
# Headings, by the first key below each; the site's own keys come last.
_SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "runs": "Where runs and jobs go",
        "partition": "What every job asks for",
        "ahead": "Jobs and waiting",
        "compiler": "The toolchain that builds take and the doctor tries first",
        "strategy": "The search",
        "core_hours": "Budgets",
        "max_core_hours": "Only in the configuration of the site",
    }
)
_RATE = re.compile(
    r"(?P<name>[^\s=]+)\s*=\s*(?P<amount>[0-9]{1,9}(\.[0-9]{1,9})?)\s+per\s+"
    rf"(?P<per>{NODE_HOUR}|{CORE_HOUR}|{GPU_HOUR})"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TRUTH: Mapping[str, bool] = MappingProxyType(
    {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
)
_KINDS: dict[str, type] = {
    f.name: type(getattr(Settings(), f.name))
    for f in fields(Settings)
    if f.name not in ("sources", _TABLES)
}


def keys() -> tuple[Key, ...]:
    """All keys in the order in which they are told."""
    hints = get_type_hints(Settings, include_extras=True)
    found, section = [], ""
    for name in _KINDS:
        section = _SECTIONS.get(name, section)
        (meaning,) = hints[name].__metadata__
        found.append(Key(name, getattr(Settings, name), meaning, section, name in SITE_ONLY))
    return tuple(found)


def layers(environment: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The files of the site, the user and the project, there or not; later ones win."""
    site = environment.get("HPCAGENT_SITE_CONFIG")
    return {
        "site": Path(site) if site else SITE_FILE,
        "user": _user_file(environment),
        "project": folder / "hpcagent.toml",
    }


def load_settings(environment: Mapping[str, str], folder: Path) -> Settings:
    """Merge the layers for a process started in `folder`; UsageError names file and key."""
    settings = Settings()
    for layer, path in layers(environment, folder).items():
        is_site = layer == "site"
        if path.is_file():
            settings = _merge(settings, _read(path), str(path), is_site)
        elif is_site and environment.get("HPCAGENT_SITE_CONFIG"):
            raise UsageError(f"HPCAGENT_SITE_CONFIG names {path}, which is not a file")
    return _from_environment(settings, environment)


def rates(lines: Sequence[str], source: str = "charge_rates") -> dict[str, Rate]:
    """`PARTITION=RATE per UNIT` lines, by partition (`*`: all others); UsageError for a bad one."""
    found: dict[str, Rate] = {}
    for line in lines:
        match = _RATE.fullmatch(line.strip())
        if match is None:
            raise UsageError(
                f"{source}: charge_rates: {line!r}: write PARTITION=RATE per node-hour, core-hour "
                'or gpu-hour, such as "batch=0.02 per core-hour"; * stands for all other partitions'
            )
        if match["name"] in found:
            raise UsageError(f"{source}: charge_rates: {match['name']!r} has two rates")
        found[match["name"]] = Rate(float(match["amount"]), match["per"])
    return found


def model_routes(settings: Settings, flag: str | None = None) -> dict[str, Route]:
    """Which model serves each role; `flag` is what `--model` says for all of them (empty: none)."""
    if flag is not None:
        settings = _for_all(settings, flag, FLAG)
    sources = {role: settings.sources.get(_source_key(role), "") for role in settings.models}
    return routes(settings.models, sources)


def digests(lines: Sequence[str], source: str = "model_digests") -> dict[str, str]:
    """Names by SHA-256 in hex, of `SHA256` or `NAME=SHA256` lines; UsageError for a bad one."""
    found = {}
    for line in lines:
        name, _, text = line.strip().rpartition("=")
        digest = text.strip().lower().removeprefix("sha256:")
        if not _SHA256.fullmatch(digest):
            raise UsageError(
                f"{source}: model_digests: {line!r}: write 64 hexadecimal digits, or NAME= and"
                " these; `hpcagent models show FILE` tells them"
            )
        found[digest] = name.strip()
    return found


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
        if key == _TABLES:
            continue
        if key not in _KINDS:
            known = sorted((*_KINDS, _TABLES))
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{source}: unknown key {key!r}; {hint}")
        if key in SITE_ONLY and not is_site:
            raise UsageError(f"{source}: {key!r} can be set in the site's configuration only")
        typed = _typed(key, value, source)
        settings = replace(settings, **{key: typed}, sources={**settings.sources, key: source})
    if "model" in values:
        settings = _for_all(settings, settings.model, source)
    if _TABLES in values:
        settings = _with_tables(settings, values, source)
    return settings


def _for_all(settings: Settings, model: str, source: str) -> Settings:
    """`model` is for all roles: what earlier layers said of single ones is gone."""
    kept = {k: v for k, v in settings.sources.items() if not k.startswith(_source_key(""))}
    if not model:
        return replace(settings, models={}, sources=kept)
    sources = {**kept, _source_key(ALL): source}
    return replace(settings, models={ALL: from_text(model, source)}, sources=sources)


def _with_tables(settings: Settings, values: Mapping[str, Any], source: str) -> Settings:
    tables = values[_TABLES]
    if not isinstance(tables, Mapping):
        raise UsageError(f"{source}: models: write tables such as [models.debug]")
    if from_table(ALL, tables.get(ALL, {}), source).placed:
        settings = _for_all(settings, "", source)
    models, sources = dict(settings.models), dict(settings.sources)
    for role, table in tables.items():
        choice, said = from_table(role, table, source), f"{source} [{_TABLES}.{role}]"
        if role == ALL and choice.placed:
            if values.get("model"):
                raise UsageError(f"{source}: model and [models.{ALL}] name a model each: keep one")
            settings = replace(settings, model=choice.label)
            sources["model"] = said
        elif role == ALL and ALL in models:
            choice, said = laid_over(choice, models[ALL]), f"{sources[_source_key(ALL)]}, {said}"
        models[role], sources[_source_key(role)] = choice, said
    return replace(settings, models=models, sources=sources)


def _source_key(role: str) -> str:
    return f"{_TABLES}.{role}"


def _from_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    for key in _KINDS:
        name = "HPCAGENT_" + key.upper()
        text = environment.get(name)
        if text is None or key in SITE_ONLY:
            continue
        settings = _merge(settings, {key: _parsed(key, text, name)}, name, is_site=False)
    for role in ROLES:
        name = f"HPCAGENT_MODEL_{role.upper()}"
        text = environment.get(name, "")
        if text:
            models = {**settings.models, role: from_text(text, name)}
            sources = {**settings.sources, _source_key(role): name}
            settings = replace(settings, models=models, sources=sources)
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
            if key == "charge_rates":
                rates(value, source)
            if key == "model_hosts":
                check_hosts(value, source)
            if key == "model_digests":
                digests(value, source)
            return tuple(value)
        raise UsageError(f"{source}: {key!r} must be a list of strings")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise UsageError(f"{source}: {key!r} must be of type {kind.__name__}")
    if isinstance(value, int | float) and not 0 <= value < 1e9:
        raise UsageError(f"{source}: {key!r} is out of range: {value}")
    return value
