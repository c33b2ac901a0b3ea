"""Steps of many trajectories side by side: the general way to integrate the flow.

Any denoiser, up or down in σ, with whatever rides along (`analytic.quantities`): every
row of the batch takes its own DOP853 steps in w = 1/σ and y = x/σ. `analytic.flow` has
the equation and what is promised; where it can, it leaves the work to a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._dop853 import DENSE, E5, A, C
from ._progress import bar
from .collapse import certificate
from .denoisers import Denoiser, Evaluation, OptimalDenoiser, apply
from .field import rounding_noise
from .quantities import Riders
from .trajectory import Collapse, Result

__all__ = ["Field", "Run", "stepwise"]

Floats = NDArray[np.float64]

SAFETY, SHRINK, GROW = 0.9, 0.2, 1.6
"""Steps grow slowly: one much longer than the last jumps over the place where D turns."""
PATIENCE = 40
_SUSPECT = 60
"""Rejected steps after which a denoiser is examined for noise."""
_LEAP = 0.3
"""Of 1/σ that a step up in σ may take at most."""
SHARE = 0.1
"""Of the order-5 estimate that counts as the error: see `_error`."""
UNDECIDED = 1e-12
_ORDER = 6


@dataclass(frozen=True)
class Field:
    """A denoiser seen by the integrator: float64, shapes checked, heaviest points where known."""

    denoiser: Denoiser
    riders: Riders | None = None

    @property
    def optimal(self) -> OptimalDenoiser | None:
        """The denoiser, where its data are known."""
        return self.denoiser if isinstance(self.denoiser, OptimalDenoiser) else None

    def __call__(self, x: Floats, sigma: Floats) -> Evaluation:
        """D with its heaviest point; index -1 and infinite log-odds where that is not known."""
        if self.optimal is None:
            unknown = np.full(len(x), -1), np.full(len(x), np.inf)
            return Evaluation(apply(self.denoiser, x, sigma), *unknown)
        return self.optimal.evaluate(x, sigma)

    def slope(self, y: Floats, w: Floats, rows: NDArray[np.intp]) -> Evaluation:
        """At x = y/w, σ = 1/w, but with dy/dw and the riders' derivatives for the mean."""
        sigma = 1 / w
        if self.riders is None:
            return self(y / w[:, None], sigma)
        dim = y.shape[1] - self.riders.count
        x = y[:, :dim] / w[:, None]
        trace = None
        if self.riders.density and self.optimal is not None:
            here, trace, _ = self.optimal.motion(x, sigma)
        else:
            here = self(x, sigma)
        rates = self.riders.rates(x, sigma, here.mean, trace, rows, y[:, dim:])
        return here._replace(mean=np.concatenate([here.mean, rates], axis=1))


@dataclass(frozen=True)
class Run:
    """What became of B trajectories; the fields that `Trajectory` has too mean the same."""

    states: Floats
    nfe: NDArray[np.int64]
    result: NDArray[np.int64]
    collapse: Collapse | None
    noise: Floats | None = None
    """(B,) of the denoiser, where a row stalled; None where none did."""
    carried: Floats | None = None
    """(T, B, R) what the riders carried to the saved levels."""

    def put(self, rows: NDArray[np.intp], part: Run) -> None:
        """Replace what was found for some rows."""
        self.states[:, rows] = part.states
        self.nfe[rows], self.result[rows] = part.nfe, part.result
        if self.collapse is not None and part.collapse is not None:
            for name in ("index", "certified", "sigma", "bound"):
                getattr(self.collapse, name)[rows] = getattr(part.collapse, name)


