"""The one sampling loop: any solver of `analytic.solvers` over any grid.

From σ_0 > σ_1 > … > σ_n ≥ 0 and x_0 the loop evaluates D(x_k; σ_k), lets the solver correct
x_k where it does, hands it the last nodes for a step to σ_{k+1}, and counts evaluations by
counting calls. Noise is put in between steps: churn raises σ_k before the evaluation, an
ancestral step ends below σ_{k+1} and is raised to it. With z ~ N(0, I), from level a to b,

    x ← x + √(b² - a²) z.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check, grids, solvers
from ._progress import bar
from .denoisers import Denoiser, apply, dimension_of
from .noise import NoiseSchedule
from .quantities import cast
from .solvers import Churn, Node, Solver
from .trajectory import Result, Trajectory, enter, leave

__all__ = ["sample"]

Floats = NDArray[np.float64]


def sample(
    denoiser: Denoiser,
    x: Any,
    sigmas: Any,
    solver: str | Solver = "heun",
    *,
    churn: float | Churn | None = None,
    seed: int | None = None,
    schedule: NoiseSchedule | None = None,
    progress: bool = False,
) -> Trajectory:
    """Sample with a fixed grid.

    Parameters
    ----------
    denoiser : any denoiser.
    x : (B, D) or (D,) states at σ_0.
    sigmas : (n + 1,) decreasing noise levels; the last one may be 0.
    solver : a name of `analytic.solvers.names()` or a `Solver`, from
        `analytic.solvers.get(name, ...)` with its options.
    churn : S_churn of EDM or `analytic.solvers.Churn`, for solvers of one step.
    seed : non-negative integer, for churn and ancestral steps, which need one. The noise of
        row b in step k depends on `seed`, k and b alone.
    schedule : where starts and states live, x_t = α_t x̂, in place of the flow's own x̂; levels
        stay σ = σ_t/α_t, and the trajectory tells their `times`.
    progress : show a progress bar on a terminal.

    Returns
    -------
    `Trajectory` on the grid, with σ = 0 behind it where the solver jumps there, in x's dtype
    (steps are taken in float64). `denoised` holds what the solver used: with churn D at the
    raised level, with `afs` what stands for D at the first, with a corrector D of the
    prediction. `nfe` counts the solver's calls; the evaluation that fills the last row of
    `denoised` is not the solver's. `error` is NaN: nothing estimates it.

    Raises
    ------
    ValueError, TypeError
        for levels that do not decrease, too few for the solver's order, unknown solvers,
        noise without a seed or a seed without noise, churn for a multistep solver.
    """
    grid = grids.validate(sigmas)
    method = solvers.get(solver)
    noise = _churn(churn, method)
    generator = _generator(seed, method, noise)
    shown = _check.flag(progress, "progress")
    dim = dimension_of(denoiser, x)
    now, _, dtype = _check.queries(x, dim)
    grid = _fit(grid, method)
    now = enter(schedule, now, grid, "sigmas")
    _check.size(len(grid) * len(now), dim, "sigmas")
    calls, steps = 0, len(grid) - 1

    def evaluate(state: Floats, sigma: float) -> Floats:
        nonlocal calls
        calls += 1
        return apply(denoiser, state, sigma)

    states, outputs = np.empty((2, len(grid), *now.shape))
    states[0] = now
    used: solvers.Path = ()
    known: solvers.Path = ()
    with bar(steps, f"sampling ({method.name})", shown) as advance:
        for k, (s, t) in enumerate(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True)):
            level = s if noise is None else noise.level(s, steps)
            if noise is not None and level > s:
                now = now + noise.inflation * generator(k, s, level, now)
            if method.afs and k == 0:
                denoised = now - level / math.sqrt(1 + level * level) * now
            else:
                denoised = evaluate(now, level)
            node = Node(level, now, denoised)
            if method.correct is not None and used:
                node = node._replace(x=method.correct(used, node))
                states[k] = node.x
            known = (node, *known)[: method.memory]
            used = known[: steps - k] if method.lower_order_final else known
            down, up = solvers.split(level, t, method.eta)
            if (down == 0 and not method.reaches_zero) or (method.jump and k == steps - 1):
                now = solvers.euler_step(*node[1:], level, down)
            else:
                now = method.step(evaluate, used, down)
            if up > 0:
                now = now + generator(k, down, t, now)
            outputs[k], states[k + 1] = denoised, now
            advance(1)
    last = float(grid[-1])
    outputs[-1] = now if last == 0 else apply(denoiser, now, last)
    finite = np.isfinite(now).all(axis=1)
    run = Trajectory(
        grid,
        states,
        outputs,
        np.full(len(now), calls),
        np.full(len(now), np.nan),
        np.where(finite, Result.DONE, Result.NON_FINITE).astype(np.int64),
    )
    return cast(leave(schedule, run), dtype)


def _fit(grid: Floats, method: Solver) -> Floats:
    """The levels that the method visits."""
    if len(grid) <= method.memory:
        _check.fail(
            "sigmas",
            f"{len(grid)} levels",
            f"at least {method.memory + 1}, since {method.label} uses {method.memory} of them "
            "in a step",
            "add levels or lower the order",
        )
    if not method.jump:
        return grid
    if grid[-1] == 0:
        _check.fail(
            "sigmas",
            "a last level of 0",
            f"more than 0, since {method.label} jumps to 0 from there",
            "drop the last level, or the jump",
        )
    return np.append(grid, 0.0)


def _churn(churn: Any, method: Solver) -> Churn | None:
    if churn is None:
        return None
    noise = churn if isinstance(churn, Churn) else Churn(_check.number(churn, "churn", low=0.0))
    if not _takes_churn(method):
        single = [name for name in solvers.names() if _takes_churn(solvers.get(name))]
        _check.fail(
            "churn",
            f"{churn!r} for {method.label}",
            f"a solver that takes noise between its steps: {', '.join(single)}",
            "drop churn or choose one of these",
        )
    return noise


def _takes_churn(method: Solver) -> bool:
    return method.memory == 1 and method.correct is None and method.eta is None


def _generator(seed: Any, method: Solver, noise: Churn | None) -> Any:
    """Noise for step k that takes x from one level to a higher one."""
    if method.eta is None and noise is None:
        if seed is not None:
            _check.fail(
                "seed",
                repr(seed),
                f"none: {method.label} without churn draws nothing",
                "drop it, or pass churn or solver='ancestral'",
            )
        return None
    if seed is None and not method.eta and noise is None:
        return None
    if seed is None:
        _check.fail("seed", "None", "a seed for the noise", "pass a non-negative integer")
    start = _check.seed(seed)

    def draw(k: int, low: float, high: float, like: Floats) -> Floats:
        z = np.random.default_rng((start, k)).standard_normal(like.shape)
        return math.sqrt((high - low) * (high + low)) * z

    return draw
