"""An independent judge for the claims: p_σ and the kernel average, in plain NumPy.

Nothing here shares code with the kernels, so a fault in them cannot hide
behind itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..points import PointSet

__all__ = [
    "entropy",
    "kernel_mean",
    "log_prob",
    "motions",
    "ranges",
    "small_noise_bound",
    "squared_distance",
    "trace",
]

Floats = NDArray[np.float64]

_CELLS = 4_000_000


def log_prob(points: PointSet, x: Floats, sigma: Floats) -> Floats:
    """(B,) log p_σ(x) = log Σ π_i N(x; x_i, σ²I)."""
    result = np.empty(len(x))
    for rows, logits in _logits(points, x, sigma):
        top = logits.max(axis=1)
        result[rows] = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return np.asarray(result - points.dim * (np.log(sigma) + 0.5 * np.log(2 * np.pi)))


def kernel_mean(points: PointSet, x: Floats, sigma: Floats) -> Floats:
    """(B, D) Σ u_i x_i, by explicit normalised weights around the data mean."""
    result = np.empty_like(x)
    for rows, logits in _logits(points, x, sigma):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        result[rows] = points.mean + weights @ (points.points - points.mean)
    return result


def squared_distance(points: PointSet, x: Floats, sigma: Floats, place: Floats) -> Floats:
    """(B,) Σ u_i |y - x_i|² at places y (B, D), with the weights u of x."""
    result = np.empty(len(x))
    for rows, logits in _logits(points, x, sigma):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        gaps = place[rows, None, :] - points.points
        result[rows] = np.einsum("bn,bnd,bnd->b", weights, gaps, gaps)
    return result


def motions(points: PointSet, x: Floats, sigma: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Covariances under the posterior: how D moves, for directions v (B, D).

    Returns C v/σ² = (∂D/∂x) v and Cov(x_i, |x − x_i|²)/σ² = σ ∂D/∂σ, both (B, D).
    """
    along, spread = np.empty_like(x), np.empty_like(x)
    centred = points.points - points.mean
    for rows, logits in _logits(points, x, sigma):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        # Σ u_i (f_i − f̄) x_i for f = v·x_i and f = |x − x_i|²/2σ²
        for result, values in (
            (along, v[rows] @ centred.T),
            (spread, points.log_weights - logits),
        ):
            values = values - np.einsum("bn,bn->b", weights, values)[:, None]
            result[rows] = (weights * values) @ centred
    return along / sigma[:, None] / sigma[:, None], 2 * spread


def trace(points: PointSet, x: Floats, sigma: Floats) -> Floats:
    """(B,) tr C = Σ u_i |x_i - D|²."""
    result = np.empty(len(x))
    offset = points.points - points.mean
    for rows, logits in _logits(points, x, sigma):
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        # about the heaviest point, so that little cancels
        best = offset[weights.argmax(axis=1)]
        gaps = offset - best[:, None, :]
        shift = (weights[:, None] @ gaps)[:, 0]
        squares = np.einsum("bn,bnd,bnd->b", weights, gaps, gaps, optimize=True)
        result[rows] = squares - (shift**2).sum(axis=1)
    return np.maximum(result, 0.0)


def entropy(points: PointSet, x: Floats, sigma: Floats) -> Floats:
    """(B,) H(u) = -Σ u_i log u_i, in nats."""
    result = np.empty(len(x))
    for rows, logits in _logits(points, x, sigma):
        logits = logits - logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits).sum(axis=1, keepdims=True))
        weights = np.exp(logits - total)
        result[rows] = (weights * (total - np.where(weights > 0, logits, 0.0))).sum(axis=1)
    return result


def small_noise_bound(points: PointSet, x: Floats, sigma: float) -> tuple[int, float]:
    """The point i nearest to x (D,), and Σ r_j d_ij/(1 + Σ r_j), which |D - x_i| is below (A9)."""
    nearest = int(((points.points - x) ** 2).sum(axis=1).argmin())
    gaps = points.points[nearest] - points.points
    # |x − x_j|² − |x − x_i|² as a product, which keeps small differences exact
    excess = (gaps * ((x - points.points[nearest]) + (x - points.points))).sum(axis=1)
    odds = np.exp(points.log_weights - points.log_weights[nearest] - excess / sigma / sigma / 2)
    odds[nearest] = 0.0
    return nearest, float(odds @ np.linalg.norm(gaps, axis=1) / (1 + odds.sum()))


def ranges(points: PointSet, direction: Floats) -> tuple[Floats, Floats]:
    """(B,) min and max of v·x_i over the data, for directions v (B, D)."""
    low = np.full(len(direction), np.inf)
    high = np.full(len(direction), -np.inf)
    step = max(1, _CELLS // len(direction))
    for k in range(0, len(points), step):
        values = points.points[k : k + step] @ direction.T
        low = np.minimum(low, values.min(axis=0))
        high = np.maximum(high, values.max(axis=0))
    return low, high


def _logits(
    points: PointSet, x: Floats, sigma: Floats
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    step = max(1, _CELLS // (len(points) * points.dim))
    for k in range(0, len(x), step):
        rows = slice(k, k + step)
        gaps = x[rows, None, :] - points.points
        squares = np.einsum("bnd,bnd->bn", gaps, gaps)
        yield rows, points.log_weights - squares / (2 * sigma[rows, None] ** 2)