def stepwise(
    field: Field,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> Run:
    """Steps of all rows side by side, each with a length of its own."""
    b = _Batch(start, sigmas, field)
    everyone = np.arange(len(start))
    first = field.slope(b.y, np.full(len(start), 1 / sigmas[0]), everyone)
    b.slope[:] = first.mean
    b.nfe += 1
    b.result[~np.isfinite(first.mean).all(axis=1)] = Result.NON_FINITE
    optimal = field.optimal if b.closing else None
    if optimal is not None:
        _close(b, optimal, everyone, first, rtol, atol)
        b.result[b.saved == len(sigmas)] = Result.DONE
    with bar(len(start), "exact flow", progress) as advance:
        while (act := np.flatnonzero(b.result < 0)).size:
            _advance(b, field, act, rtol, atol, max_steps)
            advance(int((b.result[act] >= 0).sum()))
    collapse = None
    if optimal is not None:
        lost = ~b.certified & np.isfinite(b.y[:, : b.dim]).all(axis=1)
        if lost.any():
            b.index[lost] = optimal.evaluate(b.state(lost), np.zeros(lost.sum())).nearest
        collapse = Collapse(b.index, b.certified, b.level, b.bound)
    stalled = b.result == Result.STALLED
    unmeasured = np.flatnonzero(stalled & np.isnan(b.noise))
    if unmeasured.size:
        b.noise[unmeasured] = _noise(b, field, unmeasured)
    return Run(b.states, b.nfe, b.result, collapse, b.noise if stalled.any() else None, b.carried)


class _Batch:
    """State of all rows of one run; `y` has the riders behind the coordinates."""

    def __init__(self, start: Floats, sigmas: Floats, field: Field) -> None:
        count, dim = start.shape
        riders, optimal = field.riders, field.optimal
        self.sigmas = sigmas
        self.sign = 1.0 if sigmas[0] > sigmas[-1] else -1.0
        self.dim = dim
        self.riders = riders
        behind = np.zeros((count, 0)) if riders is None else riders.start()
        self.states = np.full((len(sigmas), count, dim), np.nan)
        self.states[0] = start
        self.carried = np.full((len(sigmas), *behind.shape), np.nan)
        self.carried[0] = behind
        self.saved = np.ones(count, dtype=np.int64)
        self.nfe = np.zeros(count, dtype=np.int64)
        self.steps = np.zeros(count, dtype=np.int64)
        self.rejected = np.zeros(count, dtype=np.int64)
        self.misses = np.zeros(count, dtype=np.int64)
        self.result = np.full(count, -1, dtype=np.int64)
        self.noise = np.full(count, np.nan)
        self.w = np.full(count, 1 / sigmas[0])
        self.y = np.concatenate([start * self.w[:, None], behind], axis=1)
        self.slope = np.empty_like(self.y)
        self.h = self.w.copy()
        self.index = np.full(count, -1, dtype=np.int64)
        self.certified = np.zeros(count, dtype=bool)
        self.level = np.full(count, np.nan)
        self.bound = np.full(count, np.inf)
        self.last = 1 / sigmas[-1] if sigmas[-1] > 0 else np.inf
        self.floor = UNDECIDED * optimal.points.diameter_bounds[1] if optimal else 0.0

    @property
    def closing(self) -> bool:
        """Whether the flow runs towards the data, where it may be closed."""
        return self.sign > 0

    def state(self, rows: Any) -> Floats:
        """x of some rows."""
        return np.asarray(self.y[rows, : self.dim] / self.w[rows, None])

    def passes(self, rows: NDArray[np.intp], end: Floats) -> NDArray[np.bool_]:
        """Whether the next level each row has to save lies before 1/w = `end`."""
        return np.asarray(self.sign * self.next_level(rows) > self.sign / end)

    def next_level(self, rows: NDArray[np.intp]) -> Floats:
        """Next noise level each row has to save; beyond all levels when there is none."""
        return np.append(self.sigmas, -1.0 if self.sign > 0 else np.inf)[self.saved[rows]]

    def save(self, rows: NDArray[np.intp], x: Floats, behind: Floats) -> None:
        """Save the rows' next level."""
        self.states[self.saved[rows], rows] = x
        self.carried[self.saved[rows], rows] = behind
        self.saved[rows] += 1

    def save_rest(self, row: np.intp, x: Floats, behind: Any) -> None:
        """Save all levels that a row has left."""
        self.states[self.saved[row] :, row] = x
        self.carried[self.saved[row] :, row] = behind


def _advance(
    b: _Batch, field: Field, act: NDArray[np.intp], rtol: float, atol: float, max_steps: int
) -> None:
    """One attempted step of every active row."""
    step = _attempt(b, field, act)
    error = _errors(b, step, rtol, atol)
    good = error <= 1.0  # NaN compares false
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.clip(SAFETY * error ** (-1 / _ORDER), SHRINK, GROW)
    factor = np.where(np.isnan(factor), SHRINK, factor)
    factor = np.where(good & (b.rejected[act] > 0), np.minimum(factor, 1.0), factor)
    b.h[act] = np.abs(step.h) * factor
    b.rejected[act] = np.where(good, 0, b.rejected[act] + 1)
    b.misses[act] += ~good
    b.nfe[act] += 12
    b.steps[act] += 1

    stuck = ~good & ((b.rejected[act] > PATIENCE) | (np.abs(step.h) <= 1e-15 * step.w))
    sick = stuck & ~np.isfinite(error)
    b.result[act[sick]] = Result.NON_FINITE
    b.result[act[stuck & ~sick]] = Result.STALLED
    if field.optimal is None:
        often = ~good & ~stuck & np.isfinite(error) & (b.misses[act] % _SUSPECT == 0)
        _suspect(b, field, act[often], rtol, atol)

    step = step.select(good)
    _save(b, field, step)
    if b.riders is not None:
        b.riders.drop(step.y_new[:, b.dim :])
    b.w[step.rows], b.y[step.rows] = step.end, step.y_new
    b.slope[step.rows] = step.slopes[12]
    if field.optimal is not None and b.closing:
        _close(b, field.optimal, step.rows, step.arrival, rtol, atol)
    b.result[act[(b.result[act] < 0) & (b.saved[act] == len(b.sigmas))]] = Result.DONE
    b.result[act[(b.result[act] < 0) & (b.steps[act] >= max_steps)]] = Result.MAX_STEPS


def _errors(b: _Batch, step: _Step, rtol: float, atol: float) -> Floats:
    """Scaled error of each row's step, the largest of its state's and its riders'."""
    dim = b.dim
    slopes = [slope[:, :dim] for slope in step.slopes]
    size = np.maximum(np.abs(step.y), np.abs(step.y_new))[:, :dim]
    tolerance = atol * step.end[:, None] + rtol * size
    error = _error(slopes, step.h, tolerance)
    if b.riders is not None:
        allowed = b.riders.allowed(step.y[:, dim:], step.y_new[:, dim:], rtol, atol)
        for part in b.riders.groups():
            slopes = [slope[:, dim:][:, part] for slope in step.slopes]
            # what was given up before this step has no say
            alive = np.isfinite(step.y[:, dim:][:, part]).all(axis=1)
            own = _error(slopes, step.h, allowed[:, part])
            error = np.maximum(error, np.where(alive, own, 0.0))
    return error


def _noise(b: _Batch, field: Field, rows: NDArray[np.intp]) -> Floats:
    """Rounding noise of the denoiser where rows are now."""
    return rounding_noise(lambda x, s: field(x, s).mean, b.state(rows), 1 / b.w[rows])


def _suspect(b: _Batch, field: Field, rows: NDArray[np.intp], rtol: float, atol: float) -> None:
    """Stop rows whose denoiser has more noise than the tolerance: steps would shrink for ever."""
    if not rows.size:
        return
    noise = _noise(b, field, rows)
    over = noise > atol + rtol * np.abs(b.state(rows)).max(axis=1)
    b.noise[rows[over]] = noise[over]
    b.result[rows[over]] = Result.STALLED


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

    def stage(self, field: Field, k: int) -> Floats:
        """Slope of stage k from the slopes before it."""
        w = self.w + C[k] * self.h
        y = self.y + self.h[:, None] * _combine(A[k], self.slopes)
        return field.slope(y, w, self.rows).mean


def _attempt(b: _Batch, field: Field, act: NDArray[np.intp]) -> _Step:
    w, y = b.w[act], b.y[act]
    left = b.sign * (b.last - w)
    h = np.minimum(b.h[act] if b.closing else np.minimum(b.h[act], _LEAP * w), left)
    # a step that would leave a sliver before the end takes it along
    h = np.where(left - h < 1e-3 * h, left, h)
    end = np.where(h >= left, b.last, w + b.sign * h)
    h = b.sign * h
    nothing = Evaluation(y, act, w)
    step = _Step(act, w, h, end, y, y, [b.slope[act]], nothing)
    for k in range(1, 12):
        step.slopes.append(step.stage(field, k))
    y_new = y + h[:, None] * _combine(A[12], step.slopes)
    arrival = field.slope(y_new, end, act)
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
        return np.asarray(SHARE * np.sqrt((scaled**2).mean(axis=1)))


def _save(b: _Batch, field: Field, step: _Step) -> None:
    """Save the levels that accepted steps passed: interpolated inside, ends as they are."""
    dense = step.select(b.passes(step.rows, step.end))
    if dense.rows.size:
        for k in range(13, 16):
            dense.slopes.append(dense.stage(field, k))
        b.nfe[dense.rows] += 3
        parts = _interpolant(dense)
        while (now := np.flatnonzero(b.passes(dense.rows, dense.end))).size:
            row = dense.rows[now]
            at = b.next_level(row)
            theta = ((1 / at - dense.w[now]) / dense.h[now])[:, None]
            value = np.zeros_like(dense.y[now])
            for k, part in enumerate(reversed(parts)):
                value = (value + part[now]) * (theta if k % 2 == 0 else 1 - theta)
            value = dense.y[now] + value
            b.save(row, value[:, : b.dim] * at[:, None], value[:, b.dim :])
    hit = b.next_level(step.rows) == 1 / step.end
    hit |= (step.end == b.last) & (b.saved[step.rows] == len(b.sigmas) - 1)
    y = step.y_new[hit]
    b.save(step.rows[hit], y[:, : b.dim] / step.end[hit, None], y[:, b.dim :])


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
    x = b.y[rows, : b.dim] * sigma[:, None]
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
    target = points.at(np.maximum(b.index[rows], 0))[0]
    # B ≤ R_i ε, and R_i ≤ diam: the tail's own error from here on
    tail = points.diameter_bounds[1] * np.maximum(np.expm1(arrival.log_odds), 0.0)
    small = tail <= 0.05 * (atol + rtol * np.abs(target).max(axis=1))
    only_zero = b.next_level(rows) == 0
    if b.riders is not None:
        odds = np.maximum(np.expm1(arrival.log_odds), 0.0)
        small &= b.riders.settled(odds, b.w[rows], points.diameter_bounds[1], rtol)
        only_zero[:] = False
    closed = b.certified[rows] & (small | only_zero)
    offset = x - target
    for k in np.flatnonzero(closed):
        row = rows[k]
        share = b.sigmas[b.saved[row] :, None] / sigma[k]
        behind = b.y[row, b.dim :]
        if b.riders is not None:
            behind = b.riders.tail(behind, offset[k], sigma[k], share, row)
        b.save_rest(row, target[k] + share * offset[k], behind)
        b.saved[row] = len(b.sigmas)
    lost = ~b.certified[rows] & (sigma < b.floor)
    for k in np.flatnonzero(lost):
        row = rows[k]
        b.save_rest(row, x[k], np.nan)
        b.result[row] = Result.UNDECIDED
