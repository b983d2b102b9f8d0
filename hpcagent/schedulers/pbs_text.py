"""The text that PBS commands print about jobs, queues, servers and nodes, taken apart.

`qstat -f -w` prints an attribute a line and writes a newline inside a value as `\\n`, in every
version from 20 on. The JSON of 23.06.06 is often not JSON (unquoted `nan`, swallowed variables,
bytes that are not UTF-8), newer clients print only the first of several jobs as JSON, and both
print a valid document without jobs for a server that is down. So there is one format and one
parser: text. The narrow form of `-Q` and `-B` is read too: it breaks lines inside words, with a
newline and a tab.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

JOB = re.compile(r"Job Id: (\S+)")
QUEUE = re.compile(r"Queue: (\S+)")
SERVER = re.compile(r"Server: (\S+)")
NODE = re.compile(r"(\S+)")

# A sequence number, the index of an array's job, the server: 12.pbs01, 30[].pbs01, 30[2].pbs01.
JOB_ID = re.compile(r"([0-9]{1,18}(?:\[[0-9]{0,9}\])?)(?:\.([A-Za-z0-9][A-Za-z0-9._-]{0,254}))?")

_ATTRIBUTE = re.compile(r" {4,5}([A-Za-z][A-Za-z0-9_.-]*) = (.*)")
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Block:
    """One job, queue, server or node: its name and its attributes as they were printed."""

    name: str
    attributes: Mapping[str, str]

    def get(self, attribute: str) -> str:
        return self.attributes.get(attribute, "")


def blocks(text: str, head: re.Pattern[str]) -> list[Block]:
    """The blocks of a full listing, in order; `head` is the form of their first line.

    Any text is taken. Of two attributes of one name the first counts: what a value holds raw in
    the narrow form cannot replace what stood above it.
    """
    found: list[tuple[str, dict[str, str]]] = []
    current = ""
    for line in text.split("\n"):
        first = head.fullmatch(line)
        if first:
            found.append((first.group(1), {}))
            current = ""
        elif found:
            current = _add(found[-1][1], line, current)
    return [Block(name, attributes) for name, attributes in found]


def _add(attributes: dict[str, str], line: str, current: str) -> str:
    """Take one line into a block; the attribute that a continuation would belong to."""
    if line.startswith("\t"):
        if current:
            attributes[current] += line[1:]
        return current
    match = _ATTRIBUTE.fullmatch(line)
    if not match:
        return current
    name, value = match.groups()
    if name in attributes:
        return ""
    attributes[name] = value
    return str(name)


def is_job_id(text: str) -> bool:
    return JOB_ID.fullmatch(text) is not None


def is_told_id(text: str) -> bool:
    """Whether this is an id as PBS prints it: with its server, which is no number or date."""
    match = JOB_ID.fullmatch(text)
    return bool(match and match.group(2) and re.search("[A-Za-z]", match.group(2)))


def same_job(asked: str, answered: str) -> bool:
    """Whether two spellings mean one job: the server may be left out or given without domain."""
    one, other = JOB_ID.fullmatch(asked), JOB_ID.fullmatch(answered)
    if not one or not other or one.group(1) != other.group(1):
        return False
    here, there = one.group(2), other.group(2)
    if here is None or there is None or here == there:
        return True
    return bool(here.startswith(there + ".") or there.startswith(here + "."))


def number(job_id: str) -> str:
    """The number of a job without its server, with the index in an array; empty for no job id."""
    match = JOB_ID.fullmatch(job_id)
    return str(match.group(1)) if match else ""


def age(job_id: str) -> tuple[int, str]:
    """What job ids are sorted by, oldest first: a server counts upwards."""
    return int(number(job_id).partition("[")[0] or -1), job_id


def one_line(text: str) -> str:
    """Words of PBS for a message: control characters and line breaks become single blanks."""
    return " ".join(_NOT_PLAIN.sub(" ", text).split())
