"""The one door to jinja2: strict, deterministic; values are checked, then quoted.

Templates are found in a checkout (the folders beside the package) and in an installed wheel
(`hpcagent/share`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    import jinja2

_PACKAGE = Path(__file__).resolve().parent
# C0 and C1 controls, DEL, and the Unicode line and paragraph separators.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def share(folder: str) -> Path:
    """The folder `jobscripts`, `buildtemplates` or `modulefiles`."""
    for root in (_PACKAGE.parent, _PACKAGE / "share"):
        if (root / folder).is_dir():
            return root / folder
    raise EnvironmentProblem(
        f"the templates in {folder}/ are missing from this installation; install hpcagent again"
    )


def clean(value: object, what: str) -> str:
    """The value as text, refused where it holds a control character or is not valid Unicode."""
    text = str(value)
    if _CONTROL.search(text):
        raise UsageError(f"{what}: control characters are not allowed: {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{what}: not valid text: {text!r}") from None
    return text


def render(path: Path, values: Mapping[str, Any]) -> str:
    """The template filled with `values`: an unknown name is an error, the bytes never vary.

    Filters: `sh` quotes for a POSIX shell, `make` for a Makefile, `cmake` for a CMake string,
    `lua` and `tcl` for a modulefile. Each refuses control characters.
    """
    return _environment(path.parent).get_template(path.name).render(dict(values))


def quote_sh(value: object) -> str:
    return shlex.quote(clean(value, "shell word"))


def quote_make(value: object) -> str:
    """A word for the right-hand side of a Makefile assignment that is later used shell-quoted."""
    text = clean(value, "make value")
    return text.replace("$", "$$").replace("#", "\\#")


def quote_cmake(value: object) -> str:
    """A bracket argument: CMake takes it as it stands, without variables or escapes."""
    text = clean(value, "CMake value")
    level = 0
    while f"]{'=' * level}]" in text + "]":
        level += 1
    return f"[{'=' * level}[{text}]{'=' * level}]"


def quote_lua(value: object) -> str:
    text = clean(value, "Lua string").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def quote_tcl(value: object) -> str:
    text = clean(value, "Tcl string")
    for char in '\\"$[]{};':
        text = text.replace(char, "\\" + char)
    return f'"{text}"'


@cache
def _environment(folder: Path) -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters.update(
        sh=quote_sh, make=quote_make, cmake=quote_cmake, lua=quote_lua, tcl=quote_tcl
    )
    return environment
