"""How far a place is from a convex hull: the nearest place in it, by Wolfe's method.

With z_i = x_i − y the nearest place to y is y + p, p the shortest vector in conv{z_i}. A set of
z_i, and weights over it, is changed one by one: the z_i that goes farthest against p comes in, and
those leave whose weight in the shortest affine combination would be negative (Wolfe 1976, *Finding
the nearest point in a polytope*, https://doi.org/10.1007/BF01580381). Whatever p is reached,

    min_i z_i·p / |p| ≤ distance of y from the hull ≤ |p|,

so that an answer proves itself: above by its weights, below by the direction that separates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gap", "gap"]

Floats = NDArray[np.float64]

NONE = 1e-15
"""Weights and gains that are rounding."""


class Gap(NamedTuple):
    """A place beside a hull."""

    least: float
    """A lower bound on its distance; 0 where nothing separates the two."""
    most: float
    """An upper bound."""
    direction: Floats
    """(D,) unit vector v for which v·y − max v·x_i is `least`; 0 where there is none."""


def gap(y: Floats, rows: Floats) -> Gap:
    """The distance of y (D,) from conv of the rows (N, D)."""
    offset = rows - y
    size = float(np.abs(offset).max())
    if size == 0:
        return Gap(0.0, 0.0, np.zeros_like(y))
    z = offset / size
    active = [int(np.einsum("nd,nd->n", z, z).argmin())]
    weights = np.ones(1)
    p = z[active[0]]
    for _ in range(20 * (len(y) + 5)):
        reach = z @ p
        square = float(p @ p)
        j = int(reach.argmin())
        if j in active or square - reach[j] <= NONE * max(square, NONE) or square < NONE**2:
            break
        active, weights = _shortest(z, [*active, j], np.append(weights, 0.0))
        closer = weights @ z[active]
        if not closer @ closer < square:
            break
        p = closer
    most = float(np.linalg.norm(p))
    # a short p is mostly rounding: what is orthogonal to the active face is its direction
    if len(active) > 1:
        face = np.linalg.qr((z[active[1:]] - z[active[0]]).T)[0]
        p = p / (most or 1.0)
        p = p - face @ (face.T @ p)
    length = float(np.linalg.norm(p))
    if most == 0 or length < 1e-8:
        return Gap(0.0, most * size, np.zeros_like(y))
    v = -p / length
    # from the numbers themselves, so that it is a proof whatever was rounded before
    least = -float((offset @ v).max())
    return Gap(max(least, 0.0), most * size, v if least > 0 else np.zeros_like(y))


def _shortest(z: Floats, active: list[int], weights: Floats) -> tuple[list[int], Floats]:
    """The shortest vector of the hull of the active set, or of a part of it."""
    while True:
        base = z[active[0]]
        rest = np.linalg.lstsq((z[active[1:]] - base).T, -base, rcond=None)[0]
        aim = np.append(1 - rest.sum(), rest)
        low = aim <= NONE
        if not low.any() or len(active) == 1:
            return active, aim
        share = np.full(len(aim), np.inf)
        share[low] = weights[low] / np.maximum(weights[low] - aim[low], NONE)
        k = int(share.argmin())
        weights = weights + min(share[k], 1.0) * (aim - weights)
        keep = weights > NONE
        keep[k] = False
        if not keep.any():
            keep[int(weights.argmax())] = True
        active = [i for i, kept in zip(active, keep.tolist(), strict=True) if kept]
        weights = weights[keep] / weights[keep].sum()
