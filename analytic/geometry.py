"""Geometry of trajectories: pure functions of arrays.

States have the shape (T, B, D): T noise levels, B trajectories. The definitions
are those of Chen et al. (2023), https://arxiv.org/abs/2305.19947, section 3:

    deviation(x_n) = distance of x_n to the line through x_first and x_last,
    distance(x_n)  = |x_n - x_last|,   magnitude(x_n) = |x_n|,
    cosine(a, b)   = a·b / |a||b|.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = [
    "Spectrum",
    "chord",
    "cosines",
    "deviation",
    "distances",
    "magnitudes",
    "pca",
    "pca_spectrum",
]

Floats = NDArray[np.float64]


class Spectrum(NamedTuple):
    """Principal components of each trajectory."""

    explained: Floats
    """(B, K) share of the variance along each component, largest first; NaN for a point."""
    components: Floats
    """(B, K, D) orthonormal directions."""
    centre: Floats
    """(B, D) mean state."""


def chord(states: Any) -> Floats:
    """(B,) distance from the first to the last state."""
    x = _states(states)
    return _norm(x[-1] - x[0])


def deviation(states: Any) -> Floats:
    """(T, B) perpendicular distance of every state to the line through the first and last state.

    Where both ends coincide it is the distance to that point.
    """
    x = _states(states)
    along = x[-1] - x[0]
    length = _norm(along)
    unit = along / np.where(length > 0, length, 1.0)[:, None]
    offset = x - x[0]
    offset = offset - (offset * unit).sum(axis=-1, keepdims=True) * unit
    # a second projection removes what rounding left along the chord
    result = _norm(offset - (offset * unit).sum(axis=-1, keepdims=True) * unit)
    result[[0, -1]] = 0.0
    return result


def distances(states: Any, target: Any = None) -> Floats:
    """(T, B) distance of every state to `target` (B, D), by default the last state."""
    x = _states(states)
    goal = x[-1] if target is None else _check.array(target, "target")
    if goal.shape != x.shape[1:]:
        _check.fail(
            "target", f"shape {goal.shape}", f"{x.shape[1:]}", "give one target per trajectory"
        )
    return _norm(x - goal)


def magnitudes(states: Any) -> Floats:
    """(T, B) |x|."""
    return _norm(_states(states))


def cosines(a: Any, b: Any) -> Floats:
    """Cosine of the angle between vectors along the last axis; NaN where one of them is zero."""
    left, right = _check.array(a, "a"), _check.array(b, "b")
    try:
        left, right = np.broadcast_arrays(left, right)
    except ValueError:
        _check.fail("b", f"shape {right.shape}", f"one that fits {left.shape}", "match the shapes")
    lengths = _norm(left) * _norm(right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip((left * right).sum(axis=-1) / lengths, -1.0, 1.0))


def pca(states: Any, components: int = 3) -> Spectrum:
    """Principal component analysis of each trajectory's T states by itself.

    `components` K is at most min(T, D); variances are shares of the total.
    """
    x = _states(states)
    steps, _, dim = x.shape
    count = _check.integer(
        components, "components", low=1, high=min(steps, dim), remedy="ask for at most min(T, D)"
    )
    centre = x.mean(axis=0)
    _, values, basis = np.linalg.svd(np.moveaxis(x - centre, 0, 1), full_matrices=False)
    total = (values**2).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        share = values**2 / total
    return Spectrum(share[:, :count], basis[:, :count], centre)


def pca_spectrum(states: Any) -> Floats:
    """(B, min(T, D)) share of each trajectory's variance along its principal components."""
    x = _states(states)
    return pca(x, min(x.shape[0], x.shape[2])).explained


def _states(value: Any) -> Floats:
    x = _check.array(value, "states").astype(np.float64, copy=False)
    if x.ndim == 2:
        x = x[:, None, :]
    if x.ndim != 3 or x.shape[0] < 2:
        _check.fail(
            "states",
            f"shape {x.shape}",
            "(T, B, D) or (T, D) with T ≥ 2",
            "pass Trajectory.states or Trajectory.denoised",
        )
    return x


def _norm(x: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("...d,...d->...", x, x)))
