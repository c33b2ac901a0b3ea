"""Solvers as data.

A solver is one declaration: how to take a step from level s' down to s, its
order, its denoiser evaluations per step, and where it comes from. Steps of the
probability-flow ODE are written as convex combinations, so that s = 0 is exact:

    Euler (DDIM):  x_s = (s/s') x + (1 - s/s') D(x; s')
    Heun (EDM):    x_s = x + (s - s')/2 (d + d_E),  d = (x - D)/s',
                   d_E = (x_E - D(x_E; s))/s at the Euler point x_E; Euler if s = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _check

__all__ = ["Solver", "euler_step", "get", "names"]

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats, float], Floats]
Step = Callable[[Evaluate, Floats, Floats, float, float], Floats]


@dataclass(frozen=True)
class Solver:
    """A sampling method.

    `step(evaluate, x, denoised, s, t)` maps states x (B, D) at level s, with
    their denoising outputs, to states at level t < s; `evaluate(x, sigma)` is
    the (counted) denoiser.
    """

    name: str
    order: int
    nfe_per_step: int
    step: Step
    source: str


def euler_step(x: Floats, denoised: Floats, s: Any, t: Any) -> Floats:
    """(t/s) x + (1 - t/s) D: the Euler step as a convex combination (theory C1)."""
    share = t / s
    return share * x + (1 - share) * denoised


def _euler(evaluate: Evaluate, x: Floats, denoised: Floats, s: float, t: float) -> Floats:
    return euler_step(x, denoised, s, t)


def _heun(evaluate: Evaluate, x: Floats, denoised: Floats, s: float, t: float) -> Floats:
    predicted = euler_step(x, denoised, s, t)
    if t == 0:
        return predicted
    slope = (x - denoised) / s
    slope_there = (predicted - evaluate(predicted, t)) / t
    return x + (t - s) * 0.5 * (slope + slope_there)


_SOLVERS = {
    solver.name: solver
    for solver in (
        Solver("euler", 1, 1, _euler, "Song et al. 2021 (DDIM), https://arxiv.org/abs/2010.02502"),
        Solver(
            "heun",
            2,
            2,
            _heun,
            "Karras et al. 2022 (EDM, algorithm 1), https://arxiv.org/abs/2206.00364",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Names that `get` knows."""
    return tuple(_SOLVERS)


def get(name: Any) -> Solver:
    """The solver of that name; a `Solver` is returned as it is."""
    if isinstance(name, Solver):
        return name
    return _SOLVERS[_check.choice(name, "solver", _SOLVERS)]
