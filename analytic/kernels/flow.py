"""The probability flow of the optimal denoiser, one trajectory at a time, whole in one kernel.

In t = 1/σ and y = x/σ the flow is dy/dt = D. The state is kept about the mean μ of the
data, v = (x - μ)/σ, so that dv/dt = f = D - μ. Sums are relative to a data point x_r, one
of the heaviest; with e_j = x_j - x_r, a = (x - x_r)/σ, weights u and m = D - x_r,

    ∂f/∂v = t C,   f' = df/dt = C(a + t m) - t (E|e|²e - m E|e|²),   C = E eeᵀ - m mᵀ.

Steps. A multistep method with an interpolant of f through the last nodes, in up to
`PLANE` dimensions of f and f' (one pass over the points gives both): its integral
predicts v, D is evaluated there, and the interpolant through the new node corrects the
prediction by δ. That is the estimate of the error: a step is accepted where
θ|δ| ≤ atol + rtol|x - μ|, coordinate by coordinate in the mean square. The corrected state
is not evaluated again: where f' is known the new node is moved there to first order,

    f += t C δ,   f' += δ·d(t C)/dt, by a difference,

without which errors of the prediction would stay in the history. Interpolants are
Newton's, in backward divided differences, so that steps may change at no cost; they
are integrated by Gauss's rule, exactly. The first steps are short ones of low order. One
evaluation per step, against twelve for a Runge-Kutta method of order 8: half to a third of
the work (`benchmarks.integrators`). States in between are the corrector's own.

Points left out. The log-odds of point j against x_r are

    l_j(t, a) = log π_j/π_r + t a·e_j - t² |e_j|²/2 = log π_j/π_r + |a|²/2 - |t e_j - a|²/2.

From (s, a) on up to T = s + h, wherever |a' - a| ≤ (t - s) ρ, for every point of a
box with distance d from the box that holds x_r + a/s and x_r + a/T, and with no |e_j| above E,

    l_j(t, a') ≤ max log π_j/π_r + |a|²/2 - s² d²/2 + T h ρ E.

Boxes of a k-d tree (`cells`) for which that is below -c are left out, c = log(1000 N/rtol):
all of them together weigh less than a thousandth of the tolerance beside x_r alone. Before
each evaluation t and |a' - a| are compared with T and (t - s) ρ, and the boxes are chosen
again where they are more: every evaluation is certified, and few points are read where σ
is small.

A trajectory is a function of its start alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._jit import entry, lean, lean_products, strict
from .intrinsics import BLOCK, LANES, exp2, least, turn, weigh, wide
from .threads import share

ROW = 256
"""Trajectories that are handed to the threads at a time."""

DONE, MAX_STEPS, _, UNDECIDED = range(4)
"""Codes of `trajectory.Result`."""

UNFINISHED = -1
"""Result of a trajectory that is still under way."""

HANDED_OVER = -2
"""Result of a trajectory that float64 cannot follow here."""

_LOG2E = math.log2(math.e)

PLANE = 3
"""Dimensions up to which f' is used."""

NODES = 24
"""Most coefficients of an interpolant."""

WINDOW = 6.0
"""Steps that a choice of boxes is meant for."""

SEARCH = 4
"""Steps between searches for a better reference."""

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_POINTS, _WEIGHTS = 0.5 * (_POINTS + 1.0), 0.5 * _WEIGHTS


class Rules(NamedTuple):
    """What holds for all trajectories."""

    rtol: float
    atol: float
    cut: float
    """c in bits: beyond it points are left out."""
    floor: float
    """σ below which nothing is decided any more."""
    diameter: float
    max_steps: int
    order: int
    """Coefficients of the interpolants."""
    error: float
    """θ: share of the correction that counts as the error."""
    safety: float
    shrink: float
    grow: float
    patience: int


class Found(NamedTuple):
    """What a trajectory leaves behind, one row each."""

    states: np.ndarray
    """(T, B, D), NaN where not reached."""
    saved: np.ndarray
    nfe: np.ndarray
    result: np.ndarray
    column: np.ndarray
    """Column of the point that it falls to, -1 where none was found."""
    level: np.ndarray
    """σ where that was found first,"""
    state: np.ndarray
    """(B, D) and the state there."""


