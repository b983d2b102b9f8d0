"""From the raw facts of collect_software.py to Software: the one place where all parsers meet."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hpcagent.probe import blas, compilers, modules, mpi, openmp
from hpcagent.probe.rawfacts import RawFacts, as_mapping, as_records, as_text, as_texts
from hpcagent.probe.software import (
    ModuleEffect,
    ModuleSystem,
    OpenmpRuntime,
    Software,
)

_LANGUAGES = {"c": "C", "c++": "C++", "fortran": "Fortran"}


def parse_software(raw: Mapping[str, Any]) -> Software:
    """Software of facts["parts"]["software"]; what is odd there reads as absent, with a reason."""
    facts = RawFacts(raw)
    missing: dict[str, str] = {}
    environment = {str(k): str(v) for k, v in facts.section("environment").items()}
    libraries = RawFacts(facts.section("libraries"))
    if facts.data.get("problem"):
        missing["software"] = str(facts.data["problem"])
    if libraries.data.get("problem"):
        missing["libraries"] = str(libraries.data["problem"])
    effects = _effects(RawFacts(facts.section("modules")), missing)
    found = Software(
        modules=parse_module_system(facts.section("modules"), missing),
        loaded=tuple(x for x in environment.get("LOADEDMODULES", "").split(":") if x),
        compilers=compilers.parse_compilers(facts.records("compilers"), environment, missing),
        mpis=(
            *mpi.parse_mpis(facts.records("mpi"), environment, missing),
            *(y for x in effects if not x.problem for y in mpi.cray_mpi(x.sets, x.modules)),
        ),
        blas=tuple(
            sorted(blas.parse_blas(libraries.records("libraries"), missing), key=blas.preference)
        ),
        openmp=_runtimes(libraries),
        missing=missing,
        lapack=blas.parse_lapack(libraries.records("lapack")),
        effects=effects,
        not_looked_at=as_texts(facts.section("modules").get("not_looked_at")),
    )
    _note_absent(found, libraries, missing)
    return found


def digest(software: Software) -> str:
    """SHA-256 of what was found: two nodes with the same software have the same digest.

    What was not had is left out: a call that timed out changes no software.
    """
    found = dataclasses.asdict(dataclasses.replace(software, missing={}, not_looked_at=()))
    data = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(data.encode("utf-8")).hexdigest()


def parse_module_system(raw: Mapping[str, Any], missing: dict[str, str]) -> ModuleSystem:
    """The system by what it printed; what its calls could not tell goes to `missing`."""
    kind = str(raw.get("kind") or "none")
    problem = str(raw.get("problem") or "")
    if kind == "none":
        return ModuleSystem("none", why_not=problem or "no module system is installed here")
    calls = as_mapping(raw.get("calls"))
    for name, call in calls.items():
        if as_text(as_mapping(call).get("problem")):
            missing[f"modules {name}"] = str(call["problem"])
    terse = modules.parse_terse(_printed(calls, "avail"))
    listed = modules.parse_avail_json(_printed(calls, "avail_json"))
    names = tuple(dict.fromkeys(terse.names + listed.names))
    spidered = modules.parse_spider(_printed(calls, "spider"))
    deeper = as_records(raw.get("deeper"))
    hidden = modules.hidden_modules(names, spidered) or modules.modules_behind(names, deeper)
    if not names and not problem:
        problem = _why_no_names(calls)
    return ModuleSystem(
        kind=kind,
        version=modules.parse_version(_printed(calls, "version")),
        init=str(raw.get("init") or ""),
        available=names,
        hidden={name: ways[0] for name, ways in hidden.items()},
        ways=hidden,
        why_not=problem,
        defaults=tuple(dict.fromkeys(terse.defaults + listed.defaults)),
        refused=tuple(dict.fromkeys(terse.refused + listed.refused)),
    )


def _why_no_names(calls: Mapping[str, Any]) -> str:
    for name in ("version", "avail"):
        call = calls.get(name)
        if isinstance(call, Mapping) and (call.get("problem") or call.get("exit") != 0):
            words = modules.complaint(_printed(calls, name))
            reason = str(call.get("problem") or f"exit code {call.get('exit')}")
            return f"module {name}: {reason}" + (f": {words}" if words else "")
    return "it lists no modules" if "avail" in calls else "it was not asked for modules"


def _effects(raw: RawFacts, missing: dict[str, str]) -> tuple[ModuleEffect, ...]:
    found = []
    for record in raw.records("loads"):
        names, problem = as_texts(record.get("modules")), str(record.get("problem") or "")
        change = as_mapping(record.get("change"))
        if problem:
            missing[f"module {' '.join(names)}"] = problem
        found.append(
            ModuleEffect(
                modules=names,
                added=_lists(change.get("added")),
                removed=_lists(change.get("removed")),
                sets={str(k): str(v) for k, v in as_mapping(change.get("set")).items()},
                unsets=as_texts(change.get("unset")),
                loaded=as_texts(record.get("loaded")),
                problem=problem,
                holds=_lists(record.get("holds")),
            )
        )
    return tuple(found)


def _runtimes(libraries: RawFacts) -> tuple[OpenmpRuntime, ...]:
    homes = {
        str(x.get("folder")): " ".join(as_texts(x.get("modules")))
        for x in libraries.records("folders")
    }
    found = []
    for record in libraries.records("openmp"):
        path, soname = str(record.get("path")), str(record.get("soname") or "")
        aliases = as_texts(record.get("aliases"))
        family = openmp.family_of_symbols(as_texts(record.get("openmp")), soname, path)
        named = [homes.get(alias.rpartition("/")[0], "") for alias in aliases]
        module = "" if "" in named else next(iter(named), "")
        found.append(OpenmpRuntime(family or "unknown", path, module, soname, aliases))
    return tuple(sorted(found, key=lambda x: (bool(x.module), x.family, x.path)))


def _note_absent(found: Software, libraries: RawFacts, missing: dict[str, str]) -> None:
    for language, name in _LANGUAGES.items():
        if not any(x.language == language for x in found.compilers):
            missing[f"{name} compiler"] = "none in PATH nor in the modules that were loaded"
    if not found.mpis:
        missing["MPI"] = "no wrapper in PATH nor in the modules that were loaded"
    if not found.blas:
        missing["BLAS"] = "no library that defines dgemm_ in the folders that were looked at"
    unseen = libraries.data.get("not_looked_at")
    if isinstance(unseen, int) and unseen > 0:
        missing["library files"] = f"{unseen} files were not looked at: out of time"
    if found.not_looked_at:
        missing["modules"] = f"{len(found.not_looked_at)} that may matter were not loaded"


def _printed(calls: Mapping[str, Any], name: str) -> str:
    call = as_mapping(calls.get(name))
    return as_text(call.get("stdout")) + "\n" + as_text(call.get("stderr"))


def _lists(value: object) -> dict[str, tuple[str, ...]]:
    return {str(k): as_texts(v) for k, v in as_mapping(value).items()}
