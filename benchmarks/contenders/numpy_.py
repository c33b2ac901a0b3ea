"""NumPy, twice: all differences of a chunk at once, and the product form.

The product form drops |x|², which the softmax does not see, and leaves the work
to BLAS: log-weights x·x_i/σ² - |x_i|²/2σ².
"""

from __future__ import annotations

import numpy as np

from ..harness import Answer, Array, Contender
from ._chunks import Chunked

__all__ = ["CONTENDERS"]

HELD = 2_000_000
"""Differences held at a time."""


def differences(points: Array, sigma: float, computes: str) -> Answer:
    factor = points.dtype.type(-0.5 / sigma**2)
    rows = max(1, HELD // points.size)

    def step(x: Array) -> Array:
        gaps = x[:, None] - points
        logits = np.einsum("ijk,ijk->ij", gaps, gaps) * factor
        return _finish(logits, points, sigma, computes)

    return lambda x: np.concatenate([step(x[k : k + rows]) for k in range(0, len(x), rows)])


def product(points: Array, sigma: float, computes: str) -> Answer:
    precision = points.dtype.type(1 / sigma**2)
    half = np.einsum("ij,ij->i", points, points) * (precision / 2)

    def step(x: Array) -> Array:
        logits = (x * precision) @ points.T
        logits -= half
        found = _finish(logits, points, sigma, computes)
        if computes == "log_prob":
            found -= np.einsum("ij,ij->i", x, x) * (precision / 2)
        return found

    key = ("numpy", points.shape, points.dtype, sigma)
    return Chunked(step, np.concatenate, key, len(points))


def _finish(logits: Array, points: Array, sigma: float, computes: str) -> Array:
    top = logits.max(axis=1, keepdims=True)
    logits -= top
    weights = np.exp(logits, out=logits)
    total = weights.sum(axis=1, keepdims=True)
    if computes == "log_prob":
        count, dim = points.shape
        volume = dim * np.log(sigma * np.sqrt(2 * np.pi)) + np.log(count)
        return (top + np.log(total))[:, 0] - volume
    return weights @ points / total


CONTENDERS = (
    Contender("numpy differences", differences, ("mean", "log_prob")),
    Contender("numpy product", product, ("mean", "log_prob")),
)
