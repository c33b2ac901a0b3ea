"""Queries in chunks of the best size.

A form that holds all log-weights (rows, N) at once is fast when they stay in the
cache and each product is still a large one; which size that is depends on N, D and
the machine. So it is measured, when a number of queries is first met.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["HELD", "Chunked"]

HELD = 1 << 25
"""Log-weights held at a time at most: 256 MB of float64."""
SIZES = tuple(2**k for k in range(3, 13))
TRIED = 512
"""Queries that a size is tried on, or fewer where the points are many."""

_best: dict[tuple[object, ...], int] = {}
"""Sizes found, so that a fresh instance need not look again."""


class Chunked:
    """A function of a chunk of queries, applied to all of them in chunks of the best size."""

    def __init__(
        self,
        step: Callable[[Any], Any],
        join: Callable[[list[Any]], Any],
        key: tuple[object, ...],
        count: int,
    ) -> None:
        self.step, self.join, self.key, self.count = step, join, key, count
        self.note = ""

    def __call__(self, x: Any) -> Any:
        size = self._size(x)
        self.note = f"chunks of {size}"
        return self.join([self.step(x[k : k + size]) for k in range(0, len(x), size)])

    def _size(self, x: Any) -> int:
        key = (*self.key, len(x))
        if key not in _best:
            sizes = {min(size, len(x)) for size in SIZES if size * self.count <= HELD}
            _best[key] = min(sorted(sizes) or [1], key=lambda size: self._pace(x, size))
        return _best[key]

    def _pace(self, x: Any, size: int) -> float:
        """Least seconds per query."""
        least = float("inf")
        enough = max(size, min(TRIED, HELD // self.count))
        chunks = [x[k : k + size] for k in range(0, min(len(x), enough), size)]
        for _ in range(2):
            start = time.perf_counter()
            for chunk in chunks:
                self.step(chunk)
            least = min(least, time.perf_counter() - start)
        return least / sum(len(chunk) for chunk in chunks)
