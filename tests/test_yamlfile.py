"""YAML files: plain data with lines, by libyaml and by PyYAML alike; anything else in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.yamlfile import MAX_DEPTH, Document, load_yaml

PLAIN = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii"))
DATA = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner)
)


def loaded(folder: Path, text: str) -> Document:
    path = folder / "x.yaml"
    path.write_text(text)
    return load_yaml(path)


@given(data=DATA, block=st.booleans())
def test_both_parsers_see_the_same_at_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, data: Any, block: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = yaml.safe_dump({"x": data}) if block else json.dumps({"x": data}, indent=1)
    fast = loaded(folder, text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        slow = loaded(folder, text)
    assert fast.data == {"x": data}
    assert (slow.data, slow.lines) == (fast.data, fast.lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "x.yaml:1: nested too deeply"),
        ("- " * (MAX_DEPTH + 1) + "x", "x.yaml:1: nested too deeply"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not valid YAML: found character '\\t'"),
        ("a: &one 1\nb: *one\n", "x.yaml:2: aliases (*name) are not allowed"),
        ("a: 1\na: 2\n", "x.yaml:2: 'a' is given twice"),
        ("a: 2026-01-01\n", "x.yaml:1: '2026-01-01': write it in quotes"),
        ("# nothing\n", "x.yaml: the file is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    assert told in str(caught.value)
