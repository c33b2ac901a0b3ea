"""Noise: starting points of the flow.

In the variance-exploding convention the noise level σ itself is the time, and
a start at level σ is σ·z with z ~ N(0, I). The data mean is never added: its
share, R/σ, is what a start at finite σ_max neglects (theory C7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["dimension", "noise"]


def noise(n: int, like: Any, sigma: float, seed: int) -> NDArray[np.float64]:
    """Draw `n` starts σ·z, z ~ N(0, I_D).

    Parameters
    ----------
    n : number of starts.
    like : where D comes from: a denoiser or `PointSet` (its `dim`), an (N, D)
        array, or D itself as an integer.
    sigma : noise level σ ≥ 0, in the units of the data.
    seed : non-negative integer; the same seed gives the same array.

    Returns
    -------
    (n, D) float64 array. Row k depends on `seed` and k alone, not on `n`.
    """
    count = _check.integer(n, "n", low=0)
    dim = dimension(like)
    level = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT)
    _check.size(count, dim, "n")
    rng = np.random.default_rng(_check.seed(seed))
    return level * rng.standard_normal((count, dim))


def dimension(like: Any, argument: str = "like") -> int:
    """The dimension D that `like` lives in: `.dim`, the width of a 2-D array, or an integer."""
    found = getattr(like, "dim", None)
    if isinstance(found, (int, np.integer)) and not isinstance(found, bool):
        return int(found)
    if isinstance(like, (int, np.integer)):
        return _check.integer(like, argument, low=1)
    shape: tuple[int, ...] = getattr(like, "shape", ())
    if len(shape) != 2:
        _check.fail(
            argument,
            _check.show(like),
            "a denoiser or PointSet with .dim, an (N, D) array, or D",
            "pass the dimension itself",
            TypeError,
        )
    return int(shape[1])
