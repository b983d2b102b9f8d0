"""The log of a run's calls of language models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpcagent.errors import EnvironmentProblem
from hpcagent.study.transcript import kept


def test_a_torn_line_of_the_log_spoils_only_itself(tmp_path: Path) -> None:
    log = tmp_path / "llm.jsonl"
    log.write_text('{"answer": "cut he')
    kept(log, {"answer": "whole"})
    kept(log, {"answer": "whole"})
    lines = log.read_text().splitlines()
    assert lines[0] == '{"answer": "cut he'
    assert [json.loads(line)["answer"] for line in lines[1:]] == ["whole", "whole"]


def test_the_journal_gets_a_call_without_its_texts(tmp_path: Path) -> None:
    log = tmp_path / "llm.jsonl"
    call = {"messages": ["long"], "answer": "word", "ranking": [], "failure": "", "tokens_in": 7}
    assert kept(log, call) == {"tokens_in": 7}
    assert json.loads(log.read_text()).items() >= call.items()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"llm\.jsonl"):
        kept(tmp_path / "missing" / "llm.jsonl", {})
