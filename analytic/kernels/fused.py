"""Fused kernels of the optimal denoiser: every point, every query, in one pass of registers.

Notation as in `dense`: reference x_r, the heaviest point of the query; e = x_i - x_r and
a = x - x_r. With fewer operations than there,

    gap_i = |x - x_i|² - |x - x_r|² = Σ_d e_d (e_d - 2a_d),
    log2 u_i = (l_i - l_r) log2 e - gap_i log2 e/2σ² + const.

The weights are relative to the reference, which no point outweighs, so no
maximum is kept, and sums over different points are added as they are.

Float64. Every factor is again a difference of inputs. With ε = 2⁻⁵³ and q̄_i as
in `dense`, a logit is off by at most ε((D + 12) q̄_i/2σ² + 4|l_i| + 4|l_r|) nats: five
roundings of each summand, measured in |e|(|x - x_i| + |a|), D of their sum, six
of the factor and one at the end. A weight is off by that and 5ε of 2^t. Weights
below 2⁻⁹⁰⁰ are zero.

Float32, for results that are kept in float32. Points stand in blocks that are
compact in space; with centre c, y_i = x_i - c, n_i = |y_i|² and z = c - x,

    gap_i = Γ + n_i + 2 z·y_i,    Γ = Σ_d (c - x_r)_d ((c - x)_d - a_d),

where the parts that cancel, Γ and z, are formed in float64 per query and block.
With κ = log2 e/2σ², u = 2⁻²⁴, r = max |y_i|, base B = top_l - l_r - κΓ and λ the
spread of the block's log-weights below their top, all logits in bits, a logit of
the block is off by at most

    E = u(4(|B| + λ) + (10 + g) κ r (r + 2|z|)) + 2⁻⁵⁰ κ Σ_d |c - x_r|_d |z - a|_d,

with g = ⌈log2 ⌈D/4⌉⌉ + ⌊(D - 1)/12⌋: one u each for y, n, κ, B, l and the slopes -2κz; at
most four for a group of four products, g for the sum of the groups, and one each for n, B
and l, on parts no larger than |B| + λ + κr(r + 2|z|). No logit of the block exceeds

    U = B + κ r(2|z| - r)  for |z| > r,    B + κ|z|²  otherwise,

which the distance of x from the block's box may lower.

A block is summed in float32 where E ≤ `TOLERANCE`, or where all its weights
together stay below 2⁻²⁵ of the sum whatever E does to them (U + E ≤ -26 - log2 N);
passed by where U + E is under the floor of float32 weights, 2⁻⁹⁰, under which they
would be zero; and otherwise summed in float64. So log-weights that matter are within
`TOLERANCE`, at any σ and any distance. Sums of float32 are those of one block.

Coordinates are in units of the data's range. Chunks and blocks depend on the
points alone: results depend neither on threads nor on the other queries.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import leaves
from ._jit import entry, strict
from .intrinsics import (
    BLOCK,
    FLOOR_SINGLE,
    LANES,
    LANES_SINGLE,
    weigh,
    weigh_single,
)
from .threads import share

TOLERANCE = 2.0**-11
"""Largest error, in bits, of a float32 logit that matters: 3.4e-4 nats."""

COMPACT, COMPACT_PLANE = 512, 2048
"""Points in a float32 block, at most; the same up to `PLANE` dimensions, where blocks are small."""

PLANE = 3

CHUNK, MAX_CHUNKS = 4096, 32
"""Smallest number of points of a task, and largest number of tasks per tile of queries."""

TILE = 16
"""Queries that share a block of points while it is in the cache."""

SLAB = 5_000_000
"""Numbers in the partial results of one pass (40 MB); larger batches are cut."""

LARGEST_SLOPE = 1e30
"""Above this a float32 block could overflow."""

LOG2E = math.log2(math.e)
"""Bits in a nat."""


class Blocks(NamedTuple):
    """Points in float32 blocks, the nodes at one depth of the k-d tree, in its order."""

    data: np.ndarray
    """(blocks, D + 2, columns): n_i, y_i and log2 weights below their top; n = ∞ beyond the end."""
    centre: np.ndarray
    """(blocks, D)."""
    halves: np.ndarray
    """(blocks, D) half the widths of their boxes."""
    radius: np.ndarray
    """(blocks,) r = max |y_i|."""
    top: np.ndarray
    """(blocks,) largest log2 weight."""
    spread: np.ndarray
    """(blocks,) λ."""
    depth: int


def columns(X):
    """(D, N + spare) from (N, D): coordinates side by side, as `weigh` reads them."""
    out = np.zeros((X.shape[1], X.shape[0] + LANES))
    out[:, : X.shape[0]] = X.T
    return out


def blocks(X, bits):
    """Float32 blocks of points X (N, D) in k-d order with log2 weights `bits`."""
    count, D = X.shape
    depth = leaves.depth(count, COMPACT_PLANE if D <= PLANE else COMPACT)
    many = 1 << depth
    low, high = leaves.boxes(X, depth)
    centre = 0.5 * (low[many - 1 :] + high[many - 1 :])
    pitch = _whole(-(-count // many))
    data = np.zeros((many, D + 2, pitch), dtype=np.float32)
    data[:, 0] = np.inf
    radius, top, spread = np.empty(many), np.empty(many), np.empty(many)
    share(_pack_tasks, many, 4 * X.size, X, bits, depth, centre, data, radius, top, spread)
    halves = np.maximum(high[many - 1 :] - centre, centre - low[many - 1 :])
    return Blocks(data, centre, halves, radius, top, spread, depth)


@entry
def _pack_tasks(first, last, X, bits, depth, centre, data, radius, top, spread):
    count, D = X.shape
    for m in range(first, last):
        a, b = (count * m) >> depth, (count * (m + 1)) >> depth
        high, low, far = -math.inf, math.inf, 0.0
        for i in range(a, b):
            high, low = max(high, bits[i]), min(low, bits[i])
        for i in range(a, b):
            square = 0.0
            for d in range(D):
                data[m, 1 + d, i - a] = X[i, d] - centre[m, d]
                y = np.float64(data[m, 1 + d, i - a])
                square += y * y
            data[m, 0, i - a] = square
            data[m, D + 1, i - a] = bits[i] - high
            far = max(far, square)
        radius[m], top[m], spread[m] = math.sqrt(far), high, high - low


def _whole(count):
    """Room for so many numbers in whole vectors."""
    return -(-count // LANES_SINGLE) * LANES_SINGLE


def cuts(count, block):
    """Chunks that so many points, in blocks of some size, are cut into, and blocks in each."""
    many = -(-max(CHUNK, -(-count // MAX_CHUNKS)) // block)
    return -(-count // (many * block)), many


def summed(tasks, width, chunks, work, given, queries):
    """`width` sums (B, width) over all points: chunks are added in their order.

    `given` is for all queries, `queries` has a row of each. Tasks add whole vectors, from any
    place on: there is one to spare.
    """
    B, room = queries[0].shape[0], _whole(width + LANES)
    total = np.empty((B, width))
    step = max(1, SLAB // (chunks * room))
    for k in range(0, B, step):
        part = slice(k, min(k + step, B))
        size = part.stop - k
        out = np.zeros((chunks, size, room))
        mine = [each if each is None else each[part] for each in queries]
        share(tasks, chunks * -(-size // TILE), work * size, chunks, out, *given, *mine)
        for c in range(1, chunks):
            out[0] += out[c]
        total[part] = out[0, :, :width]
    return total


def sums(X, bits, zeros, Q, near, base, inv):
    """Σ w (B,) and Σ w (x_i - x_r) (B, D) in float64.

    X : (D, N + spare) `columns` of the points, `bits` (N + spare,) log2 weights or None,
    `zeros` a tuple of D zeros, `near` (B, D) the references, `base` (B,) their log2
    weights, `inv` (B,) 1/σ.
    """
    count = X.shape[1] - LANES
    chunks, many = cuts(count, BLOCK)
    given = zeros, X, bits, count, many
    queries = near, 2.0 * (Q - near), base, 0.5 * LOG2E * inv, inv
    total = summed(_sum_tasks, len(zeros) + 1, chunks, X.size + 6 * count, given, queries)
    return total[:, 0], total[:, 1:]


def sums_single(X, bits, blocks, zeros, Q, near, row, base, inv):
    """The same with float32 where that is good enough; `row` (B,) are the references' rows."""
    count = X.shape[1] - LANES
    chunks, many = cuts(count, -(-count // blocks.data.shape[0]))
    with np.errstate(over="ignore"):
        kappa = np.minimum(0.5 * LOG2E * inv * inv, 1e200)
    given = zeros, X, bits, count, many, *blocks
    queries = Q, near, row, 2.0 * (Q - near), base, 0.5 * LOG2E * inv, inv, kappa
    total = summed(_single_tasks, len(zeros) + 1, chunks, X.size + 6 * count, given, queries)
    return total[:, 0], total[:, 1:]


@entry
def _sum_tasks(first, last, chunks, out, zeros, X, bits, count, many, near, twice, base, half, inv):
    for task in range(first, last):
        q0, c = (task // chunks) * TILE, task % chunks
        c0, c1 = c * many * BLOCK, min((c + 1) * many * BLOCK, count)
        for b0 in range(c0, c1, BLOCK):
            b1 = min(b0 + BLOCK, c1)
            for q in range(q0, min(q0 + TILE, near.shape[0])):
                weigh(zeros, X, bits, b0, b1, near, twice, q, half[q], inv[q], base[q], out[c])


_SKIP, _SINGLE, _DOUBLE = 0, 1, 2


@strict
def _doublings(D):
    """g: additions that a sum of four products meets in a float32 logit."""
    found = 0
    while 4 << found < D:
        found += 1
    return found + (D - 1) // 12


@strict
def _plan(centre, half, m, r, x, away, near, count, head, spread, kappa, small, plan, level, slope):
    """How to sum block m for each query of a tile; its B, and its slopes. See the module.

    x, away = x - x_r and near are (D, TILE).
    """
    D = x.shape[0]
    factor = 10 + _doublings(D)
    for k in range(count):
        square, fall, parts, outside, reference = 0.0, 0.0, 0.0, 0.0, 0.0
        for d in range(D):
            z = centre[m, d] - x[d, k]
            beyond = max(abs(z) - half[m, d], 0.0)
            outside += beyond * beyond
            reference += away[d, k] * away[d, k]
            term = (centre[m, d] - near[d, k]) * (z - away[d, k])
            square += z * z
            fall += term
            parts += abs(term)
            slope[k, d] = -2.0 * kappa[k] * z
        z = math.sqrt(square)
        base = head[k] - kappa[k] * fall
        rounded = 4 * (abs(base) + spread) + factor * kappa[k] * r * (r + 2.0 * z)
        error = 2.0**-24 * rounded + 2.0**-50 * kappa[k] * parts
        reach = r * (2.0 * z - r) if z > r else square
        ball = base + kappa[k] * reach
        box = (
            head[k]
            + kappa[k] * (reference - (1.0 - 1e-12) * outside)
            + 1e-12 * kappa[k] * reference
        )
        most = min(ball, box) + error
        exact = kappa[k] * (1.0 + z) < LARGEST_SLOPE
        level[k] = base
        plan[k] = _DOUBLE
        if (error <= TOLERANCE or most <= small) and exact:
            plan[k] = _SINGLE
        if most <= FLOOR_SINGLE:
            plan[k] = _SKIP


@strict
def _fold(data, m, a, b, row, centre, near, plan, q0, part, out):
    """Add Σ w and Σ w (x_i - x_r) of a float32 block, in which the reference may lie itself."""
    for k in range(plan.shape[0]):
        if plan[k] != _SINGLE:
            continue
        total = np.float64(part[k, 0])
        out[q0 + k, 0] += total
        inside = a <= row[q0 + k] < b
        for d in range(centre.shape[1]):
            apart = centre[m, d] - near[d, k]
            if inside:  # the rounded y of the reference: it is at no distance from itself
                apart = -np.float64(data[m, 1 + d, row[q0 + k] - a])
            out[q0 + k, 1 + d] += np.float64(part[k, 1 + d]) + total * apart


@entry
def _single_tasks(
    first,
    last,
    chunks,
    out,
    zeros,
    X,
    bits,
    count,
    many,
    data,
    centre,
    halves,
    radius,
    top,
    spread,
    depth,
    Q,
    near,
    row,
    twice,
    base,
    half,
    inv,
    kappa,
):
    D = len(zeros)
    small = -26.0 - math.log2(count)
    x, away, at = np.empty((D, TILE)), np.empty((D, TILE)), np.empty((D, TILE))
    head, level = np.empty(TILE), np.empty(TILE)
    plan = np.empty(TILE, dtype=np.int64)
    slope = np.empty((TILE, D), dtype=np.float32)
    part = np.empty((TILE, out.shape[2]), dtype=np.float32)
    for task in range(first, last):
        q0, c = (task // chunks) * TILE, task % chunks
        size = min(TILE, Q.shape[0] - q0)
        for k in range(size):
            for d in range(D):
                x[d, k], at[d, k] = Q[q0 + k, d], near[q0 + k, d]
                away[d, k] = 0.5 * twice[q0 + k, d]
        for m in range(c * many, min((c + 1) * many, data.shape[0])):
            a, b = (count * m) >> depth, (count * (m + 1)) >> depth
            for k in range(size):
                head[k] = top[m] - base[q0 + k]
            _plan(
                centre,
                halves,
                m,
                radius[m],
                x,
                away,
                at,
                size,
                head,
                spread[m],
                kappa[q0:],
                small,
                plan,
                level,
                slope,
            )
            for k in range(size):
                q = q0 + k
                if plan[k] == _SINGLE:
                    fall, start = np.float32(kappa[q]), np.float32(level[k])
                    weigh_single(zeros, data, m, k, slope, fall, start, bits, part)
                elif plan[k] == _DOUBLE:
                    weigh(zeros, X, bits, a, b, near, twice, q, half[q], inv[q], base[q], out[c])
            _fold(data, m, a, b, row, centre, at, plan[:size], q0, part, out[c])
