"""Plugins are the modules of a package that define one agreed name: file name = plugin name.

A file `user_function.py` is the plugin `user-function`.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from importlib.machinery import PathFinder
from types import ModuleType

from hpcagent.errors import UsageError


def names(package: str, entry: str) -> tuple[str, ...]:
    """The plugins in `package`: modules with a function or class `entry` at their top level.

    The modules are read, not imported, so that listing costs no heavy import.
    """
    path = list(importlib.import_module(package).__path__)
    found = [info.name for info in pkgutil.iter_modules(path) if not info.ispkg]
    kept = (name for name in found if _defines(package, path, name, entry))
    return tuple(sorted(name.replace("_", "-") for name in kept))


def _defines(package: str, path: list[str], name: str, entry: str) -> bool:
    spec = PathFinder.find_spec(f"{package}.{name}", path)
    source = getattr(spec.loader, "get_source", lambda _: None)(spec.name) if spec else None
    if source is None:
        return False
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and node.name == entry for node in ast.parse(source).body)


def load(package: str, name: str, entry: str) -> ModuleType:
    """The module of the plugin `name`; UsageError that names the choices where there is none."""
    choices = names(package, entry)
    if name not in choices:
        what = package.rpartition(".")[2]
        raise UsageError(f"{what}: {name!r} is unknown: choose one of {', '.join(choices)}")
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")
