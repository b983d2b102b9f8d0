"""A GGUF model through llama.cpp, in a child process that may die without harm."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcagent.llm import gguf, heard, progress, scores, threads
from hpcagent.llm.grammar import gbnf, linear, outline
from hpcagent.llm.memory import need, paged_bytes
from hpcagent.llm.menus import checked, reasoned
from hpcagent.llm.original import Original
from hpcagent.llm.pipe import Child, ChildFailed
from hpcagent.llm.progress import Progress, Tell
from hpcagent.llm.residents import Needed, Residents
from hpcagent.llm.tables import Sampling
from hpcagent.records import Failure, Limits, Message, Ranking, Reply

if TYPE_CHECKING:
    from hpcagent.llm.scores import Scores, Tokens

MAX_RESTARTS = 2
DEFAULT_CONTEXT = 8192
# The child keeps the time of an answer, to a batch of tokens, and is only killed where it hangs: a
# batch may take twice as long as the one before on a busy machine, and what was read would be lost.
_GRACE = 0.25  # of the time
_LOAD_TIMEOUT_S = 900.0  # a large file on a cold parallel file system
_DEFAULT_SAMPLING = Sampling()
_COMMAND = (sys.executable, "-P", "-m", "hpcagent.llm.child")


class LlamaCpp:
    """A LanguageModel; the file's header is checked at once, the weights are loaded when asked.

    `context` is in tokens; None takes the model's own, at most 8192; it is shorter after the first
    answer where memory is short. `threads` 0 takes what this process was given. Models that share
    `residents` give way to each other. After two restarts of a child that died or hung, every call
    answers with the failure `model.unavailable`. Failure kinds: load, memory, died, timeout,
    nonsense, unavailable, context_overflow, unspeakable, decode, truncated, garbled (not UTF-8),
    empty, invalid, changed (the file is another one now). EnvironmentProblem where the file cannot
    serve.

    `sampling` may set temperature, top_k, top_p and min_p. The child keeps the prompts of as many
    callers as it has memory for (`sequences`; None lets it decide), so that each pays only for
    what is new to it. `tell` hears how far it is with what it was asked.
    """

    def __init__(
        self,
        path: Path,
        context: int | None = None,
        load_timeout_s: float = _LOAD_TIMEOUT_S,
        command: Sequence[str] = _COMMAND,
        sampling: Mapping[str, float] | None = None,
        sequences: int | None = None,
        threads: int = 0,
        residents: Residents | None = None,
    ) -> None:
        self.file = gguf.read(path)
        self._original = Original(self.file)
        self._wanted = context_of(self.file, context)
        self.context = self._wanted
        self._load_timeout_s = load_timeout_s
        self._command = tuple(command)
        self._sampling = dict(sampling or {})
        self._sequences = sequences
        self._child: Child | None = None
        self._loading = False
        self._losses = 0
        self._last = ""
        self._threads = threads
        self._residents = residents
        self.tell: Tell = progress.silent
        self.device = ""  # where it computes, in words; known from the first answer on
        self.notes: tuple[str, ...] = ()  # what is not as it was asked for; likewise
        self.needs = 0  # bytes by the estimate, with the prompts that it keeps; likewise

    def digest(self, tell: Tell = progress.silent) -> str:
        """SHA-256 in hex; no file with another one is loaded from then on.

        `tell` hears how far it is. EnvironmentProblem where it cannot be had, or the file has
        changed already.
        """
        return self._original.digest(tell)

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
        sampling: Sampling = _DEFAULT_SAMPLING,
    ) -> Reply:
        """One answer that obeys `schema`; the same arguments give the same answer.

        Without a schema it is free text, until the model ends it.
        """
        request = {
            "op": "complete",
            "messages": [{"role": m.role, "content": _encodable(m.text)} for m in messages],
            **_confinement(schema),
            "max_tokens": limits.max_tokens,
            "thinking_tokens": limits.thinking_tokens,
            "timeout_s": limits.timeout_s,
            "sampling": {**self._sampling, **_drawn(sampling)},
            "seed": (seed + sampling.seed) % 2**31,
        }
        answer = self._asked(request, limits.timeout_s)
        if isinstance(answer, Failure):
            return Reply("", failure=answer)
        return heard.reply(answer, schema)

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
        sampling: Sampling = _DEFAULT_SAMPLING,
    ) -> Ranking:
        """ln of each entry's probability, after a reason if wanted; UsageError for a bad menu."""
        entries = [_encodable(entry) for entry in checked(menu)]
        request = {
            "op": "rank",
            "messages": [{"role": m.role, "content": _encodable(m.text)} for m in messages],
            "menu": entries,
            "outline": outline(reasoned(entries, reason)) if reason else None,
            "max_tokens": limits.max_tokens,
            "timeout_s": limits.timeout_s,
            "sampling": {**self._sampling, **_drawn(sampling)},
            "seed": (seed + sampling.seed) % 2**31,
        }
        answer = self._asked(request, limits.timeout_s)
        return Ranking((), failure=answer) if isinstance(answer, Failure) else heard.ranking(answer)

    def read_ahead(self, messages: Sequence[Message], limits: Limits) -> Reply:
        """Load and read a prompt that is not asked yet: a later one that begins so costs less."""
        request = {
            "op": "read",
            "messages": [{"role": m.role, "content": _encodable(m.text)} for m in messages],
            "timeout_s": limits.timeout_s,
        }
        answer = self._asked(request, limits.timeout_s)
        if isinstance(answer, Failure):
            return Reply("", failure=answer)
        return Reply("", tokens_in=answer["tokens_in"], seconds=answer["seconds"])

    def bench(
        self, prompt_tokens: int, tokens: int, repeats: int, timeout_s: float
    ) -> Mapping[str, Any] | Failure:
        """Speed beside a bare llama.cpp loop, as child.bench tells it."""
        request = {
            "op": "bench",
            "prompt_tokens": prompt_tokens,
            "tokens": tokens,
            "repeats": repeats,
            "timeout_s": timeout_s,
        }
        return self._asked(request, timeout_s)

    def score(
        self, history: Tokens, points: Tokens, outputs: tuple[int, int], limits: Limits
    ) -> Scores | Failure:
        """Logits at points that share a history; only for a model that was made for it.

        A row is a position, the sum of the embeddings of its tokens (N, width; negative: none).
        `outputs` are the first token that logits are wanted of, and how many.
        """
        found = []
        for piece in scores.pieces(points, outputs):
            request = scores.request(history, piece, outputs)
            answer = self._asked(request, limits.timeout_s)
            if isinstance(answer, Failure):
                return answer
            found.append(scores.read(answer, outputs))
        return scores.joined(found)

    def close(self) -> None:
        """End the child; a later call starts another one."""
        self._loading = False
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
        finally:
            self.tell(None)
        return child if isinstance(child, Failure) else None

    def begin(self) -> None:
        """Start the child and let it load, and do not wait for it: the first call does."""
        try:
            if self._child is None:
                self._child = Child(self._command, _environment())
                self._child.post(self._load_request())
                self._loading = True
        except ChildFailed as failed:
            self._lost(failed)

    @property
    def pid(self) -> int | None:
        """The process that holds the model; None while there is none."""
        return None if self._child is None else self._child.pid

    def _asked(self, request: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any] | Failure:
        try:
            child = self._running()
            if isinstance(child, Failure):
                return child
            answer = child.ask(request, timeout_s, self._heard, timeout_s * _GRACE)
        except ChildFailed as failed:
            return self._lost(failed)
        finally:
            self.tell(None)
        if self._spoilt(self._original.written_over()):
            return self._asked(request, timeout_s)  # MAX_RESTARTS bounds it
        return heard.failure(answer["failure"]) if "failure" in answer else answer

    def _running(self) -> Child | Failure:
        if self._child is not None and self._child.closed:
            self.close()
        if self._child is not None:
            self._spoilt(self._original.written_over())
        if self._child is None and self._losses > MAX_RESTARTS:
            words = f"llama.cpp failed {self._losses} times, last: {self._last}"
            return Failure("model", "unavailable", words)
        words = self._original.another() if self._child is None else ""
        if words:
            return Failure("model", "changed", words)
        if self._residents is not None:
            wanted = need(self.file, self._wanted).total
            self._residents.enter(self, Needed(wanted, paged_bytes(self.file)))
        return self._child if self._child is not None and not self._loading else self._started()

    def _started(self) -> Child | Failure:
        request = None if self._loading else self._load_request()
        child = self._child = self._child or Child(self._command, _environment())
        self._loading = False
        began = time.monotonic()
        answer = child.ask(request, self._load_timeout_s, lambda told: self._load_goes_on(began))
        if "failure" in answer:
            told = answer["failure"].get("kind") == "memory"  # in full; llama.cpp said nothing yet
            failure = heard.failure(answer["failure"], "" if told else child.last_words())
            self.close()
            self._losses, self._last = self._losses + 1, failure.evidence
            return failure
        if not self._original.is_here and self._spoilt("its file changed while it was loaded"):
            return self._running()
        self.device = str(answer.get("device", ""))
        self.notes = (*self._threads_note(), *map(str, answer.get("notes", ())))
        self.context = int(answer.get("context", self._wanted))
        self.needs = int(answer.get("needs", 0))
        if self._residents is not None and self.needs:
            self._residents.count(self, Needed(self.needs, int(answer.get("paged", 0))))
        return child

    def _heard(self, told: object) -> None:
        found = progress.read(told)
        if found is not None:
            self.tell(found)

    def _load_goes_on(self, began: float) -> None:
        seconds = time.monotonic() - began
        self.tell(Progress(progress.LOADING, 0, self.file.size_bytes, seconds=seconds))

    def _load_request(self) -> dict[str, Any]:
        return {
            "path": str(self.file.path.absolute()),  # of a link: by its name the parts are found
            "context": self._wanted,
            "threads": self._chosen_threads().count,
            "held": 0 if self._residents is None else self._residents.held(self),
            "paged": 0 if self._residents is None else self._residents.paged(self),
            "sequences": self._sequences,
            "seed": 0,
        }

    def _chosen_threads(self) -> threads.Threads:
        given = threads.here(os.environ)
        return threads.choose(self.file.size_bytes, given, self._threads)

    def _threads_note(self) -> tuple[str, ...]:
        chosen = self._chosen_threads()
        return (f"threads {chosen.why}",) if chosen.count < self._threads else ()

    def _spoilt(self, words: str) -> bool:
        """End the child where `words` say why what it holds is no more what was loaded."""
        if words:
            self.close()
            self._losses, self._last = self._losses + 1, words
        return bool(words)

    def _lost(self, failed: ChildFailed) -> Failure:
        self._child = None
        self.close()
        words = "; ".join(filter(None, (str(failed), self._original.written_over())))
        self._losses, self._last = self._losses + 1, words
        return Failure("model", failed.kind, f"{self.file.path.name}: {words}")


def context_of(file: gguf.ModelFile, wanted: int | None = None) -> int:
    """Tokens: what is wanted (None: 8192), at most what the model was made for."""
    return min(wanted or DEFAULT_CONTEXT, file.context_length or DEFAULT_CONTEXT)


def _environment() -> dict[str, str]:
    """The parent's, without a debugger at an abort, and with this package in reach."""
    package = str(Path(__file__).resolve().parent.parent.parent)
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONPATH": path}


def _confinement(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the child has to keep to: an outline where one can say it, else the whole grammar."""
    if schema is None:
        return {"outline": None}
    if linear(schema):
        return {"outline": outline(schema)}
    return {"outline": None, "grammar": gbnf(schema)}


def _drawn(sampling: Sampling) -> dict[str, float]:
    """How tokens are drawn, as far as that is configured."""
    found = {k: getattr(sampling, k) for k in ("temperature", "top_p", "top_k")}
    return {key: value for key, value in found.items() if value is not None}


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
