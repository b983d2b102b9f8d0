"""How OpenPBS 23.06.06 prints attributes: the wide form (-w), and the narrow one that wraps."""

from __future__ import annotations

import re
from collections.abc import Iterable

Attributes = list[tuple[str, str]]
LINE_LIMIT = 78


def block(head: str, attributes: Attributes, wide: bool) -> str:
    show = wide_line if wide else narrow_lines
    return head + "\n" + "".join(show(name, value) for name, value in attributes) + "\n"


def wide_line(name: str, value: str) -> str:
    return f"    {name} = {visible(value.replace(chr(10), chr(92) + 'n'))}\n"


def visible(text: str) -> str:
    """Control characters as ^G; newlines and tabs stay."""
    return re.sub("[\x00-\x08\x0b-\x1f]", lambda found: "^" + chr(ord(found.group()) + 64), text)


def narrow_lines(name: str, value: str) -> str:
    """Breaks after commas, and inside a word that is longer than a line."""
    text = f"    {name} = "
    start = len(name) + 7
    words = [word for word in value.split(",") if word]
    for number, word in enumerate(words):
        if len(word) + start < LINE_LIMIT:
            text += visible(word)
            start += len(word)
        else:
            broken, start = _broken(word, start, number > 0)
            text += broken
        if number < len(words) - 1:
            text += ","
    return text + "\n"


def _broken(word: str, start: int, wrapped: bool) -> tuple[str, int]:
    text = ""
    if wrapped:
        text, start = "\n\t", 9
    for character in word:
        text += visible(character)
        start += 1
        if start > LINE_LIMIT:
            text += "\n\t"
            start = 8
    return text, start


def node(name: str, attributes: Attributes) -> str:
    return name + "\n" + "".join(f"     {key} = {value}\n" for key, value in attributes) + "\n"


def several(blocks: Iterable[str]) -> str:
    return "".join(blocks)
