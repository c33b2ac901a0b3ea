"""Every point, every query, in float64, from differences: the judge of all other methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _check
from ._base import Floats, Sites, Softmax, Spread, inverse

BAD_REFERENCE = 30.0
"""A logit this far above the reference's asks for a better reference."""


@dataclass(frozen=True, eq=False)
class Dense:
    """Two passes: the nearest point, then the softmax relative to it."""

    sites: Sites

    def softmax(self, q: Floats, s: Floats, single: bool = False) -> Softmax:
        """Softmax for queries q (B, D) and bandwidths s (B,) ≥ 0."""
        from ..kernels import dense

        points, logs, inv = self.sites.points, self.sites.logs, inverse(s)
        ref = dense.reference(points, logs, q, np.minimum(s, _check.SIGMA_LIMIT))
        top, index, log_sum, shift = dense.softmax(points, logs, q, inv, ref)
        for _ in range(8):
            bad = np.flatnonzero(top > BAD_REFERENCE)
            if not bad.size:
                break
            ref[bad] = index[bad]
            redo = dense.softmax(points, logs, q[bad], inv[bad], ref[bad])
            top[bad], index[bad], log_sum[bad], shift[bad] = redo
        return Softmax(ref, log_sum, shift, np.zeros(len(q)))

    def spread(
        self, q: Floats, s: Floats, found: Softmax, v: Floats | None = None, third: float = 0.0
    ) -> Spread:
        """tr C, entropy and, for directions v (B, D), third κ3 + C v."""
        from ..kernels import dense

        way = np.zeros_like(found.shift) if v is None else np.ascontiguousarray(v)
        given = self.sites.points, self.sites.logs, q, inverse(s), *found[:3]
        trace, entropy, cubic, image = dense.spread(*given, way)
        return Spread(trace, entropy, third * cubic + image)

    def covariance(self, q: Floats, s: Floats, found: Softmax) -> Floats:
        """(B, D, D) C = Σ u y yᵀ, exactly symmetric."""
        from ..kernels import dense

        out = np.empty((*q.shape, q.shape[1]))
        dense.covariance(self.sites.points, self.sites.logs, q, inverse(s), *found[:3], out)
        return out
