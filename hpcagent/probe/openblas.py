"""From what each candidate OpenBLAS said of itself to Library records, and the choice of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.probe.rawfacts import RawFacts
from hpcagent.records import Library

_SOURCES = ("prefix", "module", "system", "embedded")
# openblas_get_parallel; absent in very old releases.
_THREADING: Mapping[int | None, str] = {0: "serial", 1: "pthreads", 2: "openmp"}
_RANK = {"pthreads": 0, "openmp": 1, "serial": 2}
_VERSION = re.compile(r"OpenBLAS (v?[0-9][\w.+-]*)")
_FILE_VERSION = re.compile(r"-r([0-9]+(?:\.[0-9]+)+)(?:\.dev)?\.so")
_FLAG = re.compile(r"(USE|NO|DYNAMIC|SINGLE)_\w+|USE64BITINT|\w+=.*|OpenBLAS")


@dataclass(frozen=True)
class BuildConfig:
    """What openblas_get_config() tells (driver/others/openblas_get_config.c); absent: None."""

    version: str | None
    dynamic_arch: bool
    threading: str | None
    max_threads: int | None
    ilp64: bool
    core: str | None


def parse_config(text: str) -> BuildConfig:
    """The words of a configuration string, in any order; unknown words are passed over.

    Releases before 0.3.4 do not tell the thread limit, and very old ones not even the version.
    """
    version = _VERSION.match(text.strip())
    words = text.split()[2:] if version else text.split()
    limit = next((w.partition("=")[2] for w in words if w.startswith("MAX_THREADS=")), "")
    max_threads = int(limit) if re.fullmatch("[0-9]{1,7}", limit) else None
    names = [word for word in words if not _FLAG.fullmatch(word)]
    return BuildConfig(
        version=version.group(1).removeprefix("v") if version else None,
        dynamic_arch="DYNAMIC_ARCH" in words,
        threading=_threading(words, max_threads),
        max_threads=max_threads,
        ilp64="USE64BITINT" in words,
        core=names[-1] if names else None,
    )


def parse_libraries(
    facts: Mapping[str, Any],
) -> tuple[tuple[Library, ...], tuple[tuple[str, str], ...]]:
    """(usable ones in order of preference, (path, reason) of the others).

    Order: source (prefix, module, system, embedded); within one source 32-bit integers before
    64-bit ones (no ordinary application links those), threaded before serial, what the loader
    gives by default first, then pthreads, OpenMP.
    """
    usable: list[tuple[tuple[Any, ...], Library]] = []
    rejected: list[tuple[str, str]] = []
    for record in RawFacts(facts).records("libraries"):
        path, problem = str(record.get("path") or "?"), _problem(record)
        if problem:
            rejected.append((path, problem))
            continue
        library = _library(path, record)
        usable.append((_preference(library, bool(record.get("loader_default"))), library))
    usable.sort(key=lambda pair: pair[0])
    return tuple(library for _, library in usable), tuple(rejected)


def choose_library(libraries: Sequence[Library], prefix_given: bool) -> Library | None:
    """The one to tune; None: there is none. A prefix that holds none is never replaced by another.

    `libraries` is in order of preference, as parse_libraries gives it.
    """
    if prefix_given:
        libraries = [library for library in libraries if library.source == "prefix"]
    return libraries[0] if libraries else None


def _problem(record: Mapping[str, Any]) -> str:
    problem = record.get("problem")
    if problem:
        return " ".join(str(problem).split())
    if record.get("source") not in _SOURCES:
        return "its source is not known"
    if not isinstance(record.get("config"), str):
        return "it does not tell its configuration"
    if "dgemm" not in _routines(record):
        return "it has no dgemm"
    return ""


def _library(path: str, record: Mapping[str, Any]) -> Library:
    text = str(record["config"])
    config = parse_config(text)
    default_threads = max(1, _integer(record, "num_threads") or 1)
    threading = (
        _THREADING.get(_integer(record, "parallel"))
        or config.threading
        or ("pthreads" if default_threads > 1 else "serial")
    )
    symbols = record.get("symbols")
    spelling = symbols if isinstance(symbols, Mapping) else {}
    core = record.get("corename")
    return Library(
        path=path,
        source=str(record["source"]),
        version=config.version or _version_of_file(record) or "unknown",
        config=text.strip(),
        dynamic_arch=config.dynamic_arch,
        threading=threading,
        max_threads=1 if threading == "serial" else config.max_threads,
        default_threads=default_threads,
        interface=_interface(record, config),
        symbol_prefix=str(spelling.get("prefix") or ""),
        symbol_suffix=str(spelling.get("suffix") or ""),
        core=core if isinstance(core, str) and core else config.core or "unknown",
        routines=_routines(record),
    )


def _interface(record: Mapping[str, Any], config: BuildConfig) -> str:
    """By what the library did with a 64-bit integer; else by what it says of itself."""
    bits = _integer(record, "integer_bits")
    if bits in (32, 64):
        return "ilp64" if bits == 64 else "lp64"
    return "ilp64" if config.ilp64 else "lp64"


def _preference(library: Library, loader_default: bool) -> tuple[Any, ...]:
    return (
        _SOURCES.index(library.source),
        library.interface != "lp64",
        not library.threaded,
        not loader_default,
        _RANK[library.threading],
    )


def _threading(words: Sequence[str], max_threads: int | None) -> str | None:
    if "SINGLE_THREADED" in words:
        return "serial"
    if "USE_OPENMP" in words:
        return "openmp"
    return "pthreads" if max_threads is not None else None


def _version_of_file(record: Mapping[str, Any]) -> str | None:
    """From a name like libopenblasp-r0.2.20.so, for builds that do not tell it themselves."""
    found = _FILE_VERSION.search(str(record.get("loaded_path") or record.get("realpath") or ""))
    return found.group(1) if found else None


def _routines(record: Mapping[str, Any]) -> tuple[str, ...]:
    listed = record.get("routines")
    return tuple(x for x in listed if isinstance(x, str)) if isinstance(listed, list) else ()


def _integer(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if type(value) is int else None
