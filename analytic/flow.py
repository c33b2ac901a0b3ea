"""The exact flow: the probability-flow ODE, integrated to a tolerance.

With w = 1/σ and y = x/σ the flow dx/dσ = (x - D)/σ becomes

    dy/dw = D(y/w; 1/w),

whose right-hand side is bounded by the data and exact for a constant denoiser:
what is left to integrate is only how D turns. Every trajectory takes its own
steps with the Runge–Kutta pair DOP853, order 8, and controls its own error

    |δx| ≤ atol + rtol |x| per step,

so that a trajectory does not depend on its companions in the batch. States in
between come from the pair's own interpolant. For an optimal denoiser the trap
certificate (theory D1, `analytic.collapse`) closes the trajectory analytically
once its tail is below the tolerance, which is how σ = 0 is reached. Where the
data span few of the dimensions, the flow runs in their span (`analytic.span`); the
projection's rounding, and that alone, may then depend on the size of the batch.

The estimated global error is twice the distance to a companion run of the whole
trajectory with a hundred times smaller tolerances, a relative one of 1e-10 at most,
plus 16 units of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, grids
from ._dop853 import DENSE, E5, A, C
from ._progress import bar
from .collapse import certificate
from .denoisers import Denoiser, Evaluation, OptimalDenoiser, apply, dimension_of
from .span import Reduced, in_span
from .trajectory import Collapse, Result, Trajectory

__all__ = ["RTOL_FLOOR", "integrate"]

Floats = NDArray[np.float64]

RTOL_FLOOR = 1e-13
"""Smallest relative tolerance that float64 supports here."""

_COMPANION, _COMPANION_MOST, _COMPANION_LEAST = 0.01, 1e-10, 5e-15
"""Relative tolerance of the companion run: a share of that of the run, and bounds of it.
Looser, both runs may take the same steps, and agree on the same error."""
_ROUNDING = 16 * float(np.finfo(float).eps)
_GRID, _FINEST = 64, 0.002 / 80
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 1.6
"""Steps grow slowly: one much longer than the last jumps over the place where D turns."""
_PATIENCE = 40
_SHARE = 0.1
"""Of the order-5 estimate that counts as the error: see `_error`."""
_UNDECIDED = 1e-12
_ORDER = 6


def integrate(
    denoiser: Denoiser,
    x: Any,
    sigma_max: float = 80.0,
    sigma_min: float = 0.0,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    save_at: Any = None,
    max_steps: int = 10_000,
    estimate_error: bool = True,
    progress: bool = False,
) -> Trajectory:
    """Integrate the probability-flow ODE from σ_max down to σ_min.

    Parameters
    ----------
    denoiser : any denoiser; σ_min = 0 needs an `OptimalDenoiser`.
    x : (B, D) or (D,) states at σ_max, in data units.
    sigma_max, sigma_min : ends, σ_max > σ_min ≥ 0.
    rtol, atol : tolerances per step, relative and in data units; rtol ≥ 1e-13.
    save_at : noise levels to save, in [σ_min, σ_max]; the ends are always
        saved. Default: a polynomial grid of 64 levels; for σ_min = 0 it goes down
        to σ_max/40,000 and then to 0.
    max_steps : steps per trajectory, rejected ones included.
    estimate_error : whether to run the companion that estimates the global
        error (about 3 times the work in all).
    progress : show a progress bar on a terminal.

    Returns
    -------
    `Trajectory` in x's dtype, with `nfe`, `error`, `result` and, for an
    `OptimalDenoiser`, `collapse`. Trajectories that fail keep the states they
    reached, NaN beyond, and say why (`Trajectory.explain`).

    Raises
    ------
    ValueError, TypeError
        for bad input, before any work.
    """
    dim = dimension_of(denoiser, x)
    start, _, dtype = _check.queries(x, dim)
    # below this 1/σ is no longer a finite number
    high = _check.number(sigma_max, "sigma_max", low=1e-300, high=_check.SIGMA_LIMIT)
    low = _check.number(sigma_min, "sigma_min", low=0.0, high=_check.SIGMA_LIMIT)
    sigmas = _levels(high, low, save_at)
    if low == 0 and not isinstance(denoiser, OptimalDenoiser):
        _check.fail(
            "sigma_min",
            "0 with a denoiser that is not an OptimalDenoiser",
            "σ_min > 0: only a finite data set has a certified limit",
            "stop at a small positive level",
        )
    relative = _check.number(
        rtol, "rtol", low=RTOL_FLOOR, high=1.0, remedy="1e-13 is what float64 can give"
    )
    absolute = _check.number(atol, "atol", low=0.0)
    most = _check.integer(max_steps, "max_steps", low=1)
    wanted, shown = _check.flag(estimate_error, "estimate_error"), _check.flag(progress, "progress")
    _check.size(len(sigmas) * len(start), dim, "save_at")

    if isinstance(denoiser, OptimalDenoiser) and (reduced := in_span(denoiser)) is not None:
        inner, rest = reduced.project(start)
        found = integrate(
            reduced.denoiser,
            inner,
            sigma_max,
            sigma_min,
            rtol=rtol,
            atol=atol,
            save_at=save_at,
            max_steps=max_steps,
            estimate_error=estimate_error,
            progress=progress,
        )
        return _lifted(found, reduced, rest, denoiser.points.points, dtype)
    field = _Field(denoiser)
    run = _run(field, start, sigmas, relative, absolute, most, shown)
    error = np.full(len(start), np.nan)
    if wanted:
        ends = sigmas[[0, -1]]
        tight = max(min(_COMPANION * relative, _COMPANION_MOST), _COMPANION_LEAST)
        other = _run(field, start, ends, tight, absolute * (tight / relative), most, shown)
        size = np.linalg.norm(run.states[-1], axis=1)
        apart = np.linalg.norm(run.states[-1] - other.states[-1], axis=1)
        error = 2 * apart + _ROUNDING * size
    return Trajectory(
        sigmas,
        run.states.astype(dtype, copy=False),
        _denoise_path(field, run.states, sigmas).astype(dtype, copy=False),
        run.nfe,
        error,
        run.result,
        run.collapse,
    )


def _lifted(
    found: Trajectory, reduced: Reduced, rest: Floats, points: Floats, dtype: Any
) -> Trajectory:
    """A trajectory from the coordinates of the span back to the space of the data."""
    share = found.sigmas / found.sigmas[0]
    states = reduced.lift(found.states) + share[:, None, None] * rest
    denoised = reduced.lift(found.denoised)
    ends = found.collapse
    if found.sigmas[-1] == 0 and ends is not None:
        done = ends.certified & np.isfinite(found.final).all(axis=1)
        states[-1, done] = denoised[-1, done] = points[ends.index[done]]
    return replace(
        found,
        states=states.astype(dtype, copy=False),
        denoised=denoised.astype(dtype, copy=False),
        error=found.error + _ROUNDING * np.linalg.norm(states[-1], axis=1),
    )


def _levels(high: float, low: float, save_at: Any) -> Floats:
    if not high > low:
        _check.fail("sigma_max", repr(high), f"more than sigma_min = {low!r}", "swap the two")
    if save_at is None:
        if low > 0:
            return grids.polynomial(_GRID, high, low)
        return np.append(grids.polynomial(_GRID - 1, high, _FINEST * high), 0.0)
    levels = np.atleast_1d(_check.array(save_at, "save_at")).astype(np.float64)
    if levels.ndim != 1 or (levels.size and not (levels.min() >= low and levels.max() <= high)):
        _check.fail(
            "save_at",
            _check.show(levels) if levels.ndim != 1 else f"levels {levels.min()} to {levels.max()}",
            f"levels in [{low}, {high}]",
            "save inside the interval that is integrated",
        )
    return np.unique(np.concatenate([levels, [high, low]]))[::-1].copy()


@dataclass(frozen=True)
class _Field:
    """A denoiser seen by the integrator: float64, shapes checked, heaviest points where known."""

    denoiser: Denoiser

    @property
    def optimal(self) -> OptimalDenoiser | None:
        return self.denoiser if isinstance(self.denoiser, OptimalDenoiser) else None

    def __call__(self, x: Floats, sigma: Floats) -> Evaluation:
        if self.optimal is None:
            unknown = np.full(len(x), -1), np.full(len(x), np.inf)
            return Evaluation(apply(self.denoiser, x, sigma), *unknown)
        return self.optimal.evaluate(x, sigma)


@dataclass(frozen=True)
class _Run:
    states: Floats
    nfe: NDArray[np.int64]
    result: NDArray[np.int64]
    collapse: Collapse | None

    def put(self, rows: NDArray[np.intp], part: _Run) -> None:
        """Replace what was found for some rows."""
        self.states[:, rows] = part.states
        self.nfe[rows], self.result[rows] = part.nfe, part.result
        if self.collapse is not None and part.collapse is not None:
            for name in ("index", "certified", "sigma", "bound"):
                getattr(self.collapse, name)[rows] = getattr(part.collapse, name)


def _denoise_path(field: _Field, states: Floats, sigmas: Floats) -> Floats:
    """D along saved states, NaN where the state is."""
    denoised = states.copy()
    for k, sigma in enumerate(sigmas):
        rows = np.isfinite(states[k]).all(axis=1)
        if sigma > 0 and rows.any():
            denoised[k, rows] = field(states[k, rows], np.full(rows.sum(), sigma)).mean
    return denoised


class _Batch:
    """State of all rows of one run; `act` are the rows still under way."""

    def __init__(self, start: Floats, sigmas: Floats, optimal: OptimalDenoiser | None) -> None:
        count, dim = start.shape
        self.sigmas = sigmas
        self.states = np.full((len(sigmas), count, dim), np.nan)
        self.states[0] = start
        self.saved = np.ones(count, dtype=np.int64)
        self.nfe = np.zeros(count, dtype=np.int64)
        self.steps = np.zeros(count, dtype=np.int64)
        self.rejected = np.zeros(count, dtype=np.int64)
        self.result = np.full(count, -1, dtype=np.int64)
        self.w = np.full(count, 1 / sigmas[0])
        self.y = start * self.w[:, None]
        self.slope = np.empty_like(start)
        self.h = self.w.copy()
        self.index = np.full(count, -1, dtype=np.int64)
        self.certified = np.zeros(count, dtype=bool)
        self.level = np.full(count, np.nan)
        self.bound = np.full(count, np.inf)
        self.last = 1 / sigmas[-1] if sigmas[-1] > 0 else np.inf
        self.floor = _UNDECIDED * optimal.points.diameter_bounds[1] if optimal else 0.0


def _run(
    field: _Field,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> _Run:
    """By the kernel where it serves, and what it leaves over by steps of the whole batch."""
    optimal = field.optimal
    if optimal is None or optimal.columns is None:
        return _stepwise(field, start, sigmas, rtol, atol, max_steps, progress)
    run = _compiled(optimal, start, sigmas, rtol, atol, max_steps, progress)
    over = np.flatnonzero(run.result < 0)
    if over.size:
        run.put(over, _stepwise(field, start[over], sigmas, rtol, atol, max_steps, progress))
    return run


def _compiled(
    optimal: OptimalDenoiser,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> _Run:
    """Every trajectory in one kernel; the result is negative where it is to be done otherwise."""
    from .kernels import flow

    count, dim = start.shape
    assert optimal.columns is not None
    points, index_of = optimal.columns
    diameter = optimal.points.diameter_bounds[1]
    cut = float(np.log2(1000.0 * len(optimal.points) / rtol))
    rules = flow.Rules(
        rtol, atol, cut, _UNDECIDED * diameter, diameter, max_steps,
        _SHARE, _SAFETY, _SHRINK, _GROW, _PATIENCE,
    )  # fmt: skip
    found = flow.Found(
        states=np.full((len(sigmas), count, dim), np.nan),
        saved=np.zeros(count, dtype=np.int64),
        nfe=np.zeros(count, dtype=np.int64),
        result=np.zeros(count, dtype=np.int64),
        column=np.full(count, -1),
        level=np.full(count, np.nan),
        state=start.copy(),
    )
    with bar(count, "exact flow", progress) as advance:
        flow.run(points, sigmas, rules, optimal.points.mean, start, found, advance)
    index = np.where(found.column < 0, -1, index_of[found.column])
    certified, bound = np.zeros(count, dtype=bool), np.full(count, np.inf)
    rows = np.flatnonzero(index >= 0)
    if rows.size:
        seal = certificate(optimal, found.state[rows], found.level[rows], index[rows])
        certified[rows], bound[rows] = seal.certified, np.where(seal.certified, seal.reach, np.inf)
        found.result[rows[~seal.certified]] = flow.HANDED_OVER
    lost = ~certified & (found.result >= 0)
    if lost.any():
        last = found.states[np.maximum(found.saved[lost] - 1, 0), lost]
        index[lost] = optimal.evaluate(last, np.zeros(lost.sum())).nearest
    collapse = Collapse(index, certified, np.where(certified, found.level, np.nan), bound)
    return _Run(found.states, found.nfe, found.result, collapse)


def _stepwise(
    field: _Field,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> _Run:
    """Steps of all rows side by side, each with a length of its own."""
    b = _Batch(start, sigmas, field.optimal)
    first = field(start, np.full(len(start), sigmas[0]))
    b.slope[:] = first.mean
    b.nfe += 1
    b.result[~np.isfinite(first.mean).all(axis=1)] = Result.NON_FINITE
    if field.optimal is not None:
        _close(b, field.optimal, np.arange(len(start)), first, rtol, atol)
        b.result[b.saved == len(sigmas)] = Result.DONE
    with bar(len(start), "exact flow", progress) as advance:
        while (act := np.flatnonzero(b.result < 0)).size:
            _advance(b, field, act, rtol, atol, max_steps)
            advance(int((b.result[act] >= 0).sum()))
    collapse = None
    if field.optimal is not None:
        lost = ~b.certified & np.isfinite(b.y).all(axis=1)
        if lost.any():
            b.index[lost] = field.optimal.evaluate(
                b.y[lost] / b.w[lost, None], np.zeros(lost.sum())
            ).nearest
        collapse = Collapse(b.index, b.certified, b.level, b.bound)
    return _Run(b.states, b.nfe, b.result, collapse)


def _advance(
    b: _Batch, field: _Field, act: NDArray[np.intp], rtol: float, atol: float, max_steps: int
) -> None:
    """One attempted step of every active row."""
    step = _attempt(b, field, act)
    tolerance = atol * step.end[:, None] + rtol * np.maximum(np.abs(step.y), np.abs(step.y_new))
    error = _error(step.slopes, step.h, tolerance)
    good = error <= 1.0  # NaN compares false
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.clip(_SAFETY * error ** (-1 / _ORDER), _SHRINK, _GROW)
    factor = np.where(np.isnan(factor), _SHRINK, factor)
    factor = np.where(good & (b.rejected[act] > 0), np.minimum(factor, 1.0), factor)
    b.h[act] = step.h * factor
    b.rejected[act] = np.where(good, 0, b.rejected[act] + 1)
    b.nfe[act] += 12
    b.steps[act] += 1

    stuck = ~good & ((b.rejected[act] > _PATIENCE) | (step.h <= 1e-15 * step.w))
    sick = stuck & ~np.isfinite(error)
    b.result[act[sick]] = Result.NON_FINITE
    b.result[act[stuck & ~sick]] = Result.STALLED

    step = step.select(good)
    _save(b, field, step)
    b.w[step.rows], b.y[step.rows] = step.end, step.y_new
    b.slope[step.rows] = step.slopes[12]
    if field.optimal is not None:
        _close(b, field.optimal, step.rows, step.arrival, rtol, atol)
    b.result[act[(b.result[act] < 0) & (b.saved[act] == len(b.sigmas))]] = Result.DONE
    b.result[act[(b.result[act] < 0) & (b.steps[act] >= max_steps)]] = Result.MAX_STEPS


@dataclass(frozen=True)
class _Step:
    """An attempted step of some rows: from (w, y) to (end, y_new) with its thirteen slopes."""

    rows: NDArray[np.intp]
    w: Floats
    h: Floats
    end: Floats
    y: Floats
    y_new: Floats
    slopes: list[Floats]
    arrival: Evaluation

    def select(self, part: NDArray[Any]) -> _Step:
        return _Step(
            self.rows[part],
            self.w[part],
            self.h[part],
            self.end[part],
            self.y[part],
            self.y_new[part],
            [slope[part] for slope in self.slopes],
            Evaluation(*(each[part] for each in self.arrival)),
        )

    def stage(self, field: _Field, k: int) -> Floats:
        """Slope of stage k from the slopes before it."""
        w = self.w + C[k] * self.h
        y = self.y + self.h[:, None] * _combine(A[k], self.slopes)
        return field(y / w[:, None], 1 / w).mean


def _attempt(b: _Batch, field: _Field, act: NDArray[np.intp]) -> _Step:
    w, y = b.w[act], b.y[act]
    h = np.minimum(b.h[act], b.last - w)
    # a step that would leave a sliver before the end takes it along
    h = np.where(b.last - w - h < 1e-3 * h, b.last - w, h)
    end = np.where(w + h >= b.last, b.last, w + h)
    nothing = Evaluation(y, act, w)
    step = _Step(act, w, h, end, y, y, [b.slope[act]], nothing)
    for k in range(1, 12):
        step.slopes.append(step.stage(field, k))
    y_new = y + h[:, None] * _combine(A[12], step.slopes)
    arrival = field(y_new / end[:, None], 1 / end)
    return _Step(act, w, h, end, y, y_new, [*step.slopes, arrival.mean], arrival)


def _combine(row: dict[int, float], slopes: list[Floats]) -> Floats:
    """Σ a_j k_j in a fixed order, elementwise: no BLAS, so rows stay independent."""
    total: Any = 0.0
    for j, a in row.items():
        total = total + a * slopes[j]
    return np.asarray(total)


def _error(slopes: list[Floats], h: Floats, tolerance: Floats) -> Floats:
    """Scaled error of a step, acceptable up to 1: root mean square over coordinates.

    A tenth of the order-5 estimate. The usual blend with the order-3 estimate
    follows the order-8 error only once steps are asymptotic; where D turns
    suddenly it let errors of a thousand tolerances pass.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        raw = h[:, None] * _combine(E5, slopes)
        scaled = np.where(raw == 0, 0.0, raw / tolerance)
        return np.asarray(_SHARE * np.sqrt((scaled**2).mean(axis=1)))


