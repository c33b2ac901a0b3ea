"""What claims measure at queries that are given: one number per query, for tests of one's own too.

Each is relative to what rounding alone may do, so that one bound serves all σ: a logit of size
|log p| is known to ε|log p|, and x itself to ε|x|.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..points import PointSet
from . import _oracle

__all__ = [
    "TOLERANCE",
    "equivariance",
    "fall",
    "kernel_mean",
    "log_prob",
    "off_kernel_mean",
    "outside",
]

Floats = NDArray[np.float64]
LogProb = Callable[[Floats, Floats], Floats]

TOLERANCE = 1e-11
"""Of identities between log-densities, relative to 1 + |log p|.

Rounding gives about (D + 8)·2⁻⁵³ of the largest logit, 3e-14 at D = 256; the
rest is room for quadrature.
"""

kernel_mean, log_prob = _oracle.kernel_mean, _oracle.log_prob


def off_kernel_mean(points: PointSet, x: Floats, sigma: Floats, output: Floats) -> Floats:
    """(B,) |output − Σ u_i x_i| / (size (1 + |log p|)), size diam + max |μ| (claim A2)."""
    mean = kernel_mean(points, x, sigma)
    size = (points.diameter_bounds[1] or 1.0) + np.abs(points.mean).max()
    scale = size * (1 + np.abs(log_prob(points, x, sigma)))
    return np.asarray(np.linalg.norm(output - mean, axis=1) / scale)


def fall(density: LogProb, x: Floats, sigma: Floats, goal: Floats, share: float) -> Floats:
    """(B,) fall of log p_σ from x to x + share (goal − x), relative to 1 + |log p| (A3, G3)."""
    base = density(x, sigma)
    y = x + share * (goal - x)
    moved = np.linalg.norm(y - x, axis=1)
    # D, and with it the goal, is known to ε|x|
    rounding = 8 * np.finfo(float).eps * np.linalg.norm(x, axis=1) / sigma
    blur = rounding * moved / sigma / TOLERANCE
    return np.asarray((base - density(y, sigma)) / (1 + np.abs(base) + blur))


def outside(points: PointSet, output: Floats, directions: Iterable[Floats]) -> Floats:
    """(B,) by how much outputs pass v·y ≤ max v·x_i, for some v (B, D) of any length (A5)."""
    worst = np.full(len(output), -np.inf)
    for v in directions:
        length = np.linalg.norm(v, axis=1, keepdims=True)
        unit = v / np.where(length > 0, length, 1.0)
        _, high = _oracle.ranges(points, unit)
        worst = np.maximum(worst, np.einsum("bd,bd->b", unit, output) - high)
    return worst


def equivariance(
    build: Callable[[PointSet], Any],
    data: PointSet,
    x: Floats,
    sigma: Floats,
    rng: np.random.Generator,
) -> tuple[Mapping[str, Floats], Floats]:
    """|D(Tx; TX) − T D(x; X)| / diam, (B,) by the name of T, and the logits' sensitivity (A7).

    The sensitivity (B,) is how many times ε the rounding of moved data and queries counts,
    in diameters.
    """
    output = np.asarray(build(data)(x, sigma))
    size = data.diameter_bounds[1] or 1.0
    shift = 10 * size * rng.standard_normal(data.dim)
    rotation = np.linalg.qr(rng.standard_normal((data.dim, data.dim)))[0]
    factor = float(10 ** rng.uniform(1, 3))
    order = rng.permutation(len(data))
    half = data.weights / 2
    changed = {
        "translation": (data.points + shift, data.weights, x + shift, sigma, output + shift),
        "rotation": (
            data.points @ rotation,
            data.weights,
            x @ rotation,
            sigma,
            output @ rotation,
        ),
        "permutation": (data.points[order], data.weights[order], x, sigma, output),
        "scaling": (
            data.points * factor,
            data.weights,
            x * factor,
            sigma * factor,
            output * factor,
        ),
        "duplicates": (
            np.concatenate([data.points, data.points[::-1]]),
            np.concatenate([half, half[::-1]]),
            x,
            sigma,
            output,
        ),
    }
    apart = {}
    for name, (points, weights, query, level, expected) in changed.items():
        gap = np.asarray(build(PointSet(points, weights))(query, level)) - expected
        unit = size * (factor if name == "scaling" else 1.0)
        apart[name] = np.linalg.norm(gap, axis=1) / unit
    # moving data and query rounds their coordinates, which shifts a logit by up to this
    moved = np.abs(x).max(axis=1) + np.abs(shift).max() + data.radius
    return apart, 1 + size * moved / sigma**2 + np.abs(log_prob(data, x, sigma))
