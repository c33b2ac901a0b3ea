"""Points in the order of a k-d tree, boxes around its nodes, and the nearest point.

Every node is cut across the widest coordinate of the box of its points: large
nodes in the middle, so that boxes come close to cubes of half the size, but with
a 64th of the points on either side at least, so that outliers cannot make the
tree deep; small ones into full leaves. Nodes are numbered level by level, node 0
is the root and the two children of a node are neighbours. The points stand leaf
by leaf in columns, structure of arrays, every leaf filled up to the same width
with points so far outside that they weigh nothing.

The nearest point of a query x at bandwidth σ minimises

    |x - x_i|² - 2σ² l_i  ≥  dist(x, box)² - 2σ² max_i l_i,

where the right side holds for all points of a node: nodes that cannot win are
passed by. Both sides are computed to a relative (D + 4)ε of their terms, and
twice that is conceded to the bound before it may dismiss a node.

Every step is a function of the points, or of one query, alone: results depend
neither on the number of threads nor on the other queries of a batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._jit import entry, lean, strict
from .intrinsics import least
from .threads import share

LEAF = 64
"""Points of a leaf at most; its columns are a multiple of four 512-bit vectors."""

EVEN = 16 * LEAF
"""A node of at most so many points is cut into full leaves, a larger one in the middle."""

LEAST = 64
"""At least one part in so many goes to either side of a cut."""

OUTSIDE = 1e200
"""Coordinates of the points that fill up a leaf."""

_EPS = 2.0**-53


KEPT = 256
"""Nodes of a search that are remembered."""


class Work(NamedTuple):
    """What a descent writes to: one for each thread."""

    nodes: np.ndarray
    """(KEPT + depth,) a stack of nodes"""
    gaps: np.ndarray
    """and their bounds."""
    kept: np.ndarray
    """(KEPT,) nodes that a search has come by and not opened."""
    best: np.ndarray
    """(1,) smallest key,"""
    column: np.ndarray
    """(1,) and its column."""


@strict
def work_for(depth):
    """Room for descents of a tree of so many levels."""
    return Work(
        np.empty(KEPT + depth + 2, np.int64),
        np.empty(KEPT + depth + 2),
        np.empty(KEPT, np.int64),
        np.empty(1),
        np.empty(1, np.int64),
    )


class Cells(NamedTuple):
    """The tree, with nodes in level order, and the points leaf by leaf."""

    order: np.ndarray
    """(N,) the point at each row."""
    rows: np.ndarray
    """(N, D) points in order."""
    start: np.ndarray
    """(nodes,) first row of each node."""
    stop: np.ndarray
    """(nodes,) row after the last."""
    levels: np.ndarray
    """(depth + 2,) first node of every level, and the number of nodes."""
    links: np.ndarray
    """(nodes, 3) int64: left child or 0, first column, column after the last."""
    boxes: np.ndarray
    """(nodes, 2D) lower and upper corner of the box of the node's points."""
    row: np.ndarray
    """(P,) row of every column, -1 where it is filled up."""
    columns: np.ndarray
    """(D, P) points, `OUTSIDE` where filled up."""


