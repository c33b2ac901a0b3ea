"""Every point, every query, in float64, from differences: the judge of all other methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _check
from ._base import Floats, Sites, Softmax, inverse

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
