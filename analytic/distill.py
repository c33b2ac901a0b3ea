"""What distillation learns, computed exactly (theory C9).

A student is to do in one step, from x at level s down to t, what the flow does or what a
teacher does in k steps. One step of a denoiser's output r ends at

    x_t = (t/s) x + (1 - t/s) r,    so it must predict    r = (x_t - (t/s) x)/(1 - t/s).

- Consistency models: x_t is the end f(x, s) of the exact flow, the same for every state of
  a trajectory (Song et al. 2023, https://arxiv.org/abs/2303.01469).
- A teacher of k Euler steps s = s_0 > … > s_k = t with outputs D_j: r is their convex
  combination (theory C1)

      r = Σ_j w_j D_j,   w_j = s_k (1/s_{j+1} - 1/s_j)/(1 - s_k/s_0),   Σ_j w_j = 1,

  whatever the denoiser; for s_k = 0 only the last output counts.
- Progressive distillation: k = 2, again and again (Salimans & Ho 2022,
  https://arxiv.org/abs/2202.00512). Combinations of combinations are combinations: with
  students that learn exactly, halving down to one step gives the r of the first teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, grids
from .denoisers import Denoiser, OptimalDenoiser, dimension_of
from .flow import integrate
from .sampling import sample
from .solvers import Solver, euler_step, get
from .trajectory import Collapse, Result, Trajectory

__all__ = [
    "Ends",
    "Halving",
    "Teacher",
    "consistency",
    "euler_weights",
    "implied",
    "progressive",
    "teacher",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ends:
    """Where the exact flow takes B states."""

    points: NDArray[Any]
    """(B, D) the ends f(x, σ); NaN where the flow did not arrive."""
    error: Floats
    """(B,) estimated global error, in data units; NaN where not estimated."""
    result: NDArray[np.int64]
    """(B,) codes of `analytic.trajectory.Result`."""
    collapse: Collapse | None
    """The data points that the flow goes to, for an `OptimalDenoiser`, also where it is stopped
    before them."""

    @property
    def ok(self) -> bool:
        """Whether every state arrived."""
        return bool((self.result == Result.DONE).all())


def consistency(
    denoiser: Denoiser,
    x: Any,
    sigma: Any,
    sigma_min: float = 0.0,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    max_steps: int = 10_000,
    estimate_error: bool = True,
) -> Ends:
    """The exact consistency map f(x, σ) = x(σ_min), by `analytic.integrate`.

    Parameters
    ----------
    denoiser : any denoiser; σ_min = 0 needs an `OptimalDenoiser`.
    x : (B, D) or (D,) states, in data units.
    sigma : σ ≥ σ_min, their level, or (B,) one per state. States of one level run together.
    sigma_min : where the flow stops; states that are there already are their own ends.
    rtol, atol, max_steps, estimate_error : those of `integrate`.

    Raises
    ------
    ValueError, TypeError
        for levels below σ_min, and as `integrate` does.
    """
    states, _, dtype = _check.queries(x, dimension_of(denoiser, x))
    low = _check.number(sigma_min, "sigma_min", low=0.0, high=_check.SIGMA_LIMIT)
    levels = _check.sigma(sigma, len(states), zero=True)
    if (levels < low).any():
        _check.fail(
            "sigma", repr(float(levels.min())), f"levels ≥ sigma_min = {low!r}", "go down only"
        )
    count = len(states)
    there = levels == low
    ends = np.where(there[:, None], states, np.nan)
    error = np.where(there, 0.0, np.nan)
    result = np.full(count, int(Result.DONE))
    optimal = denoiser if isinstance(denoiser, OptimalDenoiser) else None
    found = Collapse(
        np.full(count, -1), np.zeros(count, dtype=bool), np.full(count, np.nan),
        np.full(count, np.inf),
    )  # fmt: skip
    if optimal is not None and there.any():
        found.index[there] = optimal.evaluate(states[there], levels[there]).nearest
    for level in np.unique(levels[~there]):
        rows = np.flatnonzero(levels == level)
        path = integrate(
            denoiser, states[rows], float(level), low, rtol=rtol, atol=atol, save_at=(),
            max_steps=max_steps, estimate_error=estimate_error,
        )  # fmt: skip
        ends[rows], error[rows], result[rows] = path.final, path.error, path.result
        if path.collapse is not None:
            for name in ("index", "certified", "sigma", "bound"):
                getattr(found, name)[rows] = getattr(path.collapse, name)
    return Ends(ends.astype(dtype, copy=False), error, result, None if optimal is None else found)


def implied(x: Any, end: Any, sigma: float, sigma_end: float) -> Floats:
    """R = (x_t - (t/s) x)/(1 - t/s): what one step must predict to go from x to its end.

    Parameters
    ----------
    x, end : states at s = `sigma` and t = `sigma_end`, of one shape (..., D).
    sigma, sigma_end : s > t ≥ 0. The difference cancels as t nears s: errors of x grow
        by 1/(1 - t/s).
    """
    first, last = (
        _check.array(value, name, finite=False).astype(np.float64)
        for value, name in ((x, "x"), (end, "end"))
    )
    if last.shape != first.shape:
        _check.fail("end", f"shape {last.shape}", f"x's shape {first.shape}", "pair the states")
    high = _check.number(sigma, "sigma", low=0.0, high=_check.SIGMA_LIMIT, open_low=True)
    low = _check.number(sigma_end, "sigma_end", low=0.0, high=_check.SIGMA_LIMIT)
    if not low < high:
        _check.fail("sigma_end", repr(low), f"less than sigma = {high!r}", "swap the two")
    share = low / high
    return np.asarray((last - share * first) / (1 - share))


def euler_weights(sigmas: Any) -> Floats:
    """(k,) weights w_j ≥ 0 of the outputs of k Euler steps in the one that replaces them.

    Parameters
    ----------
    sigmas : (k + 1,) decreasing levels; the last may be 0.
    """
    grid = grids.validate(sigmas)
    end = grid[-1]
    # s_k/s_{j+1} is 1 in the last step, for s_k = 0 too
    share = np.append(end / grid[1:-1], 1.0)
    found = share * ((grid[:-1] - grid[1:]) / grid[:-1])
    return np.asarray(found / ((grid[0] - end) / grid[0]))


@dataclass(frozen=True, eq=False)
class Teacher:
    """What k steps of a teacher ask of one step of a student."""

    target: NDArray[Any]
    """(B, D) r."""
    end: NDArray[Any]
    """(B, D) x_t = (t/s) x + (1 - t/s) r, the teacher's end."""
    weights: Floats | None
    """(k,) weights of the teacher's outputs in r, for Euler; None for other solvers."""
    trajectory: Trajectory
    """The teacher's path, in float64: `denoised[:-1]` are its outputs."""


