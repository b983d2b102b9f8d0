"""What `gcc -march=native -Q --help=target` chose: the compiler's own view of the processor."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Some releases name the argument behind the sign: "-mcpu=CPU  neoverse-n1", "-mcpu=<cpu>".
_LINE = re.compile(r"\s+-m([\w.+-]+)(?:(=)(?:[A-Z_]{2,12}(?=\s)|<\w+>)?)?\s*(\S*)\s*")
_WORD = re.compile(r"[\w.+-]{1,200}")


@dataclass(frozen=True)
class NativeTarget:
    """`march`, `mcpu`, `mtune` as the compiler resolved "native" (empty: it has no such option);
    `enabled` are the names of the options that are on ("avx512f")."""

    march: str
    mcpu: str
    mtune: str
    enabled: frozenset[str]

    @property
    def chosen(self) -> str:
        """The option that a user would write: "-march=znver3"."""
        if self.mcpu and self.mcpu != "native":  # on AArch64 it implies -march, not the other way
            return f"-mcpu={self.mcpu}"
        return f"-march={self.march}" if self.march and self.march != "native" else ""


def parse_target_help(text: str) -> NativeTarget | None:
    """None where neither an architecture nor a CPU is named. Only the first table counts: lists of
    known arguments follow it."""
    values: dict[str, str] = {}
    enabled = set()
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if not found:
            continue
        name, equals, value = found.groups()
        if equals and _WORD.fullmatch(value):
            values.setdefault(name, value)
        elif value == "[enabled]":
            enabled.add(name)
    if not values.get("arch") and not values.get("cpu"):
        return None
    words = (values.get(name, "") for name in ("arch", "cpu", "tune"))
    march, mcpu, mtune = words
    return NativeTarget(march, mcpu, mtune, frozenset(enabled))
