"""Words that every user of a cluster meets sooner or later, each with the cause to be named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcagent.toolchain.diagnosis import diagnose

FOLDER = Path(__file__).parent / "fixtures"
HEAD = re.compile(r"(?m)^=== ([a-z0-9_]+) \| ([a-z]+\.[a-z_]+)\n")


def texts() -> list[tuple[str, str, str]]:
    files = (FOLDER / "diagnosis_common.txt", FOLDER / "diagnosis_lab.txt")
    parts = [part for file in files for part in HEAD.split(file.read_text())[1:]]
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))


@pytest.mark.parametrize(("name", "cause", "text"), [pytest.param(*t, id=t[0]) for t in texts()])
def test_a_common_failure_is_named_by_its_cause(name: str, cause: str, text: str) -> None:
    found = diagnose(text.encode(), 1)
    assert found.causes[0].id == cause