def _save(b: _Batch, field: _Field, step: _Step) -> None:
    """Save the levels that accepted steps passed: interpolated inside, ends as they are."""
    dense = step.select(_next_level(b, step.rows) > 1 / step.end)
    if dense.rows.size:
        for k in range(13, 16):
            dense.slopes.append(dense.stage(field, k))
        b.nfe[dense.rows] += 3
        parts = _interpolant(dense)
        level = _next_level(b, dense.rows)
        while (now := np.flatnonzero(level > 1 / dense.end)).size:
            at, row = level[now], dense.rows[now]
            theta = ((1 / at - dense.w[now]) / dense.h[now])[:, None]
            value = np.zeros_like(dense.y[now])
            for k, part in enumerate(reversed(parts)):
                value = (value + part[now]) * (theta if k % 2 == 0 else 1 - theta)
            b.states[b.saved[row], row] = (dense.y[now] + value) * at[:, None]
            b.saved[row] += 1
            level = _next_level(b, dense.rows)
    hit = _next_level(b, step.rows) == 1 / step.end
    hit |= (step.end == b.last) & (b.saved[step.rows] == len(b.sigmas) - 1)
    row = step.rows[hit]
    b.states[b.saved[row], row] = step.y_new[hit] / step.end[hit, None]
    b.saved[row] += 1


