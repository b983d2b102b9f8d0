"""The process that holds llama.cpp: JSON lines in on stdin, JSON lines out on the first stdout.

It is a process of its own because llama.cpp aborts on damaged files and on text its vocabulary
cannot spell, which Python cannot catch, and because only a process can be stopped in time. Only
hpcagent.llm.llamacpp starts it. It ends when its stdin does.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

TOP_P = 0.95
TEMPERATURE = 0.7

_Json = Mapping[str, Any]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = _pipes()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, lines), daemon=True).start()
    engine = _load(json.loads(lines.get()))
    if isinstance(engine, dict):
        _send(answers, engine)
        return
    _send(answers, {"ready": True, "context": engine.context, "device": engine.device})
    while True:
        _send(answers, engine.complete(json.loads(lines.get())))


def _pipes() -> tuple[IO[str], IO[str]]:
    """The protocol's ends, moved away from 0 and 1: llama.cpp prints where it likes."""
    requests = os.fdopen(os.dup(0), "r", encoding="ascii")
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    with open(os.devnull) as nothing:  # noqa: PTH123 (a descriptor is wanted, not a text)
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Hand on each line; when the parent is gone, stop at once, even amid a computation."""
    for line in requests:
        lines.put(line)
    os._exit(0)


def _send(answers: IO[str], message: _Json) -> None:
    answers.write(json.dumps(message, ensure_ascii=True) + "\n")
    answers.flush()


def _failed(kind: str, evidence: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "evidence": evidence[:400]}}


def _load(request: _Json) -> Engine | dict[str, Any]:
    import jinja2
    import llama_cpp

    gpu = llama_cpp.llama_supports_gpu_offload()
    try:
        llama = llama_cpp.Llama(
            model_path=request["path"],
            n_ctx=request["context"],
            n_batch=min(512, request["context"]),
            n_threads=request["threads"],
            n_threads_batch=request["threads"],
            n_gpu_layers=-1 if gpu else 0,
            seed=request["seed"],
            verbose=True,
        )
    except jinja2.TemplateError as error:
        return _failed("load", f"its chat template cannot be read: {error}")
    except (ValueError, RuntimeError, UnicodeDecodeError, MemoryError) as error:
        return _failed("load", str(error) or type(error).__name__)
    device = "GPU" if gpu else "CPU: llama.cpp was built for no GPU, or sees none here"
    return Engine(llama, request["context"], device)


class Engine:
    """A loaded model. Requests and answers are plain JSON values."""

    def __init__(self, llama: Any, context: int, device: str) -> None:
        self._llama = llama
        self.device = device
        self.context = min(context, int(llama.n_ctx()))  # llama.cpp rounds up

    def complete(self, request: _Json) -> dict[str, Any]:
        """One answer: {text, complete, tokens_in, tokens_out, seconds} or {failure}."""
        started = time.perf_counter()
        prompt, add_bos = self._prompt(request["messages"])
        try:
            # Text that the vocabulary cannot spell ends here, or in an abort of the process.
            tokens = self._llama.tokenize(prompt.encode("utf-8"), add_bos=add_bos, special=True)
        except RuntimeError as error:
            return _failed("unspeakable", str(error))
        wanted = len(tokens) + request["max_tokens"]
        if wanted > self.context:
            return _failed(
                "context_overflow",
                f"{len(tokens)} tokens of prompt and up to {request['max_tokens']} of answer"
                f" exceed the context of {self.context}",
            )
        try:
            made, text, complete = self._decode(tokens, request)
        except RuntimeError as error:
            return _failed("decode", str(error))
        return {
            "text": text,
            "complete": complete,
            "tokens_in": len(tokens),
            "tokens_out": made,
            "seconds": time.perf_counter() - started,
        }

    def _decode(self, tokens: Sequence[int], request: _Json) -> tuple[int, str, bool]:
        """(tokens made, text, whether the text is a whole JSON value)."""
        import llama_cpp

        llama = self._llama
        llama.set_seed(request["seed"])
        vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
        grammar = llama_cpp.LlamaGrammar.from_string(request["grammar"], verbose=False)
        made: list[int] = []
        text, complete = "", False
        for token in llama.generate(tokens, temp=TEMPERATURE, top_p=TOP_P, grammar=grammar):
            if llama_cpp.llama_vocab_is_eog(vocabulary, token):
                break
            made.append(token)
            if b"}" in llama.detokenize([token]):
                text = self._text(made)
                complete = _is_json(text)
            if complete or len(made) >= request["max_tokens"]:
                break
        return len(made), text if complete else self._text(made), complete

    def _text(self, tokens: Sequence[int]) -> str:
        raw: bytes = self._llama.detokenize(list(tokens))
        return raw.decode("utf-8", errors="replace")

    def _prompt(self, messages: Sequence[_Json]) -> tuple[str, bool]:
        """(text, whether the beginning-of-sequence token is still to be added)."""
        template = self._llama.metadata.get("tokenizer.chat_template")
        if template:
            for attempt in (messages, _without_system(messages)):
                text = self._templated(template, attempt)
                if text is not None:
                    bos = self._special(self._llama.token_bos())
                    return text, not (bos and text.startswith(bos))
        return _plain(messages), True

    def _templated(self, template: str, messages: Sequence[_Json]) -> str | None:
        """The model's own template applied in llama_cpp's sandbox; None where it refuses."""
        import jinja2
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        try:
            formatter = Jinja2ChatFormatter(
                template=template,
                eos_token=self._special(self._llama.token_eos()),
                bos_token=self._special(self._llama.token_bos()),
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

    def _special(self, token: int) -> str:
        if token < 0:
            return ""
        raw: bytes = self._llama.detokenize([token], special=True)
        return raw.decode("utf-8", errors="replace")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


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


if __name__ == "__main__":
    main()
