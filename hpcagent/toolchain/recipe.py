"""From a build request to a unit: rendered files, and the steps that build, check and publish.

Pure: the same request gives the same bytes. What a library is built from decides its address
(`digest`), where it is put and how many processors build it do not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.probe.software import CompilerFound
from hpcagent.toolchain import publish, sourcefiles, steps, unpack
from hpcagent.toolchain.modulefile import PREFIX

# Raised when the same request has to be built anew although nothing in it has changed.
SCHEMA = 1
UNPACK_S = 900
BUILD_S = 4 * 3600
CHECK_S = 600
_PATH = re.compile(r"/[A-Za-z0-9_.+@/-]*\Z")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}\Z")
_WORD = re.compile(r"(?<!\$)\{([a-z]+)\}")
# The step that fails, with this code, where the build is there already: nothing else is done then.
ABSENT, THERE = "absent", publish.THERE
UNPACK = "unpack"
PUBLISH = "publish.json"  # of the unit's folder: what publish.py reads
# Of a step's output, from its beginning and from its end: the first error, and the last.
KEEP_BYTES = 16384
# What of the environment is written into the manifest: it decides what compilers do.
RECORDED = (
    "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "COMPILER_PATH",
    "GCC_EXEC_PREFIX", "MODULEPATH", "LOADEDMODULES", "SLURM_JOB_ID", "PBS_JOBID",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One command of steps.py; `takes_node` ones run alone."""

    id: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    timeout_s: int
    makes: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    takes_node: bool = False


@dataclass(frozen=True)
class Recipe:
    """What a build consists of before its place is known.

    `files` are those of the unit's folder; `build` the steps between unpacking and publishing,
    in whose words `{prefix}`, `{staged}` (below the unit's folder) and `{jobs}` stand for what
    `unit` is told;
    `texts` go into the prefix; `required` must be there when it is published; `purge`: the modules
    that a job inherits are unloaded before `modules` are loaded. `lines` tell a reader how it is
    made: what, and the command.
    """

    name: str
    version: str
    source_path: str
    source_sha256: str
    source_name: str
    parameters: tuple[tuple[str, str], ...]
    compilers: tuple[CompilerFound, ...]
    modules: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    build: tuple[Step, ...]
    unset: tuple[str, ...]
    required: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    purge: bool = False
    lines: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """The content address: source, parameters, toolchain, and the rendered files themselves."""
        content = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "source": self.source_sha256,
            "parameters": dict(self.parameters),
            "toolchain": toolchain_digest(self.compilers, self.modules),
            "files": {name: sha256_text(text) for name, text in self.files},
            "build": [[list(step.argv), [list(pair) for pair in step.env]] for step in self.build],
            "texts": {name: sha256_text(text) for name, text in self.texts},
        }
        return sha256_text(json.dumps(content, sort_keys=True))

    @property
    def folder(self) -> str:
        """The name of its folder in a store."""
        return f"{self.name}-{self.version}-{self.digest[:12]}"


def toolchain_digest(compilers: Sequence[CompilerFound], modules: Sequence[str]) -> str:
    """SHA-256 over the compilers (language, family, path, version) and modules of a build."""
    rows = [[c.language, c.family, c.wrapped, c.path, c.version] for c in compilers]
    return sha256_text(json.dumps([rows, list(modules)], sort_keys=True))


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def unit(recipe: Recipe, store: str, jobs: int, module_init: str, python: str) -> Unit:
    """The unit that builds the recipe into `store` with `jobs` processors, unless it is there."""
    words = places(recipe, store)
    files = {
        **dict(recipe.files),
        PUBLISH: json_text(publish_plan(recipe, {**words, "jobs": str(jobs)})),
        "unpack.py": source_of(unpack),
        "sourcefiles.py": source_of(sourcefiles),
        "publish.py": source_of(publish),
    }
    source = (recipe.source_path, recipe.source_sha256, "source")
    rows = [
        Step(ABSENT, (python, "publish.py", "--absent", PUBLISH), (), CHECK_S),
        Step(UNPACK, (python, "unpack.py", *source), (ABSENT,), UNPACK_S, ("source",)),
        *recipe.build,
        Step("publish", (python, "publish.py", PUBLISH), (recipe.build[-1].id,), UNPACK_S),
    ]
    spec = {
        "schema": steps.SCHEMA,
        "jobs": 1,
        "module_init": module_init,
        "budget_s": sum(row.timeout_s for row in rows),
        "steps": [_row(row, recipe, {**words, "jobs": str(jobs)}) for row in rows],
    }
    return Unit(files, spec, words["prefix"])


