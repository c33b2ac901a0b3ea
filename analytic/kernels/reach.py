"""Bounds on the distances of queries from blocks of points, by box and by ball.

With a block's box [l, h], ball (c, r) and a query x,

    box ≤ |x - x_i| ≤ corner,   |x - c| - r ≤ |x - x_i| ≤ |x - c| + r,

where box² = Σ max(l - x, x - h, 0)² and corner² = Σ max(|x - l|, |x - h|)². Sums of D squares of
differences, each off by (D + 2)ε relative at most: callers round outwards by far more.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, sums
from .threads import share


@sums
def _squares(X, q, low, high, centre, k):
    box = 0.0
    corner = 0.0
    middle = 0.0
    for d in range(X.shape[1]):
        x = X[q, d]
        below = low[k, d] - x
        above = x - high[k, d]
        out = max(max(below, above), 0.0)
        away = max(abs(below), abs(above))
        off = x - centre[k, d]
        box += out * out
        corner += away * away
        middle += off * off
    return box, corner, middle


@entry
def _reach_tasks(first, last, X, low, high, centre, radius, slack, near, far):
    for q in range(first, last):
        for k in range(radius.shape[0]):
            box, corner, middle = _squares(X, q, low, high, centre, k)
            centred = math.sqrt(middle)
            near[q, k] = max(math.sqrt(box), centred * (1 - slack) - radius[k]) * (1 - slack)
            far[q, k] = min(math.sqrt(corner), centred * (1 + slack) + radius[k]) * (1 + slack)


def bounds(X, low, high, centre, radius, slack):
    """(B, K) bounds from below and above on distances of X (B, D), rounded outwards by `slack`."""
    shape = X.shape[0], radius.shape[0]
    near, far = np.empty(shape), np.empty(shape)
    work = X.size * shape[1]
    share(_reach_tasks, shape[0], work, X, low, high, centre, radius, slack, near, far)
    return near, far
