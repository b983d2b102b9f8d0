"""A model's answer as files: fenced blocks with declared names, and nothing else. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpcagent.records import Failure

MAX_BYTES = 65536
# "```c kernel.c": the language is only for the eye.
_OPEN = re.compile(r"```[ ]?(?:[A-Za-z0-9+]{0,20}[ ]+)?([A-Za-z0-9_.+-]{1,60})[ ]*\Z")
_PARAMETERS = re.compile(r"PARAMETERS:((?:[ ]+[a-z_]+=[A-Za-z0-9_-]*)+)[ ]*\Z")
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Answer:
    """`words` is what stood outside of the blocks."""

    files: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    words: str = ""


def parse_answer(
    text: str, names: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> Answer | Failure:
    """The files of an answer, or what is wrong with it in one line.

    Every one of `names` has to come once, in a block that begins with a line of three backquotes,
    a language and the name, and ends with a line of three backquotes alone. A line
    `PARAMETERS: name=value ...` outside of the blocks chooses among `choices`.
    """
    if len(text.encode("utf-8", "replace")) > 4 * MAX_BYTES:
        return _failure("too_long", f"the answer is longer than {4 * MAX_BYTES // 1024} KiB")
    files: dict[str, str] = {}
    parameters: dict[str, str] = {}
    words: list[str] = []
    name, block = "", list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        if name:
            if line.rstrip(" ") != "```":
                block.append(line)
                continue
            files[name] = "\n".join(block) + "\n"
            name, block = "", []
        elif line.startswith("```"):
            found = _opened(line, names, files)
            if isinstance(found, Failure):
                return found
            name = found
        elif line.startswith("PARAMETERS:"):
            chosen = _chosen(line, choices)
            if isinstance(chosen, Failure):
                return chosen
            parameters |= chosen
        else:
            words.append(line)
    if name:
        return _failure("cut_off", f"the block of {name} has no end: the answer was cut off")
    return _whole(files, names) or Answer(files, parameters, "\n".join(words).strip()[:2000])


def _opened(line: str, names: Sequence[str], files: Mapping[str, str]) -> str | Failure:
    """The name in the first line of a block."""
    match = _OPEN.match(line)
    if match is None or match.group(1) not in names:
        wanted = ", ".join(names)
        return _failure("wrong_file", f"a block begins {line[:60]!r}: name one of {wanted} in it")
    if match.group(1) in files:
        return _failure("several_blocks", f"{match.group(1)} comes more than once")
    return match.group(1)


def _chosen(line: str, choices: Mapping[str, Sequence[str]]) -> dict[str, str] | Failure:
    match = _PARAMETERS.match(line)
    if match is None:
        return _failure("parameters", f"{line[:80]!r}: write PARAMETERS: name=value ...")
    found = dict(pair.split("=", 1) for pair in match.group(1).split())
    for name, value in found.items():
        if name not in choices:
            return _failure(
                "parameters", f"{name!r} is no parameter; there are {', '.join(choices)}"
            )
        if value not in choices[name]:
            there = ", ".join(repr(choice) for choice in choices[name])
            return _failure("parameters", f"{name}={value!r}: choose one of {there}")
    return found


def _whole(files: Mapping[str, str], names: Sequence[str]) -> Failure | None:
    missing = [name for name in names if name not in files]
    if missing:
        return _failure("no_code", f"there is no block for {', '.join(missing)}")
    for name, text in files.items():
        if len(text.encode("utf-8", "replace")) > MAX_BYTES:
            return _failure("too_long", f"{name} is larger than {MAX_BYTES // 1024} KiB")
        if _BAD.search(text) or not text.isascii():
            return _failure("not_text", f"{name} has characters that are not plain ASCII text")
        if not text.strip():
            return _failure("no_code", f"{name} is empty")
    return None


def _failure(kind: str, evidence: str) -> Failure:
    return Failure("model", kind, evidence)