def build(X):
    """The tree of points X (N, D)."""
    rows, order = X.copy(), np.arange(X.shape[0])
    start, stop = np.zeros(1, dtype=np.int64), np.full(1, X.shape[0])
    found = []
    size, levels = 0, [0]
    while start.size:
        box = np.empty((start.size, 2 * X.shape[1]))
        cut = np.empty(start.size, dtype=np.int64)
        share(_cut_tasks, start.size, 4 * X.size, rows, order, start, stop, cut, box)
        inner = np.flatnonzero(cut)
        size += start.size
        levels.append(size)
        child = np.zeros(start.size, dtype=np.int64)
        child[inner] = size + 2 * np.arange(inner.size)
        found.append((start, stop, child, box))
        start, stop = (
            np.column_stack([a[inner], b[inner]]).ravel() for a, b in ((start, cut), (cut, stop))
        )
    start, stop, child, boxes = (np.concatenate(each) for each in zip(*found, strict=True))
    leaves = np.flatnonzero(child == 0)
    leaves = leaves[np.argsort(start[leaves])]
    width = -(-int((stop - start)[leaves].max()) // 32) * 32
    row = start[leaves, None] + np.arange(width)
    row[row >= stop[leaves, None]] = -1
    edges = [width * np.searchsorted(start[leaves], edge) for edge in (start, stop)]
    row = row.ravel()
    return Cells(
        order, rows, start, stop, np.array(levels), np.column_stack([child, *edges]), boxes,
        row, filled(rows, row, OUTSIDE),
    )  # fmt: skip


def filled(values, row, fill):
    """(..., P) columns of `values` (N, ...) in order, filled up with `fill`."""
    out = values[row]
    out[row < 0] = fill
    return np.ascontiguousarray(out.T)


def gathered(values, cells, combine):
    """(nodes,) ufunc `combine` over the values (N,) in order of every node's points."""
    child = cells.links[:, 0]
    out = np.empty(child.size)
    leaves = np.flatnonzero(child == 0)
    leaves = leaves[np.argsort(cells.start[leaves])]
    out[leaves] = combine.reduceat(values, cells.start[leaves])
    for first, last in zip(cells.levels[-2::-1], cells.levels[:0:-1], strict=True):
        inner = first + np.flatnonzero(child[first:last])
        out[inner] = combine(out[child[inner]], out[child[inner] + 1])
    return out


@lean
def _swap(rows, order, i, j):
    order[i], order[j] = order[j], order[i]
    for d in range(rows.shape[1]):
        rows[i, d], rows[j, d] = rows[j, d], rows[i, d]


@lean
def _partition(rows, order, axis, a, b, pivot):
    """Rows a to b inclusive: up to j at most the pivot, from i at least; returns i, j."""
    i, j = a, b
    while i <= j:
        while i <= b and rows[i, axis] < pivot:
            i += 1
        while j >= a and rows[j, axis] > pivot:
            j -= 1
        if i <= j:
            _swap(rows, order, i, j)
            i += 1
            j -= 1
    return i, j


@lean
def _pivot(rows, axis, a, b, state):
    """A median of three at scattered places, which no order of the input can defeat."""
    step = (b - a) // 3 + 1
    k = state % step
    x, y = rows[a + k, axis], rows[min(a + step + k, b), axis]
    z = rows[min(a + 2 * step + k, b), axis]
    return max(min(x, y), min(max(x, y), z))


@lean
def _select(rows, order, axis, first, last, nth):
    """Permute rows first ≤ row < last so that none before row nth exceeds one from it on."""
    a, b = first, last - 1
    state = 12345
    while a < b:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        i, j = _partition(rows, order, axis, a, b, _pivot(rows, axis, a, b, state >> 8))
        if nth <= j:
            b = j
        elif nth >= i:
            a = i
        else:
            return


@lean
def _cut(rows, order, first, last, axis, middle):
    """Row at which rows first to last are cut, after they were put on their sides."""
    count = last - first
    if count <= EVEN:
        half = first + LEAF * ((-(-count // LEAF) + 1) // 2)
        _select(rows, order, axis, first, last, half)
        return half
    i, _ = _partition(rows, order, axis, first, last - 1, middle)
    least = count // LEAST
    if i < first + least:
        _select(rows, order, axis, i, last, first + least)
        return first + least
    if i > last - least:
        _select(rows, order, axis, first, i, last - least)
        return last - least
    return i


@entry
def _cut_tasks(first, last, rows, order, start, stop, cut, boxes):
    D = rows.shape[1]
    for k in range(first, last):
        a, b = start[k], stop[k]
        for d in range(D):
            boxes[k, d] = boxes[k, D + d] = rows[a, d]
        for i in range(a + 1, b):
            for d in range(D):
                boxes[k, d] = min(boxes[k, d], rows[i, d])
                boxes[k, D + d] = max(boxes[k, D + d], rows[i, d])
        axis, width = 0, -1.0
        for d in range(D):
            if boxes[k, D + d] - boxes[k, d] > width:
                axis, width = d, boxes[k, D + d] - boxes[k, d]
        cut[k] = 0
        if b - a > LEAF:
            middle = boxes[k, axis] + 0.5 * width
            cut[k] = _cut(rows, order, a, b, axis, middle)


@lean
def box_square(boxes, k, x):
    """dist(x, box k)², for a tuple x."""
    D = len(x)
    total = 0.0
    for d in range(D):
        gap = max(boxes[k, d] - x[d], x[d] - boxes[k, D + d], 0.0)
        total += gap * gap
    return total


@lean
def conceded(square, own, D):
    """square - own, less what rounding may have added to it."""
    return (square - own) - 2 * (D + 4) * _EPS * (square + abs(own))


@lean
def nearest(X, L, boxes, links, top, Q, q, x, twice, work):
    """Column of the point with the smallest key, by branch and bound; how many nodes were kept.

    For x = Q[q], also a tuple; `top` holds the largest log-weight of every node, and
    log-weights L are None where all are equal. work.kept gets the leaves that were
    searched and the nodes that were not opened, which are all points together: -1 if
    there are more than it holds.
    """
    D = len(x)
    best, column = work.best, work.column
    nodes, gaps, kept = work.nodes, work.gaps, work.kept
    best[0] = math.inf
    k, size = 0, 0
    count, most = 0, kept.size - 1
    while True:
        near = links[k, 0]
        if near == 0:
            least(x, X, L, links[k, 1], links[k, 2], Q, q, twice, best, column)
            kept[min(count, most)] = k
            count += 1
            while size and gaps[size - 1] > best[0]:
                size -= 1
                kept[min(count, most)] = nodes[size]
                count += 1
            if size == 0:
                return column[0], (count if count <= most else -1)
            size -= 1
            k = nodes[size]
            continue
        far = near + 1
        lower, upper = box_square(boxes, near, x), box_square(boxes, far, x)
        if L is None:
            lower, upper = conceded(lower, 0.0, D), conceded(upper, 0.0, D)
        else:
            lower = conceded(lower, twice * top[near], D)
            upper = conceded(upper, twice * top[far], D)
        if upper < lower:
            near, far = far, near
            lower, upper = upper, lower
        k = near
        if upper <= best[0]:
            nodes[size], gaps[size] = far, upper
            size += 1
        else:
            kept[min(count, most)] = far
            count += 1
