"""Kernels around the matrix products: what goes in, weights from logits, and the exact merge.

For a group of points with centre c_g, z = x - c_g and Z_i = x_i - c_g,

    t_i = (l_i - l_r) - |Z_i|²/2σ² + (|x - x_r|² - |z|²)/2σ² + z·Z_i/σ²,

where the product is the BLAS library's in float32 and the rest is formed in float64.
Groups are merged by their maximum, sum and weighted sum, which is exact.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import entry, products, strict
from .dense import _gap, _logit
from .threads import share

LANES = 64
"""Maxima of a row that run side by side."""


@products
def _aim_row(Q, q, centre, scale, A, p):
    total = 0.0
    for d in range(Q.shape[1]):
        z = Q[q, d] - centre[d]
        total += z * z
        A[p, d] = np.float32(z * scale)
    return total


@entry
def _aim_tasks(first, last, Q, inv, square, live, centre, A, row, apart):
    for p in range(first, last):
        q = live[p]
        part = _aim_row(Q, q, centre, inv[q], A, p)
        apart[p] = math.sqrt(part)
        row[p] = (square[q] - part) * inv[q] * (0.5 * inv[q])


def aim(Q, inv, square, live, centre):
    """(x - c_g)/σ in float32 and (|x - x_r|² - |x - c_g|²)/2σ² and |x - c_g| of queries `live`."""
    A = np.empty((len(live), Q.shape[1]), np.float32)
    row, apart = np.empty(len(live)), np.empty(len(live))
    share(_aim_tasks, len(live), 2 * A.size, Q, inv, square, live, centre, A, row, apart)
    return A, row, apart


@strict
def _exp(z):
    """e^z for -87 ≤ z ≤ 0, to some 2 units in the last place; vectorises."""
    k = np.float32(z * np.float32(1.44269504) + np.float32(12582912.0)) - np.float32(12582912.0)
    f = z - k * np.float32(0.693359375) - k * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    p = p * f * f + f + np.float32(1.0)
    power = (np.int32(k) + np.int32(127)) << np.int32(23)
    return p * np.int32(power).view(np.float32)


@products
def _logit_row(T, p, scale, column, loss, shift):
    """Logits of a row relative to the reference, summed in float64 and kept in float32."""
    for i in range(T.shape[1]):
        T[p, i] = np.float32(T[p, i] * scale + ((loss[i] - column[i] * scale * scale) + shift))


@strict
def _refine_row(T, p, floor, X, L, Q, q, r, inv, order, start, toward):
    """Logits above the floor anew from float64 differences; the largest of the row."""
    for d in range(Q.shape[1]):
        toward[0, d] = Q[q, d] - X[r, d]
    best = np.float32(-math.inf)
    for i in range(T.shape[1]):
        if T[p, i] > floor:
            o = order[start + i]
            gap = _gap(Q, q, X, o, X, r, toward, 0)
            T[p, i] = np.float32(_logit(gap, L[o] - L[r], inv))
        best = T[p, i] if T[p, i] > best else best
    return best


@strict
def _largest(T, p, lanes):
    """Largest of a row, in lanes so that it vectorises."""
    for j in range(LANES):
        lanes[j] = -math.inf
    whole = T.shape[1] - T.shape[1] % LANES
    for i in range(0, whole, LANES):
        for j in range(LANES):
            lanes[j] = T[p, i + j] if T[p, i + j] > lanes[j] else lanes[j]
    for i in range(whole, T.shape[1]):
        lanes[i - whole] = T[p, i] if T[p, i] > lanes[i - whole] else lanes[i - whole]
    best = lanes[0]
    for j in range(1, LANES):
        best = lanes[j] if lanes[j] > best else best
    return best


@products
def _weigh_row(T, p, move, floor):
    """Weights of a row in its place, and their sum; below the floor they are exactly zero."""
    total = np.float32(0)
    zero = np.float32(0)
    for i in range(T.shape[1]):
        z = T[p, i] + move
        held = z if z > floor else floor
        w = _exp(held)
        w = w if z > floor else zero
        T[p, i] = w
        total += w
    return total


@entry
def _weigh_tasks(
    first, last, T, live, terms, sites, queries, start, cut, heavy, top, s0, mass, shrink, lost
):
    row, column, loss, rough, scale = terms
    X, L, order = sites
    Q, inv, ref = queries
    lanes = np.empty(LANES, np.float32)
    toward = np.empty((1, Q.shape[1]))
    for p in range(first, last):
        q = live[p]
        _logit_row(T, p, scale[q], column, loss, row[p] - L[ref[q]])
        best = _largest(T, p, lanes)
        floor = np.float32(max(float(best), top[q]) - heavy)
        if rough[p] and best > floor:
            best = _refine_row(T, p, floor, X, L, Q, q, ref[q], inv[q], order, start, toward)
        shrink[p] = 1.0
        mass[p] = 0.0
        if best < top[q] - cut:
            shrink[p] = -1.0
            lost[q] += T.shape[1] * math.exp(best - top[q])
            for i in range(T.shape[1]):
                T[p, i] = np.float32(0)
            continue
        if best > top[q]:
            shrink[p] = math.exp(top[q] - best)
            top[q] = best
            lost[q] *= shrink[p]
        mass[p] = _weigh_row(T, p, np.float32(-top[q]), np.float32(-cut))
        s0[q] = s0[q] * shrink[p] + mass[p]
        lost[q] += T.shape[1] * math.exp(-cut)


def weigh(T, live, terms, sites, queries, start, cut, heavy, top, s0, lost):
    """Products into weights, in place; updates the maxima, sums and the bound on what is lost."""
    mass, shrink = np.empty(len(live)), np.empty(len(live))
    arrays = (T, live, terms, sites, queries, start, cut, heavy, top, s0, mass, shrink, lost)
    share(_weigh_tasks, len(live), 4 * T.size, *arrays)
    return mass, shrink


@strict
def _merge_row(S, q, P, p, shrink, unit, mass, away):
    for d in range(S.shape[1]):
        S[q, d] = S[q, d] * shrink + (unit * P[p, d] + mass * away[d])


@entry
def _merge_tasks(first, last, S, live, P, mass, shrink, unit, away):
    for p in range(first, last):
        if shrink[p] >= 0.0:
            _merge_row(S, live[p], P, p, shrink[p], unit, mass[p], away)


def merge(S, live, P, mass, shrink, unit, away):
    """Weighted sums of a group into those of all."""
    share(_merge_tasks, len(live), 3 * P.size, S, live, P, mass, shrink, unit, away)
