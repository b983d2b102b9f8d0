"""Compilers from what they print: family, version, target; wrappers and aliases told apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from hpcagent.probe.rawfacts import as_mapping, as_text, as_texts
from hpcagent.probe.software import CompilerFound
from hpcagent.probe.versions import parse_compiler_version

# In this order: most of them also say "clang" or "GNU". Texts: the compilers' own manuals.
_FAMILIES = (
    ("aocc", r"\bAOCC[_ ]"),
    ("cray", r"\bCray (clang|Fortran|C\b)"),
    ("arm", r"\bArm C/C\+\+/Fortran Compiler|\bArm Toolchain"),
    ("intel", r"\boneAPI\b|\((ICC|IFORT|IFX|ICX)\)|\bIntel\(R\)"),
    ("nvhpc", r"^\s*(nv|pg)(c|c\+\+|cc|fortran|f90)\b|\bNVIDIA Compilers|\bPGI Compilers"),
    ("fujitsu", r"\((FCC|FRT)\)|\bFujitsu"),
    ("xl", r"\bIBM (Open )?XL\b"),
    ("flang", r"\bflang(-new)? version|\bF90 Flang\b|\bFlang -"),
    ("clang", r"\bclang version"),
    ("gcc", r"Free Software Foundation|\bGNU Fortran\b|\(GCC\)"),
)
_AOCC = re.compile(r"AOCC[_ ]v?([0-9]+)[._]([0-9]+)(?:[._]([0-9]+))?")
_CRAY = re.compile(r"Version\s+([0-9]+(?:\.[0-9]+)+)", re.IGNORECASE)
_TARGET = re.compile(r"^Target:\s*(\S+)$", re.MULTILINE)
_TRIPLET = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_.]+){1,3}")
_PLAIN = ("cc", "c++")
_CRAY_WRAPPERS = ("cc", "CC", "ftn")


def parse_family(text: str) -> str:
    """The family by the text of `--version`; empty: none that is known."""
    head = "\n".join(text.splitlines()[:12])
    for family, pattern in _FAMILIES:
        if re.search(pattern, head, re.MULTILINE):
            return family
    return ""


def parse_version(text: str, family: str) -> str:
    """The compiler's own version; of AOCC and Cray not that of the LLVM below; empty: none told."""
    if family == "aocc":
        found = _AOCC.search(text)
        if found:
            return ".".join(x for x in found.groups() if x)
    if family == "cray":
        cray = _CRAY.search(text)
        if cray:
            return cray.group(1)
    return parse_compiler_version(text) or ""


def parse_target(dumpmachine: str, version_text: str) -> str:
    """The triplet by -dumpmachine, else by the "Target:" line of clang's --version."""
    words = dumpmachine.split()
    if len(words) == 1 and _TRIPLET.fullmatch(words[0]):
        return words[0]
    found = _TARGET.search(version_text)
    return found.group(1) if found else ""


def is_cray_wrapper(command: str, paths: Sequence[str], environment: Mapping[str, str]) -> bool:
    """cc, CC and ftn of Cray's programming environment, which run another compiler."""
    if command not in _CRAY_WRAPPERS:
        return False
    return any("/craype" in x for x in paths) or (
        "CRAYPE_VERSION" in environment and not any(x.startswith("/usr/bin/") for x in paths[:1])
    )


def parse_compilers(
    records: Sequence[Mapping[str, Any]], environment: Mapping[str, str], missing: dict[str, str]
) -> tuple[CompilerFound, ...]:
    """Each file once a language, under its plainest name; what says nothing goes to `missing`."""
    groups: dict[tuple[str, ...], list[tuple[CompilerFound, int]]] = {}
    calls = {as_text(x.get("path")): x.get("calls") for x in records if x.get("calls")}
    for place, record in enumerate(records):
        told = record.get("calls") or calls.get(as_text(record.get("same_as")))
        found = _compiler({**record, "calls": told}, environment, missing)
        if found:
            key = (_file(record), found.language, found.module, found.wrapped)
            groups.setdefault(key, []).append((found, place))
    chosen = [_plainest(group) for group in groups.values()]
    return tuple(x for x, _ in sorted(chosen, key=lambda pair: pair[1]))


def _compiler(
    record: Mapping[str, Any], environment: Mapping[str, str], missing: dict[str, str]
) -> CompilerFound | None:
    command, path = str(record.get("command")), str(record.get("path"))
    modules = " ".join(as_texts(record.get("modules")))
    calls = as_mapping(record.get("calls"))
    said = as_mapping(calls.get("version"))
    text = str(said.get("stdout") or "") + "\n" + str(said.get("stderr") or "")
    where = f"compiler {path}" + (f" of {modules}" if modules else "")
    if said.get("exit") != 0:
        words = str(said.get("problem") or text.strip() or f"exit code {said.get('exit')}")
        missing[where] = f"--version: {' '.join(words.split())[:160]}"
        return None
    family = parse_family(text)
    if not family:
        first = " ".join(text.split())[:80]
        missing[where] = f"of no family that is known ({first})"
        return None
    wrapper = is_cray_wrapper(command, [path, *as_texts(record.get("hops"))], environment)
    return CompilerFound(
        family="cray" if wrapper else family,
        language=str(record.get("language")),
        command=command,
        path=path,
        version=parse_version(text, family),
        module=modules,
        wrapped=family if wrapper else "",
        target=parse_target(as_text(as_mapping(calls.get("target")).get("stdout")), text),
    )


def _file(record: Mapping[str, Any]) -> str:
    """What tells two commands apart: the file behind the links, unless that is a ccache."""
    hops = as_texts(record.get("hops"))
    last = str(hops[-1]) if hops else str(record.get("path"))
    return str(record.get("path")) if PurePosixPath(last).name.startswith("ccache") else last


def _plainest(group: Sequence[tuple[CompilerFound, int]]) -> tuple[CompilerFound, int]:
    """gcc before gcc-12 before cc: what a makefile would call."""
    ordered = sorted(group, key=lambda x: (x[0].command in _PLAIN, len(x[0].command), x[1]))
    first, place = ordered[0]
    others = tuple(sorted({x.command for x, _ in group if x.command != first.command}))
    return replace(first, aliases=others), place
