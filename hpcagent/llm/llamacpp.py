"""A GGUF model through llama.cpp, in a child process that may die without harm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcagent.llm import gguf, threads
from hpcagent.llm.grammar import gbnf, violation
from hpcagent.llm.memory import need
from hpcagent.llm.pipe import Child, ChildFailed
from hpcagent.llm.residents import Residents
from hpcagent.records import Failure, Limits, Message, Reply

MAX_RESTARTS = 2
DEFAULT_CONTEXT = 8192
_LOAD_TIMEOUT_S = 900.0  # a large file on a cold parallel file system
_COMMAND = (sys.executable, "-P", "-m", "hpcagent.llm.child")


class LlamaCpp:
    """A LanguageModel; the file's header is checked at once, the weights are loaded when asked.

    `context` is in tokens; None takes the model's own, at most 8192; it is shorter after the first
    answer where memory is short. `threads` 0 takes what this process was given. Models that share
    `residents` give way to each other. After two restarts of a child that died or hung, every call
    answers with the failure `model.unavailable`. Failure kinds: load, memory, died, timeout,
    nonsense, unavailable, context_overflow, unspeakable, decode, truncated, invalid.
    EnvironmentProblem where the file cannot serve.
    """

    def __init__(
        self,
        path: Path,
        context: int | None = None,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
        command: Sequence[str] = _COMMAND,
        threads: int = 0,
        residents: Residents | None = None,
    ) -> None:
        self.file = gguf.read(path)
        self._wanted = context_of(self.file, context)
        self.context = self._wanted
        self._load_timeout_s = load_timeout_s
        self._command = tuple(command)
        self._child: Child | None = None
        self._losses = 0
        self._last = ""
        self._threads = threads
        self._residents = residents
        self.device = ""  # where it computes, in words; known from the first answer on
        self.notes: tuple[str, ...] = ()  # what is not as it was asked for; likewise

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        """One answer that obeys `schema`; the same arguments give the same answer."""
        if schema is None:
            raise NotImplementedError
        request = {
            "op": "complete",
            "messages": [{"role": m.role, "content": _encodable(m.text)} for m in messages],
            "grammar": gbnf(schema),
            "max_tokens": limits.max_tokens,
            "seed": seed % 2**31,
        }
        try:
            child = self._running()
            if isinstance(child, Failure):
                return Reply("", failure=child)
            answer = child.ask(request, limits.timeout_s)
        except ChildFailed as failed:
            return Reply("", failure=self._lost(failed))
        return _reply(answer, schema)

    def close(self) -> None:
        """End the child; a later call starts another one."""
        if self._child is not None:
            self._child.close()
            self._child = None
        if self._residents is not None:
            self._residents.leave(self)

    def load(self) -> Failure | None:
        """Load the weights now instead of at the first call; why that fails, if it does."""
        try:
            child = self._running()
        except ChildFailed as failed:
            return self._lost(failed)
        return child if isinstance(child, Failure) else None

    @property
    def pid(self) -> int | None:
        """The process that holds the model; None while there is none."""
        return None if self._child is None else self._child.pid

    def _running(self) -> Child | Failure:
        if self._residents is not None:
            self._residents.enter(self, need(self.file, self._wanted).total)
        if self._child is not None:
            return self._child
        if self._losses > MAX_RESTARTS:
            words = f"llama.cpp failed {self._losses} times, last: {self._last}"
            return Failure("model", "unavailable", words)
        self._child = Child(self._command, _environment())
        answer = self._child.ask(self._load_request(), self._load_timeout_s)
        if "failure" not in answer:
            self.device = str(answer.get("device", ""))
            self.notes = tuple(map(str, answer.get("notes", ())))
            self.context = int(answer.get("context", self._wanted))
            return self._child
        told = answer["failure"].get("kind") == "memory"  # in full; llama.cpp said nothing yet
        failure = _failure(answer["failure"], "" if told else self._child.last_words())
        self.close()
        self._losses, self._last = self._losses + 1, failure.evidence
        return failure

    def _load_request(self) -> dict[str, Any]:
        return {
            "path": str(self.file.path.resolve()),
            "context": self._wanted,
            "threads": self._chosen_threads(),
            "held": 0 if self._residents is None else self._residents.held(self),
            "seed": 0,
        }

    def _chosen_threads(self) -> int:
        given = threads.here(os.environ)
        return threads.choose(self.file.size_bytes, given, self._threads).count

    def _lost(self, failed: ChildFailed) -> Failure:
        self._child = None
        self.close()
        self._losses, self._last = self._losses + 1, str(failed)
        return Failure("model", failed.kind, f"{self.file.path.name}: {failed}")


def context_of(file: gguf.ModelFile, wanted: int | None = None) -> int:
    """Tokens: what is wanted (None: 8192), at most what the model was made for."""
    return min(wanted or DEFAULT_CONTEXT, file.context_length or DEFAULT_CONTEXT)


def _environment() -> dict[str, str]:
    """The parent's, without a debugger at an abort, and with this package in reach."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONPATH": path}


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _failure(found: Mapping[str, Any], last_words: str = "") -> Failure:
    words = f"; its last words: {last_words}" if last_words else ""
    return Failure("model", str(found.get("kind")), f"{found.get('evidence')}{words}")


def _reply(answer: Mapping[str, Any], schema: Mapping[str, Any]) -> Reply:
    if "failure" in answer:
        return Reply("", failure=_failure(answer["failure"]))
    text = str(answer["text"])
    failure = None
    if not answer["complete"]:
        failure = Failure("model", "truncated", f"{answer['tokens_out']} tokens, no end: {text!r}")
    else:
        wrong = violation(json.loads(text), schema)
        if wrong:
            failure = Failure("model", "invalid", wrong)
    return Reply(text, answer["tokens_in"], answer["tokens_out"], answer["seconds"], failure)
