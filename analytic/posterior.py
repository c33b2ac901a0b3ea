"""The posterior over data points at a noisy query.

Given x and σ, the posterior weight of data point i is

    u_i = π_i exp(-|x - x_i|²/2σ²) / Σ_j π_j exp(-|x - x_j|²/2σ²),

with mean D(x; σ), covariance C, entropy H = -Σ u_i log u_i and effective number
of points e^H (the perplexity of u).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["Posterior", "Top"]

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Top:
    """The k heaviest data points of each query, heaviest first (ties: lower index)."""

    index: NDArray[np.int64]
    weight: Floats


@dataclass(frozen=True, eq=False)
class Posterior:
    """Statistics of u at B queries; a single (D,) query drops the leading axis."""

    mean: Floats
    """(B, D) posterior mean D(x; σ)."""
    log_prob: Floats
    """(B,) log p_σ(x)."""
    trace_cov: Floats
    """(B,) tr C, in squared data units."""
    entropy: Floats
    """(B,) H(u) in nats."""
    _top: Callable[[int], Top] = field(repr=False)
    _count: int = field(repr=False)

    @property
    def effective_points(self) -> Floats:
        """(B,) e^H, between 1 and N."""
        return np.asarray(np.exp(self.entropy))

    def select(self, at: Any) -> Posterior:
        """The same statistics for some of the queries: `at` indexes the axes before D."""
        if not isinstance(at, tuple) and self.log_prob.ndim:
            at = _check.indices(at, len(self.log_prob), "at")
        try:
            log_prob = self.log_prob[at]
        except Exception:  # what an index is made of may raise anything
            shape = f"an index of axes {self.log_prob.shape}"
            _check.fail("at", _check.show(at), shape, "index what there is")

        def top(k: int) -> Top:
            found = self._top(k)
            return Top(found.index[at], found.weight[at])

        return Posterior(
            self.mean[at], log_prob, self.trace_cov[at], self.entropy[at], top, self._count
        )

    def top(self, k: int) -> Top:
        """The `k` heaviest points: index (B, k) into the point set and weight (B, k)."""
        return self._top(
            _check.integer(k, "k", low=1, high=self._count, remedy="ask for at most N points")
        )
