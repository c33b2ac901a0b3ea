"""Basins of the exact flow: which data point a noisy state belongs to.

The flow of an optimal denoiser carries almost every state at level σ to one data point
(theory D1). The states that end on x_i are its basin; their share under p_σ is π_i, as
the flow carries p_σ to the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import OptimalDenoiser
from .flow import integrate

__all__ = ["Basins", "basins"]


@dataclass(frozen=True, eq=False)
class Basins:
    """Where the exact flow takes B states."""

    index: NDArray[np.int64]
    """(B,) data point at which each state ends; the nearest one at the end where not certified."""
    certified: NDArray[np.bool_]
    """(B,) whether a trap certificate proves it of the computed trajectory."""
    sigma: NDArray[np.float64]
    """(B,) level at which it did; NaN where none fired."""

    @property
    def fraction(self) -> float:
        """Certified share of the states."""
        return float(self.certified.mean()) if self.certified.size else float("nan")

    def shares(self, count: int) -> NDArray[np.float64]:
        """(count,) share of the states that ends on each of `count` data points."""
        many = _check.integer(count, "count", high=2**40, remedy="give the number of data points")
        _check.size(many, 1, "count")
        return np.bincount(self.index, minlength=many) / max(self.index.size, 1)


def basins(
    denoiser: OptimalDenoiser, x: Any, sigma: float, *, rtol: float = 1e-8, atol: float = 1e-10
) -> Basins:
    """The basin of each state x (B, D) or (D,) at level σ > 0.

    Parameters
    ----------
    denoiser : an `OptimalDenoiser`; others have no limits that are certified.
    x, sigma : states and their common level.
    rtol, atol : tolerances of `analytic.integrate`. A state within some rtol |x| of a
        separatrix may be counted to the neighbour.
    """
    _check.instance(denoiser, "denoiser", OptimalDenoiser, "only finite data have limits")
    level = _check.number(sigma, "sigma", low=1e-300, high=_check.SIGMA_LIMIT)
    path = integrate(
        denoiser, x, level, 0.0, rtol=rtol, atol=atol, save_at=(), estimate_error=False
    )
    assert path.collapse is not None
    return Basins(path.collapse.index, path.collapse.certified, path.collapse.sigma)
