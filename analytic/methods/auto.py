"""The cheapest method for every query, chosen from the points and the bandwidth alone.

Costs are predicted, not timed, so that the same call always takes the same path:
what the dense methods do is known beforehand, and what the tree does at a
bandwidth is counted on a few queries drawn from p_σ with a fixed seed, once for
every factor √2 in σ. The prices of a unit of work were measured once, on a core
with 512-bit vectors (`benchmarks`); only their ratios matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ._base import Floats, Method, Sites, Softmax
from .dense import Dense
from .fused import Fused
from .tree import NODES, Tree

LOW = 16
"""Dimensions up to which points are summed in registers, and a tree of boxes pays."""

SMALL = 1000
"""Fewer points than this are summed as they are."""

PROBES = 16
"""Queries that the tree's work is counted on."""

FIXED, OPEN, COLUMN, COLUMN_SINGLE = 400.0, 25.0, 0.15, 0.05
"""Nanoseconds per query, node opened, and number of a point read (float64, float32)."""

EXPONENTIAL, EXPONENTIAL_SINGLE = 0.2, 0.08
"""Nanoseconds per weight."""

BOX = 0.12
"""Nanoseconds per charge of an interpolated box."""


@dataclass(frozen=True, eq=False)
class Auto:
    """A dense method or the tree, whichever is predicted to be cheaper at a query's bandwidth."""

    sites: Sites
    tolerance: float = 1e-13
    _chosen: dict[tuple[int, bool], bool] = field(default_factory=dict, repr=False)

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0."""
        pruned = self._prunes(s, single)
        if pruned.all():
            return self._tree.softmax(q, s, single)
        if not pruned.any():
            return self._dense.softmax(q, s, single)
        parts = [(np.flatnonzero(~pruned), self._dense), (np.flatnonzero(pruned), self._tree)]
        done = [(rows, method.softmax(q[rows], s[rows], single)) for rows, method in parts]
        order = np.argsort(np.concatenate([rows for rows, _ in done]))
        fields = zip(*(found for _, found in done), strict=True)
        return Softmax(*(np.concatenate(each)[order] for each in fields))

    @cached_property
    def _dense(self) -> Method:
        return dense(self.sites)

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self.sites, self.tolerance)

    def _prunes(self, s: Floats, single: bool) -> np.ndarray:
        """(B,) whether the tree is predicted to be cheaper."""
        if len(self.sites.points) < SMALL or self.sites.points.shape[1] > LOW:
            return np.zeros(len(s), dtype=bool)
        steps = np.floor(2 * np.log2(np.clip(s, 1e-100, 1e100))).astype(np.int64)
        kinds, where = np.unique(steps, return_inverse=True)
        return np.array([self._choose(int(k), single) for k in kinds])[where]

    def _choose(self, step: int, single: bool) -> bool:
        """Whether the tree is cheaper at σ from 2^(step/2) on, up to 2^((step + 1)/2)."""
        if (step, single) not in self._chosen:
            count, dim = self.sites.points.shape
            column = _column(dim, single)
            work = self._tree.effort(*self._probes(2.0 ** (step / 2 + 0.25)), single)
            opened, summed, boxed = work.mean(axis=0)
            box = BOX * NODES.get(dim, 0) ** dim
            cost = FIXED + OPEN * opened + _column(dim, False) * summed + box * boxed
            self._chosen[step, single] = bool(cost < FIXED / 2 + column * count)
        return self._chosen[step, single]

    def _probes(self, sigma: float) -> tuple[Floats, Floats]:
        """Queries from p_σ."""
        rng = np.random.default_rng(0)
        points = self.sites.points
        rows = rng.choice(len(points), PROBES, p=np.exp(self.sites.logs))
        return points[rows] + sigma * rng.standard_normal((PROBES, points.shape[1])), np.full(
            PROBES, sigma
        )


def dense(sites: Sites) -> Method:
    """The method that sums every point, in registers where there are few dimensions."""
    return Fused(sites) if sites.points.shape[1] <= LOW else Dense(sites)


def _column(dim: int, single: bool) -> float:
    """Price of a point."""
    if single:
        return EXPONENTIAL_SINGLE + COLUMN_SINGLE * dim
    return EXPONENTIAL + COLUMN * dim
