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

    Filters: `sh` quotes a word for a POSIX shell, `make` a word of a recipe line, `cmake` an
    argument of a CMake command, `lua` and `tcl` a string of a modulefile. Each refuses control
    characters.
    """
    return _environment(path.parent).get_template(path.name).render(dict(values))


def render_html(path: Path, values: Mapping[str, Any]) -> str:
    """Like `render`, for a page: every value is escaped unless the template marks it safe."""
    return _html_environment(path.parent).get_template(path.name).render(dict(values))


def quote_sh(value: object) -> str:
    return shlex.quote(clean(value, "shell word"))


def quote_make(value: object) -> str:
    """A word of a recipe line: quoted for the shell that make starts, then for make itself.

    In a recipe `$` is the one character that make expands ('#' and '%' are left to the shell).
    """
    return shlex.quote(clean(value, "make value")).replace("$", "$$")


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
    """A Tcl string; other than ASCII is escaped, since Tcl reads files in the locale's encoding."""
    text = clean(value, "Tcl string")
    for char in '\\"$[]{};':
        text = text.replace(char, "\\" + char)
    return '"' + "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


@cache
def _html_environment(folder: Path) -> jinja2.Environment:
    return _environment(folder).overlay(autoescape=True)


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
