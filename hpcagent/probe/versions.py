"""Version numbers out of what compilers and the C library say of themselves."""

from __future__ import annotations

import re

_DOTTED = r"[0-9]{1,9}(?:\.[0-9]{1,9})+"
_AFTER_WORD = re.compile(rf"\bversion\s+({_DOTTED}|[0-9]{{1,9}})", re.IGNORECASE)
_WORD = re.compile(rf"(?<!\S)({_DOTTED})")


def parse_compiler_version(text: str) -> str | None:
    """The compiler's own version from the first line of `--version` that has one.

    Distributors put their package's version in parentheses, before or after: "gcc (Debian
    12.2.0-14) 12.2.0", "clang version 15.0.7 (Red Hat 15.0.7-1.el9)", "icx ... 2024.0.0 (2024.0.0.
    20231017)"; NVIDIA writes "nvc 23.11-0 64-bit target".
    """
    for line in text.splitlines()[:8]:
        plain = _without_parentheses(line)
        found = _AFTER_WORD.search(plain) or _WORD.search(plain)
        if found:
            return found.group(1)
    return None


def parse_glibc_version(confstr: str | None, ldd: str | None) -> str | None:
    """From confstr ("glibc 2.36") or the first line of `ldd --version`; None: another C library."""
    for text in (confstr, (ldd or "").partition("\n")[0]):
        if text and re.search(r"glibc|GNU libc", text, re.IGNORECASE):
            found = re.findall(_DOTTED, text)
            if found:
                return str(found[-1])
    return None


def _without_parentheses(line: str) -> str:
    """The line without what stands in parentheses, nested ones included."""
    kept, depth = [], 0
    for char in line:
        depth += char == "("
        if depth == 0:
            kept.append(char)
        depth -= char == ")" and depth > 0
    return "".join(kept)
