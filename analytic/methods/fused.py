"""Every point, every query, in registers: for few dimensions.

The nearest point is found in a k-d tree, then one pass sums the softmax relative
to it (`kernels.fused` states the mathematics and the bounds). Moments about the mean
take a second pass (`kernels.moments`), whose nodes are passed by where all weights are
zero: otherwise it costs the same at every σ, however many points a softmax could skip.
Queries for which that reference turns out to be a bad one, or whose distance
overflows, are left to `Dense`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._lazy import cached_property
from ._base import Floats, Sites, Softmax, Spread, inverse
from .dense import BAD_REFERENCE, Dense

LEAF = 128
"""Points in a leaf of the tree, at most (twice as many from six dimensions on)."""

NEAR = 2.0
"""With float32 sums, a reference this many nats below the heaviest point will do."""

BITS = math.log2(math.e)
"""Of a nat."""

REACH = 1e100
"""Queries farther from their nearest point than this, in units of the data's range, are Dense's."""


class _Tree(NamedTuple):
    """The points in k-d order, in units of their range, with what the nearest is found by."""

    unit: float
    """The power of two that the sites were divided by."""
    order: NDArray[np.int64]
    points: Floats
    """(D, N + spare), side by side."""
    logs: Floats
    """(N + spare,)."""
    low: Floats
    high: Floats
    top: Floats
    levels: int


@dataclass(frozen=True, eq=False)
class Fused:
    """The softmax in one pass of registers, after a search of the nearest point."""

    sites: Sites

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0.

        With `single`, log-weights that matter are within 3.4e-4 nats, and usually within 1e-5;
        sums have float32's precision, and the reference may be 2 nats below the heaviest point.
        """
        found, good = self._attempt(q, s, single)
        bad = np.flatnonzero(~good)
        if bad.size:
            found.put(bad, Dense(self.sites).softmax(q[bad], s[bad]))
        return found

    def _attempt(self, q: Floats, s: Floats, single: bool) -> tuple[Softmax, NDArray[np.bool_]]:
        """The softmax, and for which queries it is to be trusted."""
        from ..kernels import fused, leaves

        tree = self._tree
        x, sigma = q / tree.unit, s / tree.unit
        heat = np.minimum(sigma, _check.SIGMA_LIMIT)
        row = leaves.nearest(*tree[2:], x, heat, self._zeros, NEAR if single else 0.0)
        near = np.ascontiguousarray(tree.points[:, row].T)
        base = np.zeros(len(x)) if self._bits is None else self._bits[row]
        given = (tree.points, self._bits, self._zeros)
        if single:
            arrays = (*given[:2], self._blocks, given[2], x, near, row, base, inverse(sigma))
            total, moment = fused.sums_single(*arrays)
        else:
            total, moment = fused.sums(*given, x, near, base, inverse(sigma))
        good = (total > 0) & np.isfinite(total) & (np.abs(x - near) < REACH).all(axis=1)
        total[~good] = 1.0
        log_sum, shift = np.log(total), moment / total[:, None] * tree.unit
        good &= (log_sum <= BAD_REFERENCE) & np.isfinite(shift).all(axis=1)
        return Softmax(tree.order[row], log_sum, shift, np.zeros(len(x))), good

    def spread(
        self, q: Floats, s: Floats, found: Softmax, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""
        from ..kernels import moments

        unit = self._tree.unit
        given, far = self._about(q, s, found)
        given += None if v is None else np.ascontiguousarray(v / unit), third
        total = moments.spread(*given)
        total[far] = 1.0
        mass, trace, bits = total[:, 0], total[:, 1] / total[:, 0], total[:, 2] / total[:, 0]
        pull = np.zeros_like(q) if v is None else total[:, 3:] / mass[:, None]
        result = Spread(
            trace * unit * unit, np.log(mass) - np.log(2.0) * bits, pull * unit * unit * unit
        )
        if far.size:
            v = None if v is None else v[far]
            rest = Dense(self.sites).spread(q[far], s[far], found.at(far), v, third)
            result.put(far, rest)
        return result

    def covariance(self, q: Floats, s: Floats, found: Softmax) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""
        from ..kernels import moments

        unit = self._tree.unit
        given, far = self._about(q, s, found)
        mass, result = moments.covariance(*given)
        mass[far] = 1.0
        for factor in (1 / mass[:, None, None], unit, unit):
            result *= factor
        if far.size:
            result[far] = Dense(self.sites).covariance(q[far], s[far], found.at(far))
        return np.asarray(result)

    def _about(self, q: Floats, s: Floats, found: Softmax) -> tuple[Any, NDArray[np.int64]]:
        """What the kernels of moments are given, and the queries that are too far for them."""
        unit, ref = self._tree.unit, found.ref
        x, near = q / unit, self.sites.points[ref] / unit
        base = np.zeros(len(x)) if self._bits is None else self.sites.logs[ref] * BITS
        far = np.flatnonzero(~(np.abs(x - near) < REACH).all(axis=1))
        given = self._zeros, self._boxed, x, near, base, inverse(s / unit), found.shift / unit
        return given, far

    @cached_property
    def _tree(self) -> _Tree:
        from ..kernels import fused, leaves

        points, logs = self.sites.points, self.sites.logs
        spread = float((points.max(axis=0) - points.min(axis=0)).max())
        unit = float(2.0 ** np.frexp(spread)[1]) if spread else 1.0
        order, levels = leaves.build(points, LEAF if points.shape[1] < 6 else 2 * LEAF)
        rows, heights = points[order] / unit, logs[order]
        low, high = leaves.boxes(rows, levels)
        top = leaves.top_logs(heights, levels)
        sides = fused.columns(rows), fused.columns(heights[:, None])[0]
        return _Tree(unit, order, *sides, low, high, top, levels)

    @cached_property
    def _bits(self) -> Floats | None:
        """Log-weights to base 2, None where they are all equal."""
        logs = self.sites.logs
        return None if logs.min() == logs.max() else np.asarray(self._tree.logs * BITS)

    @cached_property
    def _boxed(self) -> Any:
        from ..kernels import moments

        tree = self._tree
        top = np.zeros_like(tree.top) if self._bits is None else tree.top * BITS
        return moments.Boxed(tree.points, self._bits, tree.low, tree.high, top)

    @cached_property
    def _blocks(self) -> Any:
        from ..kernels import fused

        count = len(self.sites.logs)
        bits = np.zeros(count) if self._bits is None else self._bits[:count]
        return fused.blocks(np.ascontiguousarray(self._tree.points[:, :count].T), bits)

    @property
    def _zeros(self) -> tuple[float, ...]:
        """What tells the compiler the dimension."""
        return (0.0,) * self.sites.points.shape[1]
