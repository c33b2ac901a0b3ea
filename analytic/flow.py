"""The exact flow: the probability-flow ODE, integrated to a tolerance.

With w = 1/σ and y = x/σ the flow dx/dσ = (x - D)/σ becomes

    dy/dw = D(y/w; 1/w),

whose right-hand side is bounded by the data and exact for a constant denoiser:
what is left to integrate is only how D turns. Every trajectory takes its own
steps and controls its own error

    |δx| ≤ atol + rtol |x| per step,

so that a trajectory does not depend on its companions in the batch. An optimal denoiser
of up to 20,000 points in up to 64 dimensions is followed by a multistep method inside
one kernel (`analytic.kernels.flow`; there rtol is relative to |x - μ|, so that data far
from the origin lose nothing), every other denoiser by the Runge–Kutta pair DOP853,
order 8. States in between come from the method's own interpolant. For an optimal denoiser
the trap certificate (theory D1, `analytic.collapse`) closes the trajectory analytically
once its tail is below the tolerance, which is how σ = 0 is reached. Where the
data span few of the dimensions, the flow runs in their span (`analytic.span`); the
projection's rounding, and that alone, may then depend on the size of the batch.
`encode` runs the same equation up in σ.

The estimated global error is twice the distance to a companion run of the whole
trajectory with a hundred times smaller tolerances, a relative one of 1e-10 at most
(500 times up in σ), plus 16 units of rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check, grids
from . import quantities as extra
from ._progress import bar
from .collapse import certificate
from .denoisers import Denoiser, OptimalDenoiser, dimension_of
from .kernels.threads import checked, limited
from .noise import NoiseSchedule
from .span import Reduced, in_span
from .stepwise import PATIENCE, SAFETY, UNDECIDED, Field, Run, stepwise
from .trajectory import Collapse, Result, Trajectory, enter, leave

__all__ = ["RTOL_FLOOR", "encode", "integrate"]

Floats = NDArray[np.float64]

RTOL_FLOOR = 1e-13
"""Smallest relative tolerance that float64 supports here."""

_COMPANION, _COMPANION_MOST, _COMPANION_LEAST = 0.01, 1e-10, 5e-15
"""Relative tolerance of the companion run: a share of that of the run, and bounds of it.
Looser, both runs may take the same steps, and agree on the same error."""
_COMPANION_UP = 0.002
"""Up in σ D turns suddenly after long rest: there errors fall slowly with the tolerance."""
_ROUNDING = 16 * float(np.finfo(float).eps)
_GRID, _FINEST = 64, 0.002 / 80
_ORDERS, _FINE = {True: (8, 10), False: (6, 8)}, 1e-8
"""Coefficients of the kernel's interpolants in few and many dimensions, above `_FINE` and below."""
_CORRECTIONS = (1.0, 0.3)
"""Share of a correction that counts as the error of a step: long steps see little of D."""


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
    quantities: Iterable[str] = (),
    tangent: Any = None,
    schedule: NoiseSchedule | None = None,
    progress: bool = False,
    threads: int | None = None,
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
    quantities : what else to find, each a field of the `Trajectory` that tells its
        units and its value at σ = 0. By quadratures with the same control of the error
        (`analytic.quantities`): "log_prob" (`log_prob`, in closed form, and
        `log_prob_flow`, by the change of variables), "jacobian" of the flow map, and
        "arc_length". From the saved states alone: "curvature" and "posterior".
    tangent : (B, D) or (D,) like x, vectors to which the flow map's Jacobian is applied:
        `Trajectory.tangent`, for the cost of one product per evaluation.
    schedule : where starts and states live, x_t = α_t x̂, in place of the flow's own x̂; levels
        stay σ = σ_t/α_t, and the trajectory tells their `times`. Tolerances are those of
        x̂. Quantities and tangents are not converted: ask for them without a schedule.
    progress : show a progress bar on a terminal.
    threads : at most how many threads share the work, of the denoiser's own too if it is an
        `OptimalDenoiser`; None for as many as that says, or `analytic.get_num_threads()`.
        It changes no result.

    Returns
    -------
    `Trajectory` in x's dtype, with `nfe`, `error`, `result` and, for an
    `OptimalDenoiser`, `collapse`. Trajectories that fail keep the states they
    reached, NaN beyond, and say why (`Trajectory.explain`). Quadratures choose steps
    of their own, so states with and without them agree to the tolerance, not in all bits.

    Raises
    ------
    ValueError, TypeError
        for bad input, and quantities the denoiser has no methods for, before any work.
    """
    asked = _Asked(
        rtol, atol, max_steps, estimate_error, progress, frozenset(), save_at, sigma_max, sigma_min
    )
    with limited(checked(threads)):
        return _start(denoiser, x, asked, quantities, tangent, up=False, schedule=schedule)


def encode(
    denoiser: Denoiser,
    x: Any,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    save_at: Any = None,
    max_steps: int = 10_000,
    estimate_error: bool = True,
    quantities: Iterable[str] = (),
    tangent: Any = None,
    progress: bool = False,
    threads: int | None = None,
) -> Trajectory:
    """Integrate the probability-flow ODE from σ_min > 0 up to σ_max: from data to noise.

    Parameters
    ----------
    x : (B, D) or (D,) states at σ_min, in data units.
    sigma_min, sigma_max : ends, 0 < σ_min < σ_max.

    All others, and the result, are those of `integrate`, but that levels increase,
    `final` is at σ_max, quantities start at σ_min, and there is no `collapse`. Upwards
    the flow spreads in x, by up to σ_max/σ_min, and with it errors: `integrate` from
    `final` returns to x within the errors that both report.
    """
    asked = _Asked(
        rtol, atol, max_steps, estimate_error, progress, frozenset(), save_at, sigma_max, sigma_min
    )
    with limited(checked(threads)):
        return _start(denoiser, x, asked, quantities, tangent, up=True)


class _Asked(NamedTuple):
    """Options of a run, as given and then checked."""

    rtol: float
    atol: float
    max_steps: int
    estimate_error: bool
    progress: bool
    quantities: frozenset[str]
    save_at: Any
    sigma_max: float
    sigma_min: float


def _start(
    denoiser: Denoiser,
    x: Any,
    asked: _Asked,
    quantities: Any,
    tangent: Any,
    *,
    up: bool,
    schedule: NoiseSchedule | None = None,
) -> Trajectory:
    """Check everything, then run."""
    dim = dimension_of(denoiser, x)
    start, shape, dtype = _check.queries(x, dim)
    # below this 1/σ is no longer a finite number
    high = _check.number(asked.sigma_max, "sigma_max", low=1e-300, high=_check.SIGMA_LIMIT)
    least = 1e-300 if up else 0.0
    low = _check.number(asked.sigma_min, "sigma_min", low=least, high=_check.SIGMA_LIMIT)
    if 0 < low < 1e-300:
        _check.fail("sigma_min", repr(low), "0, or at least 1e-300", "stop earlier, or at 0")
    sigmas = _levels(high, low, asked.save_at)
    start = enter(schedule, start, sigmas, "sigma_max and sigma_min")
    if low == 0 and not isinstance(denoiser, OptimalDenoiser):
        _check.fail(
            "sigma_min",
            "0 with a denoiser that is not an OptimalDenoiser",
            "σ_min > 0: only a finite data set has a certified limit",
            "stop at a small positive level",
        )
    names = extra.requested(denoiser, quantities)
    asked = asked._replace(
        rtol=_check.number(
            asked.rtol, "rtol", low=RTOL_FLOOR, high=1.0, remedy="1e-13 is what float64 can give"
        ),
        atol=_check.number(asked.atol, "atol", low=0.0),
        max_steps=_check.integer(asked.max_steps, "max_steps", low=1),
        estimate_error=_check.flag(asked.estimate_error, "estimate_error"),
        progress=_check.flag(asked.progress, "progress"),
        quantities=names,
    )
    direction = None
    if tangent is not None:
        direction, given, _ = _check.queries(tangent, dim, "tangent")
        if given != shape:
            _check.fail("tangent", f"shape {given}", f"x's shape {shape}", "one per state")
        extra.capable(denoiser, "jacobian", "vectors", "tangent")
    if schedule is not None and (names or tangent is not None):
        _check.fail(
            "quantities" if names else "tangent",
            f"{', '.join(sorted(names)) or 'one'} together with a schedule",
            "neither where states are in a schedule's coordinates",
            "integrate without schedule=, from x/α (NoiseSchedule.to_ve)",
        )
    _check.size(len(sigmas) * len(start), dim * (dim + 1 if "jacobian" in names else 1), "save_at")
    across = np.zeros(len(start))
    found = _flow(denoiser, start, sigmas[::-1] if up else sigmas, asked, direction, across)
    return extra.cast(leave(schedule, found), dtype)


def _flow(
    denoiser: Denoiser,
    start: Floats,
    sigmas: Floats,
    asked: _Asked,
    tangent: Floats | None,
    across: Floats,
) -> Trajectory:
    """The flow of checked arguments, in the span of the data where that is small."""
    if isinstance(denoiser, OptimalDenoiser) and (reduced := in_span(denoiser)) is not None:
        inner, rest = reduced.project(start)
        along = None if tangent is None else tangent @ reduced.span.basis.T
        away = np.linalg.norm(rest, axis=1) / sigmas[0]
        found = _flow(reduced.denoiser, inner, sigmas, asked, along, away)
        return _lifted(found, reduced, rest, tangent, denoiser.held.points)
    riders = extra.Riders.of(denoiser, asked.quantities, float(sigmas[0]), start, tangent, across)
    run = _run(Field(denoiser, riders), start, sigmas, *asked[:3], asked.progress)
    field = Field(denoiser)
    error = np.full(len(start), np.nan)
    if asked.estimate_error:
        ends = sigmas[[0, -1]]
        share = _COMPANION if sigmas[0] > sigmas[-1] else _COMPANION_UP
        tight = max(min(share * asked.rtol, _COMPANION_MOST), _COMPANION_LEAST)
        fine = asked.atol * (tight / asked.rtol)
        other = _run(field, start, ends, tight, fine, asked.max_steps, asked.progress)
        size = np.linalg.norm(run.states[-1], axis=1)
        apart = np.linalg.norm(run.states[-1] - other.states[-1], axis=1)
        error = 2 * apart + _ROUNDING * size
    more = riders.finish(run.carried, start, sigmas) if riders and run.carried is not None else {}
    done = run.result == Result.DONE
    more |= extra.at_states(denoiser, asked.quantities, run.states, sigmas, across, done)
    return Trajectory(
        sigmas,
        run.states,
        _denoise_path(field, run.states, sigmas),
        run.nfe,
        error,
        run.result,
        run.collapse,
        run.noise,
        **more,
    )


def _lifted(
    found: Trajectory, reduced: Reduced, rest: Floats, tangent: Floats | None, points: Floats
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
        states=states,
        denoised=denoised,
        error=found.error + _ROUNDING * np.linalg.norm(states[-1], axis=1),
        **extra.lift(found, reduced, tangent, rest),
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


def _denoise_path(field: Field, states: Floats, sigmas: Floats) -> Floats:
    """D along saved states, NaN where the state is."""
    denoised = states.copy()
    for k, sigma in enumerate(sigmas):
        rows = np.isfinite(states[k]).all(axis=1)
        if sigma > 0 and rows.any():
            denoised[k, rows] = field(states[k, rows], np.full(rows.sum(), sigma)).mean
    return denoised


def _run(
    field: Field,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> Run:
    """By the kernel where it serves, and what it leaves over by steps of the whole batch."""
    optimal = field.optimal
    plain = field.riders is None and sigmas[0] > sigmas[-1]
    if optimal is None or not plain or optimal.columns is None:
        return stepwise(field, start, sigmas, rtol, atol, max_steps, progress)
    run = _compiled(optimal, start, sigmas, rtol, atol, max_steps, progress)
    over = np.flatnonzero(run.result < 0)
    if over.size:
        part = stepwise(field, start[over], sigmas, rtol, atol, max_steps, progress)
        run.put(over, part)
        if part.noise is not None:
            noise = np.full(len(start), np.nan)
            noise[over] = part.noise
            run = replace(run, noise=noise)
    return run


def _compiled(
    optimal: OptimalDenoiser,
    start: Floats,
    sigmas: Floats,
    rtol: float,
    atol: float,
    max_steps: int,
    progress: bool,
) -> Run:
    """Every trajectory in one kernel; the result is negative where it is to be done otherwise."""
    from .kernels import flow

    count, dim = start.shape
    assert optimal.columns is not None
    points, index_of = optimal.columns
    diameter = optimal.points.diameter_bounds[1]
    cut = float(np.log2(1000.0 * len(optimal.points) / rtol))
    fine = int(rtol < _FINE)
    rules = flow.Rules(
        rtol=rtol,
        atol=atol,
        cut=cut,
        floor=UNDECIDED * diameter,
        diameter=diameter,
        max_steps=max_steps,
        order=_ORDERS[dim <= flow.PLANE][fine],
        error=_CORRECTIONS[fine],
        safety=SAFETY,
        shrink=0.3,
        grow=2.0,
        patience=PATIENCE,
    )
    found = flow.Found(
        states=np.full((len(sigmas), count, dim), np.nan),
        saved=np.zeros(count, dtype=np.int64),
        nfe=np.zeros(count, dtype=np.int64),
        result=np.zeros(count, dtype=np.int64),
        column=np.full(count, -1),
        level=np.full(count, np.nan),
        state=start.copy(),
    )
    with bar(count, "exact flow", progress) as advance, limited(optimal.threads):
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
    return Run(found.states, found.nfe, found.result, collapse)
