"""What a quoted line needs beside it: the place in a source that it speaks of, and how it goes on.

gfortran names the place above its message, Python above the exception; a line that ends with a
colon says what it has to say on the next one.
"""

from __future__ import annotations

import re

from hpcagent.toolchain.logscan import Line
from hpcagent.toolchain.logtext import text_of

_MOST = 300
_GFORTRAN = re.compile(rb"^(?:Fatal )?Error: ")
_AT = re.compile(rb"^([^\s:][^:]*:[0-9]+[:.][0-9]+):$")
_RAISED = re.compile(rb"(?:^|[0-9\]>]: ?)(?:\w+\.)*[A-Z]\w*(?::|$)")
_FRAME = re.compile(rb'\bFile "([^"]+)", line ([0-9]+)')
_OPEN = re.compile(rb"(?::|\([0-9-]+\):?)\s*$")
_RULE = re.compile(rb"^[\W_]*$")


def place_of(line: Line) -> str:
    """`file:line` of the source a line speaks of where another line names it, else ""."""
    if _GFORTRAN.search(line.text):
        for text in reversed(line.before):
            if match := _AT.match(text.strip()):
                return text_of(match[1])
    elif _RAISED.search(line.text):
        for text in reversed(line.before):
            if match := _FRAME.search(text):
                return f"{text_of(match[1])}:{text_of(match[2])}"
    return ""


def goes_on(line: Line) -> str:
    """The next line that says something, where this one announces it; else ""."""
    if not _OPEN.search(line.text):
        return ""
    said = (text.strip() for text in line.after[:3])
    return next((text_of(text[:_MOST]) for text in said if not _RULE.match(text)), "")