class Room(NamedTuple):
    """What one thread writes to."""

    v: np.ndarray
    guess: np.ndarray
    new: np.ndarray
    delta: np.ndarray
    """(D,) the correction."""
    f: np.ndarray
    """(2, D) f and f'."""
    slope: np.ndarray
    """(2, D, D) t C at the last node and here."""
    z: np.ndarray
    """(2, NODES) nodes of the interpolant, newest first, now and with the new one,"""
    c: np.ndarray
    """(2, NODES, D) and its divided differences."""
    integral: np.ndarray
    """(NODES,) integrals of Newton's basis."""
    gauss: np.ndarray
    """(2, 8) nodes of Gauss's rule, and products at them."""
    x: np.ndarray
    """(1, D) a query."""
    at: np.ndarray
    """(1, D) the reference."""
    to: np.ndarray
    """(1, D) twice the way from it to x."""
    away: np.ndarray
    """(D,) the reference from the mean."""
    a: np.ndarray
    """(D,) (x - x_r)/σ where boxes were chosen."""
    sums: np.ndarray
    first: np.ndarray
    """Columns from which runs of points in use go,"""
    last: np.ndarray
    """and to which."""
    nodes: np.ndarray
    best: np.ndarray
    column: np.ndarray


@strict
def _room(D, leaves, depth):
    return Room(
        np.empty(D), np.empty(D), np.empty(D), np.empty(D), np.empty((2, D)), np.zeros((2, D, D)),
        np.empty((2, NODES)), np.zeros((2, NODES, D)), np.empty(NODES), np.empty((2, 8)),
        np.empty((1, D)), np.empty((1, D)), np.empty((1, D)), np.empty(D), np.empty(D),
        np.empty((1, 1 + 2 * D + PLANE * (PLANE + 1) // 2 + LANES)),
        np.empty(leaves, np.int64), np.empty(leaves, np.int64), np.empty(depth + 2, np.int64),
        np.empty(1), np.empty(1, np.int64),
    )  # fmt: skip


@lean
def _apart(a, b):
    total = 0.0
    for d in range(len(b)):
        total += (a[d] - b[d]) ** 2
    return math.sqrt(total)


@lean
def _own(L, i):
    return 0.0 if L is None else L[i]


@lean
def _refer(X, r, mean, room):
    """Make column r the reference."""
    for d in range(len(mean)):
        room.at[0, d] = X[d, r]
        room.away[d] = X[d, r] - mean[d]


@lean
def _select(zeros, L, boxes, links, top, r, s, v, h, reach, cut, room):
    """Runs of columns that may count from (s, v) on to s + h: how many."""
    D, T = len(zeros), s + h
    a, at, nodes, first, last = room.a, room.at, room.nodes, room.first, room.last
    half = 0.0
    for d in range(D):
        a[d] = v[d] - s * room.away[d]
        half += 0.5 * a[d] * a[d]
    limit = (cut + 1.0) / _LOG2E + half * (1 + 1e-12)
    own = _own(L, r)
    size, count = 1, 0
    nodes[0] = 0
    while size:
        size -= 1
        k = nodes[size]
        square, far = 0.0, 0.0
        for d in range(D):
            x, y = a[d] / s, a[d] / T
            low, high = boxes[k, d] - at[0, d], boxes[k, D + d] - at[0, d]
            gap = max(low - max(x, y), min(x, y) - high, 0.0)
            square += gap * gap
            e = max(-low, high)
            far += e * e
        bound = 0.5 * s * s * square * (1 - 1e-12) - T * h * reach * math.sqrt(far)
        if bound > limit + (top[k] - own) / _LOG2E:
            continue
        near = links[k, 0]
        if near:
            nodes[size], nodes[size + 1] = near + 1, near
            size += 2
        elif count and last[count - 1] == links[k, 1] and links[k, 2] - first[count - 1] <= BLOCK:
            last[count - 1] = links[k, 2]
        else:
            first[count], last[count] = links[k, 1], links[k, 2]
            count += 1
    return count


@lean
def _moved(s, t, v, room):
    """How far (x - x_r)/σ of the state (t, v) is from where boxes were chosen, at s."""
    total = 0.0
    for d in range(len(v)):
        total += (v[d] - t * room.away[d] - room.a[d]) ** 2
    return math.sqrt(total)


@lean
def _evaluate(zeros, X, L, base, count, t, v, room):
    """f, and f' and t C where they serve, at (t, v); Σ of the weights relative to x_r."""
    D = len(zeros)
    to, sums, f = room.to, room.sums, room.f
    for d in range(D):
        to[0, d] = 2.0 * (v[d] / t - room.away[d])
    for j in range(sums.size):
        sums[0, j] = 0.0
    half = 0.5 * _LOG2E * t
    for j in range(count):
        first, last = room.first[j], room.last[j]
        if D <= PLANE:
            turn(zeros, X, L, first, last, room.at, to, 0, half, t, base, sums)
        else:
            weigh(zeros, X, L, first, last, room.at, to, 0, half, t, base, sums)
    total = sums[0, 0]
    for d in range(D):
        f[0, d] = sums[0, 1 + d] / total
    if D <= PLANE:
        square, place = 0.0, 1 + D
        for i in range(D):
            for d in range(i, D):
                c = sums[0, place] / total
                place += 1
                if i == d:
                    square += c
                c = t * (c - f[0, i] * f[0, d])
                room.slope[1, i, d] = room.slope[1, d, i] = c
        for i in range(D):
            turned = -t * (sums[0, place + i] / total - f[0, i] * square)
            for d in range(D):
                turned += room.slope[1, i, d] * (0.5 * to[0, d] + f[0, d])
            f[1, i] = turned
    for d in range(D):
        f[0, d] += room.away[d]
    return total


@lean
def _heaviest(zeros, X, L, count, t, r, v, room):
    """Column of the heaviest point in use, for the state v."""
    D = len(zeros)
    for d in range(D):
        room.x[0, d] = room.at[0, d] + (v[d] / t - room.away[d])
    room.best[0] = math.inf
    room.column[0] = r
    lift = 2.0 / _LOG2E / t / t
    for j in range(count):
        least(zeros, X, L, room.first[j], room.last[j], room.x, 0, lift, room.best, room.column)
    return room.column[0]


@lean
def _neighbour(zeros, X, r, nearest):
    """Distance from column r to the nearest other point, kept for the next time."""
    if not nearest[r] >= 0.0:
        best = math.inf
        for j in range(X.shape[1]):
            square = 0.0
            for d in range(len(zeros)):
                square += (X[d, j] - X[d, r]) ** 2
            best = min(best, square if j != r else math.inf)
        nearest[r] = math.sqrt(best)
    return nearest[r]


@lean
def _traps(zeros, X, L, base, count, t, v, r, nearest, diameter, room):
    """Whether the certificate of the trap holds for x_r at (t, v): a hint, checked elsewhere.

    Points that are not in use weigh too little to matter.
    """
    wide()
    pull, odds, gap = 0.0, 0.0, math.inf
    for run in range(count):
        for j in range(room.first[run], room.last[run]):
            square, dot = 0.0, 0.0
            for d in range(len(zeros)):
                e = X[d, j] - room.at[0, d]
                square += e * e
                dot += (v[d] - t * room.away[d]) * e
            if j == r or not square < 1e300:
                continue
            log = t * (0.5 * t * square - dot)
            own = 0.0 if L is None else L[j] - base
            weight = exp2(own - log * _LOG2E)
            pull += weight * math.sqrt(square)
            odds += weight
            gap = min(gap, log)
    reach = min(pull, diameter * odds / (1 + odds)) * (1 + 1e-8)
    return gap > 0 and reach <= 0.5 * _neighbour(zeros, X, r, nearest)


@lean
def _append(x, many, n, most, room):
    """Node x in front of the n coefficients, with f (and f'): how many there are then.

    The new coefficients are written beside the old ones.
    """
    f, z, c = room.f, room.z, room.c
    D = f.shape[1]
    count = min(n + many, most)
    for k in range(count):
        z[1, k] = x if k < many else z[0, k - many]
    for d in range(D):
        one, two = f[0, d], f[1, d]
        c[1, 0, d] = one
        if many == 2:
            c[1, 1, d] = two
            for k in range(2, count):
                inverse = 1.0 / (x - z[0, k - 2])
                one = (one - c[0, k - 2, d]) * inverse
                two = (two - one) * inverse
                c[1, k, d] = two
        else:
            for k in range(1, count):
                one = (one - c[0, k - 1, d]) / (x - z[0, k - 1])
                c[1, k, d] = one
    return count


@lean
def _keep(n, room):
    """Take the new coefficients."""
    D = room.c.shape[2]
    for k in range(n):
        room.z[0, k] = room.z[1, k]
        for d in range(D):
            room.c[0, k, d] = room.c[1, k, d]


@lean_products
def _integrate(which, s, t, n, room):
    """Integrals of Newton's basis of the n nodes from s to t, into room.integral."""
    wide()
    z, gauss = room.z, room.gauss
    h = t - s
    for g in range(8):
        gauss[0, g], gauss[1, g] = s + h * _POINTS[g], h * _WEIGHTS[g]
    for k in range(n):
        total = 0.0
        for g in range(8):
            total += gauss[1, g]
            gauss[1, g] *= gauss[0, g] - z[which, k]
        room.integral[k] = total


@lean
def _advance(which, n, v, out, room):
    """v + the integral of the interpolant."""
    for d in range(len(v)):
        total = 0.0
        for k in range(n):
            total += room.integral[k] * room.c[which, k, d]
        out[d] = v[d] + total


@lean
def _one(zeros, X, L, boxes, links, top, nearest, levels, rules, mean, q, start, room, found):
    """Follow trajectory q down the levels."""
    D = len(zeros)
    many = 2 if D <= PLANE else 1
    v, guess, new, f, slope = room.v, room.guess, room.new, room.f, room.slope
    s = 1.0 / levels[0]
    final = 1.0 / levels[-1] if levels[-1] > 0 else math.inf
    for d in range(D):
        v[d] = (start[q, d] - mean[d]) * s
        found.states[0, q, d] = start[q, d]
    # the reference: the heaviest of all points
    _refer(X, 0, mean, room)
    count = _select(zeros, L, boxes, links, top, 0, s, v, 0.0, 0.0, math.inf, room)
    r = _heaviest(zeros, X, L, count, s, 0, v, room)
    _refer(X, r, mean, room)
    total = _evaluate(zeros, X, L, _own(L, r), count, s, v, room)
    n = _append(s, many, 0, rules.order, room)
    _keep(n, room)
    size, speed = 0.0, 0.0
    for d in range(D):
        size = max(size, rules.atol * s + rules.rtol * abs(v[d]))
        speed = max(speed, abs(f[many - 1, d]))
        for i in range(D):
            slope[0, i, d] = slope[1, i, d]
    # such that what an interpolant of `many` coefficients leaves out is about the tolerance
    h = 0.5 * s * min((size / (s**many * speed + 1e-300)) ** (1.0 / (many + 1)), 1.0)
    nfe, steps, rejected, saved, seen = 1, 0, 0, 1, SEARCH
    result, trapped = UNFINISHED, -1
    since, until, reach = s, -1.0, 0.0
    while True:
        # a good reference, the trap, and whether this is the end
        seen += 1
        if total > 2.0 and seen >= SEARCH:
            seen = 0
            best = _heaviest(zeros, X, L, count, s, r, v, room)
            if best != r:
                r, until = best, -1.0
                _refer(X, best, mean, room)
        elif (
            trapped < 0
            and total - 1.0 <= 1.0 + 1e-6
            and _traps(zeros, X, L, _own(L, r), count, s, v, r, nearest, rules.diameter, room)
        ):
            trapped = r
            found.column[q], found.level[q] = r, 1.0 / s
            for d in range(D):
                found.state[q, d] = mean[d] + v[d] / s
        if trapped == r:
            size = 0.0
            for d in range(D):
                size = max(size, abs(room.at[0, d]))
            tail = rules.diameter * max(total - 1.0, 0.0)
            only_zero = saved < len(levels) and levels[saved] == 0
            if only_zero or tail <= 0.05 * (rules.atol + rules.rtol * size):
                for j in range(saved, len(levels)):
                    for d in range(D):
                        offset = levels[j] * (v[d] - s * room.away[d])
                        found.states[j, q, d] = room.at[0, d] + offset
                saved = len(levels)
        elif 1.0 / s < rules.floor:
            for j in range(saved, len(levels)):
                for d in range(D):
                    found.states[j, q, d] = mean[d] + v[d] / s
            result = UNDECIDED
        if saved == len(levels):
            result = DONE
        elif result == UNFINISHED and steps >= rules.max_steps:
            result = MAX_STEPS
        if result != UNFINISHED:
            break

        # predict
        h = min(h, final - s)
        if final - s - h < 1e-3 * h:
            h = final - s
        end = final if s + h >= final else s + h
        _integrate(0, s, end, n, room)
        _advance(0, n, v, guess, room)
        # evaluate
        if not (since <= end <= until) or _moved(since, end, guess, room) > (end - since) * reach:
            since, reach = end, 2.0 * _apart(f[0], room.away) + 1e-3 * rules.diameter
            ahead = min(WINDOW * h, end)
            until = end + ahead
            count = _select(
                zeros, L, boxes, links, top, r, end, guess, ahead, reach, rules.cut, room
            )
        here = _evaluate(zeros, X, L, _own(L, r), count, end, guess, room)
        nfe += 1
        steps += 1
        # correct
        grown = _append(end, many, n, rules.order, room)
        _integrate(1, s, end, grown, room)
        _advance(1, grown, v, new, room)
        error = 0.0
        for d in range(D):
            raw = room.delta[d] = new[d] - guess[d]
            largest = max(abs(v[d]), abs(new[d]))
            scaled = raw / (rules.atol * end + rules.rtol * largest)
            error += 0.0 if raw == 0.0 else scaled * scaled
        error = rules.error * math.sqrt(error / D)
        if not math.isfinite(error):
            result = HANDED_OVER
            break
        factor = rules.grow
        if error > 0.0:
            factor = rules.safety * error ** (-1.0 / (n + 1))
            factor = min(max(factor, rules.shrink), rules.grow)
        if error > 1.0:
            rejected += 1
            if rejected > rules.patience or h <= 1e-15 * s:
                result = HANDED_OVER
                break
            h *= min(factor, 0.9)
            continue
        rejected = 0
        while saved < len(levels) and levels[saved] > 1.0 / end:
            _integrate(1, s, 1.0 / levels[saved], grown, room)
            _advance(1, grown, v, guess, room)
            for d in range(D):
                found.states[saved, q, d] = mean[d] + guess[d] * levels[saved]
            saved += 1
        if saved < len(levels) and (
            levels[saved] == 1.0 / end or (end == final and saved == len(levels) - 1)
        ):
            for d in range(D):
                found.states[saved, q, d] = mean[d] + new[d] / end
            saved += 1
        if many == 2:
            # the node moves with the correction
            for i in range(D):
                for d in range(D):
                    f[0, i] += slope[1, i, d] * room.delta[d]
                    f[1, i] += (slope[1, i, d] - slope[0, i, d]) / (end - s) * room.delta[d]
                    slope[0, i, d] = slope[1, i, d]
            grown = _append(end, many, n, rules.order, room)
        _keep(grown, room)
        n, total, s = grown, here, end
        for d in range(D):
            v[d] = new[d]
        h *= factor
    found.saved[q], found.nfe[q], found.result[q] = saved, nfe, result


@lean
def _range(
    first, last, zeros, X, L, boxes, links, top, nearest, levels, rules, mean, start, room, found
):
    wide()
    for q in range(first, last):
        _one(zeros, X, L, boxes, links, top, nearest, levels, rules, mean, q, start, room, found)


@entry
def _tasks(
    first, last, zeros, X, L, boxes, links, top, depth, nearest, levels, rules, mean, start, found
):
    room = _room(len(zeros), X.shape[1] // 32 + 2, depth)
    _range(
        first,
        last,
        zeros,
        X,
        L,
        boxes,
        links,
        top,
        nearest,
        levels,
        rules,
        mean,
        start,
        room,
        found,
    )


def run(points, levels, rules, mean, start, found, advance):
    """Follow all trajectories; `points` are columns, log2 weights, boxes, links, tops, depth,
    and distances of the columns to their next, NaN where unknown.

    `advance` is called with the number of trajectories that were finished since.
    """
    zeros = (0.0,) * start.shape[1]
    for a in range(0, len(start), ROW):
        b = min(a + ROW, len(start))
        part = Found(found.states[:, a:b].copy(), *(each[a:b] for each in found[1:]))
        share(_tasks, b - a, 1 << 40, zeros, *points, levels, rules, mean, start[a:b], part)
        found.states[:, a:b] = part.states
        advance(b - a)
