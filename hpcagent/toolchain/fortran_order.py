"""The order in which Fortran sources can be compiled: modules before their users. Pure.

A compiler needs the .mod file of a module that a source uses, and that of its parent for a
submodule (Fortran 2018, 14.2.2 and 14.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_FLAGS = re.IGNORECASE | re.MULTILINE
_NAME = r"([a-z][a-z0-9_]*)"
_MODULE = re.compile(rf"^[ \t]*module[ \t]+{_NAME}[ \t]*(?:[!;].*)?$", _FLAGS)
_SUBMODULE = re.compile(
    rf"^[ \t]*submodule[ \t]*\([ \t]*{_NAME}[ \t]*(?::[ \t]*{_NAME}[ \t]*)?\)[ \t]*{_NAME}", _FLAGS
)
_USE = re.compile(
    rf"(?:^|;)[ \t]*use(?:[ \t]*,[ \t]*non_intrinsic)?(?:[ \t]*::[ \t]*|[ \t]+){_NAME}", _FLAGS
)


def in_order(sources: Sequence[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    """The sources that have a text, re-ordered among their own places; the others stay.

    What can stay in the order of the list does. Of modules that use each other in a circle, the
    order of the list is kept: the compiler tells of them.
    """
    makers = {name: source for source in reversed(sources) for name in _made(texts.get(source, ""))}
    needs = {
        source: {makers[name] for name in _wanted(texts[source]) if name in makers} - {source}
        for source in sources
        if source in texts
    }
    ordered: list[str] = []
    waiting = list(needs)
    while waiting:
        ready = (source for source in waiting if needs[source] <= set(ordered))
        chosen = next(ready, waiting[0])
        waiting.remove(chosen)
        ordered.append(chosen)
    found = iter(ordered)
    return tuple(next(found) if source in needs else source for source in sources)


def _made(text: str) -> set[str]:
    modules = {name.lower() for name in _MODULE.findall(text)} - {"procedure"}
    return modules | {f"{a}:{name}".lower() for a, _, name in _SUBMODULE.findall(text)}


def _wanted(text: str) -> set[str]:
    used = {name.lower() for name in _USE.findall(text)}
    for ancestor, parent, _ in _SUBMODULE.findall(text):
        used.add(f"{ancestor}:{parent}".lower() if parent else ancestor.lower())
    return used
