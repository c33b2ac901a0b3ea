"""What a model may be trained to return, and the denoised point in it.

A model of the process x_t = α_t x_0 + s_t z returns y = a D + b ε, with ε = (x̂ - D)/σ,
x̂ = x_t/α_t and σ = s_t/α_t. The denoised point is

    D = (b x̂ - σ y)/(b - a σ).

    name    (a, b) of a schedule    (a, b) without one
    x0      (1, 0)                  (1, 0)
    eps     (0, 1)                  (0, 1)
    v       (-s, α)                 (-σ, 1)/√(1 + σ²)
    flow    (α', s')                (-1, 1)

Without a schedule v is that of the variance-preserving process at level σ, and flow that of
the straight line, ε - D. With one, flow is its velocity dx_t/dt, for which the denominator is
α dσ/dt > 0. An error δ of y is one of δ σ/|b - a σ| in D: of σδ for eps, which is large
where σ is.

v: Salimans and Ho (2022), *Progressive Distillation for Fast Sampling of Diffusion Models*,
https://arxiv.org/abs/2202.00512. flow: Lipman et al. (2023), *Flow Matching for Generative
Modeling*, https://arxiv.org/abs/2210.02747.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .noise import NoiseSchedule

__all__ = ["NAMES", "combination", "denoised", "output"]

Floats = NDArray[np.float64]
NAMES = ("x0", "eps", "v", "flow")


def combination(name: str, sigma: Any, schedule: NoiseSchedule | None = None) -> tuple[Any, Any]:
    """(a, b) of y = a D + b ε, each shaped like σ."""
    level = np.asarray(sigma, dtype=np.float64)
    zero, one = np.zeros_like(level), np.ones_like(level)
    if name == "x0":
        return one, zero
    if name == "eps":
        return zero, one
    if name == "v":
        scale = 1 / np.hypot(1.0, level) if schedule is None else schedule.scale(level)
        return -scale * level, scale
    if schedule is None:
        return -one, one
    t = schedule.time(level)
    return schedule.alpha_derivative(t), schedule.sigma_derivative(t)


def output(
    name: str, x: Any, denoised: Any, sigma: Any, schedule: NoiseSchedule | None = None
) -> Floats:
    """The model's y at VE states x, whose denoised points are given; σ broadcasts to x."""
    if name == "x0":
        return np.asarray(denoised)
    a, b = combination(name, sigma, schedule)
    return np.asarray(a * denoised + b * ((x - denoised) / sigma))


def denoised(name: str, x: Any, y: Any, sigma: Any, schedule: NoiseSchedule | None = None) -> Any:
    """D of the model's y at VE states x; σ broadcasts to x."""
    if name == "x0":
        return y
    a, b = combination(name, sigma, schedule)
    return (b * x - sigma * y) / (b - a * sigma)
