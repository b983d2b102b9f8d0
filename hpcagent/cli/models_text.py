"""What `hpcagent models list`, `show` and `verify` print: pure functions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.cli.configtext import one_line
from hpcagent.llm.gguf import ModelFile
from hpcagent.llm.gguf_kinds import LANGUAGE
from hpcagent.llm.memory import Plan, Room
from hpcagent.llm.threads import Threads

WIDTH = 80
_LABEL = 15


@dataclass(frozen=True)
class Row:
    """A file of the list: `file` is None where `problem` says why it is no model."""

    path: Path
    file: ModelFile | None
    plan: Plan | None
    role: str = ""
    problem: str = ""

    @property
    def fits(self) -> str:
        if self.file is None or self.plan is None:
            return ""
        if self.plan.refusal:
            return "too large here"
        told = self.file.context_length or self.plan.context
        return "fits" if self.plan.context >= min(told, 8192) else f"fits with {self.plan.context}"

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"path": str(self.path), "role": self.role, "problem": self.problem}
        if self.file is not None:
            row |= {
                "kind": self.file.kind,
                "architecture": self.file.architecture,
                "size_bytes": self.file.size_bytes,
                "parameters": self.file.parameters,
                "quantisation": self.file.quantisation,
                "context_length": self.file.context_length,
            }
        if self.plan is not None:
            row |= {
                "fits": not self.plan.refusal,
                "context": self.plan.context,
                "needed_bytes": self.plan.need.total,
            }
        return row


def listed(rows: Sequence[Row], room: Room) -> Iterator[str]:
    """A line for each model below its folder; one that is none has its reason below it."""
    folder = None
    for row in rows:
        if row.path.parent != folder:
            folder = row.path.parent
            yield one_line(str(folder))
        yield from _listed(row)
    if rows:
        yield f"\nA model may use {room}."


def listed_servers(servers: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The servers of the configuration, below the files."""
    for number, (label, roles) in enumerate(servers.items()):
        if number == 0:
            yield "\nServers (`hpcagent models verify URL` asks one)"
        yield f"  {one_line(label)}"
        yield from _wrapped(f"for {', '.join(roles)}", "    ")


def _listed(row: Row) -> Iterator[str]:
    name = one_line(row.path.name)
    if row.file is None:
        yield f"  {name}"
        yield from _wrapped(f"not usable: {row.problem}", "    ")
        return
    if row.file.kind == LANGUAGE:
        role = f"  for {row.role}" if row.role else ""
        context = str(row.file.context_length or "?")
        left = f"{row.file.quantisation:<8} {context:>8}  {row.fits}{role}"
    else:
        left = f"{row.file.quantisation:<8} {one_line(row.file.kind)}"
    told = f"{size(row.file.size_bytes):>8} {count(row.file.parameters):>7}  {left}"
    if len(name) + len(told) + 4 <= WIDTH:
        yield f"  {name:<{min(30, WIDTH - 4 - len(told))}} {told}"
    else:
        yield f"  {name}"
        yield f"  {'':<{max(0, min(30, WIDTH - 4 - len(told)))}} {told}"


def shown(
    file: ModelFile, planned: Plan, room: Room, threads: Threads, digest: str, verdict: str
) -> Iterator[str]:
    """Everything that is known of a model without loading it."""
    yield one_line(file.name)
    for label, words in _facts(file):
        if words:
            yield from labelled(label, words)
    if file.kind == LANGUAGE:
        yield from labelled("memory", _memory(planned, room))
        yield from labelled("threads", f"{threads.count} ({threads.why})")
    yield from labelled("SHA-256", digest)
    yield from labelled("allowed", verdict)


def _facts(file: ModelFile) -> Iterator[tuple[str, str]]:
    shape = file.shape
    parts = f", {len(file.parts)} parts" if len(file.parts) > 1 else ""
    yield "file", f"{file.path} ({size(file.size_bytes)}{parts})"
    if file.kind != LANGUAGE:
        yield "kind", f"{file.kind}: it cannot serve a role by itself"
    yield "architecture", file.architecture
    yield "parameters", count(file.parameters)
    yield "quantisation", f"{file.quantisation}{_mixture(file)}"
    yield "network", _network(file)
    if shape.experts:
        yield "experts", f"{shape.experts}, of which {shape.experts_used} compute a token"
    if shape.vocabulary:
        yield "vocabulary", f"{shape.vocabulary} tokens, {file.tokenizer or 'kind not told'}"
    if file.context_length:
        window = f", layers with a window of {shape.sliding_window}" if shape.sliding_window else ""
        yield "context", f"{file.context_length} tokens{window}"
    yield "rope", file.rope
    if file.kind == LANGUAGE:
        length = len(file.chat_template or "")
        none = "none: it is given plain text with the roles as headings"
        yield "chat template", f"{length} characters" if length else none


def _network(file: ModelFile) -> str:
    shape = file.shape
    if not shape.layers:
        return ""
    kv = sorted(set(shape.kv_heads) - {0})
    if not kv:
        return f"{shape.layers} layers without attention, width {shape.embedding}"
    told = f"{kv[0]}" if len(kv) == 1 else f"{kv[0]} to {kv[-1]}"
    having = sum(heads > 0 for heads in shape.kv_heads)
    where = f", in {having} of the layers" if having < shape.layers else ""
    return (
        f"{shape.layers} layers, {shape.heads} heads ({told} for keys and values{where}) of"
        f" {shape.key_length}, width {shape.embedding}"
    )


def _mixture(file: ModelFile) -> str:
    told = [f"{name} {share:.0%}" for name, share in file.mixture if share >= 0.005]
    return f" ({', '.join(told)})" if len(told) > 1 else ""


def _memory(planned: Plan, room: Room) -> str:
    if planned.refusal:
        return f"does not fit: {planned.refusal.partition(': ')[2] or planned.refusal}"
    notes = f"; {'; '.join(planned.notes)}" if planned.notes else ""
    return f"needs {planned.need} with {planned.context} tokens; may use {room}{notes}"


def labelled(label: str, words: str) -> list[str]:
    return textwrap.wrap(
        one_line(words), WIDTH, initial_indent=f"{label:<{_LABEL}} ",
        subsequent_indent=" " * (_LABEL + 1), break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _wrapped(words: str, indent: str) -> list[str]:
    return textwrap.wrap(
        one_line(words), WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def size(number: int) -> str:
    """Bytes in decimal units, as file managers and download pages tell them.

    >>> size(4_683_073_184)
    '4.7 GB'
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.{1 if number < 100 * factor else 0}f} {unit}"
    return f"{number} B"


def count(number: int) -> str:
    """Parameters in millions or billions (B), as models are named."""
    if number >= 10**9:
        return f"{number / 1e9:.1f} B"
    return f"{number / 1e6:.0f} M" if number >= 10**7 else f"{number / 1e6:.2f} M"
