"""The probability flow of the optimal denoiser, one trajectory at a time, whole in one kernel.

In t = 1/σ and y = x/σ the flow is dy/dt = D. The state is kept about the mean μ of the
data, v = (x - μ)/σ, so that dv/dt = D - μ; sums are relative to a data point x_r, the
heaviest one where the step begins.

Steps are those of DOP853 (see `analytic.flow` for the control of the error).

Points left out. With e_j = x_j - x_r and a = (x - x_r)/σ the log-odds of point j
against x_r are

    l_j(t, a) = log π_j/π_r + t a·e_j - t² |e_j|²/2 = log π_j/π_r + |a|²/2 - |t e_j - a|²/2.

In a step from (s, a) to T = s + h, wherever |a' - a| ≤ (t - s) ρ, for every point of a
box with distance d from the box that holds x_r + a/s and x_r + a/T, and with no |e_j| above E,

    l_j(t, a') ≤ max log π_j/π_r + |a|²/2 - s² d²/2 + T h ρ E.

Boxes of a k-d tree (`cells`) for which that is below -c are left out, c = log(1000 N/rtol):
all of them together weigh less than a thousandth of the tolerance beside x_r alone. Before
each evaluation |a' - a| is compared with (t - s) ρ; where it is more, ρ is raised and the
boxes are chosen again. So every evaluation is certified, and few points are read where σ
is small.

A trajectory is a function of its start alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .. import _dop853 as pair
from ._jit import entry, lean, strict
from .intrinsics import BLOCK, LANES, exp2, least, weigh, wide
from .threads import share

ROW = 256
"""Trajectories that are handed to the threads at a time."""

DONE, MAX_STEPS, _, UNDECIDED, STALLED = range(5)
"""Codes of `trajectory.Result`."""

UNFINISHED = -1
"""Result of a trajectory that is still under way."""

HANDED_OVER = -2
"""Result of a trajectory that float64 cannot follow here."""

_LOG2E = math.log2(math.e)
_STAGES = 16


def _table(rows):
    out = np.zeros((len(rows), _STAGES))
    for i, row in enumerate(rows):
        for j, value in row.items():
            out[i, j] = value
    return out


A, C = _table(pair.A), np.array(pair.C)
_E5, DENSE = _table([pair.E5]), _table(pair.DENSE)


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
    error: float
    """Share of the order-5 estimate that counts as the error."""
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

    k: np.ndarray
    """(16, D) slopes."""
    v: np.ndarray
    u: np.ndarray
    """(D,) the state of a stage."""
    new: np.ndarray
    x: np.ndarray
    """(1, D) a query."""
    at: np.ndarray
    """(1, D) the reference."""
    to: np.ndarray
    """(1, D) twice the way from it to x."""
    away: np.ndarray
    """(D,) the reference from the mean,"""
    a: np.ndarray
    """(D,) and (x - x_r)/σ."""
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
        np.zeros((_STAGES, D)), np.empty(D), np.empty(D), np.empty(D), np.empty((1, D)),
        np.empty((1, D)), np.empty((1, D)), np.empty(D), np.empty(D),
        np.empty((1, D + 1 + LANES)),
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
def _select(zeros, L, boxes, links, top, r, s, h, reach, cut, room):
    """Runs of columns that may count in a step of length h from s: how many."""
    D, T = len(zeros), s + h
    a, at, nodes, first, last = room.a, room.at, room.nodes, room.first, room.last
    half = 0.0
    for d in range(D):
        a[d] = room.v[d] - s * room.away[d]
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
def _slope(zeros, X, L, base, count, t, v, room, stage):
    """D - μ at (t, v) into k[stage]; Σ of the weights relative to x_r."""
    D = len(zeros)
    to, sums, first, last = room.to, room.sums, room.first, room.last
    for d in range(D):
        to[0, d] = 2.0 * (v[d] / t - room.away[d])
    for j in range(sums.size):
        sums[0, j] = 0.0
    for j in range(count):
        weigh(zeros, X, L, first[j], last[j], room.at, to, 0, 0.5 * _LOG2E * t, t, base, sums)
    for d in range(D):
        room.k[stage, d] = room.away[d] + sums[0, 1 + d] / sums[0, 0]
    return sums[0, 0]


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
def _combined(coefficients, i, stages, k, d):
    total = 0.0
    for j in range(stages):
        total += coefficients[i, j] * k[j, d]
    return total


@lean
def _traps(zeros, X, L, base, t, r, room):
    """Whether the certificate of the trap holds for x_r at (t, v): a hint, checked elsewhere."""
    wide()
    D, columns = len(zeros), X.shape[1]
    pull, odds, far, near, gap = 0.0, 0.0, 0.0, math.inf, math.inf
    a = room.a
    for d in range(D):
        a[d] = room.v[d] - t * room.away[d]
    for j in range(columns):
        square, dot = 0.0, 0.0
        for d in range(D):
            e = X[d, j] - room.at[0, d]
            square += e * e
            dot += a[d] * e
        log = t * (0.5 * t * square - dot)
        if j == r or not square < 1e300:
            continue
        own = 0.0 if L is None else L[j] - base
        weight = exp2(own - log * _LOG2E)
        size = math.sqrt(square)
        pull += weight * size
        odds += weight
        far, near, gap = max(far, size), min(near, size), min(gap, log)
    return gap > 0 and min(pull, far * odds / (1 + odds)) * (1 + 1e-8) <= 0.5 * near


@lean
def _one(zeros, X, L, boxes, links, top, levels, rules, mean, q, start, room, found):
    """Follow trajectory q down the levels."""
    D = len(zeros)
    v, u, new, k, at = room.v, room.u, room.new, room.k, room.at
    s = 1.0 / levels[0]
    final = 1.0 / levels[-1] if levels[-1] > 0 else math.inf
    # the reference: the heaviest of all points
    for d in range(D):
        v[d] = (start[q, d] - mean[d]) * s
        found.states[0, q, d] = start[q, d]
    _refer(X, 0, mean, room)
    count = _select(zeros, L, boxes, links, top, 0, s, 0.0, 0.0, math.inf, room)
    r = _heaviest(zeros, X, L, count, s, 0, v, room)
    _refer(X, r, mean, room)
    total = _slope(zeros, X, L, _own(L, r), count, s, v, room, 0)
    nfe, steps, rejected, saved = 1, 0, 0, 1
    result, trapped = UNFINISHED, -1
    h, reach, ready = s, 2.0 * _apart(k[0], room.away), False
    while True:
        # a good reference, the trap, and whether this is the end
        if total > 2.0:
            best = _heaviest(zeros, X, L, count, s, r, v, room)
            if best != r:
                for d in range(D):
                    u[d] = room.away[d]
                _refer(X, best, mean, room)
                reach += 2.0 * _apart(u, room.away)
                r, ready = best, False
        elif (
            trapped < 0
            and total - 1.0 <= 1.0 + 1e-6
            and _traps(zeros, X, L, _own(L, r), s, r, room)
        ):
            trapped = r
            found.column[q], found.level[q] = r, 1.0 / s
            for d in range(D):
                found.state[q, d] = mean[d] + v[d] / s
        if trapped == r:
            size = 0.0
            for d in range(D):
                size = max(size, abs(at[0, d]))
            tail = rules.diameter * max(total - 1.0, 0.0)
            only_zero = saved < len(levels) and levels[saved] == 0
            if only_zero or tail <= 0.05 * (rules.atol + rules.rtol * size):
                for j in range(saved, len(levels)):
                    for d in range(D):
                        found.states[j, q, d] = at[0, d] + levels[j] * (v[d] - s * room.away[d])
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

        # one attempt
        here = total
        h = min(h, final - s)
        if final - s - h < 1e-3 * h:
            h = final - s
        end = final if s + h >= final else s + h
        if not ready:
            count = _select(zeros, L, boxes, links, top, r, s, h, reach, rules.cut, room)
            ready = True
        fastest = 0.0
        for i in range(1, 13):
            t = end if C[i] == 1.0 else s + C[i] * h
            moved = 0.0
            for d in range(D):
                step = h * _combined(A, i, i, k, d)
                u[d] = v[d] + step
                moved += (step - (t - s) * room.away[d]) ** 2
            moved = math.sqrt(moved)
            if moved > (t - s) * reach:
                reach = 2.0 * moved / (t - s)
                count = _select(zeros, L, boxes, links, top, r, s, h, reach, rules.cut, room)
            total = _slope(zeros, X, L, _own(L, r), count, t, u, room, i)
            fastest = max(fastest, moved / (t - s))
        nfe += 12
        steps += 1
        error = 0.0
        for d in range(D):
            new[d] = u[d]
            raw = h * _combined(_E5, 0, 12, k, d)
            old, now = abs(v[d] + s * mean[d]), abs(u[d] + end * mean[d])
            scaled = raw / (rules.atol * end + rules.rtol * max(old, now))
            error += 0.0 if raw == 0.0 else scaled * scaled
        error = rules.error * math.sqrt(error / D)
        if not math.isfinite(error):
            result = HANDED_OVER
            break
        factor = rules.grow
        if error > 0.0:
            factor = min(max(rules.safety * error ** (-1.0 / 6.0), rules.shrink), rules.grow)
        if error > 1.0:
            rejected += 1
            if rejected > rules.patience or h <= 1e-15 * s:
                result = STALLED
                break
            h *= factor
            total = here
            continue
        length = h
        h *= min(factor, 1.0) if rejected else factor
        rejected = 0

        # what is to be saved inside
        if saved < len(levels) and levels[saved] > 1.0 / end:
            for i in range(13, 16):
                t = s + C[i] * length
                moved = 0.0
                for d in range(D):
                    step = length * _combined(A, i, i, k, d)
                    u[d] = v[d] + step
                    moved += (step - (t - s) * room.away[d]) ** 2
                moved = math.sqrt(moved)
                if moved > (t - s) * reach:
                    reach = 2.0 * moved / (t - s)
                    count = _select(
                        zeros, L, boxes, links, top, r, s, length, reach, rules.cut, room
                    )
                _slope(zeros, X, L, _own(L, r), count, t, u, room, i)
            nfe += 3
            while saved < len(levels) and levels[saved] > 1.0 / end:
                theta = (1.0 / levels[saved] - s) / length
                for d in range(D):
                    jump = new[d] - v[d]
                    value = 0.0
                    for j in range(3, -1, -1):
                        part = length * _combined(DENSE, j, 16, k, d)
                        value = (value + part) * (theta if j % 2 else 1.0 - theta)
                    part = 2.0 * jump - length * (k[12, d] + k[0, d])
                    value = (value + part) * theta
                    value = (value + length * k[0, d] - jump) * (1.0 - theta)
                    value = v[d] + (value + jump) * theta
                    found.states[saved, q, d] = mean[d] + value * levels[saved]
                saved += 1
        if saved < len(levels) and (
            levels[saved] == 1.0 / end or (end == final and saved == len(levels) - 1)
        ):
            for d in range(D):
                found.states[saved, q, d] = mean[d] + new[d] / end
            saved += 1
        s = end
        for d in range(D):
            v[d], k[0, d] = new[d], k[12, d]
        reach, ready = 2.0 * max(fastest, _apart(k[0], room.away)), False
    found.saved[q], found.nfe[q], found.result[q] = saved, nfe, result


@lean
def _range(first, last, zeros, X, L, boxes, links, top, levels, rules, mean, start, room, found):
    wide()
    for q in range(first, last):
        _one(zeros, X, L, boxes, links, top, levels, rules, mean, q, start, room, found)


@entry
def _tasks(first, last, zeros, X, L, boxes, links, top, depth, levels, rules, mean, start, found):
    room = _room(len(zeros), X.shape[1] // 32 + 2, depth)
    _range(first, last, zeros, X, L, boxes, links, top, levels, rules, mean, start, room, found)


def run(points, levels, rules, mean, start, found, advance):
    """Follow all trajectories; `points` are columns, log2 weights, boxes, links, tops, depth.

    `advance` is called with the number of trajectories that were finished since.
    """
    zeros = (0.0,) * start.shape[1]
    for a in range(0, len(start), ROW):
        b = min(a + ROW, len(start))
        part = Found(found.states[:, a:b].copy(), *(each[a:b] for each in found[1:]))
        share(_tasks, b - a, 1 << 40, zeros, *points, levels, rules, mean, start[a:b], part)
        found.states[:, a:b] = part.states
        advance(b - a)