def _next_level(b: _Batch, rows: NDArray[np.intp]) -> Floats:
    """Next noise level each row has to save; -1 when there is none."""
    return np.append(b.sigmas, -1.0)[b.saved[rows]]


def _interpolant(step: _Step) -> list[Floats]:
    """Coefficients of the order-7 dense output, in the order Hairer evaluates them."""
    h, first, last = step.h[:, None], step.slopes[0], step.slopes[12]
    jump = step.y_new - step.y
    head = [jump, h * first - jump, 2 * jump - h * (last + first)]
    return head + [h * _combine(row, step.slopes) for row in DENSE]


def _close(
    b: _Batch,
    optimal: OptimalDenoiser,
    rows: NDArray[np.intp],
    arrival: Evaluation,
    rtol: float,
    atol: float,
) -> None:
    """Certify rows near the end and finish those whose closed-form tail is within tolerance."""
    sigma = 1 / b.w[rows]
    x = b.y[rows] * sigma[:, None]
    # no certificate can fire while the heaviest point has less than half of the weight
    likely = ~b.certified[rows] & (arrival.log_odds <= np.log(2) + 1e-6)
    if likely.any():
        found = certificate(optimal, x[likely], sigma[likely], arrival.nearest[likely])
        new = rows[likely][found.certified]
        b.certified[new] = True
        b.index[new] = found.index[found.certified]
        b.level[new] = found.sigma[found.certified]
        b.bound[new] = found.reach[found.certified]
    points = optimal.points
    target = points.points[np.maximum(b.index[rows], 0)]
    # B ≤ R_i ε, and R_i ≤ diam: the tail's own error from here on
    tail = points.diameter_bounds[1] * np.maximum(np.expm1(arrival.log_odds), 0.0)
    small = tail <= 0.05 * (atol + rtol * np.abs(target).max(axis=1))
    only_zero = _next_level(b, rows) == 0
    closed = b.certified[rows] & (small | only_zero)
    offset = x - target
    for k in np.flatnonzero(closed):
        row = rows[k]
        share = b.sigmas[b.saved[row] :, None] / sigma[k]
        b.states[b.saved[row] :, row] = target[k] + share * offset[k]
        b.saved[row] = len(b.sigmas)
    lost = ~b.certified[rows] & (sigma < b.floor)
    for k in np.flatnonzero(lost):
        row = rows[k]
        b.states[b.saved[row] :, row] = x[k]
        b.result[row] = Result.UNDECIDED
