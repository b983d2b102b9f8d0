"""From messages to the text of a prompt, by the model's own chat template in a sandbox."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

_Json = Mapping[str, Any]


def prompt(llama: Any, messages: Sequence[_Json]) -> tuple[str, bool]:
    """(text, whether the beginning-of-sequence token is still to be added)."""
    template = llama.metadata.get("tokenizer.chat_template")
    if template:
        for attempt in (messages, _without_system(messages)):
            text = _templated(llama, template, attempt)
            if text is not None:
                bos = _special(llama, llama.token_bos())
                return text, not (bos and text.startswith(bos))
    return _plain(messages), True


def _templated(llama: Any, template: str, messages: Sequence[_Json]) -> str | None:
    """The model's own template applied in llama_cpp's sandbox; None where it refuses."""
    import jinja2
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    try:
        formatter = Jinja2ChatFormatter(
            template=template,
            eos_token=_special(llama, llama.token_eos()),
            bos_token=_special(llama, llama.token_bos()),
        )
        return str(formatter(messages=[dict(message) for message in messages]).prompt)
    except (
        jinja2.TemplateError,
        ValueError,
        TypeError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        print(f"chat template: {type(error).__name__}: {error}", file=sys.stderr)
        return None


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
