"""The one door to PyYAML: data together with the line each value stands on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError

# More than any plan, card or workload needs; keeps a mistaken file name from filling the memory.
MAX_BYTES = 4 * 1024 * 1024
# libyaml's nodes are made by recursion in C, which no RecursionError ends.
MAX_DEPTH = 200
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]{1,4}")

_TYPES = {
    "string_type": "must be text: put it between quotes",
    "list_type": "must be a list, as in [a, b]",
    "model_type": "must be a mapping, as in {name: value}",
    "dict_type": "must be a mapping, as in {name: value}",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
}


_PATTERNS = {
    "^[a-z][a-z0-9_]*$": "must begin with a letter and hold only lower-case letters, digits and _",
    "^[a-z][a-z0-9_-]*$": "must begin with a letter and hold only lower-case letters, digits, _ "
    "and -",
    "^[A-Za-z][A-Za-z0-9_.-]*$": "must begin with a letter and hold only letters, digits, _ . -",
}


@dataclass(frozen=True)
class Document:
    """A YAML file: its data, and `lines` from a path of keys and indices to a line number."""

    path: Path
    data: Any
    lines: Mapping[tuple[str | int, ...], int]

    def where(self, *keys: str | int) -> str:
        """`file:line`, of the value at `keys` or of the nearest one that encloses it."""
        for end in range(len(keys), -1, -1):
            line = self.lines.get(keys[:end])
            if line is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def first_problem(
    where: Callable[..., str],
    errors: Sequence[Mapping[str, Any]],
    fields: Collection[str],
    begin: str,
) -> str:
    """The most telling of pydantic's errors on what a file says, in one line with its place.

    What is unknown comes first (it is often the name of what is missing, misspelt), then all that
    is missing in one place, then the first. `where` gives the place of keys, `fields` are the names
    that the file may use, `begin` tells where a whole file is to be had.
    """
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    missing = [e for e in errors if e["type"] == "missing"]
    problem = (unknown or missing or list(errors))[0]
    keys: tuple[str | int, ...] = tuple(problem["loc"])
    if unknown:
        name = str(keys[-1])
        near = _near(name, sorted(fields))
        words = f"is not known{f'; did you mean {near[0]}?' if near else ''}"
        words = "does not belong here: is it indented right?" if name in fields else words
    elif missing:
        names = [str(e["loc"][-1]) for e in missing if e["loc"][:-1] == keys[:-1]]
        keys = keys[:-1]
        words = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing"
        words += "" if keys else f": {begin}"
    else:
        told = str(problem["msg"]).removeprefix("Value error, ")
        words = _TYPES.get(problem["type"], told)
        words = _PATTERNS.get(str(problem.get("ctx", {}).get("pattern")), words)
        if problem["type"] == "literal_error" and isinstance(problem["input"], bool):
            words += ": put it between quotes, since YAML takes the bare word for true or false"
    field = ".".join(str(key) for key in keys)
    return f"{where(*keys)}: {field}{': ' if field else ''}{words}"


def number(value: Any) -> Any:
    """The float that a text such as 1e3 is meant for; anything else as it came.

    YAML 1.1 reads a number as text if it lacks the point or the exponent's sign. A field that is to
    be a number takes it from here; in one that is to be text it stays what it is.
    """
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _near(word: str, known: Sequence[str]) -> list[str]:
    """What a word was meant to be: nearly the same letters, else the same first ones (args)."""
    begun = [name for name in known if name[:3] == word[:3]]
    return [*difflib.get_close_matches(word, known, 1, 0.75), *begun]


def load_yaml(path: Path) -> Document:
    """Read one YAML document with plain data only (no tags, no aliases, no duplicate keys).

    Raises UsageError with file and line.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES // 1024 // 1024} MiB; not read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from None
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        root = _root(path, text)
        if root is None:
            raise UsageError(f"{path}: the file is empty")
        data = _plain(root, (), lines, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    return Document(path, data, lines)


def _root(path: Path, text: str) -> Any:
    """The document's node; by libyaml where this PyYAML has it: ten times as fast, and the list of
    failures is long. What is wrong is said by PyYAML's own parser, whose words say more."""
    import yaml

    try:
        return _composed(path, text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return _composed(path, text, yaml.SafeLoader)


def _composed(path: Path, text: str, loader: Any) -> Any:
    import yaml

    _bound(path, yaml.parse(text, Loader=loader))
    return yaml.compose(text, Loader=loader)


def _bound(path: Path, events: Iterable[Any]) -> None:
    """Aliases can make a few lines expand without bound, and so can nesting the stack."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(f"{path}:{line}: aliases (*name) are not allowed")
        if depth > MAX_DEPTH:
            raise UsageError(f"{path}:{line}: nested too deeply")


def _plain(
    node: Any, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], path: Path
) -> Any:
    import yaml

    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                line = key_node.start_mark.line + 1
                raise UsageError(f"{path}:{line}: {key!r} is given twice")
            result[key] = _plain(value_node, (*at, key), lines, path)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, i), lines, path) for i, item in enumerate(node.value)]
    return _scalar(node, path)


def _scalar(node: Any, path: Path) -> Any:
    import yaml

    if node.tag not in {f"tag:yaml.org,2002:{t}" for t in ("str", "int", "float", "bool", "null")}:
        raise UsageError(f"{path}:{node.start_mark.line + 1}: {node.value!r}: write it in quotes")
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except ValueError as error:
        line = node.start_mark.line + 1
        raise UsageError(f"{path}:{line}: {node.value!r}: {error}") from None
