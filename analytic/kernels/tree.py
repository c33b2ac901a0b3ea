"""Sums over a k-d tree: near points one by one, boxes of points by interpolation, the rest bounded.

For a query x, a reference point x_r (the nearest), e_i = x_i - x_r and a = x - x_r,

    S = Σ_i (π_i/π_r) f(x_i),   f(y) = exp(-(|x - y|² - |x - x_r|²)/2σ²) = Π_d f_d(y_d),
    f_d(y) = exp(-e_d (e_d - 2a_d)/2σ²),  e_d = y_d - x_{r,d},

and with g = Σ_i (π_i/π_r) f(x_i) e_i the softmax is log S and g/S.

Box by interpolation. On a box of centre c and half-widths h, f is replaced by its
tensor interpolant I f at n Chebyshev points y_k = c + h z_k per coordinate, so that

    Σ_{i in box} π_i f(x_i) ≈ Σ_k m_k f(y_k),   m_k = Σ_{i in box} π_i L_k(x_i),

with the Lagrange polynomials L_k: the charges m do not depend on σ and are made
once, for small boxes from the points and for their parents from the children's
(a polynomial is its own interpolant, so nothing is lost). Error: f_d is entire and
on the Bernstein ellipse with parameter ϱ around the box, half-axes
A = h(ϱ + 1/ϱ)/2 and b = h(ϱ - 1/ϱ)/2, it is bounded by
exp((a_d² + b² - dist(x_d, c ± A)²)/2σ²), hence (Trefethen, *Approximation Theory and
Approximation Practice*, ch. 8, with first-kind points)

    |f_d - I f_d| ≤ 4ϱ^{1-n}/(ϱ - 1) exp(b²/2σ²) exp((a_d² - dist(x_d, c ± A)²)/2σ²),

and over D coordinates, with the Lebesgue constant Λ,

    |f - I f| ≤ D Λ^{D-1} 4ϱ^{1-n}/(ϱ - 1) exp(b²/2σ²) exp((|a|² - Σ_d dist(x_d, c ± A)²)/2σ²).

Box left out. Its part of S is at most (mass/π_r) exp((|a|² - dist(x, box)²)/2σ²).

The first bound, times the mass, is added up in τ·S, beside S and g, and a box is taken
only where that keeps τ below the tolerance; boxes are left out where the second is
below a part of the tolerance per unit of mass, so that all of them together are. Others
are opened, down to leaves, whose points are summed from differences. The nearer child
goes first, so that S is already large where the far ones are weighed. The walk starts at
the root, or, where σ is so small that no box can be interpolated, from the nodes that
the search for the nearest point has left.

Each query is summed by itself, in an order that depends on nothing else. Queries of the
same part of the tree follow each other, since what they read is then still at hand.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, lean, lean_fused, lean_products
from .cells import box_square, conceded, nearest, work_for
from .intrinsics import LANES, contract, exp2, tuple_setitem, weigh, wide
from .threads import share

HALF_LOG2E = 0.5 / math.log(2.0)
HIGH = 800.0
"""Bounds are held to 2 to this."""

STEEP = 200.0
"""A factor beyond 2 to this is not interpolated."""

WHOLE = 512
"""A node of at most so many columns is summed as it is where its half-width is below `SMALL` σ."""

SMALL = 4.0

TURNS = 10
"""Queries that part after so many turns on their way down share nothing worth keeping in cache."""


def chebyshev(n):
    """First-kind Chebyshev points (n,) in (-1, 1) and their barycentric weights."""
    angle = (np.arange(n) + 0.5) * np.pi / n
    return np.cos(angle), np.sin(angle) * (-1.0) ** np.arange(n)


def stretched(boxes):
    """Centres and half-widths (nodes, D) of boxes, a little wider than the points in them."""
    low, high = np.split(boxes, 2, axis=1)
    centre, half = 0.5 * (low + high), 0.5 * (high - low)
    # a flat box gets some width as well, so that its points have coordinates in it
    floor = np.maximum(half.max(axis=1), np.abs(centre).max(axis=1) * 1e-6)[:, None]
    return centre, np.maximum(half * (1 + 1e-12), np.maximum(floor * 1e-3, 1e-200))


def charges(cells, prior, charged, slot, centre, half, z, b):
    """Charges (charged, n^(D-1), n) of nodes `charged`, in ascending order.

    `prior` (N,) are the weights of the points in order, `slot` (nodes,) the place of
    a node among the charged ones, -1 for others.
    """
    D, n = centre.shape[1], z.shape[0]
    out = np.zeros((charged.size, n**D))
    arrays = (slot, cells.links, z, b, centre, half, out)
    points = (cells.rows, prior, cells.start, cells.stop)
    share(_points_tasks, charged.size, prior.size * n**D, *points, charged, *arrays)
    places = np.searchsorted(charged, cells.levels)
    for first, last in zip(places[-2::-1], places[:0:-1], strict=True):
        here = charged[first:last]
        share(_parents_tasks, here.size, 2 * here.size * n ** (D + 1), here, *arrays)
    return out.reshape((charged.size, n ** (D - 1), n))


@lean
def _lagrange(t, z, b, out, d):
    """Lagrange polynomials of the nodes z at t, by the barycentric formula, into out[d]."""
    total = 0.0
    for k in range(z.shape[0]):
        gap = t - z[k]
        if gap == 0.0:
            for j in range(z.shape[0]):
                out[d, j] = 0.0
            out[d, k] = 1.0
            return
        out[d, k] = b[k] / gap
        total += out[d, k]
    for k in range(z.shape[0]):
        out[d, k] /= total


@lean_products
def _spread_point(weight, basis, work, out, row):
    """out[row] += weight ⊗_d basis[d]."""
    D, n = basis.shape
    work[0] = weight
    size = 1
    for d in range(D - 1):
        for k in range(size - 1, -1, -1):
            for j in range(n - 1, -1, -1):
                work[k * n + j] = work[k] * basis[d, j]
        size *= n
    for k in range(size):
        for j in range(n):
            out[row, np.uint64(k * n) + j] += work[k] * basis[D - 1, j]


@entry
def _points_tasks(
    first, last, rows, prior, start, stop, charged, slot, links, z, b, centre, half, out
):
    """Charges of nodes from those of their points that no charged child covers."""
    D, n = rows.shape[1], z.shape[0]
    basis = np.empty((D, n))
    work = np.empty(n ** max(D - 1, 1))
    for j in range(first, last):
        k = charged[j]
        for c in range(links[k, 0], links[k, 0] + 2):
            if slot[c] >= 0:
                continue
            for i in range(start[c], stop[c]):
                for d in range(D):
                    _lagrange((rows[i, d] - centre[j, d]) / half[j, d], z, b, basis, d)
                _spread_point(prior[i], basis, work, out, j)


@lean_products
def _dot(A, j, f, d):
    """Σ_k A[j, k] f[d, k]."""
    total = 0.0
    for k in range(f.shape[1]):
        total += A[j, k] * f[d, k]
    return total


@lean_products
def _line(charge, k, f):
    """Σ_j charge[k, 0, j] f[0, j]."""
    total = 0.0
    for j in range(f.shape[1]):
        total += charge[k, 0, j] * f[0, j]
    return total


@lean_products
def _transfer(transfer, D, n, source, spare, target):
    """target += (⊗_d transfer[d]) source: contract the first axis, append the new, D times."""
    rest = n ** (D - 1)
    a, b = source, spare[0]
    for d in range(D):
        for k in range(n):
            for r in range(rest):
                total = 0.0
                for j in range(n):
                    total += transfer[d, k, j] * a[j * rest + r]
                b[r * n + k] = total
        a, b = b, spare[(d + 1) % 2]
    for k in range(n * rest):
        target[k] += a[k]


@entry
def _parents_tasks(first, last, here, slot, links, z, b, centre, half, out):
    """Add the charges of children to those of their parents."""
    n, D = z.shape[0], centre.shape[1]
    transfer = np.empty((D, n, n))
    basis = np.empty((1, n))
    spare = np.empty((2, n**D))
    for h in range(first, last):
        j = slot[here[h]]
        child = links[here[h], 0]
        for c in (slot[child], slot[child + 1]):
            if c < 0:
                continue
            for d in range(D):
                shift = (centre[c, d] - centre[j, d]) / half[j, d]
                ratio = half[c, d] / half[j, d]
                for k in range(n):
                    _lagrange(shift + ratio * z[k], z, b, basis, 0)
                    for i in range(n):
                        transfer[d, i, k] = basis[0, i]
            _transfer(transfer, D, n, out[c], spare, out[j])


@lean_fused
def _term(e, twice, gap):
    return gap + e * (e - twice)


@lean_fused
def _logit(gap, inv, scaled, dlog):
    return dlog - (gap * inv) * scaled


@lean_fused
def _times(w, e):
    return w * e


@lean_products
def _factors(z, centre, half, d, xr, twice, inv, scaled, f, g):
    """f_d and e_d f_d at the nodes of coordinate d of a box; the largest exponent."""
    wide()
    offset = centre - xr
    for k in range(z.shape[0]):
        e = offset + half * z[k]
        t = _logit(_term(e, twice, 0.0), inv, scaled, 0.0)
        f[d, k] = exp2(t)
        g[d, k] = _times(f[d, k], e)
    # the exponent is a parabola in e: largest in the middle, or at an end
    e = min(max(0.5 * twice, offset - half), offset + half)
    return _logit(_term(e, twice, 0.0), inv, scaled, 0.0)


@lean
def _interpolated(charge, z, centre, half, k, at, to, inv, scaled, f, g, A, A3, B, zeros):
    """(Σ m_k f(y_k), Σ m_k f(y_k) e_k, whether the factors are tame) of box k."""
    D = len(zeros)
    tame = True
    for d in range(D):
        c, h = centre[k, d], half[k, d]
        tame = tame and _factors(z, c, h, d, at[0, d], to[0, d], inv, scaled, f, g) < STEEP
    if D == 1:
        return _line(charge, k, f), tuple_setitem(zeros, 0, _line(charge, k, g)), tame
    contract(charge, k, f, g, D - 1, A, 0, D)
    if D == 3:
        contract(A3, 0, f, g, 1, B, 0, 2)
        contract(A3, 3, f, g, 1, B, 3, 4)
        A = B
    moved = tuple_setitem(zeros, 0, _dot(A, 0, g, 0))
    for d in range(1, D):
        moved = tuple_setitem(moved, d, _dot(A, d + 1, f, 0))
    return _dot(A, 0, f, 0), moved, tame


@lean
def _own(L, values, i):
    """Value of point i, the same for all where log-weights are."""
    if L is None:
        return values[0]
    else:
        return values[i]


@lean
def _box_error(centre, half, rho, j, x, own, inv, scaled, reach, squeeze, log_c):
    """Base-2 logarithm of the bound on what interpolating box j costs, per unit of its mass."""
    square = 0.0
    for d in range(len(x)):
        gap = max(abs(x[d] - centre[j, d]) - reach * half[j, d], 0.0)
        square += gap * gap
    return _logit(conceded(square, own, len(x)), inv, scaled, log_c) + squeeze * rho * rho


@lean
def _one(
    X, L, boxes, links, mass, width, slot, centre, half, charge, z, rule,
    x, own, at, to, inv, lr, pr, tol, size, work, sums, f, g, A, A3, B, zeros,
):  # fmt: skip
    """Add S and g of one query over `size` nodes on the stack to `sums`.

    Returns a bound on what is missing of S, and the nodes, columns and boxes taken.
    """
    D = len(zeros)
    nodes, gaps = work.nodes, work.gaps
    opened, summed, boxed = 0, 0, 0
    reach, squeeze, log_c, widest = rule
    scaled = inv * HALF_LOG2E
    left, skipped = 0.0, 0.0
    # what lies beyond the cut weighs less than `least` per unit of mass, and all mass is one
    least = 0.125 * tol
    cut = math.log2(pr / least)
    for k in range(size):
        gaps[k] = conceded(box_square(boxes, nodes[k], x), own, D)
    while size:
        size -= 1
        k, gap = nodes[size], gaps[size]
        if (gap * inv) * scaled >= cut:
            skipped = 1.0
            continue
        total = sums[0, 0]
        if 0.125 * tol * total > 2.0 * least:
            least = 0.125 * tol * total
            cut = math.log2(pr / least)
        j, rho = slot[k], width[k] * inv
        if j >= 0 and rho < widest:
            bound = _box_error(centre, half, rho, j, x, own, inv, scaled, reach, squeeze, log_c)
            error = pr * mass[k] * exp2(min(bound, HIGH))
            hope = pr * mass[k] * exp2(min(-(gap * inv) * scaled, HIGH))
            if left + error <= 0.375 * tol * (max(total, 1.0) + hope):
                boxed += 1
                value, shift, tame = _interpolated(
                    charge, z, centre, half, j, at, to, inv, scaled, f, g, A, A3, B, zeros
                )
                if tame and left + error <= 0.375 * tol * max(1.0, total + pr * value):
                    left += error
                    sums[0, 0] += pr * value
                    for d in range(D):
                        sums[0, 1 + d] += pr * shift[d]
                    continue
        near, first, last = links[k, 0], links[k, 1], links[k, 2]
        if near == 0 or (last - first <= WHOLE and rho < SMALL):
            weigh(zeros, X, L, first, last, at, to, 0, scaled, inv, lr, sums)
            summed += last - first
            continue
        opened += 1
        far = near + 1
        gap = conceded(box_square(boxes, near, x), own, D)
        other = conceded(box_square(boxes, far, x), own, D)
        if other < gap:
            near, far = far, near
            gap, other = other, gap
        nodes[size], gaps[size] = far, other
        nodes[size + 1], gaps[size + 1] = near, gap
        size += 2
    return left + skipped * least, (opened, summed, boxed)


@lean
def _turns_range(first, last, boxes, links, Q, zeros, code):
    for q in range(first, last):
        x = zeros
        for d in range(len(zeros)):
            x = tuple_setitem(x, d, Q[q, d])
        k, turns = 0, 0
        for _ in range(TURNS):
            near = links[k, 0]
            turns *= 2
            if near:
                k = near
                if box_square(boxes, near + 1, x) < box_square(boxes, near, x):
                    k += 1
                    turns += 1
        code[q] = turns


@entry
def _turns_tasks(first, last, boxes, links, Q, zeros, code):
    _turns_range(first, last, boxes, links, Q, zeros, code)


def visit(boxes, links, Q):
    """An order of the queries in which those of the same part of the tree follow each other."""
    code = np.zeros(Q.shape[0], np.uint16)
    share(_turns_tasks, code.size, code.size * 200, boxes, links, Q, (0.0,) * Q.shape[1], code)
    return np.argsort(code, kind="stable")


@lean
def _sum_range(
    first, last, X, L, boxes, links, mass, width, odds, top, slot, centre, half, charge, z,
    finest, rule, rows, Q, inv, tol, zeros, log_sum, shift, left, column, effort,
    work, at, to, sums, f, g, A, A3, B,
):  # fmt: skip
    wide()
    D = len(zeros)
    for p in range(first, last):
        q = rows[p]
        x = zeros
        for d in range(D):
            x = tuple_setitem(x, d, Q[q, d])
        twice = (2.0 * math.log(2.0)) / inv[q] / inv[q]
        i, size = nearest(X, L, boxes, links, top, Q, q, x, twice, work)
        if size < 0 or finest * inv[q] < rule[3]:
            # boxes may be interpolated above those nodes
            size, work.nodes[0] = 1, 0
        else:
            for k in range(size):
                work.nodes[k] = work.kept[k]
        own = 0.0
        for d in range(D):
            gap = x[d] - X[d, i]
            at[0, d], to[0, d] = X[d, i], gap + gap
            own += gap * gap
        for k in range(sums.size):
            sums[0, k] = 0.0
        lost, taken = _one(
            X, L, boxes, links, mass, width, slot, centre, half, charge, z, rule,
            x, own, at, to, inv[q], 0.0 if L is None else L[i], _own(L, odds, i), tol,
            size, work, sums, f, g, A, A3, B, zeros,
        )  # fmt: skip
        total = sums[0, 0]
        column[q] = i
        log_sum[q] = math.log(total)
        left[q] = 2.0 * lost / (total - lost)
        for d in range(D):
            shift[q, d] = sums[0, 1 + d] / total
        for j in range(3):
            effort[q, j] = taken[j]


@entry
def _sum_tasks(
    first, last, X, L, boxes, links, mass, width, odds, top, depth,
    slot, centre, half, charge, z, finest, rule, rows, Q, inv, tol, zeros,
    log_sum, shift, left, column, effort,
):  # fmt: skip
    D, n = len(zeros), z.shape[0]
    # the reference, twice the way from it, and the sums
    at, to, sums = np.empty((1, D)), np.empty((1, D)), np.empty((1, D + 1 + LANES))
    # the factors of a box, and what is left of it after each contraction
    f, g = np.empty((D, n)), np.empty((D, n))
    inner = n if D == 3 else 1
    A = np.empty((D + 1, inner * n))
    _sum_range(
        first, last, X, L, boxes, links, mass, width, odds, top, slot, centre, half, charge, z,
        finest, rule, rows, Q, inv, tol, zeros, log_sum, shift, left, column, effort,
        work_for(depth), at, to, sums, f, g, A, A.reshape((D + 1, inner, n)), np.empty((D + 2, n)),
    )  # fmt: skip


def softmax(tree, boxes, rows, Q, inv, tol, out):
    """Of queries `rows`, into `out`: log S, g/S, 2τS/(S - τS), the reference's column and effort.

    The shapes are (B,), (B, D), (B,), (B,) and (B, 3); the effort counts nodes opened,
    columns summed and boxes interpolated.
    """
    share(
        _sum_tasks, rows.size, rows.size * 2000,
        *tree, *boxes, rows, Q, inv, tol, (0.0,) * Q.shape[1], *out,
    )  # fmt: skip
