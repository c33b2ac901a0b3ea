"""Gaussian mean shift: the optimal denoiser iterated at a fixed bandwidth.

One step replaces x by D(x; h), the kernel average of the data with bandwidth h
(Fukunaga & Hostetler 1975; Cheng 1995). Every step climbs:

    log p_h(D) - log p_h(x) ≥ |D - x|²/2h²,

and its fixed points are the critical points of p_h, maxima or not (theory A2). `modes`
collects them: cluster centres, for the data as starts (Comaniciu & Meer 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check
from .denoisers import Denoiser, apply, dimension_of
from .points import PointSet

__all__ = ["MeanShift", "Modes", "mean_shift", "modes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanShift:
    """Where mean shift ended for B starts."""

    points: Floats
    """(B, D) last iterates."""
    converged: NDArray[np.bool_]
    """(B,) whether the last move was within the tolerance."""
    steps: NDArray[np.int64]
    """(B,) steps taken."""


def mean_shift(
    denoiser: Denoiser, x: Any, bandwidth: float, *, tol: float = 1e-10, max_steps: int = 10_000
) -> MeanShift:
    """Iterate x ← D(x; h) until a move is at most `tol` times h.

    Parameters
    ----------
    denoiser : the denoiser; `OptimalDenoiser` gives classical mean shift.
    x : (B, D) or (D,) starts.
    bandwidth : h > 0, in data units.
    tol : size of the last move in units of h; convergence is linear, so the
        fixed point may be farther away by the factor 1/(1 - λ_max(C)/h²).
    max_steps : steps after which a start counts as not converged.
    """
    dim = dimension_of(denoiser, x)
    now, _, _ = _check.queries(x, dim)
    width = _check.number(bandwidth, "bandwidth", low=0, high=_check.SIGMA_LIMIT, open_low=True)
    limit = width * _check.number(tol, "tol", low=0.0)
    most = _check.integer(max_steps, "max_steps", low=1)
    now = now.copy()
    steps = np.zeros(len(now), dtype=np.int64)
    active = np.arange(len(now))
    for _ in range(most):
        if not active.size:
            break
        after = apply(denoiser, now[active], width)
        moved = np.linalg.norm(after - now[active], axis=1)
        now[active] = after
        steps[active] += 1
        active = active[~(moved <= limit)]
    converged = np.ones(len(now), dtype=bool)
    converged[active] = False
    return MeanShift(now, converged, steps)


@dataclass(frozen=True, eq=False)
class Modes:
    """Where mean shift ends: the critical points of p_h that starts lead to."""

    points: Floats
    """(K, D), those that most weight leads to first."""
    weights: Floats
    """(K,) share of the starts' weight that ends there."""
    counts: NDArray[np.int64]
    """(K,) number of starts that end there."""
    maximum: NDArray[np.bool_]
    """(K,) whether the Hessian of log p_h, (C/h² - I)/h², is negative definite there: else
    the start lay on the stable side of a saddle, or p_h is flat to rounding."""
    label: NDArray[np.int64]
    """(B,) which of the K each start leads to; -1 where it did not converge."""


def modes(
    denoiser: Denoiser,
    bandwidth: float,
    starts: Any = None,
    *,
    merge: float = 1e-3,
    tol: float = 1e-10,
    max_steps: int = 10_000,
) -> Modes:
    """The modes of p_h: end points of mean shift, merged.

    Parameters
    ----------
    denoiser : any denoiser; other than `OptimalDenoiser` it needs `starts`.
    bandwidth : h > 0, in data units.
    starts : (B, D) starts of equal weight; by default the data with their weights. Every
        mode of a finite mixture attracts an open set, but not always a data point.
    merge : end points within `merge` times h of one another count as one. Modes closer
        than that are near a bifurcation, where they are not told apart.
    tol, max_steps : as for `mean_shift`.
    """
    if starts is None:
        own = getattr(denoiser, "points", None)
        if not isinstance(own, PointSet):
            _check.fail(
                "starts",
                "None for a denoiser without data",
                "(B, D) starts",
                "pass points where modes are looked for",
            )
        starts, shares = own.points, own.weights
    else:
        begin, _, _ = _check.queries(starts, dimension_of(denoiser, starts), "starts")
        starts, shares = begin, np.full(len(begin), 1 / max(len(begin), 1))
    radius = _check.number(merge, "merge", low=0.0) * _check.number(bandwidth, "bandwidth")
    found = mean_shift(denoiser, starts, bandwidth, tol=tol, max_steps=max_steps)
    label = np.full(len(found.points), -1)
    open_rows = np.flatnonzero(found.converged)
    heads: list[int] = []
    while open_rows.size:
        head = found.points[open_rows[0]]
        near = np.linalg.norm(found.points[open_rows] - head, axis=1) <= radius
        label[open_rows[near]] = len(heads)
        heads.append(int(open_rows[0]))
        open_rows = open_rows[~near]
    ends = found.points[np.array(heads, dtype=np.intp)]
    inside = label >= 0
    weights = np.zeros(len(heads))
    np.add.at(weights, label[inside], shares[inside])
    counts = np.bincount(label[inside], minlength=len(heads))
    order = np.argsort(-weights, kind="stable")
    rank = np.argsort(order)
    label[inside] = rank[label[inside]]
    peaks = np.array([_steepest(denoiser, x, bandwidth) < 1.0 for x in ends[order]], dtype=bool)
    return Modes(ends[order], weights[order], counts[order], peaks, label)


def _steepest(denoiser: Denoiser, x: Floats, width: float) -> float:
    """Largest eigenvalue of ∂D/∂x = C/h² at one point, in closed form or by differences."""
    known: Any = denoiser
    if hasattr(known, "jacobian"):
        matrix = np.asarray(known.jacobian(x, width))
    else:
        move = 1e-5 * width * np.eye(len(x))
        gap = apply(denoiser, x + move, width) - apply(denoiser, x - move, width)
        matrix = 0.5 * (gap + gap.T) / (2e-5 * width)
    return float(np.linalg.eigvalsh(matrix)[-1])
