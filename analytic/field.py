"""The probability-flow ODE and its derivatives.

With σ as time (variance exploding, Song et al. 2021; Karras et al. 2022),

    dx/dσ = (x - D(x; σ))/σ,      x'' = -D'/σ,
    D' = ∂D/∂σ + (∂D/∂x)(x - D)/σ   (the denoising output followed along the flow),

and for an optimal denoiser D' = (κ3 - C(x - D))/σ³ (theory A6, C2). The Frenet
curvature of the path is κ = σ|P⊥ D'|/|x - D|², P⊥ the part orthogonal to x - D.

With w = 1/σ the flow turns the log-odds of the data points at rates a_i, so that
du_i/dw = u_i(a_i - Σ u_j a_j), and with y_i = x_i - D and derivatives by w

    a_i = w((x - D)·y_i - |y_i|²),   a_i' = w D'·y_i - |y_i|² + the same for all i,
    D' = Σ u_i y_i a_i,   D'' = Σ u_i y_i (a_i - ā)² + Σ u_i y_i a_i',

which, taken by σ again, gives the third derivative x''' = D'/σ² - D''/σ and so the torsion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .denoisers import Denoiser, OptimalDenoiser
from .points import PointSet

__all__ = [
    "curvature",
    "denoised_derivative",
    "path_derivatives",
    "rounding_noise",
    "trace_covariance",
    "velocity",
]

Floats = NDArray[np.float64]

_SLAB = 4_000_000
"""Numbers held at a time where every point's offset is needed."""

_STEP = 6e-3
"""Relative step of the six-point central differences: its seventh power is near rounding."""


def velocity(denoiser: Denoiser, x: Floats, sigma: Any) -> Floats:
    """dx/dσ = (x - D(x; σ))/σ for x (B, D), σ > 0 scalar or (B,)."""
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    return np.asarray((x - denoiser(x, level)) / level[:, None])


def denoised_derivative(denoiser: Denoiser, x: Floats, sigma: Any) -> Floats:
    """D' = dD(x(σ); σ)/dσ along the flow through x, (B, D).

    Exact for denoisers with `sigma_derivative` and `jvp`; for any other by six-point
    central differences along the tangent, relative error about 1e-11 where D is
    smooth on the scale of σ.
    """
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    if isinstance(denoiser, OptimalDenoiser):
        return denoiser.motion(np.array(x, dtype=np.float64, order="C"), level.copy()).slope
    slope = velocity(denoiser, x, level)
    known: Any = denoiser
    if hasattr(known, "sigma_derivative") and hasattr(known, "jvp"):
        return np.asarray(known.sigma_derivative(x, level) + known.jvp(x, level, slope))
    step = _STEP * level
    total = np.zeros_like(x)
    for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        ahead = denoiser(x + (k * step)[:, None] * slope, level + k * step)
        behind = denoiser(x - (k * step)[:, None] * slope, level - k * step)
        total += weight * (np.asarray(ahead) - np.asarray(behind))
    return np.asarray(total / (60.0 * step)[:, None])


def curvature(denoiser: Denoiser, x: Floats, sigma: Any, across: Any = 0.0) -> Floats:
    """(B,) Frenet curvature of the sampling trajectory through x, in inverse data units.

    `across` is the speed |x⊥|/σ, a scalar or (B,), of a part of the state that is not
    in x, on which D does not depend. Where D does not move the curvature is 0.
    """
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    tangent = x - np.asarray(denoiser(x, level))
    tangent = np.column_stack([tangent, np.broadcast_to(across * level, len(x))])
    length = np.linalg.norm(tangent, axis=1)
    bend = np.column_stack([denoised_derivative(denoiser, x, level), np.zeros(len(x))])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = tangent / length[:, None]
        bend = bend - (bend * unit).sum(axis=1, keepdims=True) * unit
        found = level * np.linalg.norm(bend, axis=1) / length / length
    return np.where((bend == 0).all(axis=1), 0.0, found)


def path_derivatives(denoiser: Denoiser, x: Floats, sigma: Any) -> tuple[Floats, Floats, Floats]:
    """x', x'', x''' by σ of the sampling trajectory through x, each (B, D).

    For `analytic.geometry.frenet`. In closed form for an `OptimalDenoiser`; for any other
    D'' is a six-point central difference of D' along the flow, with a relative error of
    some 1e-8 where D' is known exactly and D is smooth on the scale of σ.
    """
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    slope = velocity(denoiser, x, level)
    s = level[:, None]
    if isinstance(denoiser, OptimalDenoiser) and isinstance(denoiser.points, PointSet):
        turn, again = _turns(denoiser, x, level)
    else:
        turn = denoised_derivative(denoiser, x, level)
        again = _turn_of_turn(denoiser, x, level)
    return slope, -turn / s, turn / s**2 - again / s


