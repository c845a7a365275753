"""Nested parameters ⇄ leaves by path, e.g. `encoder/layer_0/forward/kernel`."""

from collections.abc import Iterator, Mapping
from typing import Any

Params = dict[str, Any]
"""Parameters: a nested dict of arrays."""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and leaves, in the tree's own order."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def tree(leaves: Mapping[str, Any]) -> Params:
    """The nested dict of some leaves by path."""
    root: Params = {}
    for path, leaf in leaves.items():
        *rooms, last = path.split("/")
        node = root
        for room in rooms:
            node = node.setdefault(room, {})
        node[last] = leaf
    return root