@dataclass(frozen=True)
class Unit:
    """Files of the unit's folder beside those of every steps unit, its spec, where it builds to."""

    files: Mapping[str, str]
    spec: Mapping[str, Any]
    prefix: str


def places(recipe: Recipe, store: str) -> dict[str, str]:
    """Where the build is put, and where below the unit's folder it is staged until it is whole."""
    if not _PATH.match(store) or store != str(Path(store)) or ".." in Path(store).parts:
        raise UsageError(
            f"{store!r}: builds need an absolute path of letters, digits and _ . + @ - only "
            "(makefiles of libraries take no others)"
        )
    prefix = f"{store}/{recipe.folder}"
    return {"prefix": prefix, "staged": f"stage{prefix}"}


def publish_plan(recipe: Recipe, words: Mapping[str, str]) -> dict[str, Any]:
    """What publish.py reads: static facts of the manifest, and what to look for."""
    compilers = [asdict(compiler) for compiler in recipe.compilers]
    commands = [[_filled(word, words) for word in step.argv] for step in recipe.build]
    return {
        "staged": words["staged"],
        "prefix": words["prefix"],
        "required": list(recipe.required),
        "compilers": sorted({compiler.path for compiler in recipe.compilers}),
        "environment": list(RECORDED),
        "texts": {name: text.replace(PREFIX, words["prefix"]) for name, text in recipe.texts},
        "manifest": {
            "name": recipe.name,
            "version": recipe.version,
            "digest": recipe.digest,
            "sources": [{"file": recipe.source_name, "sha256": recipe.source_sha256}],
            "parameters": dict(recipe.parameters),
            "compilers": compilers,
            "toolchain": toolchain_digest(recipe.compilers, recipe.modules),
            "modules": list(recipe.modules),
            "rendered": {name: sha256_text(text) for name, text in recipe.files},
            "commands": commands,
            "lines": {what: _filled(line, words) for what, line in recipe.lines},
            "notes": list(recipe.notes),
        },
    }


def check_names(name: str, version: str) -> None:
    """Names that are part of a path and of a modulefile's name; UsageError for any other."""
    if not _NAME.match(name):
        raise UsageError(f"{name!r}: a name is lower-case letters, digits, '_' and '-'")
    if not _VERSION.match(version):
        raise UsageError(f"version {version!r}: letters, digits and _ . + - only")


def check_path(path: str, what: str) -> str:
    """An absolute path that stands unquoted in makefiles that are not ours; else UsageError."""
    if not _PATH.match(path):
        raise UsageError(
            f"{what}: {path!r}: an absolute path of letters, digits and _ . + @ - is needed"
        )
    return path


def json_text(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def source_of(module: Any) -> str:
    """The text of a script that goes to the node."""
    return Path(module.__file__).read_text(encoding="utf-8")


def _row(step: Step, recipe: Recipe, words: Mapping[str, str]) -> dict[str, Any]:
    """As steps.py reads it; what only moves files needs no modules and no clean environment."""
    plain = step.id in (ABSENT, UNPACK)
    purge = {"purge": True} if recipe.purge and not plain else {}
    return purge | {
        "id": step.id,
        "argv": [_filled(word, words) for word in step.argv],
        "env": {name: _filled(value, words) for name, value in step.env},
        "unset": [] if plain else list(recipe.unset),
        "modules": [] if plain else list(recipe.modules),
        "needs": list(step.needs),
        "makes": list(step.makes),
        "timeout_s": step.timeout_s,
        "keep_bytes": KEEP_BYTES,
        "alone": step.takes_node,
    }


def _filled(text: str, words: Mapping[str, str]) -> str:
    """`${name}` is the shell's."""
    return _WORD.sub(lambda found: words.get(found[1], found[0]), text)
