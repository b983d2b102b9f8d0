"""Words that every user of a cluster meets sooner or later: causes are named, warnings are not."""

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


def well() -> list[tuple[str, str]]:
    _, *parts = re.split(
        r"(?m)^=== ([a-z0-9_]+)\n", (FOLDER / "diagnosis_lab_well.txt").read_text()
    )
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(("name", "text"), [pytest.param(*t, id=t[0]) for t in well()])
@pytest.mark.parametrize("exit_code", [None, 0])
def test_nothing_is_named_where_all_went_well(name: str, text: str, exit_code: int | None) -> None:
    assert diagnose(text.encode(), exit_code).causes == ()
