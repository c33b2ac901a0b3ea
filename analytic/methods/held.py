"""Sums over points in memory: a method for the softmax, and one that sums all for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._lazy import cached_property
from ..points import PointSet
from ._base import Exhaustive, Floats, Found, Method, Sites, Softmax, Spread, inverse, shared
from .auto import exhaustive, make

__all__ = ["Held"]

SLAB = 5_000_000
"""Log-weights held at a time where the heaviest points are asked for (40 MB)."""


@dataclass(frozen=True, eq=False)
class Held:
    """What `OptimalDenoiser` asks of points in memory."""

    points: PointSet
    method: str = "auto"
    tolerance: float = 1e-13
    threads: int | None = None

    @cached_property
    def sites(self) -> Sites:
        """The points as methods see them."""
        return Sites.of(self.points.points, self.points.log_weights)

    @property
    def count(self) -> int:
        """Number of points, all of which have some weight."""
        return len(self.points)

    @property
    def unit(self) -> float:
        """What lengths are divided by."""
        return self.sites.unit

    def scaled(self, x: Floats, sigma: Floats) -> tuple[Floats, Floats]:
        """Queries and bandwidths in units of the sums."""
        return self.sites.scaled(x, sigma)

    def at(self, index: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Points (B, D) and log-weights (B,) of some indices."""
        return self.sites.points[index], self.sites.logs[index]

    @shared
    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Found:
        """The softmax over all points."""
        found = self._method.softmax(q, s, single)
        return Found(*found, *self.at(found.ref))

    @shared
    def spread(
        self, q: Floats, s: Floats, found: Found, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""
        return self._exhaustive.spread(q, s, Softmax(*found[:4]), v, third)

    @shared
    def covariance(self, q: Floats, s: Floats, found: Found) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""
        return self._exhaustive.covariance(q, s, Softmax(*found[:4]))

    @shared
    def trap(self, q: Floats, s: Floats, index: NDArray[np.int64]) -> Floats:
        """(B, 5) sums of the trap certificate for candidate points."""
        from ..kernels import dense

        result = np.empty((len(q), 5))
        dense.trap(*self.sites[:2], q, inverse(s), index, result)
        return result

    @shared
    def top(self, q: Floats, s: Floats, found: Found, k: int) -> tuple[NDArray[np.int64], Floats]:
        """Indices (B, k) of the heaviest points and their log-weights, heaviest first."""
        from ..kernels import dense

        index, heights = np.empty((len(q), k), dtype=np.int64), np.empty((len(q), k))
        step = max(1, SLAB // len(self.points))
        for start in range(0, len(q), step):
            rows = slice(start, start + step)
            logs = np.empty((len(q[rows]), len(self.points)))
            given = q[rows], inverse(s[rows]), found.ref[rows], found.log_sum[rows]
            dense.log_posterior(*self.sites[:2], *given, logs)
            index[rows] = np.argsort(-logs, axis=1, kind="stable")[:, :k]
            heights[rows] = np.take_along_axis(logs, index[rows], axis=1)
        return index, heights

    @cached_property
    def _method(self) -> Method:
        return make(self.method, self.sites, self.tolerance)

    @cached_property
    def _exhaustive(self) -> Exhaustive:
        return exhaustive(self._method, self.sites)
