from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.llm.child.trie import Node, branches, build, stretch

ENTRIES = ((7, 1, 2), (7, 1, 3), (7, 1, 3, 4, 5), (7, 9))


def test_what_the_entries_share_is_a_stretch() -> None:
    forced, node = stretch(build(ENTRIES))
    assert forced == (7,) and set(node.children) == {1, 9}
    assert stretch(node.children[1].children[3]) == ((), node.children[1].children[3])
    assert node.children[1].children[3].entry == 1


def test_branches_come_top_down_with_the_way_to_them() -> None:
    found = branches(build(ENTRIES))
    assert [path for path, _ in found] == [(7,), (7, 1), (7, 1, 3)]
    assert [len(node.children) + (node.entry is not None) for _, node in found] == [2, 2, 2]


def test_equal_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="entries 0 and 2"):
        build(((1, 2), (1,), (1, 2)))


def test_a_single_entry_decides_nothing() -> None:
    forced, node = stretch(build(((4, 5, 6),)))
    assert forced == (4, 5, 6) and node.entry == 0 and not node.children
    assert branches(build(((4, 5, 6),))) == ()


def test_an_entry_of_many_tokens_is_no_deep_recursion_too_far() -> None:
    forced, node = stretch(build((tuple(range(5000)),)))
    assert len(forced) == 5000 and node.entry == 0


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12, unique_by=tuple))
def test_every_entry_is_found_at_the_end_of_its_tokens(entries: list[list[int]]) -> None:
    root = build(entries)
    for index, tokens in enumerate(entries):
        node = root
        for token in tokens:
            node = node.children[token]
        assert node.entry == index
    assert len(_entries(root)) == len(entries)


def _entries(node: Node) -> list[int]:
    own = [] if node.entry is None else [node.entry]
    return own + [each for child in node.children.values() for each in _entries(child)]
