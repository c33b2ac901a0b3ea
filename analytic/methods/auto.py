"""The cheapest method for every query, chosen from the points and the bandwidth alone.

Costs are predicted, not timed, so that the same call always takes the same path:
what the dense methods do is known beforehand, and what the others do at a
bandwidth is counted on a few queries drawn from p_σ with a fixed seed, once for
every factor √2 in σ. The prices of a unit of work were measured once, on a core
with 512-bit vectors (`benchmarks`); only their ratios matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .._lazy import cached_property
from ._base import Exhaustive, Floats, Method, Sites, Softmax
from .blas import Blas
from .dense import Dense
from .fused import Fused
from .tree import NODES, Tree

LOW = 16
"""Dimensions up to which a tree of boxes pays."""

REGISTERS = 64
"""Dimensions up to which points are summed in registers; compiling them takes a second."""

SMALL = 1000
"""Fewer points than this are summed as they are."""

FEW, NUMBERS = 250, 60_000
"""Points, and coordinates of all of them, from which bounds and products pay in more than `LOW`
dimensions."""

PRODUCTS = 48
"""Dimensions from which products of float32 pay even where bounds let all of the points pass."""

SHARE = 0.15
"""Where bounds let more of the points pass, float64 sums take them all."""

PROBES = 16
"""Queries that work is counted on."""

FIXED, OPEN, COLUMN, COLUMN_SINGLE = 400.0, 25.0, 0.15, 0.05
"""Nanoseconds per query, node opened, and number of a point read (float64, float32)."""

EXPONENTIAL, EXPONENTIAL_SINGLE = 0.2, 0.08
"""Nanoseconds per weight."""

BOX = 0.12
"""Nanoseconds per charge of an interpolated box."""


@dataclass(frozen=True, eq=False)
class Auto:
    """A dense method or one that skips, whichever is predicted to be cheaper at a bandwidth."""

    sites: Sites
    tolerance: float = 1e-13
    _chosen: dict[tuple[int, bool], bool] = field(default_factory=dict, repr=False)

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0."""
        skips = self._skips(s, single)
        if skips.all():
            return self._skipping.softmax(q, s, single)
        if not skips.any():
            return self._dense.softmax(q, s, single)
        parts = [(np.flatnonzero(~skips), self._dense), (np.flatnonzero(skips), self._skipping)]
        done = [(rows, method.softmax(q[rows], s[rows], single)) for rows, method in parts]
        order = np.argsort(np.concatenate([rows for rows, _ in done]))
        fields = zip(*(found for _, found in done), strict=True)
        return Softmax(*(np.concatenate(each)[order] for each in fields))

    @cached_property
    def _dense(self) -> Exhaustive:
        return dense(self.sites)

    @cached_property
    def _skipping(self) -> Tree | Blas:
        return skipping(self.sites, self.tolerance)

    def _skips(self, s: Floats, single: bool) -> NDArray[np.bool_]:
        """(B,) whether skipping is predicted to be cheaper."""
        count, dim = self.sites.points.shape
        if count < (SMALL if dim <= LOW else max(FEW, NUMBERS / dim)):
            return np.zeros(len(s), dtype=bool)
        steps = np.floor(2 * np.log2(np.clip(s, 1e-100, 1e100))).astype(np.int64)
        kinds, where = np.unique(steps, return_inverse=True)
        return np.array([self._choose(int(k), single) for k in kinds], dtype=bool)[where]

    def _choose(self, step: int, single: bool) -> bool:
        """Whether skipping is cheaper at σ from 2^(step/2) on, up to 2^((step + 1)/2)."""
        if (step, single) not in self._chosen:
            self._chosen[step, single] = self._cheaper(2.0 ** (step / 2 + 0.25), single)
        return self._chosen[step, single]

    def _cheaper(self, sigma: float, single: bool) -> bool:
        method = self._skipping
        count, dim = self.sites.points.shape
        if isinstance(method, Blas):
            if single and dim >= PRODUCTS:
                return True
            return bool(method.share(*self._probes(sigma)).mean() < SHARE)
        opened, summed, boxed = method.effort(*self._probes(sigma), single).mean(axis=0)
        box = BOX * NODES.get(dim, 0) ** dim
        cost = FIXED + OPEN * opened + _column(dim, False) * summed + box * boxed
        return bool(cost < FIXED / 2 + _column(dim, single) * count)

    def _probes(self, sigma: float) -> tuple[Floats, Floats]:
        """Queries from p_σ."""
        points = self.sites.points
        noise = np.random.default_rng(1).standard_normal((PROBES, points.shape[1]))
        return points[self._drawn] + sigma * noise, np.full(PROBES, sigma)

    @cached_property
    def _drawn(self) -> NDArray[np.int64]:
        """Points that the probes start from, drawn with their weights."""
        total = np.cumsum(np.exp(self.sites.logs))
        where = np.random.default_rng(0).random(PROBES) * total[-1]
        return np.minimum(np.searchsorted(total, where), len(total) - 1)


def names() -> tuple[str, ...]:
    """Names that `make` knows."""
    return ("auto", "dense", "tree", "blas")


def make(name: str, sites: Sites, tolerance: float) -> Method:
    """The method of a name for these points."""
    if name == "dense":
        return dense(sites)
    if name == "tree":
        return skipping(sites, tolerance)
    return Blas(sites, tolerance) if name == "blas" else Auto(sites, tolerance)


def dense(sites: Sites) -> Exhaustive:
    """The method that sums every point, in registers where there are few dimensions."""
    return Fused(sites) if sites.points.shape[1] <= REGISTERS else Dense(sites)


def exhaustive(method: Method, sites: Sites) -> Exhaustive:
    """One that sums every point, for what needs more than a softmax: the method's own, if any."""
    if isinstance(method, Auto):
        return method._dense
    return method if isinstance(method, Fused | Dense) else dense(sites)


def skipping(sites: Sites, tolerance: float) -> Tree | Blas:
    """The method that leaves out what a bound shows to weigh too little."""
    return (Tree if sites.points.shape[1] <= LOW else Blas)(sites, tolerance)


def _column(dim: int, single: bool) -> float:
    """Price of a point."""
    if single:
        return EXPONENTIAL_SINGLE + COLUMN_SINGLE * dim
    return EXPONENTIAL + COLUMN * dim