def teacher(denoiser: Denoiser, x: Any, sigmas: Any, solver: str | Solver = "euler") -> Teacher:
    """The one-step target of a teacher with k steps.

    Parameters
    ----------
    denoiser : the teacher's denoiser, any.
    x : (B, D) or (D,) states at σ_0.
    sigmas : (k + 1,) decreasing levels; the last may be 0.
    solver : of `analytic.sample`, without noise. For "euler" the target is the convex
        combination of the outputs, and its step's end is the sampler's to rounding; for any
        other it is read off the end, `implied`.

    Raises
    ------
    ValueError, TypeError
        as `sample` does; solvers that draw noise have no one end, and are refused.
    """
    method = get(solver)
    if method.eta:
        _check.fail(
            "solver", method.label, "a solver without noise", "noise leaves no one end to learn"
        )
    start, _, dtype = _check.queries(x, dimension_of(denoiser, x))
    path = sample(denoiser, start, sigmas, method)
    grid, states = path.sigmas, path.states
    weights, end = None, states[-1]
    if method.name in ("euler", "euler_jump"):
        weights = euler_weights(grid)
        target = _combined(weights, path.denoised[:-1])
        end = euler_step(states[0], target, float(grid[0]), float(grid[-1]))
    else:
        target = implied(states[0], end, float(grid[0]), float(grid[-1]))
    return Teacher(target.astype(dtype, copy=False), end.astype(dtype, copy=False), weights, path)


@dataclass(frozen=True, eq=False)
class Halving:
    """What a student with n steps learns from a teacher with n times as many steps as one."""

    sigmas: Floats
    """(n + 1,) the student's levels."""
    states: NDArray[Any]
    """(n + 1, B, D) the teacher's states there: those of a student that learned exactly."""
    targets: NDArray[Any]
    """(n, B, D) what the student must predict at each but the last."""
    weights: tuple[Floats, ...]
    """(n,) of (steps,): weights of the teacher's outputs in each target."""


def progressive(denoiser: Denoiser, x: Any, sigmas: Any, steps: int = 2) -> Halving:
    """Targets of progressive distillation, along an Euler (DDIM) teacher's path.

    Parameters
    ----------
    denoiser : the teacher's denoiser, any.
    x : (B, D) or (D,) states at σ_0.
    sigmas : (n · steps + 1,) the teacher's decreasing levels; the last may be 0.
    steps : how many of the teacher's steps one of the student's replaces.
    """
    grid = grids.validate(sigmas)
    width = _check.integer(steps, "steps", low=1)
    if (len(grid) - 1) % width:
        _check.fail(
            "sigmas",
            f"{len(grid) - 1} steps",
            f"a multiple of {width}",
            "drop levels, or choose other steps",
        )
    start, _, dtype = _check.queries(x, dimension_of(denoiser, x))
    path = sample(denoiser, start, grid, "euler")
    cuts = list(pairwise(range(0, len(grid), width)))
    weights = tuple(euler_weights(grid[a : b + 1]) for a, b in cuts)
    targets = np.stack(
        [_combined(w, path.denoised[a:b]) for w, (a, b) in zip(weights, cuts, strict=True)]
    )
    kept = np.arange(0, len(grid), width)
    states = path.states[kept].astype(dtype, copy=False)
    return Halving(grid[kept], states, targets.astype(dtype, copy=False), weights)


def _combined(weights: Floats, outputs: NDArray[Any]) -> Floats:
    """Σ w_j D_j of outputs (k, B, D), in a fixed order."""
    total = np.zeros(outputs.shape[1:])
    for weight, output in zip(weights, outputs, strict=True):
        total += weight * output
    return total
