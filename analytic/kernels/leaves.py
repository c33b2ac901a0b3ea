"""Points in the order of a balanced k-d tree, boxes around its nodes, and the nearest point.

The tree is complete: node m at depth h, 0 ≤ m < 2^h, covers the rows

    N m >> h  ≤  row  <  N (m + 1) >> h

of the ordered points, so that nothing but the order and the depth need be kept.
Each node is cut at its median row along the widest coordinate of its box.
Boxes [low, high] of all nodes stand in heap order, the children of node k at
2k + 1 and 2k + 2.

The nearest point of a query x at bandwidth σ minimises

    |x - x_i|² - 2σ² l_i  ≥  Σ_d max(low_d - x_d, x_d - high_d, 0)² - 2σ² max_i l_i,

where the right side holds for all points of a node: subtrees that cannot win
are passed by. Both sides are computed to a relative (D + 4)ε of their terms,
and twice that is conceded to the bound before it may dismiss a node.

Every step is a function of the points, or of one query, alone: results depend
neither on the number of threads nor on the other queries of a batch.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, strict
from .intrinsics import LANES, least
from .threads import share

ROWS = 16_384
"""A node this small is put in order by one thread, all the way down, in its cache."""

_EPS = 2.0**-53


def build(X, size):
    """Order (N,) of the rows of X (N, D), and the depth whose leaves hold at most `size` ≥ 2."""
    count = X.shape[0]
    levels = depth(count, size)
    order = np.arange(count)
    keys = np.empty(count)
    shared = min(levels, depth(count, ROWS))
    for h in range(shared):
        share(_split_tasks, 1 << h, 4 * X.size, X, h, order, keys)
    share(_finish_tasks, 1 << shared, 4 * X.size, X, shared, levels, order, keys)
    return order, levels


def depth(count, size):
    """Smallest depth whose leaves hold at most `size` of `count` points."""
    return max(0, (-(-count // size) - 1).bit_length())


def boxes(X, levels):
    """Corners low and high (nodes, D) of the boxes of all nodes, for points in order."""
    low = np.empty(((2 << levels) - 1, X.shape[1]))
    high = np.empty_like(low)
    share(_box_tasks, 1 << levels, X.size, X, levels, low, high)
    _merge_boxes(low, high, levels)
    return low, high


def top_logs(L, levels):
    """Largest log-weight (nodes,) of all nodes, for log-weights in order."""
    return boxes(L[:, None], levels)[1][:, 0].copy()


def nearest(X, L, low, high, top_log, levels, Q, sigma, zeros=None, nats=0.0):
    """(B,) row of the point with the largest logit of each query, for points in order.

    Where `zeros` is a tuple of D zeros, X and L have the points side by side, (D, N + spare)
    and (N + spare,) as `intrinsics.weigh` reads them, and leaves are searched in vectors.
    A point is good enough whose logit is within so many `nats` of the largest.
    """
    count = X.shape[0] if zeros is None else X.shape[1] - LANES
    out = np.empty(Q.shape[0], dtype=np.int64)
    work = Q.size * (levels + 1) * (4 + 4 * (count >> levels))
    arrays = (X, L, count, low, high, top_log, levels, Q, sigma, zeros, nats, out)
    share(_nearest_tasks, Q.shape[0], work, *arrays)
    return out


@strict
def _row(count, m, h):
    """First row of node m at depth h."""
    return (count * m) >> h


@strict
def _swap(keys, order, i, j):
    keys[i], keys[j] = keys[j], keys[i]
    order[i], order[j] = order[j], order[i]


@strict
def _pivot(keys, a, b, state):
    """A median of three at scattered places, which no order of the input can defeat."""
    step = (b - a) // 3 + 1
    k = state % step
    x, y, z = keys[a + k], keys[min(a + step + k, b)], keys[min(a + 2 * step + k, b)]
    return max(min(x, y), min(max(x, y), z))


@strict
def _select(keys, order, first, last, nth):
    """Permute rows first ≤ row < last so that none before row nth exceeds one from it on."""
    a, b = first, last - 1
    state = 12345
    while a < b:
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        pivot = _pivot(keys, a, b, state >> 8)
        i, j = a, b
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                _swap(keys, order, i, j)
                i += 1
                j -= 1
        if nth <= j:
            b = j
        elif nth >= i:
            a = i
        else:
            return


@strict
def _widest(X, order, first, last):
    """The coordinate in which rows first to last of the order spread most."""
    axis, width = 0, -1.0
    for d in range(X.shape[1]):
        low = high = X[order[first], d]
        for k in range(first + 1, last):
            v = X[order[k], d]
            low = min(low, v)
            high = max(high, v)
        if high - low > width:
            axis, width = d, high - low
    return axis


@strict
def _split(X, order, keys, first, nth, last):
    axis = _widest(X, order, first, last)
    for k in range(first, last):
        keys[k] = X[order[k], axis]
    _select(keys, order, first, last, nth)


@entry
def _split_tasks(first, last, X, h, order, keys):
    """Cut nodes `first` to `last` of depth h."""
    count = X.shape[0]
    for m in range(first, last):
        nth = _row(count, 2 * m + 1, h + 1)
        _split(X, order, keys, _row(count, m, h), nth, _row(count, m + 1, h))


@entry
def _finish_tasks(first, last, X, h, levels, order, keys):
    """Cut nodes `first` to `last` of depth h, and all below, on a copy of their points."""
    count, D = X.shape
    for m in range(first, last):
        a, b = _row(count, m, h), _row(count, m + 1, h)
        here = order[a:b].copy()
        near = np.empty((b - a, D))
        for k in range(b - a):
            for d in range(D):
                near[k, d] = X[here[k], d]
        inner = np.arange(b - a)
        for g in range(h, levels):
            below = g - h
            for n in range(m << below, (m + 1) << below):
                nth = _row(count, 2 * n + 1, g + 1) - a
                _split(
                    near, inner, keys[a:b], _row(count, n, g) - a, nth, _row(count, n + 1, g) - a
                )
        for k in range(b - a):
            order[a + k] = here[inner[k]]


@entry
def _box_tasks(first, last, X, levels, low, high):
    count = X.shape[0]
    for m in range(first, last):
        a, b = _row(count, m, levels), _row(count, m + 1, levels)
        k = (1 << levels) - 1 + m
        for d in range(X.shape[1]):
            low[k, d] = high[k, d] = X[a, d]
        for i in range(a + 1, b):
            for d in range(X.shape[1]):
                low[k, d] = min(low[k, d], X[i, d])
                high[k, d] = max(high[k, d], X[i, d])


@strict
def _merge_boxes(low, high, levels):
    for k in range((1 << levels) - 2, -1, -1):
        for d in range(low.shape[1]):
            low[k, d] = min(low[2 * k + 1, d], low[2 * k + 2, d])
            high[k, d] = max(high[2 * k + 1, d], high[2 * k + 2, d])


@strict
def _least(Q, q, low, high, top_log, twice, k):
    """The bound of node k, lowered by what rounding may have done."""
    total = 0.0
    for d in range(Q.shape[1]):
        gap = max(low[k, d] - Q[q, d], Q[q, d] - high[k, d], 0.0)
        total += gap * gap
    lift = twice * top_log[k]
    return (total - lift) - 2 * (Q.shape[1] + 4) * _EPS * (total + abs(lift))


@strict
def _scan(X, L, first, last, Q, q, twice, best, row):
    """Replace what was found by the best of the rows first to last, if that is better."""
    for i in range(first, last):
        total = 0.0
        for d in range(Q.shape[1]):
            gap = Q[q, d] - X[i, d]
            total += gap * gap
        key = total - twice * L[i]
        if key < best[0]:
            best[0], row[0] = key, i


@strict
def _nearest(
    X, L, count, low, high, top_log, levels, Q, q, twice, zeros, spare, nodes, bounds, best, row
):
    """Depth first, the nearer child first; `nodes` and `bounds` are the stack."""
    leaves = (1 << levels) - 1
    best[0], row[0] = math.inf, 0
    nodes[0], bounds[0] = 0, -math.inf
    size = 1
    while size:
        size -= 1
        k, bound = nodes[size], bounds[size]
        if bound + spare > best[0]:
            continue
        if k >= leaves:
            m = k - leaves
            a, b = _row(count, m, levels), _row(count, m + 1, levels)
            if zeros is None:
                _scan(X, L, a, b, Q, q, twice, best, row)
            else:
                least(zeros, X, L, a, b, Q, q, twice, best, row)
            continue
        near, far = 2 * k + 1, 2 * k + 2
        lower = _least(Q, q, low, high, top_log, twice, near)
        upper = _least(Q, q, low, high, top_log, twice, far)
        if upper < lower:
            near, far = far, near
            lower, upper = upper, lower
        nodes[size], bounds[size] = far, upper
        nodes[size + 1], bounds[size + 1] = near, lower
        size += 2


@entry
def _nearest_tasks(
    first, last, X, L, count, low, high, top_log, levels, Q, sigma, zeros, nats, out
):
    nodes, row = np.empty(levels + 2, dtype=np.int64), np.empty(1, dtype=np.int64)
    bounds, best = np.empty(levels + 2), np.empty(1)
    for q in range(first, last):
        twice = 2.0 * sigma[q] * sigma[q]
        spare = nats * twice
        _nearest(
            X,
            L,
            count,
            low,
            high,
            top_log,
            levels,
            Q,
            q,
            twice,
            zeros,
            spare,
            nodes,
            bounds,
            best,
            row,
        )
        out[q] = row[0]
