"""The transcript of a run's calls of language models: llm.jsonl, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hpcagent.study.durable import problem, utc_now, utc_text

_IN_FULL = ("messages", "answer", "ranking", "failure")


def kept(log: Path, call: Mapping[str, Any]) -> dict[str, Any]:
    """Append a call to `log`; without the texts, as it belongs into the journal."""
    line = json.dumps({"t_utc": utc_text(utc_now()), **call}, sort_keys=True) + "\n"
    try:
        with log.open("ab+") as stream:
            if _torn(stream):
                stream.write(b"\n")
            stream.write(line.encode("ascii"))
    except OSError as error:
        raise problem("write to", log, error) from None
    return {key: value for key, value in call.items() if key not in _IN_FULL}


def _torn(stream: BinaryIO) -> bool:
    """Whether the last line lacks its end, for the process that wrote it was killed."""
    if stream.seek(0, os.SEEK_END) == 0:
        return False
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) != b"\n"
