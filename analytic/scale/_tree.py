"""Partial results merged in one fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["folded", "merged"]

Part = TypeVar("Part")


def folded(parts: Iterable[Part | None], merge: Callable[[Part, Part], Part]) -> Part | None:
    """All parts merged: neighbours in pairs, then pairs of pairs, and so on.

    The order depends on the places alone, so that a place without a part (None) changes nothing
    for the others. No more parts are held than the tree is high.
    """
    waiting: list[tuple[int, Part | None]] = []
    for part in parts:
        height = 0
        while waiting and waiting[-1][0] == height:
            part = merged(waiting.pop()[1], part, merge)
            height += 1
        waiting.append((height, part))
    result: Part | None = None
    while waiting:
        result = merged(waiting.pop()[1], result, merge)
    return result


def merged(
    left: Part | None, right: Part | None, merge: Callable[[Part, Part], Part]
) -> Part | None:
    """Two neighbours, either of which may be missing."""
    if left is None or right is None:
        return right if left is None else left
    return merge(left, right)
