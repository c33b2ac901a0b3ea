"""The probability-flow ODE and its derivatives.

With σ as time (variance exploding, Song et al. 2021; Karras et al. 2022),

    dx/dσ = (x - D(x; σ))/σ,      x'' = -D'/σ,
    D' = ∂D/∂σ + (∂D/∂x)(x - D)/σ   (the denoising output followed along the flow),

and for an optimal denoiser D' = (κ3 - C(x - D))/σ³ (theory A6, C2). The Frenet
curvature of the path is κ = σ|P⊥ D'|/|x - D|², P⊥ the part orthogonal to x - D.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .denoisers import Denoiser, OptimalDenoiser

__all__ = ["curvature", "denoised_derivative", "rounding_noise", "trace_covariance", "velocity"]

Floats = NDArray[np.float64]

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
