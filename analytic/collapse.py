"""The trap certificate: when a trajectory can only end at one data point (theory D1).

At (x, s_c) with candidate i let g_j = |x - x_j|² - |x - x_i|², d_ij = |x_i - x_j|,
r_j = (π_j/π_i) exp(-g_j/2s_c²), B = Σ r_j d_ij, ε = Σ r_j, R_i = max d_ij. If

    every g_j > 0   and   min(B, R_i ε/(1 + ε)) ≤ ½ min_j d_ij,

the exact trajectory from (x, s_c) converges to x_i, and with v = s_c/s, G = min_j g_j/2s_c²,

    |x(s) - x_i - (s/s_c)(x - x_i)|
        ≤ min{ min(B, R_i ε/(1 + ε))(1 - 1/v), B(1 - e^{-G(v-1)})/(vG) }.

The set is invariant: along the flow every r_j, B and ε only decrease. The
denoiser's error there is |D - x_i| ≤ min(B, R_i ε/(1 + ε)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import OptimalDenoiser

__all__ = ["Certificate", "certificate"]

Floats = NDArray[np.float64]

_SLACK = 1e-9
"""Relative inflation of B and ε: covers rounding, which is below 1e-9 where they count."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """The certificate at B states."""

    index: NDArray[np.int64]
    """(B,) candidate data point i."""
    certified: NDArray[np.bool_]
    """(B,) whether the trajectory provably converges to it."""
    sigma: Floats
    """(B,) level s_c of the state."""
    pull: Floats
    """(B,) B, in data units."""
    reach: Floats
    """(B,) min(B, R_i ε/(1 + ε)): bounds |D - x_i|, and the tail, from here on."""
    gap: Floats
    """(B,) G = min_j g_j/2s_c²."""

    def tail(self, sigma: Any) -> Floats:
        """(B,) bound on the distance of x(s) from x_i + (s/s_c)(x - x_i), for s ≤ s_c.

        Infinite where nothing is certified.
        """
        level = _check.sigma(sigma, len(self.index), zero=True)
        if (level > self.sigma).any():
            _check.fail("sigma", "a level above the certified one", "s ≤ s_c", "go down only")
        share = level / self.sigma
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            span = self.gap * (1 / share - 1)
            late = self.pull * -np.expm1(-span) * share / self.gap
        late = np.where(level == 0, 0.0, np.where(np.isfinite(late), late, np.inf))
        return np.asarray(
            np.where(self.certified, np.minimum(self.reach * (1 - share), late), np.inf)
        )


def certificate(denoiser: OptimalDenoiser, x: Any, sigma: Any, index: Any = None) -> Certificate:
    """Check the trap certificate at states x (B, D) or (D,) and levels σ > 0.

    Parameters
    ----------
    denoiser : the optimal denoiser whose flow is meant.
    x, sigma : states and their levels (scalar or (B,)).
    index : (B,) candidate points; by default the heaviest point of each state.

    Raises
    ------
    TypeError
        for any other denoiser: the certificate needs the data.
    """
    if not isinstance(denoiser, OptimalDenoiser):
        _check.fail(
            "denoiser",
            type(denoiser).__name__,
            "an OptimalDenoiser",
            "wrap the points in analytic.OptimalDenoiser",
            TypeError,
        )
    states, _, _ = _check.queries(x, denoiser.dim)
    levels = _check.sigma(sigma, len(states))
    if index is None:
        index = denoiser.evaluate(states, levels).nearest
    candidate = np.asarray(index)
    if candidate.shape != (len(states),) or candidate.dtype.kind not in "iu":
        _check.fail("index", _check.show(candidate), "(B,) whole numbers", "one point per state")
    if candidate.size and not (candidate.min() >= 0 and candidate.max() < len(denoiser.points)):
        _check.fail("index", "an index outside the data", "0 ≤ index < N", "check the candidates")
    candidate = candidate.astype(np.int64)
    pull, odds, far, near, gap = denoiser.trap_sums(states, levels, candidate).T
    pull, odds = pull * (1 + _SLACK), odds * (1 + _SLACK)
    with np.errstate(invalid="ignore", over="ignore"):
        reach = np.minimum(pull, np.where(np.isinf(odds), far, far * odds / (1 + odds)))
        certified = (gap > 0) & (reach <= 0.5 * near)
        return Certificate(candidate, certified, levels, pull, reach, gap)
