"""A model's tokens as the bytes they stand for."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

_FREE = bytes(code for code in range(32, 127) if code not in b'"\\')  # as in the grammar
_BEFORE = "\n"  # nothing merges with it, and a space that some vocabularies put first precedes it


class Unspeakable(RuntimeError):
    """The vocabulary has no tokens for a text."""


class Vocabulary:
    def __init__(self, llama: Any) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._vocab = llama_cpp.llama_model_get_vocab(llama.model)
        self.count = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        self._buffer = ctypes.create_string_buffer(256)

    def piece(self, token: int) -> bytes:
        """What a token stands for; nothing for control tokens."""
        size = self._into(token)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = self._into(token)
        return self._buffer.raw[:size]

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    def spell(self, text: str, special: bool = False) -> list[int]:
        """Tokens that stand for just `text`, in the middle of others; Unspeakable.

        `special`: names of control tokens in the text become these tokens.
        """
        for before in ("", _BEFORE):
            tokens = self._tokenise(before + text, special)
            tail = tokens if special else self._tail(tokens, text.encode())
            if tail is not None:
                return tail
        return self._greedily(text.encode())

    def going_on(self, text: str) -> list[int]:
        """Tokens of `text` after others, where names of control tokens become these tokens.

        None is put before it, as some vocabularies do with a space; Unspeakable.
        """
        before = self._tokenise(_BEFORE, special=True)
        tokens = self._tokenise(_BEFORE + text, special=True)
        if tokens[: len(before)] != before:
            before, tokens = [], self._tokenise(text, special=True)
        if text and not tokens:
            raise Unspeakable(f"its vocabulary has no token for {text[:20]!r}")
        return tokens[len(before) :]

    @cached_property
    def control_names(self) -> frozenset[str]:
        """Of tokens that llama.cpp makes wherever their name is in a text and that may part roles.

        It does so with what a vocabulary has as "user defined", too: some have the marks of roles
        there, beside runs of spaces and words.
        """
        api, vocab = self._api, self._vocab
        control = api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_UNKNOWN
        other = api.LLAMA_TOKEN_ATTR_USER_DEFINED
        found = set()
        for token in range(self.count):
            kind = api.llama_vocab_get_attr(vocab, token)
            if not kind & (control | other):
                continue
            name = api.llama_vocab_get_text(vocab, token).decode("utf-8", "replace")
            if kind & control or _like_a_mark(name):
                found.add(name)
        return frozenset(found)

    @cached_property
    def pieces(self) -> Sequence[bytes]:
        """Of every token that may stand in an answer; empty for ends and control tokens."""
        return [b"" if self.is_end(token) else self.piece(token) for token in range(self.count)]

    @cached_property
    def free_lengths(self) -> Any:
        """Characters of every token that may stand anywhere in a free text; 0 for others."""
        import numpy as np

        lengths = [0 if piece.strip(_FREE) else len(piece) for piece in self.pieces]
        return np.array(lengths, dtype=np.int32)

    @cached_property
    def closing(self) -> Sequence[tuple[int, int, bytes]]:
        """(token, characters before its first quote, bytes after it) of tokens that end a text."""
        found = []
        for token, piece in enumerate(self.pieces):
            before, quote, after = piece.partition(b'"')
            if quote and not before.strip(_FREE):
                found.append((token, len(before), after))
        return found

    @cached_property
    def _by_piece(self) -> Mapping[bytes, int]:
        return {piece: token for token, piece in enumerate(self.pieces) if piece}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_piece), default=0)

    def _into(self, token: int) -> int:
        return int(
            self._api.llama_token_to_piece(
                self._vocab, token, self._buffer, len(self._buffer), 0, False
            )
        )

    def _tokenise(self, text: str, special: bool) -> list[int]:
        raw = text.encode()
        room = 3 * len(raw) + 8  # a space may be three bytes, each a token
        tokens = (self._api.llama_token * room)()
        count = self._api.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False, special)
        return list(tokens[: max(0, count)])

    def _tail(self, tokens: Sequence[int], wanted: bytes) -> list[int] | None:
        """The last tokens, which stand for `wanted`; None where one of them stands for more."""
        found = b""
        for index in range(len(tokens) - 1, -1, -1):
            if len(found) >= len(wanted):
                break
            found = self.piece(tokens[index]) + found
            if found == wanted:
                return list(tokens[index:])
        return None if wanted else []

    def _greedily(self, wanted: bytes) -> list[int]:
        """The longest token that fits, again and again."""
        known = self._by_piece
        tokens = []
        while wanted:
            sizes = range(min(self._longest, len(wanted)), 0, -1)
            size = next((size for size in sizes if wanted[:size] in known), 0)
            if size == 0:
                raise Unspeakable(f"its vocabulary has no token for {wanted[:20]!r}")
            tokens.append(known[wanted[:size]])
            wanted = wanted[size:]
        return tokens


def _like_a_mark(name: str) -> bool:
    begins = name[:1]
    return not (begins.isalnum() or begins.isspace()) and any(map(str.isalpha, name))
