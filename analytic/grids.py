"""Decreasing grids of noise levels.

A grid is a float64 array σ_0 > σ_1 > … > σ_{n-1} ≥ 0. `polynomial` is the
schedule of Karras et al. (2022), *Elucidating the Design Space of
Diffusion-Based Generative Models*, https://arxiv.org/abs/2206.00364, eq. 5:

    σ_k = (σ_max^{1/ρ} + k/(n-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["polynomial", "validate"]

Floats = NDArray[np.float64]


def polynomial(
    n: int, sigma_max: float = 80.0, sigma_min: float = 0.002, *, rho: float = 7.0
) -> Floats:
    """The polynomial grid of EDM.

    Parameters
    ----------
    n : number of levels, at least 2; a solver takes n - 1 steps.
    sigma_max, sigma_min : ends, in the units of the data; σ_min = 0 is allowed.
    rho : exponent ρ > 0; 7 in EDM, 1 gives equal steps in σ.

    Returns
    -------
    (n,) float64, strictly decreasing, both ends exact.
    """
    count = _check.integer(n, "n", low=2)
    low = _check.number(sigma_min, "sigma_min", low=0.0, high=_check.SIGMA_LIMIT)
    high = _check.number(sigma_max, "sigma_max", low=0.0, high=_check.SIGMA_LIMIT)
    power = _check.number(rho, "rho", low=0.0, high=1e3, open_low=True)
    if not high > low:
        _check.fail("sigma_max", repr(high), f"more than sigma_min = {low!r}", "swap the two")
    _check.size(count, 1, "n")
    share = np.linspace(0.0, 1.0, count)
    grid = ((1 - share) * high ** (1 / power) + share * low ** (1 / power)) ** power
    grid[0], grid[-1] = high, low
    return validate(grid, "sigma_max and sigma_min")


def validate(sigmas: Any, argument: str = "sigmas") -> Floats:
    """A grid as float64, or the error that says which entry breaks it.

    Raises
    ------
    ValueError
        unless there are two or more finite levels, strictly decreasing, the
        last one ≥ 0.
    """
    grid = _check.array(sigmas, argument).astype(np.float64)
    if grid.ndim != 1 or grid.size < 2:
        _check.fail(argument, f"shape {grid.shape}", "(n,) with n ≥ 2", "give at least both ends")
    steps = np.diff(grid)
    if (steps >= 0).any():
        k = int((steps >= 0).argmax())
        _check.fail(
            argument,
            f"{float(grid[k])!r} followed by {float(grid[k + 1])!r} at index {k}",
            "strictly decreasing noise levels",
            "sort from large to small and drop repeated levels",
        )
    if grid[-1] < 0 or grid[0] > _check.SIGMA_LIMIT:
        _check.fail(
            argument,
            f"levels from {float(grid[0])!r} to {float(grid[-1])!r}",
            "levels in [0, 1e150]",
            "pass noise levels σ themselves",
        )
    return grid
