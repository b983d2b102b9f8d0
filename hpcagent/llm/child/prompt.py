"""From messages to the text of a prompt, by the model's own chat template in a sandbox."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hpcagent.llm.child.bounds import TooLong, within

TEMPLATE = "tokenizer.chat_template"
THOUGHT_BEGINS, THOUGHT_ENDS = "<think>", "</think>"
# What a template may take; those of real models take milliseconds and a few megabytes.
TEMPLATE_S = 2.0  # of one core
TEMPLATE_BYTES = 512 << 20
_MOST_TEXT = 16 << 20  # characters; more than any context holds
_PLACE = "\ufdd1"  # of a message's text; no character
_BRACKETED = re.compile(r"[<\[]{1,2}[^<>\[\]\s]+(?: [^<>\[\]\s]+)?[>\]]{1,2}")  # [Round 1]
_COLONS = (":", "\uff1a")  # the second one is that of Chinese text
_UNKNOWN = ("functions", "function_call", "tool_choice")
_TRIAL = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})

_Json = Mapping[str, Any]
_Result = TypeVar("_Result")


class Unusable(Exception):
    """The template refuses these messages, or cannot be used at all; `costly`: it met a bound."""

    def __init__(self, words: str, costly: bool = False) -> None:
        super().__init__(words)
        self.costly = costly


def prompt(llama: Any, messages: Sequence[_Json], thinks: bool = False) -> tuple[str, bool]:
    """(text, whether the beginning-of-sequence token is still to be added).

    Where a template begins the model's thoughts and it is not to think, they are ended at once.
    """
    text, add_bos = _said(llama, messages)
    if text.rstrip().endswith(THOUGHT_BEGINS) and not thinks:
        text = f"{text.rstrip()}\n\n{THOUGHT_ENDS}\n\n"
    return text, add_bos


def _said(llama: Any, messages: Sequence[_Json]) -> tuple[str, bool]:
    template = llama.metadata.get(TEMPLATE)
    if template:
        for attempt in _attempts(template, messages):
            try:
                text = _templated(llama, template, attempt)
            except Unusable as error:
                print(f"chat template: {error}", file=sys.stderr)
                if error.costly:
                    break
                continue
            bos = _special(llama, llama.token_bos())
            return text, not (bos and text.startswith(bos))
    return _plain(messages), True


@dataclass(frozen=True)
class _Attempt:
    """What a template is given; `tools` is defined, though there are none, or it is not."""

    messages: Sequence[_Json]
    tools: bool = True


def _attempts(template: str, messages: Sequence[_Json]) -> tuple[_Attempt, ...]:
    """In the order in which they are tried.

    transformers' apply_chat_template gives `tools` as None where there are none, and templates ask
    whether it is that; one that goes through them without asking can do so where it is undefined.
    """
    moved = _without_system(messages)
    told = [True, False] if "tools" in template else [True]
    return tuple(_Attempt(each, tools) for tools in told for each in (messages, moved))


def trouble(llama: Any) -> str:
    """Why the model's own template is not used, in one line; empty where it is or there is none."""
    template = llama.metadata.get(TEMPLATE)
    words = ""
    for attempt in _attempts(template, _TRIAL) if template else ():
        try:
            _templated(llama, template, attempt)
        except Unusable as error:
            words = f"its chat template is not used ({error}); it is given plain text instead"
            if error.costly:
                break
        else:
            return ""
    return words


def written_marks(llama: Any, names: Collection[str]) -> set[str]:
    """Marks of roles that are plain text, such as [INST] or "### user", beside `names` of tokens.

    They are looked for in what stands around the messages' texts in a prompt: words in brackets,
    and lines that begin with # or end with a colon.
    """
    found: set[str] = set()
    for roles in (("system", "user"), ("user", "assistant", "user")):
        text, _ = _said(llama, [{"role": role, "content": _PLACE} for role in roles])
        for name in sorted(names, key=len, reverse=True):
            text = text.replace(name, "\n")
        lines = [line.strip() for line in text.replace(_PLACE, "\n").splitlines()]
        found.update(line for line in lines if line.startswith("#") or line.endswith(_COLONS))
        found.update(_BRACKETED.findall(text))
    return {mark for mark in found if any(map(str.isalpha, mark))}


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Within it llama_cpp.Llama leaves the templates alone: it would compile each without bounds.

    Jinja computes what is constant at that moment; the powers and repetitions of a hostile template
    then take all memory, and no signal ends them.
    """
    from llama_cpp import llama_chat_format

    real = llama_chat_format.Jinja2ChatFormatter
    llama_chat_format.Jinja2ChatFormatter = _Uncompiled
    try:
        yield
    finally:
        llama_chat_format.Jinja2ChatFormatter = real


class _Uncompiled:
    """In the place of a formatter that nobody calls."""

    def __init__(
        self, template: str, eos_token: str, bos_token: str, stop_token_ids: Sequence[int]
    ) -> None:
        pass

    def to_chat_handler(self) -> None:
        return None


def unreadable(templates: Sequence[str]) -> str:
    """What is wrong with a template before any model is loaded; empty where nothing is."""
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    for template in templates:
        try:
            _bounded(partial(Jinja2ChatFormatter, template, eos_token="", bos_token=""))
        except Unusable as error:
            return f"its chat template cannot be read: {error}"
    return ""


def _templated(llama: Any, template: str, given: _Attempt) -> str:
    """The model's own template applied in llama_cpp's sandbox; Unusable where that fails.

    Names that transformers does not define are undefined here, too; llama_cpp would give None.
    """
    import jinja2
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    absent = [*_UNKNOWN, *([] if given.tools else ["tools"])]
    names: Any = {name: jinja2.Undefined(name=name) for name in absent}

    def render() -> str:
        formatter = Jinja2ChatFormatter(
            template=template,
            eos_token=_special(llama, llama.token_eos()),
            bos_token=_special(llama, llama.token_bos()),
        )
        messages: Any = [dict(message) for message in given.messages]
        return str(formatter(messages=messages, **names).prompt)

    text = _bounded(render)
    if len(text) > _MOST_TEXT:
        raise Unusable(f"it makes a text of {len(text)} characters")
    return text


def _bounded(work: Callable[[], _Result]) -> _Result:
    """What `work` returns, within the bounds of a template; Unusable for whatever it ends in."""
    import jinja2

    try:
        with within(TEMPLATE_S, TEMPLATE_BYTES):
            return work()
    except (
        jinja2.TemplateError,
        TooLong,
        MemoryError,
        OSError,
        ValueError,
        TypeError,
        ArithmeticError,
        LookupError,
        AttributeError,
        AssertionError,
        RecursionError,
    ) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Unusable(words, isinstance(error, TooLong | MemoryError)) from None


def _special(llama: Any, token: int) -> str:
    if token < 0:
        return ""
    raw: bytes = llama.detokenize([token], special=True)
    return raw.decode("utf-8", errors="replace")


def _without_system(messages: Sequence[_Json]) -> list[_Json]:
    """The system's words moved into the first user message: some templates know no system."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    if rest and system:
        rest[0]["content"] = f"{system}\n\n{rest[0]['content']}"
    return list(rest)


def _plain(messages: Sequence[_Json]) -> str:
    parts = [f"### {message['role']}\n{message['content']}\n" for message in messages]
    return "\n".join([*parts, "### assistant\n"])
