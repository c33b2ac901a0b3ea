"""Dense kernels of the optimal denoiser: every point, every query, in float64.

Notation: points x_i (rows of X), log-weights l_i, query x, bandwidth σ, and a
reference point x_r per query. Log-weights are never formed from two large
squares. They are taken relative to the reference,

    t_i = (l_i - l_r) - q_i / 2σ²,
    q_i = |x - x_i|² - |x - x_r|² = Σ_d (x_r - x_i)_d ((x - x_i) + (x - x_r))_d,

so that every factor is a difference of inputs, rounded once. With ε = 2⁻⁵³ and
q̄_i = Σ_d |x_r - x_i|_d (|x - x_i|_d + |x - x_r|_d), the computed t_i is off by

    |δt_i| ≤ ε ((D + 8) q̄_i / 2σ² + 2|l_i - l_r|),

a few units in the last place of the spread of the logits, whatever the distance
of the data from the origin and of the query from the data. (Three roundings per
summand, D - 1 additions in any order, four in the factor 1/2σ² and one in the
final subtraction.)

One query and one chunk of points give the partial result (max, sum, weighted
sum) of the softmax; partials are merged in the order of the chunks. Chunks and
blocks depend on N and D alone, so results depend neither on the number of
threads nor on the other queries in the batch, and no N×B matrix is held. Sums
run over blocks of at most `BLOCK` points, then over blocks, then over chunks:
n terms are added with an error of at most (BLOCK + n/BLOCK) ε relative.

Floating-point flags: additions of the reductions may be reassociated (so that
they vectorise); the summands live in functions compiled without any flag, and
their operations therefore stay as written. NaN and infinity keep their meaning.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, strict, sums
from .threads import share

BLOCK = 128
"""Points whose logits are held at a time, per query."""

CHUNK = 4096
"""Smallest number of points that a task runs through."""

MAX_CHUNKS = 32
"""Largest number of chunks: bounds the memory of the partial results."""

TILE = 16
"""Queries that share a block of points while it is in the cache."""

SLAB = 5_000_000
"""Numbers in the partial results of one pass (40 MB); larger batches are cut."""

UNDERFLOW = -745.2
"""exp of anything below is exactly zero in float64."""

OVERSHOOT = 600.0
"""Logits above the reference are held to this; callers then pick a better reference."""


def chunk_count(count):
    """Chunks that `count` points are cut into."""
    return -(-count // _chunk_rows(count))


def _chunk_rows(count):
    rows = max(CHUNK, -(-count // MAX_CHUNKS))
    return -(-rows // BLOCK) * BLOCK


def _work(X, Q):
    """Numbers that a pass over all points reads for all queries, and a few per pair."""
    return X.shape[0] * Q.shape[0] * (X.shape[1] + 6)


def _tasks(X, Q):
    """Points per chunk, chunks, query tiles."""
    return _chunk_rows(X.shape[0]), chunk_count(X.shape[0]), -(-Q.shape[0] // TILE)


def _slabs(X, Q):
    """Slices of the queries, small enough to bound the partial results."""
    step = max(1, SLAB // (chunk_count(X.shape[0]) * (2 * X.shape[1] + 4)))
    return [slice(k, min(k + step, Q.shape[0])) for k in range(0, Q.shape[0], step)]


@strict
def _square(x, xi):
    gap = x - xi
    return gap * gap


@strict
def _cross(x, xi, xr, toward):
    return (xr - xi) * ((x - xi) + toward)


@strict
def _about(w, xi, c):
    return w * (xi - c)


@strict
def _times(a, b):
    return a * b


@sums
def _distance2(Q, q, X, i):
    """|x_q - x_i|²."""
    total = 0.0
    for d in range(Q.shape[1]):
        total += _square(Q[q, d], X[i, d])
    return total


@sums
def _gap(Q, q, X, i, R, r, toward, k):
    """|x - x_i|² - |x - x_r|² for row r of R, given row k of toward = x - x_r."""
    total = 0.0
    for d in range(Q.shape[1]):
        total += _cross(Q[q, d], X[i, d], R[r, d], toward[k, d])
    return total


@sums
def _dot(A, a, B, b):
    total = 0.0
    for d in range(A.shape[1]):
        total += _times(A[a, d], B[b, d])
    return total


@strict
def _logit(gap, dlog, inv):
    return dlog - (gap * inv) * (0.5 * inv)


@strict
def _toward(X, Q, ref, q0, q1):
    out = np.empty((q1 - q0, Q.shape[1]))
    for q in range(q0, q1):
        for d in range(Q.shape[1]):
            out[q - q0, d] = Q[q, d] - X[ref[q], d]
    return out


@strict
def _nearest(X, L, Q, sigma, q0, q1, c, rows, key, index):
    """Point with the largest logit, by plain squared distances, of each query in a chunk."""
    c0, c1 = c * rows, min((c + 1) * rows, X.shape[0])
    for q in range(q0, q1):
        key[c, q] = math.inf
        index[c, q] = c0
    for b0 in range(c0, c1, BLOCK):
        b1 = min(b0 + BLOCK, c1)
        for q in range(q0, q1):
            twice = 2.0 * sigma[q] * sigma[q]
            for i in range(b0, b1):
                k = _distance2(Q, q, X, i) - twice * L[i]
                if k < key[c, q]:
                    key[c, q] = k
                    index[c, q] = i


@entry
def _nearest_tasks(first, last, X, L, Q, sigma, rows, chunks, key, index):
    for task in range(first, last):
        q0 = (task // chunks) * TILE
        q1 = min(q0 + TILE, Q.shape[0])
        _nearest(X, L, Q, sigma, q0, q1, task % chunks, rows, key, index)


def reference(X, L, Q, sigma):
    """(B,) index of the nearest point, |x - x_i|² - 2σ² l_i, the first of equals."""
    out = np.empty(Q.shape[0], dtype=np.int64)
    for part in _slabs(X, Q):
        q, s = Q[part], sigma[part]
        rows, chunks, tiles = _tasks(X, q)
        key = np.empty((chunks, q.shape[0]))
        index = np.empty((chunks, q.shape[0]), dtype=np.int64)
        share(_nearest_tasks, tiles * chunks, _work(X, q), X, L, q, s, rows, chunks, key, index)
        out[part] = np.take_along_axis(index, key.argmin(axis=0)[None], axis=0)[0]
    return out


@strict
def _softmax(X, L, Q, inv, ref, q0, q1, c, rows, top, index, s0, s1):
    """Partial (max, argmax, sum, weighted sum of x_i - x_r) of each query over a chunk."""
    D = Q.shape[1]
    c0, c1 = c * rows, min((c + 1) * rows, X.shape[0])
    t = np.empty(BLOCK)
    toward = _toward(X, Q, ref, q0, q1)
    part = np.empty(D)
    for q in range(q0, q1):
        top[c, q] = -math.inf
        index[c, q] = c0
        s0[c, q] = 0.0
        for d in range(D):
            s1[c, q, d] = 0.0
    for b0 in range(c0, c1, BLOCK):
        b1 = min(b0 + BLOCK, c1)
        for q in range(q0, q1):
            r = ref[q]
            block_top = -math.inf
            block_index = b0
            for i in range(b0, b1):
                gap = _gap(Q, q, X, i, X, r, toward, q - q0)
                t[i - b0] = _logit(gap, L[i] - L[r], inv[q])
                if t[i - b0] > block_top:
                    block_top = t[i - b0]
                    block_index = i
            if block_top > top[c, q]:
                held = min(block_top, OVERSHOOT)
                if held > min(top[c, q], OVERSHOOT):
                    shrink = math.exp(top[c, q] - held)
                    s0[c, q] *= shrink
                    for d in range(D):
                        s1[c, q, d] *= shrink
                top[c, q] = block_top
                index[c, q] = block_index
            ceiling = min(top[c, q], OVERSHOOT)
            if block_top == -math.inf or block_top - ceiling < UNDERFLOW:
                continue
            total = 0.0
            for d in range(D):
                part[d] = 0.0
            for i in range(b0, b1):
                z = min(t[i - b0], OVERSHOOT) - ceiling
                if z < UNDERFLOW:
                    continue
                w = math.exp(z)
                total += w
                for d in range(D):
                    part[d] += _about(w, X[i, d], X[r, d])
            s0[c, q] += total
            for d in range(D):
                s1[c, q, d] += part[d]


@entry
def _softmax_tasks(first, last, X, L, Q, inv, ref, rows, chunks, top, index, s0, s1):
    for task in range(first, last):
        q0 = (task // chunks) * TILE
        q1 = min(q0 + TILE, Q.shape[0])
        _softmax(X, L, Q, inv, ref, q0, q1, task % chunks, rows, top, index, s0, s1)


def softmax(X, L, Q, inv, ref):
    """Softmax of the logits relative to a reference point, folded over the chunks in order.

    Returns (top, index, log_sum, shift): the largest t_i (B,) and where it is (B,),
    log Σ e^{t_i} (B,), and Σ u_i x_i - x_r (B, D). A `top` well above 0 says that the
    reference was a bad one.
    """
    B, D = Q.shape
    found = np.empty(B), np.empty(B, dtype=np.int64), np.empty(B), np.empty((B, D))
    for part in _slabs(X, Q):
        for whole, rows in zip(found, _merged(X, L, Q[part], inv[part], ref[part]), strict=True):
            whole[part] = rows
    return found


def _merged(X, L, Q, inv, ref):
    rows, chunks, tiles = _tasks(X, Q)
    B, D = Q.shape
    top = np.empty((chunks, B))
    index = np.empty((chunks, B), dtype=np.int64)
    s0 = np.empty((chunks, B))
    s1 = np.empty((chunks, B, D))
    arrays = (X, L, Q, inv, ref, rows, chunks, top, index, s0, s1)
    share(_softmax_tasks, tiles * chunks, _work(X, Q), *arrays)
    held = np.minimum(top, OVERSHOOT)
    ceiling = held.max(axis=0)
    total, shift = 0.0, 0.0
    for c in range(chunks):
        factor = np.exp(held[c] - ceiling)
        total = total + factor * s0[c]
        shift = shift + factor[:, None] * s1[c]
    where = top.argmax(axis=0)
    index = np.take_along_axis(index, where[None], axis=0)[0]
    return top.max(axis=0), index, ceiling + np.log(total), shift / total[:, None]


@strict
def _spread(X, L, Q, inv, ref, log_sum, centre, v, q0, q1, c, rows, scalars, vectors):
    """Partial central moments of each query over a chunk: see `spread`."""
    D = Q.shape[1]
    c0, c1 = c * rows, min((c + 1) * rows, X.shape[0])
    toward = _toward(X, Q, ref, q0, q1)
    y = np.empty((1, D))
    part = np.empty((2, D))
    for q in range(q0, q1):
        for k in range(2):
            scalars[c, q, k] = 0.0
            for d in range(D):
                vectors[c, q, k, d] = 0.0
    for b0 in range(c0, c1, BLOCK):
        b1 = min(b0 + BLOCK, c1)
        for q in range(q0, q1):
            r = ref[q]
            trace = 0.0
            entropy = 0.0
            for d in range(D):
                part[0, d] = 0.0
                part[1, d] = 0.0
            for i in range(b0, b1):
                gap = _gap(Q, q, X, i, X, r, toward, q - q0)
                log_u = _logit(gap, L[i] - L[r], inv[q]) - log_sum[q]
                if log_u < UNDERFLOW:
                    continue
                u = math.exp(log_u)
                for d in range(D):
                    y[0, d] = (X[i, d] - X[r, d]) - centre[q, d]
                square = _dot(y, 0, y, 0)
                along = _dot(y, 0, v, q)
                trace += u * square
                entropy -= u * log_u
                for d in range(D):
                    part[0, d] += u * square * y[0, d]
                    part[1, d] += u * along * y[0, d]
            scalars[c, q, 0] += trace
            scalars[c, q, 1] += entropy
            for k in range(2):
                for d in range(D):
                    vectors[c, q, k, d] += part[k, d]


@entry
def _spread_tasks(
    first, last, X, L, Q, inv, ref, log_sum, centre, v, rows, chunks, scalars, vectors
):
    for task in range(first, last):
        q0 = (task // chunks) * TILE
        q1 = min(q0 + TILE, Q.shape[0])
        c = task % chunks
        _spread(X, L, Q, inv, ref, log_sum, centre, v, q0, q1, c, rows, scalars, vectors)


def spread(X, L, Q, inv, ref, log_sum, centre, v):
    """Central moments of the posterior, y_i = x_i - D, given D - x_r as `centre` (B, D).

    Returns tr C = Σ u|y|² (B,), the entropy -Σ u log u (B,), κ3 = Σ u y|y|² (B, D)
    and C v (B, D).
    """
    B, D = Q.shape
    scalars, vectors = np.empty((B, 2)), np.empty((B, 2, D))
    for part in _slabs(X, Q):
        given = (Q[part], inv[part], ref[part], log_sum[part], centre[part], v[part])
        scalars[part], vectors[part] = _summed(X, L, *given)
    return scalars[:, 0], scalars[:, 1], vectors[:, 0], vectors[:, 1]


def _summed(X, L, Q, inv, ref, log_sum, centre, v):
    rows, chunks, tiles = _tasks(X, Q)
    B, D = Q.shape
    scalars = np.empty((chunks, B, 2))
    vectors = np.empty((chunks, B, 2, D))
    arrays = (X, L, Q, inv, ref, log_sum, centre, v, rows, chunks, scalars, vectors)
    share(_spread_tasks, tiles * chunks, _work(X, Q), *arrays)
    for c in range(1, chunks):
        scalars[0] += scalars[c]
        vectors[0] += vectors[c]
    return scalars[0], vectors[0]


@strict
def _covariance(X, L, Q, inv, ref, log_sum, centre, q, out):
    D = Q.shape[1]
    r = ref[q]
    toward = _toward(X, Q, ref, q, q + 1)
    y = np.empty(D)
    part = np.empty((D, D))
    for a in range(D):
        for d in range(D):
            out[q, a, d] = 0.0
    for b0 in range(0, X.shape[0], BLOCK):
        for a in range(D):
            for d in range(D):
                part[a, d] = 0.0
        for i in range(b0, min(b0 + BLOCK, X.shape[0])):
            log_u = _logit(_gap(Q, q, X, i, X, r, toward, 0), L[i] - L[r], inv[q]) - log_sum[q]
            if log_u < UNDERFLOW:
                continue
            u = math.exp(log_u)
            for d in range(D):
                y[d] = (X[i, d] - X[r, d]) - centre[q, d]
            for a in range(D):
                ya = u * y[a]
                for d in range(a, D):
                    part[a, d] += ya * y[d]
        for a in range(D):
            for d in range(a, D):
                out[q, a, d] += part[a, d]
    for a in range(D):
        for d in range(a):
            out[q, a, d] = out[q, d, a]


@entry
def _covariance_tasks(first, last, X, L, Q, inv, ref, log_sum, centre, out):
    for q in range(first, last):
        _covariance(X, L, Q, inv, ref, log_sum, centre, q, out)


def covariance(X, L, Q, inv, ref, log_sum, centre, out):
    """Posterior covariances C = Σ u_i y_i y_iᵀ into `out` (B, D, D)."""
    share(
        _covariance_tasks,
        Q.shape[0],
        _work(X, Q) * Q.shape[1],
        X,
        L,
        Q,
        inv,
        ref,
        log_sum,
        centre,
        out,
    )


@strict
def _log_posterior(X, L, Q, inv, ref, log_sum, q, out):
    r = ref[q]
    toward = _toward(X, Q, ref, q, q + 1)
    for i in range(X.shape[0]):
        t = _logit(_gap(Q, q, X, i, X, r, toward, 0), L[i] - L[r], inv[q])
        out[q, i] = t - log_sum[q]


@entry
def _log_posterior_tasks(first, last, X, L, Q, inv, ref, log_sum, out):
    for q in range(first, last):
        _log_posterior(X, L, Q, inv, ref, log_sum, q, out)


def log_posterior(X, L, Q, inv, ref, log_sum, out):
    """Log u_i of every point into `out` (B, N)."""
    share(_log_posterior_tasks, Q.shape[0], _work(X, Q), X, L, Q, inv, ref, log_sum, out)


@strict
def _trap(X, L, Q, inv, C, logs, own, q, out):
    bound = 0.0
    eps = 0.0
    far = 0.0
    near = math.inf
    least = math.inf
    toward = np.empty((1, Q.shape[1]))
    for d in range(Q.shape[1]):
        toward[0, d] = Q[q, d] - C[q, d]
    for j in range(X.shape[0]):
        if j == own[q]:
            continue
        dist = math.sqrt(_distance2(C, q, X, j))
        if dist == 0.0 and own[q] < 0:
            continue
        gap = _gap(Q, q, X, j, C, q, toward, 0)
        t = _logit(gap, L[j] - logs[q], inv[q])
        r = math.exp(t) if t > UNDERFLOW else 0.0
        bound += r * dist
        eps += r
        far = max(far, dist)
        near = min(near, dist)
        least = min(least, (gap * inv[q]) * (0.5 * inv[q]))
    out[q, 0] = bound
    out[q, 1] = eps
    out[q, 2] = far
    out[q, 3] = near
    out[q, 4] = least


@entry
def _trap_tasks(first, last, X, L, Q, inv, C, logs, own, out):
    for q in range(first, last):
        _trap(X, L, Q, inv, C, logs, own, q, out)


def trap(X, L, Q, inv, candidate, out):
    """Sums of the trap certificate (theory D1) of each query for its candidate point.

    Into `out` (B, 5): B = Σ r_j d_ij, ε = Σ r_j, R_i = max d_ij, min d_ij, min g_j/2σ².
    """
    share(
        _trap_tasks,
        Q.shape[0],
        _work(X, Q),
        X,
        L,
        Q,
        inv,
        X[candidate],
        L[candidate],
        candidate,
        out,
    )


def trap_beside(X, L, Q, inv, C, logs, out):
    """The same sums for candidates C (B, D) of log-weights `logs` that may lie elsewhere.

    Points equal to the candidate count as it: its weight is then too small, and the sums too
    large, which errs on the safe side.
    """
    own = np.full(Q.shape[0], -1)
    share(_trap_tasks, Q.shape[0], _work(X, Q), X, L, Q, inv, C, logs, own, out)
