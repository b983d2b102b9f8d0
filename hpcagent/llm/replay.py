"""A model's answers taken from the transcript of an earlier run, in the place of the model.

A transcript is a run's llm.jsonl: one JSON object a line, as `log.Call` writes it. A question is
found by its digest; of several answers to one question the last counts, since that is the one
that was acted on. Lines that cannot be read (a torn one at the end) are passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.log import RANKING, menu_digest, prompt_digest
from hpcagent.records import Failure, Limits, Message, Ranking, Reply

FILE = "llm.jsonl"
_MAX_LINE = 4 * 1024 * 1024


class Replay:
    """A LanguageModel; what the transcript lacks is the failure `model.not_in_transcript`."""

    def __init__(self, path: Path, calls: Mapping[str, Mapping[str, Any]], digest: str) -> None:
        self._path = path
        self._calls = calls
        self.model_sha256 = digest

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        """The answer that was given then; it costs nothing now."""
        call = self._calls.get(prompt_digest(messages, schema, limits, seed))
        if call is None:
            return Reply("", failure=self._missing())
        return Reply(
            str(call.get("answer", "")),
            int(call.get("tokens_in", 0)),
            int(call.get("tokens_out", 0)),
            failure=_failure(call),
            thinking=str(call.get("thinking", "")),
        )

    def _missing(self) -> Failure:
        words = f"{self._path} has no answer to this question"
        return Failure("model", "not_in_transcript", words)


class RankingReplay(Replay):
    """A RankingModel: the transcript of one."""

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        call = self._calls.get(menu_digest(messages, menu, limits, reason, seed))
        if call is None:
            return Ranking((), failure=self._missing())
        failure = _failure(call)
        rows = () if failure is not None else tuple(float(row[1]) for row in call["ranking"])
        if failure is None and len(rows) != len(menu):
            return Ranking((), failure=self._missing())
        return Ranking(
            rows,
            int(call.get("tokens_in", 0)),
            failure=failure,
            tokens_out=int(call.get("tokens_out", 0)),
            reason=str(call.get("reason", "")),
        )


def transcript(where: Path) -> Path:
    """The file of a run folder, or `where` itself."""
    return where / FILE if where.is_dir() else where


def replay(where: Path) -> Replay:
    """The answers in a run folder or a file; EnvironmentProblem where there are none."""
    path = transcript(where)
    calls, ranks, digest = {}, False, ""
    for call in _lines(path):
        calls[str(call["prompt_sha256"])] = call
        ranks = ranks or call.get("op") == RANKING
        digest = str(call.get("model_sha256", ""))
    if not calls:
        raise EnvironmentProblem(f"{path}: holds no answer of a model")
    return RankingReplay(path, calls, digest) if ranks else Replay(path, calls, digest)


def _lines(path: Path) -> list[Mapping[str, Any]]:
    if not path.exists():
        raise EnvironmentProblem(f"{path}: there is no such transcript")
    if not path.is_file():
        raise EnvironmentProblem(f"{path}: not a regular file; name a run or its {FILE}")
    found = []
    try:
        with path.open("rb") as stream:
            while line := stream.readline(_MAX_LINE):
                call = _call(line)
                if call is not None:
                    found.append(call)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be read: {error.strerror}") from None
    return found


def _call(line: bytes) -> Mapping[str, Any] | None:
    """A line that can be used, checked as far as it will be."""
    try:
        call = json.loads(line)
        usable = isinstance(call, dict) and isinstance(call["prompt_sha256"], str)
        if usable:
            rows = [float(row[1]) for row in call.get("ranking", ())]
            int(call.get("tokens_in", 0)), int(call.get("tokens_out", 0))
            usable = not any(map(math.isnan, rows))
            usable = usable and (
                bool(rows) or _failure(call) is not None or call.get("op") != RANKING
            )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
    return call if usable else None


def _failure(call: Mapping[str, Any]) -> Failure | None:
    found = call.get("failure")
    if not found:
        return None
    return Failure(str(found["stage"]), str(found["kind"]), str(found["evidence"]))
