"""The one sampling loop: any solver of `analytic.solvers` over any grid.

From σ_0 > σ_1 > … > σ_n ≥ 0 and x_0 the loop evaluates D(x_k; σ_k), hands it to
the solver's step, and counts evaluations by counting calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, grids, solvers
from ._progress import bar
from .denoisers import Denoiser, apply, dimension_of
from .noise import NoiseSchedule
from .quantities import cast
from .trajectory import Result, Trajectory, enter, leave

__all__ = ["sample"]

Floats = NDArray[np.float64]


def sample(
    denoiser: Denoiser,
    x: Any,
    sigmas: Any,
    solver: str | solvers.Solver = "heun",
    *,
    schedule: NoiseSchedule | None = None,
    progress: bool = False,
) -> Trajectory:
    """Sample with a fixed grid.

    Parameters
    ----------
    denoiser : any denoiser.
    x : (B, D) or (D,) states at σ_0.
    sigmas : (n + 1,) decreasing noise levels; the last one may be 0.
    solver : a name of `analytic.solvers.names()` or a `Solver`.
    schedule : where starts and states live, x_t = α_t x̂, in place of the flow's own x̂; levels
        stay σ = σ_t/α_t, and the trajectory tells their `times`.
    progress : show a progress bar on a terminal.

    Returns
    -------
    `Trajectory` on the grid, in x's dtype. `nfe` counts the solver's calls; the
    evaluation that fills the last row of `denoised` is not the solver's.
    `error` is NaN: nothing estimates it.
    """
    grid = grids.validate(sigmas)
    method = solvers.get(solver)
    shown = _check.flag(progress, "progress")
    dim = dimension_of(denoiser, x)
    now, _, dtype = _check.queries(x, dim)
    now = enter(schedule, now, grid, "sigmas")
    _check.size(len(grid) * len(now), dim, "sigmas")
    calls = 0

    def evaluate(state: Floats, sigma: float) -> Floats:
        nonlocal calls
        calls += 1
        return apply(denoiser, state, sigma)

    path, outputs = [now], []
    with bar(len(grid) - 1, f"sampling ({method.name})", shown) as advance:
        for s, t in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
            outputs.append(evaluate(now, s))
            now = method.step(evaluate, now, outputs[-1], s, t)
            path.append(now)
            advance(1)
    last = float(grid[-1])
    outputs.append(now if last == 0 else apply(denoiser, now, last))
    finite = np.isfinite(now).all(axis=1)
    run = Trajectory(
        grid,
        np.stack(path),
        np.stack(outputs),
        np.full(len(now), calls),
        np.full(len(now), np.nan),
        np.where(finite, Result.DONE, Result.NON_FINITE).astype(np.int64),
    )
    return cast(leave(schedule, run), dtype)
