"""Fused kernels of the posterior's moments about its mean: a second pass, in registers.

Notation as in `fused`, D - x_r known from the softmax. With y_i = (x_i - x_r) - (D - x_r),
so that nothing large cancels, weights w relative to the reference and S = Σ w,

    tr C = Σ w|y|²/S,    C = Σ w y yᵀ/S,    H = log S - Σ w log w/S,
    s κ3 + C v = Σ w (s|y|² + y·v) y/S.

The logits are those of `fused.sums`, bit for bit, with their bound; products add
(D + 4)ε relative, and each y is off by ε(|x_i - x_r| + |y_i|).

Points stand in the order of a k-d tree, and a node is passed by where its box shows that all
its weights are zero. That changes no result, and makes small σ cheap in few dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import leaves
from ._jit import entry, strict
from .fused import LOG2E, SLAB, TILE, cuts, summed
from .intrinsics import BLOCK, FLOOR, LANES, centred, gram, scatter

__all__ = ["Boxed", "covariance", "spread"]

STRIP = 128
"""Points whose offsets are held at a time for covariances."""


class Boxed(NamedTuple):
    """Points in k-d order, side by side, with their boxes."""

    points: np.ndarray
    """(D, N + spare)."""
    bits: np.ndarray | None
    """(N + spare,) log2 weights, None where they are all equal."""
    low: np.ndarray
    high: np.ndarray
    """(nodes, D) corners, in heap order."""
    top: np.ndarray
    """(nodes,) largest log2 weights."""


def spread(zeros, boxed, Q, near, base, inv, centre, v, third):
    """Σ w, Σ w|y|², Σ w log2 w and Σ w (third |y|² + y·v) y, in columns (B, D + 3).

    Other arguments as for `fused.sums`; `centre` (B, D) is D - x_r, and v is (B, D) or None:
    the last D sums are then left out.
    """
    width = 3 if v is None else 3 + len(zeros)
    return _summed(_spread_tasks, width, zeros, boxed, third, Q, near, base, inv, centre, v)


def covariance(zeros, boxed, Q, near, base, inv, centre):
    """Σ w (B,) and Σ w y yᵀ (B, D, D)."""
    B, D = Q.shape
    pitch = -(-D // LANES) * LANES
    width = LANES + pitch * pitch
    mass, out = np.empty(B), np.empty((B, D, D))
    step = max(1, SLAB // (4 * width))
    for k in range(0, B, step):
        part = slice(k, k + step)
        mine = [each[part] for each in (Q, near, base, inv, centre)]
        total = _summed(_covariance_tasks, width, zeros, boxed, pitch, *mine)
        mass[part] = total[:, 0]
        half = np.triu(total[:, LANES:].reshape(-1, pitch, pitch)[:, :D, :D])
        out[part] = half + np.triu(half, 1).swapaxes(1, 2)
    return mass, out


def _summed(tasks, width, zeros, boxed, own, Q, near, base, inv, *queries):
    """Sums over the nodes of at most `BLOCK` points; `own` is a number of the task's own."""
    count = boxed.points.shape[1] - LANES
    depth = leaves.depth(count, BLOCK)
    size = -(-count // (1 << depth))
    chunks, many = cuts(size << depth, size)
    given = zeros, *boxed, count, depth, many, own
    rows = Q, near, 2.0 * (Q - near), base, 0.5 * LOG2E * inv, inv, *queries
    work = count * (len(zeros) + 6 + width // LANES)
    return summed(tasks, width, chunks, work, given, rows)


@strict
def _vanishes(low, high, top, k, Q, twice, q, half, inv, base):
    """Whether all weights of a node are zero, however its logits may be rounded."""
    outside, reference = 0.0, 0.0
    for d in range(Q.shape[1]):
        beyond = max(low[k, d] - Q[q, d], Q[q, d] - high[k, d], 0.0)
        outside += beyond * beyond
        reference += 0.25 * twice[q, d] * twice[q, d]
    gap = (1.0 - 1e-12) * outside - (1.0 + 1e-12) * reference
    return (top[k] - base[q]) - (gap * half[q]) * inv[q] < FLOOR - 1.0


@entry
def _spread_tasks(
    first,
    last,
    chunks,
    out,
    zeros,
    X,
    bits,
    low,
    high,
    top,
    count,
    depth,
    many,
    third,
    Q,
    near,
    twice,
    base,
    half,
    inv,
    centre,
    v,
):
    nodes = 1 << depth
    for task in range(first, last):
        q0, c = (task // chunks) * TILE, task % chunks
        for m in range(c * many, min((c + 1) * many, nodes)):
            a, b = (count * m) >> depth, (count * (m + 1)) >> depth
            for q in range(q0, min(q0 + TILE, Q.shape[0])):
                if not _vanishes(low, high, top, nodes - 1 + m, Q, twice, q, half, inv, base):
                    given = near, twice, q, half[q], inv[q], base[q], centre, v
                    scatter(zeros, X, bits, a, b, *given, third, out[c])


@entry
def _covariance_tasks(
    first,
    last,
    chunks,
    out,
    zeros,
    X,
    bits,
    low,
    high,
    top,
    count,
    depth,
    many,
    pitch,
    Q,
    near,
    twice,
    base,
    half,
    inv,
    centre,
):
    nodes = 1 << depth
    rows = np.zeros((1 + pitch, STRIP + LANES))
    for task in range(first, last):
        q0, c = (task // chunks) * TILE, task % chunks
        for m in range(c * many, min((c + 1) * many, nodes)):
            a, b = (count * m) >> depth, (count * (m + 1)) >> depth
            for q in range(q0, min(q0 + TILE, Q.shape[0])):
                if not _vanishes(low, high, top, nodes - 1 + m, Q, twice, q, half, inv, base):
                    given = near, twice, q, half[q], inv[q], base[q], centre
                    for i in range(a, b, STRIP):
                        j = min(i + STRIP, b)
                        centred(zeros, X, bits, i, j, *given, rows, out[c])
                        gram(rows, len(zeros), j - i, q, out[c])
