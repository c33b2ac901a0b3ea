"""Gaussian mean shift: the optimal denoiser iterated at a fixed bandwidth.

One step replaces x by D(x; h), the kernel average of the data with bandwidth h
(Fukunaga & Hostetler 1975; Cheng 1995). Every step climbs:

    log p_h(D) - log p_h(x) ≥ |D - x|²/2h²,

and its fixed points are the critical points of p_h, maxima or not (theory A2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import Denoiser, apply, dimension_of

__all__ = ["MeanShift", "mean_shift"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanShift:
    """Where mean shift ended for B starts."""

    points: Floats
    """(B, D) last iterates."""
    converged: NDArray[np.bool_]
    """(B,) whether the last move was within the tolerance."""
    steps: NDArray[np.int64]
    """(B,) steps taken."""


def mean_shift(
    denoiser: Denoiser, x: Any, bandwidth: float, *, tol: float = 1e-10, max_steps: int = 10_000
) -> MeanShift:
    """Iterate x ← D(x; h) until a move is at most `tol` times h.

    Parameters
    ----------
    denoiser : the denoiser; `OptimalDenoiser` gives classical mean shift.
    x : (B, D) or (D,) starts.
    bandwidth : h > 0, in data units.
    tol : size of the last move in units of h; convergence is linear, so the
        fixed point may be farther away by the factor 1/(1 - λ_max(C)/h²).
    max_steps : steps after which a start counts as not converged.
    """
    dim = dimension_of(denoiser, x)
    now, _, _ = _check.queries(x, dim)
    width = _check.number(bandwidth, "bandwidth", low=0, high=_check.SIGMA_LIMIT, open_low=True)
    limit = width * _check.number(tol, "tol", low=0.0)
    most = _check.integer(max_steps, "max_steps", low=1)
    now = now.copy()
    steps = np.zeros(len(now), dtype=np.int64)
    active = np.arange(len(now))
    for _ in range(most):
        if not active.size:
            break
        after = apply(denoiser, now[active], width)
        moved = np.linalg.norm(after - now[active], axis=1)
        now[active] = after
        steps[active] += 1
        active = active[~(moved <= limit)]
    converged = np.ones(len(now), dtype=bool)
    converged[active] = False
    return MeanShift(now, converged, steps)
