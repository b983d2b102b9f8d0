"""A chat as tokens, in which only the model's own template writes the marks of roles.

llama.cpp makes a control token of its name wherever a text has it. A line of a log that has
<|im_end|> would end the turn that quotes it, and what follows could speak as the system. (A
template that changes the letters of a message could make a mark anew; none is known that does.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcagent.llm.child.prompt import prompt, written_marks
from hpcagent.llm.child.vocabulary import Vocabulary

SEAM = "\ufdd0"  # no character, by Unicode's rules for private use within a program
_SHORTEST = 2  # characters: a seam has to fit into a mark

_Json = Mapping[str, Any]


class Marks:
    """What may not come into a prompt by a message: names of control tokens, marks of roles."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name for name in names if len(name) >= _SHORTEST)
        self._sizes: dict[str, list[int]] = {}
        for first, size in sorted({(name[0], len(name)) for name in self._names}):
            self._sizes.setdefault(first, []).append(size)

    def parted(self, text: str) -> str:
        """`text` with a seam within every mark; what it had of such characters is replaced."""
        text = text.replace(SEAM, "\ufffd")
        seams = sorted(self._seams(text))
        starts, ends = [0, *seams], [*seams, len(text)]
        return SEAM.join(text[a:b] for a, b in zip(starts, ends, strict=True))

    def _seams(self, text: str) -> set[int]:
        """Marks may overlap, so each gets one."""
        return {
            at + size // 2
            for at, letter in enumerate(text)
            for size in self._sizes.get(letter, ())
            if text[at : at + size] in self._names
        }


def marks_of(llama: Any, vocabulary: Vocabulary) -> Marks:
    """Those of a loaded model."""
    names = vocabulary.control_names
    return Marks([*names, *written_marks(llama, names)])


@dataclass(frozen=True)
class Chat:
    """A prompt; `text` has seams where a message had a mark."""

    llama: Any = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    marks: Marks = field(repr=False)
    text: str
    add_bos: bool

    def tokens(self, end: str = "") -> list[int]:
        """With the answer `end` after it; RuntimeError where the vocabulary cannot spell it."""
        first, *parts = (self.text + self.marks.parted(end)).split(SEAM)
        tokens: list[int] = self.llama.tokenize(
            first.encode("utf-8"), add_bos=self.add_bos, special=True
        )
        for part in parts:
            tokens += self.vocabulary.going_on(part)
        return tokens


def chat(
    llama: Any,
    vocabulary: Vocabulary,
    marks: Marks,
    messages: Sequence[_Json],
    thinks: bool = False,
) -> Chat:
    """The messages by the model's template, to be answered."""
    parted = [{**each, "content": marks.parted(each["content"])} for each in messages]
    return Chat(llama, vocabulary, marks, *prompt(llama, parted, thinks))
