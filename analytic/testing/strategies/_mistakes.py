"""Denoisers with numerical mistakes, beside the mathematical ones of `analytic.claims`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...points import PointSet

__all__ = ["Expanded", "SharedMaximum"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SharedMaximum:
    """Subtracts one maximum for the whole batch: far from the data weights are 0 of 0."""

    points: PointSet

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Softmax with the batch's largest log-weight."""
        rows = np.asarray(x, dtype=float).reshape(-1, self.points.dim)
        logits = _logits(self.points, ((rows[:, None] - self.points.points) ** 2).sum(-1), sigma)
        return _mean(self.points, np.exp(logits - logits.max()), x)


@dataclass(frozen=True)
class Expanded:
    """Takes |x|² - 2x·y + |y|² in float32 for |x - y|²: what is left of it cancels."""

    points: PointSet

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Softmax of squared distances that have lost their digits."""
        rows = np.asarray(x, dtype=np.float32).reshape(-1, self.points.dim)
        data = self.points.points.astype(np.float32)
        squares = (rows**2).sum(1)[:, None] - 2 * (rows @ data.T) + (data**2).sum(1)
        logits = _logits(self.points, squares.astype(float), sigma)
        return _mean(self.points, np.exp(logits - logits.max(axis=1, keepdims=True)), x)


def _logits(points: PointSet, squares: Floats, sigma: Any) -> Floats:
    level = np.reshape(np.asarray(sigma, dtype=float), (-1, 1))
    return np.asarray(points.log_weights - 0.5 * squares / level**2)


def _mean(points: PointSet, weights: Floats, like: Any) -> Any:
    with np.errstate(invalid="ignore"):
        shares = weights / weights.sum(axis=1, keepdims=True)
    return (shares @ points.points).reshape(np.shape(like))