def _turns(denoiser: OptimalDenoiser, x: Floats, level: Floats) -> tuple[Floats, Floats]:
    """D' and D'' by σ along the flow."""
    rows, logs = denoiser.held.points, denoiser.held.log_weights
    first, second = np.empty_like(x), np.empty_like(x)
    step = max(1, _SLAB // rows.size)
    for k in range(0, len(x), step):
        part = slice(k, k + step)
        s = level[part, None]
        # lengths in units of σ, so that nothing overflows
        gaps = (rows - x[part, None, :]) / s[:, :, None]
        logits = logs - 0.5 * np.square(gaps).sum(axis=2)
        u = np.exp(logits - logits.max(axis=1, keepdims=True))
        u /= u.sum(axis=1, keepdims=True)
        off = (u[:, None] @ gaps)[:, 0]
        y = gaps - off[:, None]
        squares = np.square(y).sum(axis=2)
        a = -(y @ off[:, :, None])[:, :, 0] - squares
        a -= (u * a).sum(axis=1, keepdims=True)
        one = ((u * a)[:, None] @ y)[:, 0]
        rate = (y @ one[:, :, None])[:, :, 0] - squares
        two = ((u * (a * a + rate))[:, None] @ y)[:, 0]
        first[part] = -one
        second[part] = (two + 2 * one) / s
    return first, second


def _turn_of_turn(denoiser: Denoiser, x: Floats, level: Floats) -> Floats:
    """D'' by differences of D' along the flow, followed by steps of Runge and Kutta."""
    step = 2e-3 * level
    total = np.zeros_like(x)
    for sign in (1.0, -1.0):
        h = (sign * step)[:, None]
        state, at = x, level
        for weight in (45.0, -9.0, 1.0):
            one = velocity(denoiser, state, at)
            two = velocity(denoiser, state + 0.5 * h * one, at + 0.5 * h[:, 0])
            three = velocity(denoiser, state + 0.5 * h * two, at + 0.5 * h[:, 0])
            four = velocity(denoiser, state + h * three, at + h[:, 0])
            state = state + h / 6 * (one + 2 * two + 2 * three + four)
            at = at + h[:, 0]
            total += sign * weight * denoised_derivative(denoiser, state, at)
    return np.asarray(total / (60.0 * step)[:, None])


def trace_covariance(denoiser: Denoiser, x: Floats, sigma: Any) -> Floats:
    """(B,) σ² div D, which is tr C for an optimal denoiser.

    Exact for denoisers with `trace_cov`, `posterior` or `jacobian`, otherwise by
    four-point central differences in every coordinate (4 D evaluations).
    """
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    known: Any = denoiser
    if hasattr(known, "trace_cov"):
        return np.asarray(known.trace_cov(x, level))
    if hasattr(known, "posterior"):
        return np.asarray(known.posterior(x, level).trace_cov)
    if hasattr(known, "jacobian"):
        return np.asarray(level**2 * np.einsum("bii->b", known.jacobian(x, level)))
    step = 1e-3 * level
    total = np.zeros(len(x))
    for d in range(x.shape[1]):
        move = np.zeros_like(x)
        for k, weight in ((1, 8.0), (2, -1.0)):
            move[:, d] = k * step
            gap = np.asarray(denoiser(x + move, level)) - np.asarray(denoiser(x - move, level))
            total += weight * gap[:, d]
    return np.asarray(level**2 * total / (12 * step))


def rounding_noise(denoiser: Denoiser, x: Floats, sigma: Any) -> Floats:
    """(B,) standard deviation of the denoiser's rounding, in data units, largest coordinate.

    From the sixth differences of seven outputs along the tangent, 1e-4 σ apart, over
    √924: of numbers that are smooth on that scale nothing else is left (Hamming;
    Moré & Wild 2011, *Estimating computational noise*, SIAM J. Sci. Comput. 33). The
    least of three places, 3 % of σ apart, so that one kink is not taken for noise.
    """
    level = np.broadcast_to(np.asarray(sigma, dtype=float), len(x))
    slope = velocity(denoiser, x, level)
    found = np.full(len(x), np.inf)
    for place in (0.0, -0.03, 0.03):
        total = np.zeros_like(x)
        for k, weight in enumerate((1, -6, 15, -20, 15, -6, 1)):
            move = (place + 1e-4 * (k - 3)) * level
            output = denoiser(x + move[:, None] * slope, level + move)
            total += weight * np.asarray(output, dtype=float)
        found = np.fmin(found, np.abs(total).max(axis=1) / np.sqrt(924.0))
    return found
