"""Nearest data points, without all distances at once.

In up to 16 dimensions by a k-d tree. Beyond, |p|² - 2q·p of centred points ranks candidates,
block by block, and distances of the best few are then taken from differences: the expansion
cancels where a query is close to a point, which is where distances matter here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..points import PointSet

__all__ = ["between_data", "nearest"]

Floats = NDArray[np.float64]

TREE = 16
"""Dimensions up to which a tree is faster."""
SPARE = 6
"""Candidates beyond those asked for: ties to rounding are settled by exact distances."""
BLOCK = 1 << 22
"""Numbers held at a time."""
SAMPLE, WORK = 2000, 1e10
"""Data points of which the distances to others are taken, and products that may cost."""


def nearest(points: PointSet, x: Floats, count: int = 2) -> tuple[NDArray[np.int64], Floats]:
    """(B, k) indices and distances of the nearest data points, nearest first.

    Where there are fewer than k points, or a query is not finite, index -1 and distance
    infinite, or NaN.
    """
    index = np.full((len(x), count), -1, dtype=np.int64)
    distance = np.full((len(x), count), np.inf)
    good = np.isfinite(x).all(axis=1)
    distance[~good] = np.nan
    most = min(count, len(points))
    if good.any():
        find = _by_tree if points.dim <= TREE else _by_blocks
        index[good, :most], distance[good, :most] = find(points, x[good], most)
    return index, distance


def between_data(points: PointSet, rng: np.random.Generator) -> Floats:
    """(M, 2) distances of up to 2,000 data points to their two nearest others."""
    most = int(max(256, min(SAMPLE, WORK / (len(points) * points.dim))))
    rows = np.arange(len(points))
    if len(points) > most:
        rows = np.sort(rng.choice(len(points), size=most, replace=False))
    # points of a set differ, so that each is its own nearest
    return nearest(points, points.points[rows], 3)[1][:, 1:]


def _by_tree(points: PointSet, x: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    from scipy.spatial import cKDTree

    distance, index = cKDTree(points.points).query(x, k=range(1, count + 1))
    return index.astype(np.int64), distance


def _by_blocks(points: PointSet, x: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    some = min(count + SPARE, len(points))
    index = np.empty((len(x), count), dtype=np.int64)
    distance = np.empty((len(x), count))
    step = max(1, BLOCK // (points.dim * some))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        found = _candidates(points, x[rows] - points.mean, some)
        exact = np.linalg.norm(points.points[found] - x[rows, None], axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        index[rows] = np.take_along_axis(found, order, axis=1)
        distance[rows] = np.take_along_axis(exact, order, axis=1)
    return index, distance


def _candidates(points: PointSet, q: Floats, some: int) -> NDArray[np.int64]:
    """(b, some) points of least |p|² - 2q·p, p and q about the data mean."""
    index = np.empty((len(q), 0), dtype=np.int64)
    value = np.empty((len(q), 0))
    step = max(1, BLOCK // max(points.dim, len(q)))
    for start in range(0, len(points), step):
        p = points.points[start : start + step] - points.mean
        here = np.einsum("nd,nd->n", p, p) - 2 * (q @ p.T)
        value = np.hstack([value, here])
        index = np.hstack([index, np.broadcast_to(start + np.arange(len(p)), here.shape)])
        if value.shape[1] > some:
            best = np.argpartition(value, some - 1, axis=1)[:, :some]
            value = np.take_along_axis(value, best, axis=1)
            index = np.take_along_axis(index, best, axis=1)
    # in the order of the data, so that ties go to the first
    return np.sort(index, axis=1)
