"""Reads the card of an application: a YAML file by a user, checked before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.apps.applicationcheck import problems, texts
from hpcagent.apps.card import Card, card_names, check_expressions, checked
from hpcagent.apps.cardcheck import check_kind, check_patterns, refused
from hpcagent.apps.filling import MPIRUN, PREFIX
from hpcagent.errors import EnvironmentProblem
from hpcagent.measure.objectives import TIME
from hpcagent.yamlfile import Document, load_yaml

KIND = "application"
EXAMPLE = """\
# hpcagent tune --app melt.yaml
schema: 1
name: melt
kind: application
title: LAMMPS, a Lennard-Jones melt of 4000 atoms
command:
  argv: [lmp, -log, none, -in, melt.in]   # {name} puts in a parameter
  launch: mpi                             # or none: one process
  launcher: [mpirun]                      # -n RANKS follows; [srun, --mpi=pmix] is another
  timeout_s: 300                          # of a process, until the default's time is known
env: {OMP_NUM_THREADS: "{threads}"}
derived: {threads: "max(1, cpus // ranks)"}
# inputs: [data/atoms.lmp]                # files beside this card that it reads
# outputs: [log.lammps]                   # files that it writes, read as if it printed them
files:                                    # written anew for each process, where it runs
  melt.in: |
    units lj
    lattice fcc 0.8442
    region box block 0 10 0 10 0 10
    create_box 1 box
    create_atoms 1 box
    mass 1 1.0
    velocity all create 1.44 87287
    pair_style lj/cut 2.5
    pair_coeff 1 1 1.0 1.0 2.5
    neighbor {skin} bin
    neigh_modify every {every} delay 0 check yes
    fix 1 all nve
    run 100
    variable energy equal etotal
    print "energy ${energy}"
space:
  - {name: ranks, kind: ordinal, meaning: processes, values: ladder(cpus), default: cpus}
  - name: skin
    kind: ordinal
    meaning: skin of the lists of neighbours
    values: [0.1, 0.2, 0.3, 0.4, 0.5, 0.7]
    default: 0.3
  - name: every
    kind: ordinal
    meaning: steps between looks at these lists
    values: [1, 2, 5, 10]
    default: 1
  - name: bind
    kind: categorical
    meaning: what a process is bound to
    values: [default, core, none]
    default: default
    argv: [--bind-to, "{value}"]          # put after -n RANKS, but for the default
restrictions: [ranks <= cpus]
figures_of_merit:                         # left out: the time of the whole process
  - {name: time, regex: 'Loop time of (?P<value>\\S+)', unit: s, direction: min}
success: ['Total wall time:']             # a line that shows that it ended well
check:                                    # the result must be the default's, but for 1 in 1000
  answer: {pattern: 'energy (?P<value>\\S+)', tolerance: 1e-3}
resources: {nodes: 1, tasks_per_node: cores, cpus_per_task: 1}
"""
_DIGESTED_BYTES, _DIGESTED_FILES = 1 << 27, 10_000
_WHOLE_PROCESS = MappingProxyType({"name": TIME, "regex": "", "unit": "s", "direction": "min"})
_BEGIN = "hpcagent tune --app-example prints one to begin with"


def application_card(path: Path, facts: Collection[str]) -> tuple[Card, dict[str, Any]]:
    """The card, and its data as a run keeps them; UsageError, with file and line.

    `facts` are the names that its expressions may use beside its parameters.
    """
    document = load_yaml(path)
    check_kind(document, KIND, "a library is tuned with --lib")
    if isinstance(document.data, dict):
        document = replace(document, data=_completed(document))
    card = checked(document, _BEGIN)
    if card.name in card_names():
        raise refused(document, ("name",), f"{card.name} is a card that ships")
    check_patterns(document, card)
    known = frozenset(facts)
    check_expressions(document, card, known)
    for keys, problem in problems(card, known, path.parent):
        raise refused(document, keys, problem)
    return card, dict(document.data)


def uses_prefix(card: Card) -> bool:
    """Whether it says `{prefix}` anywhere."""
    return any(f"{{{PREFIX}}}" in text for _, text, _ in texts(card))


def inputs_sha256(card: Card, folder: Path) -> str:
    """A digest of what the application reads beside its card; empty where that is nothing.

    It tells other inputs from the same ones; where there is much, the sizes of some files, and the
    first names of a folder, stand for the rest.
    """
    if not card.inputs:
        return ""
    found, left = hashlib.sha256(), _DIGESTED_BYTES
    paths = (path for name in sorted(card.inputs) for path in _all_of(folder / name))
    for path in sorted(islice(paths, _DIGESTED_FILES)):
        try:
            size = path.stat().st_size if path.is_file() else 0
            found.update(f"{path.relative_to(folder)}\0{size}\0".encode("utf-8", "surrogateescape"))
            if path.is_file() and size <= left:
                found.update(path.read_bytes())
                left -= size
        except OSError as error:
            raise EnvironmentProblem(f"{path}: cannot be read: {error.strerror}") from None
    return found.hexdigest()


def inputs_beside(path: Path) -> Iterator[Path]:
    """What the application of a card reads beside it or is built from, with all that is in folders;
    UsageError where the card cannot be read."""
    data = load_yaml(path).data
    data = data if isinstance(data, dict) else {}
    names = data.get("inputs")
    build = data.get("build")
    source = build.get("source") if isinstance(build, dict) else None
    for name in (*(names if isinstance(names, list) else ()), *([source] if source else ())):
        yield from _all_of(path.parent / str(name))


def _all_of(path: Path) -> Iterator[Path]:
    """A file; a folder with all that is in it."""
    yield path
    if path.is_dir():
        yield from path.rglob("*")


# --- what may be left out -------------------------------------------------------------------------


def _completed(document: Document) -> dict[str, Any]:
    data: dict[str, Any] = dict(document.data)
    command = data.get("command")
    mpi = isinstance(command, dict) and command.get("launch") == "mpi"
    if mpi and _brings_mpi(data.get("build")):
        data["command"] = {"launcher": [f"{{{MPIRUN}}}"], **data["command"]}
    whole_node = {"tasks_per_node": "cores"} if mpi else {"cpus_per_task": "cores"}
    absent = {
        "kind": KIND, "sources": [], "build": {}, "inputs": [], "sizes": [], "unset": [],
        "restrictions": [], "success": [], "check": {}, "readback": {},
        "resources": whole_node, "figures_of_merit": [dict(_WHOLE_PROCESS)],
    }  # fmt: skip
    space = data.get("space")
    if isinstance(space, list):
        data["space"] = [_numbers_told(row) for row in space]
    return {**absent, **data}


def _brings_mpi(build: Any) -> bool:
    program = build.get("program") if isinstance(build, dict) else None
    return isinstance(program, dict) and program.get("mpi", "none") != "none"


def _numbers_told(row: Any) -> Any:
    """A dimension whose default or hint is a number: as the text that it is in a card."""
    if not isinstance(row, dict):
        return row
    numbers = {
        field: str(row[field])
        for field in ("default", "hint")
        if isinstance(row.get(field), int | float) and not isinstance(row[field], bool)
    }
    return {**row, **numbers}
