"""Kernels that sum over the points that matter: certified bounds first, float64 differences after.

Every point x_i has an image y_i in float32: `ends[0]` coordinates in an orthonormal
basis and the norm of what they leave out; refined images have `ends[1]`, `ends[2]`, …
coordinates and the norm of the smaller rest. The exact maps are 1-Lipschitz, so

    |x - x_i| ≥ |y - y_i| - e,

e being a bound on the errors of both images. Points come in blocks of `BLOCK`; the
heads of a block lie coordinate by coordinate, so that one instruction serves 16 points.

With γ = (K + 4) 2⁻²⁴ for K coordinates, the computed square b of |y - y_i| satisfies
b ≤ |y - y_i|² (1 + 2γ) + 2⁻¹²⁶ K. A point whose true square distance is at most T
therefore passes the test b ≤ (√T + e)² (1 + 2γ) + 2⁻¹²⁶ K, which is rounded up.

Points that pass are summed as the dense kernels sum all points: logits relative to a
reference from differences, blocks in a fixed order, one query independent of the
others. A point enters the sums if and only if its float64 logit is at least -C, which
certainly passes the test; so rounding in the images or in their tests cannot change
a result, only the time it takes.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, products, strict
from .dense import OVERSHOOT, _about, _distance2, _gap, _logit
from .threads import share

BLOCK = 128
"""Points per block."""

TILE = 64
"""Most queries that share a block of points while it is in the cache."""

TILE_NUMBERS = 49_152
"""Numbers in the queries of a tile."""

DEAL = 8
"""Tiles next to each other go to this many places in the order of work."""

SAMPLED = 32
"""One block in so many is looked into where the points that pass are estimated."""

CROWD = BLOCK // 8
"""Points of a block from which the waist is compared for all of them at once."""

PROBES = 4
"""Blocks in which a reference is looked for."""


@products
def _heads(head, b, A, q, k0, out):
    """Add square distances, in the coordinates from k0 on that `head` has, to out."""
    K = head.shape[1] - 1
    k = 0
    while k + 4 <= K:
        a0, a1, a2, a3 = A[q, k0 + k], A[q, k0 + k + 1], A[q, k0 + k + 2], A[q, k0 + k + 3]
        for i in range(BLOCK):
            g0 = a0 - head[b, k, i]
            g1 = a1 - head[b, k + 1, i]
            g2 = a2 - head[b, k + 2, i]
            g3 = a3 - head[b, k + 3, i]
            out[i] += (g0 * g0 + g1 * g1) + (g2 * g2 + g3 * g3)
        k += 4
    while k < K:
        a0 = A[q, k0 + k]
        for i in range(BLOCK):
            g0 = a0 - head[b, k, i]
            out[i] += g0 * g0
        k += 1


@strict
def _nothing(out):
    for i in range(BLOCK):
        out[i] = np.float32(0)


@strict
def _bounds(images, A, R, b, q, limit, base, lows, likes):
    """Squares and lower bounds of block b; the first stage that points are yet to pass.

    Where many points pass the head, all of the block are taken through the waist.
    """
    head, waist, ends = images[1], images[2], images[5]
    _nothing(base)
    _heads(head, b, A, q, 0, base)
    _lowers(head, b, R, q, 0, base, lows, likes)
    if waist.shape[0] == 0:
        return 1
    crowd = 0
    for i in range(BLOCK):
        crowd += lows[i] <= limit
    if crowd <= CROWD:
        return 1
    _heads(waist, b, A, q, ends[0], base)
    _lowers(waist, b, R, q, 1, base, lows, likes)
    return 2


@strict
def _least(v):
    """Smallest of a block, by halves; v is overwritten."""
    half = BLOCK // 2
    while half >= 1:
        for i in range(half):
            v[i] = v[i + half] if v[i + half] < v[i] else v[i]
        half //= 2
    return v[0]


@strict
def _lowers(head, b, R, q, e, base, low, likely):
    """Lower bounds (rest of opposite sign excluded) and likely squares (rests orthogonal).

    The rests are those of stage e.
    """
    K = head.shape[1] - 1
    rest = R[q, e]
    for i in range(BLOCK):
        h = head[b, K, i]
        g = rest - h
        low[i] = base[i] + g * g
        likely[i] = base[i] + (rest * rest + h * h)


@entry
def _survey_tasks(first, last, head, A, R, low, likely):
    base = np.empty(BLOCK, np.float32)
    lows = np.empty(BLOCK, np.float32)
    likes = np.empty(BLOCK, np.float32)
    for b in range(first, last):
        for q in range(A.shape[0]):
            _nothing(base)
            _heads(head, b, A, q, 0, base)
            _lowers(head, b, R, q, 0, base, lows, likes)
            low[b, q] = _least(lows)
            likely[b, q] = _least(likes)


def survey(head, A, R):
    """Smallest lower bound and smallest likely square of each block for each query."""
    blocks, width, _ = head.shape
    low = np.empty((blocks, len(A)), np.float32)
    likely = np.empty((blocks, len(A)), np.float32)
    share(_survey_tasks, blocks, blocks * len(A) * width * BLOCK // 8, head, A, R, low, likely)
    return low, likely


@strict
def _probe(X, L, Q, sigma, order, head, A, R, likely, q):
    """The heaviest of the likeliest points of the likeliest blocks, by exact distance."""
    base = np.empty(BLOCK, np.float32)
    lows = np.empty(BLOCK, np.float32)
    likes = np.empty(BLOCK, np.float32)
    taken = np.full(PROBES, -1, np.int64)
    twice = 2.0 * sigma[q] * sigma[q]
    best = math.inf
    found = order[0]
    for p in range(min(PROBES, head.shape[0])):
        pick = -1
        for b in range(head.shape[0]):
            if pick < 0 or likely[b, q] < likely[pick, q]:
                old = False
                for j in range(p):
                    old = old or taken[j] == b
                if not old:
                    pick = b
        taken[p] = pick
        _nothing(base)
        _heads(head, pick, A, q, 0, base)
        _lowers(head, pick, R, q, 0, base, lows, likes)
        for _ in range(PROBES):
            j = 0
            for i in range(BLOCK):
                if likes[i] < likes[j]:
                    j = i
            if pick * BLOCK + j >= order.shape[0] or not likes[j] < math.inf:
                break
            likes[j] = np.float32(math.inf)
            i = order[pick * BLOCK + j]
            key = _distance2(Q, q, X, i) - twice * L[i]
            if key < best or (key == best and i < found):
                best = key
                found = i
    return found


@entry
def _probe_tasks(first, last, X, L, Q, sigma, order, head, A, R, likely, ref, square):
    for q in range(first, last):
        ref[q] = _probe(X, L, Q, sigma, order, head, A, R, likely, q)
        square[q] = _distance2(Q, q, X, ref[q])


def probe(X, L, Q, sigma, order, head, A, R, likely):
    """A reference for each query and its square distance."""
    ref = np.empty(len(Q), np.int64)
    square = np.empty(len(Q))
    work = len(Q) * (PROBES * PROBES * X.shape[1] + PROBES * head.shape[0])
    share(_probe_tasks, len(Q), work, X, L, Q, sigma, order, head, A, R, likely, ref, square)
    return ref, square


@products
def _more(tail, j, A, q, k0, k1, skip):
    """Square distance in coordinates k0 … k1."""
    total = np.float32(0)
    for k in range(k0, k1):
        g = A[q, k] - tail[j, k - skip]
        total += g * g
    return total


@strict
def _passes(tail, rests, A, R, q, j, ends, stage, square, limit):
    """Whether the lower bounds of point j, refined from a stage on, stay within the limit."""
    for e in range(stage, ends.shape[0]):
        square += _more(tail, j, A, q, ends[e - 1], ends[e], ends[0])
        g = R[q, e] - rests[j, e]
        if square + g * g > limit:
            return False
    return True


@strict
def _limit(square, sigma, dlog, reach, error, gamma, unit, dim):
    """Largest float32 bound of a point with a logit ≥ -reach, in the units of the images."""
    room = square + 2.0 * sigma * sigma * (reach + dlog)
    if not room >= 0.0:
        return np.float32(-1.0)
    # the logit's own rounding, at most 4ε(D + 8) of the room, is let pass too
    root = math.sqrt(room * (1.0 + 1e-15 * (dim + 100.0))) / unit + error
    bound = root * root * (1.0 + gamma) + 1e-34
    if not bound < 3e38:
        return np.float32(math.inf)
    return np.float32(bound)


@strict
def _sum(X, L, Q, sigma, inv, ref, square, images, A, R, low, rows, q0, q1, reach, error, found):
    order, head, _, tail, rests, ends, tops, gamma, unit = images
    top, index, s0, s1, kept = found
    D = Q.shape[1]
    t = np.empty(BLOCK)
    at = np.empty(BLOCK, np.int64)
    part = np.empty(D)
    base = np.empty(BLOCK, np.float32)
    lows = np.empty(BLOCK, np.float32)
    likes = np.empty(BLOCK, np.float32)
    toward = np.empty((q1 - q0, D))
    for p in range(q0, q1):
        q = rows[p]
        for d in range(D):
            toward[p - q0, d] = Q[q, d] - X[ref[q], d]
        top[q] = -math.inf
        index[q] = ref[q]
        s0[q] = 0.0
        kept[q] = 0
        for d in range(D):
            s1[q, d] = 0.0
    for b in range(head.shape[0]):
        for p in range(q0, q1):
            q = rows[p]
            r = ref[q]
            limit = _limit(square[q], sigma[q], tops[b] - L[r], reach, error[q], gamma, unit, D)
            if low[b, q] > limit:
                continue
            stage = _bounds(images, A, R, b, q, limit, base, lows, likes)
            n = 0
            block_top = -math.inf
            block_index = -1
            for i in range(BLOCK):
                if not lows[i] <= limit:
                    continue
                j = b * BLOCK + i
                if j >= order.shape[0]:
                    break
                if not _passes(tail, rests, A, R, q, j, ends, stage, base[i], limit):
                    continue
                o = order[j]
                value = _logit(_gap(Q, q, X, o, X, r, toward, p - q0), L[o] - L[r], inv[q])
                if value < -reach:
                    continue
                t[n] = value
                at[n] = o
                n += 1
                if value > block_top or (value == block_top and o < block_index):
                    block_top = value
                    block_index = o
            if n == 0:
                continue
            kept[q] += n
            if block_top > top[q]:
                held = min(block_top, OVERSHOOT)
                if held > min(top[q], OVERSHOOT):
                    shrink = math.exp(top[q] - held)
                    s0[q] *= shrink
                    for d in range(D):
                        s1[q, d] *= shrink
                top[q] = block_top
                index[q] = block_index
            elif block_top == top[q] and block_index < index[q]:
                index[q] = block_index
            ceiling = min(top[q], OVERSHOOT)
            total = 0.0
            for d in range(D):
                part[d] = 0.0
            for m in range(n):
                w = math.exp(min(t[m], OVERSHOOT) - ceiling)
                total += w
                for d in range(D):
                    part[d] += _about(w, X[at[m], d], X[r, d])
            s0[q] += total
            for d in range(D):
                s1[q, d] += part[d]
    for p in range(q0, q1):
        q = rows[p]
        for d in range(D):
            s1[q, d] /= s0[q]
        s0[q] = min(top[q], OVERSHOOT) + math.log(s0[q])


@entry
def _sum_tasks(
    first,
    last,
    X,
    L,
    Q,
    sigma,
    inv,
    ref,
    square,
    images,
    A,
    R,
    low,
    rows,
    deal,
    tile,
    reach,
    error,
    found,
):
    for task in range(first, last):
        # neighbouring tiles cost alike: they are dealt out, not cut in runs
        q0 = deal[task] * tile
        q1 = min(q0 + tile, rows.shape[0])
        _sum(X, L, Q, sigma, inv, ref, square, images, A, R, low, rows, q0, q1, reach, error, found)


def softmax(X, L, Q, sigma, inv, ref, square, images, A, R, low, rows, reach, error):
    """Softmax of the queries `rows`, relative to their references, over points with t ≥ -reach.

    Returns (top, index, log_sum, shift, kept) as the dense kernel does, `kept` being
    the number of points in the sums. Other queries' entries are undefined.
    """
    B, D = Q.shape
    found = (
        np.empty(B),
        np.empty(B, np.int64),
        np.empty(B),
        np.empty((B, D)),
        np.empty(B, np.int64),
    )
    tile = max(1, min(TILE, TILE_NUMBERS // D, -(-len(rows) // DEAL)))
    tasks = -(-len(rows) // tile)
    deal = np.concatenate([np.arange(k, tasks, DEAL) for k in range(DEAL)])
    share(
        _sum_tasks,
        tasks,
        len(rows) * (len(X) + 1000 * D),
        X,
        L,
        Q,
        sigma,
        inv,
        ref,
        square,
        images,
        A,
        R,
        low,
        rows,
        deal,
        tile,
        reach,
        error,
        found,
    )
    return found


@strict
def _census(images, A, R, low, q, sigma, square, dtop, reach, error, dim):
    """Blocks that pass, blocks looked into, and points that pass in those."""
    head, _, tail, rests, ends, tops, gamma, unit = images[1:]
    base = np.empty(BLOCK, np.float32)
    lows = np.empty(BLOCK, np.float32)
    likes = np.empty(BLOCK, np.float32)
    blocks = 0
    looked = 0
    points = 0
    for b in range(head.shape[0]):
        limit = _limit(square, sigma, tops[b] - dtop, reach, error, gamma, unit, dim)
        if low[b, q] > limit:
            continue
        blocks += 1
        if blocks % SAMPLED != 1:
            continue
        looked += 1
        stage = _bounds(images, A, R, b, q, limit, base, lows, likes)
        for i in range(BLOCK):
            j = b * BLOCK + i
            if lows[i] <= limit and _passes(tail, rests, A, R, q, j, ends, stage, base[i], limit):
                points += 1
    return blocks, looked, points


@entry
def _census_tasks(first, last, images, A, R, low, sigma, square, dtop, reach, error, dim, out):
    for q in range(first, last):
        blocks, looked, points = _census(
            images, A, R, low, q, sigma[q], square[q], dtop[q], reach, error[q], dim
        )
        out[q, 0] = blocks
        out[q, 1] = points * (blocks / max(looked, 1))


def census(images, A, R, low, sigma, square, dtop, reach, error, dim):
    """Blocks and, from a sample of these, points that pass for each query: (B, 2)."""
    out = np.empty((len(A), 2))
    arrays = (images, A, R, low, sigma, square, dtop, reach, error, dim, out)
    share(_census_tasks, len(A), low.size * 200, *arrays)
    return out


@entry
def _live_tasks(first, last, images, low, sigma, square, dtop, reach, error, dim, group, out):
    head, tops, gamma, unit = images[1], images[6], images[7], images[8]
    for g in range(first, last):
        for q in range(low.shape[1]):
            out[g, q] = False
            for b in range(g * group, min((g + 1) * group, head.shape[0])):
                limit = _limit(
                    square[q], sigma[q], tops[b] - dtop[q], reach, error[q], gamma, unit, dim
                )
                if low[b, q] <= limit:
                    out[g, q] = True
                    break


def live(images, low, sigma, square, dtop, reach, error, dim, group):
    """(groups, B) whether any of `group` blocks passes."""
    groups = -(-len(low) // group)
    out = np.empty((groups, low.shape[1]), np.bool_)
    arrays = (images, low, sigma, square, dtop, reach, error, dim, group, out)
    share(_live_tasks, groups, low.size * 20, *arrays)
    return out
