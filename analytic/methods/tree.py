"""A k-d tree: what is near summed exactly, what is smooth interpolated, what is far bounded.

The cost of a query hardly grows with the number of points: at small σ few
leaves matter, at large σ few boxes do. See `analytic.kernels.tree` for the
mathematics and the bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._lazy import cached_property
from ._base import Floats, Sites, Softmax, inverse
from .dense import BAD_REFERENCE, Dense

NODES = {1: 48, 2: 48, 3: 24}
"""Chebyshev points per coordinate of an interpolated box, by dimension."""

COARSE = {1: 24, 2: 24, 3: 16}
"""The same for the box of all points where σ is larger than it."""

WORTH = {1: 128, 2: 800, 3: 6000}
"""Points of a box, more than a leaf has, from which interpolation is cheaper than opening it."""

CHARGES = 16_000_000
"""Numbers that the charges of all boxes may fill (128 MB)."""

SINGLE = 1e-9
"""Tolerance where results are kept in float32, whose last place is 6e-8."""


class _Boxes(NamedTuple):
    slot: NDArray[np.int64]
    """(nodes,) place of a node among those below, -1 for nodes without charges."""
    centre: Floats
    half: Floats
    charge: Floats
    z: Floats
    finest: float
    """Least half-width among them."""


class _Built(NamedTuple):
    cells: Any
    prior: Floats
    """Weights of the points in order."""
    points: NDArray[np.int64]
    """The point of every column."""
    arrays: tuple[Any, ...]
    """What the kernel asks for."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Certified pruning and expansion to a relative `tolerance` of the softmax sum."""

    sites: Sites
    tolerance: float = 1e-13

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0."""
        found, _ = self._sums(q, s, single)
        with np.errstate(invalid="ignore"):
            bad = np.flatnonzero(~(found.log_sum < BAD_REFERENCE) | ~(found.truncation < 1.0))
        if bad.size:
            found.put(bad, Dense(self.sites).softmax(q[bad], s[bad], single))
        return found

    def effort(self, q: Floats, s: Floats, single: bool = False) -> NDArray[np.int64]:
        """(B, 3) nodes opened, places summed and boxes interpolated for each query."""
        return self._sums(q, s, single)[1]

    def leaves(self) -> tuple[tuple[Any, ...], NDArray[np.int64]]:
        """Columns of the points, their base-2 log-weights or None, boxes and links of the nodes,
        the largest log-weight of each, the depth; and the point of every column.
        """
        columns, logs, boxes, links, *_, top, depth = self._tree.arrays
        return (columns, logs, boxes, links, top, depth), self._tree.points

    def _sums(self, q: Floats, s: Floats, single: bool) -> tuple[Softmax, NDArray[np.int64]]:
        """Softmax and effort, as the kernel gives them."""
        from ..kernels import tree

        tol = max(self.tolerance, SINGLE) if single else self.tolerance
        count, dim = q.shape
        column, effort = np.empty(count, np.int64), np.empty((count, 3), np.int64)
        out = (np.empty(count), np.empty((count, dim)), np.empty(count), column, effort)
        cells, inv = self._tree.cells, inverse(s)
        rows = tree.visit(cells.boxes, cells.links, q)
        wide = s[rows] >= self._coarse_from
        for some, coarse in ((rows[wide], True), (rows[~wide], False)):
            if some.size:
                boxes = self._coarse if coarse else self._charged
                rule = _ellipse(len(boxes.z), dim, tol)
                tree.softmax(self._tree.arrays, (*boxes, rule), some, q, inv, tol, out)
        return Softmax(self._tree.points[column], *out[:3]), effort

    @cached_property
    def _tree(self) -> _Built:
        from ..kernels import cells

        c = cells.build(self.sites.points)
        logs = self.sites.logs[c.order] / math.log(2.0)
        prior = np.exp2(logs)
        L = cells.filled(logs, c.row, -1e300)
        low, high = np.split(c.boxes, 2, axis=1)
        arrays = (
            c.columns,
            None if np.ptp(logs) == 0 else L,
            c.boxes,
            c.links,
            cells.gathered(prior, c, np.add),
            0.5 * (high - low).max(axis=1),
            cells.filled(np.exp2(-logs), c.row, 1.0),
            cells.gathered(logs, c, np.maximum),
            len(c.levels),
        )
        return _Built(c, prior, c.order[c.row], arrays)

    @cached_property
    def _charged(self) -> _Boxes:
        """The boxes that may be interpolated."""
        cells = self._tree.cells
        count, dim = cells.rows.shape
        sizes = cells.stop - cells.start
        charged = np.flatnonzero(sizes >= WORTH.get(dim, count + 1))
        most = CHARGES // NODES.get(dim, 1) ** dim
        if len(charged) > most:
            charged = np.flatnonzero(sizes > np.sort(sizes)[-most - 1])
        return self._boxes(charged, NODES.get(dim, 1))

    @cached_property
    def _coarse(self) -> _Boxes:
        """The box of all points, with fewer nodes: enough where σ is large."""
        return self._boxes(np.zeros(1, dtype=np.int64), COARSE[self.sites.points.shape[1]])

    @cached_property
    def _coarse_from(self) -> float:
        """The bandwidth from which `_coarse` serves."""
        count, dim = self.sites.points.shape
        if count < WORTH.get(dim, count + 1):
            return math.inf
        widest = _ellipse(COARSE[dim], dim, self.tolerance)[-1]
        return float(self._tree.arrays[5][0]) * (1 + 1e-9) / widest

    def _boxes(self, charged: NDArray[np.int64], n: int) -> _Boxes:
        from ..kernels import tree

        cells, prior, _, arrays = self._tree
        slot = np.full(cells.start.size, -1)
        slot[charged] = np.arange(charged.size)
        centre, half = tree.stretched(cells.boxes[charged])
        z, b = tree.chebyshev(n)
        charge = tree.charges(cells, prior, charged, slot, centre, half, z, b)
        finest = float(arrays[5][charged].min(initial=math.inf))
        return _Boxes(slot, centre, half, charge, z, finest)


@lru_cache(maxsize=64)
def _ellipse(n: int, dim: int, tol: float) -> tuple[float, float, float, float]:
    """How boxes are bounded, for the ϱ that admits the widest ones.

    A/h, (ϱ - 1/ϱ)²/8 log2(e), log2 of the constant, and the largest h/σ.
    """
    rho = np.linspace(1.5, 40.0, 2000)
    lebesgue = 2 / math.pi * math.log(n + 1) + 1
    stretch = (rho + 1 / rho) / 2
    # the parts of g have the factor e besides, at most 2A + h on the ellipse
    constant = dim**1.5 * lebesgue ** (dim - 1) * 4 * rho ** (1.0 - n) / (rho - 1)
    constant *= 1 + 2 * stretch
    squeeze = (rho - 1 / rho) ** 2 / 8 * math.log2(math.e)
    room = math.log2(tol) - 2 - np.log2(constant)
    k = int((room / squeeze).argmax())
    widest = math.sqrt(max(room[k] / squeeze[k], 0.0))
    return float(stretch[k]), float(squeeze[k]), float(np.log2(constant[k])), widest
