"""A menu as a tree over tokens: where its entries agree nothing is left to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Node:
    """What may follow a prefix: the entry that ends here (its index), and the next tokens."""

    entry: int | None
    children: Mapping[int, Node]


def build(entries: Sequence[Sequence[int]]) -> Node:
    """The tree of token sequences, in their order; ValueError where two of them are equal."""
    root, waiting = _node(entries, list(range(len(entries))), 0)
    while waiting:
        children, token, members, depth = waiting.pop()
        children[token], further = _node(entries, members, depth)
        waiting += further
    return root


def stretch(node: Node) -> tuple[tuple[int, ...], Node]:
    """The tokens that must follow `node`, and the node where something is to be decided.

    That node is a branching, or the end of an entry (which longer entries may go on from).
    """
    tokens: list[int] = []
    while node.entry is None and len(node.children) == 1:
        ((token, node),) = node.children.items()
        tokens.append(token)
    return tuple(tokens), node


def branches(root: Node) -> tuple[tuple[tuple[int, ...], Node], ...]:
    """(the tokens that lead to it, node) of every node with more than one way to go on, top down.

    A node that ends an entry and has children is one too: to end there is a way.
    """
    found: list[tuple[tuple[int, ...], Node]] = []
    waiting: list[tuple[tuple[int, ...], Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop(0)
        forced, node = stretch(node)
        path += forced
        if node.children:
            found.append((path, node))
        waiting += [((*path, token), child) for token, child in node.children.items()]
    return tuple(found)


_Unmade = tuple[dict[int, Node], int, list[int], int]


def _node(
    entries: Sequence[Sequence[int]], members: Sequence[int], depth: int
) -> tuple[Node, list[_Unmade]]:
    """The node that `members` agree up to, and its children that are still to be made."""
    ending = [index for index in members if len(entries[index]) == depth]
    if len(ending) > 1:
        raise ValueError(f"entries {ending[0]} and {ending[1]} are the same tokens")
    groups: dict[int, list[int]] = {}
    for index in members:
        if len(entries[index]) > depth:
            groups.setdefault(entries[index][depth], []).append(index)
    children: dict[int, Node] = {}
    unmade = [(children, token, group, depth + 1) for token, group in groups.items()]
    return Node(ending[0] if ending else None, children), unmade
