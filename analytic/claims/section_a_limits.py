"""Claims about the denoiser at its two ends: much noise and little.

With Ỹ = x_i − μ, Σ = E ỸỸᵀ, m3 = E Ỹ|Ỹ|² and M3[w, w] = E Ỹ(w·Ỹ)², all over the data:

    at fixed w = (x − μ)/s:  D = μ + Σw/s + (M3[w, w] − m3)/2s² + r₃,
    at fixed x:              D = μ + (Σ(x − μ) − m3/2)/s² + r₄.

D − μ is the mean F of Ỹ under weights that are tilted by e^g, where

    g = t w·Ỹ − t²|Ỹ|²/2 with t = 1/s,   or   g = τ c, c = (x − μ)·Ỹ − |Ỹ|²/2 with τ = 1/s².

Derivatives of F are joint cumulants of Ỹ with those of g. Under any weights |Ỹ| ≤ ρ = R_μ,
and what has half-range h has variance at most h² and deviates from its mean by at most 2h; so
with the half-ranges a of w·Ỹ, b of |Ỹ|² and h of c, and α = a + tb,

    |F'''| ≤ 7ρα³ + 6ραb,   |r₃| ≤ t³(7ρα³ + 6ραb)/6;     |F''| ≤ 2ρh²,   |r₄| ≤ ρ(h/s²)².

With little noise and i any point, the nearest say, D − x_i = Σ_j r_j (x_j − x_i)/(1 + Σ_j r_j)
with r_j = (π_j/π_i) exp(−g_j/2s²), g_j = |x − x_j|² − |x − x_i|², over all j ≠ i.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..denoisers import Denoiser, GaussianDenoiser, OptimalDenoiser, apply
from ..points import PointSet
from ..report import Evidence, Verdict
from . import _faults, _oracle
from ._base import Case, Claim, outcome

__all__ = ["CLAIMS"]

Floats = NDArray[np.float64]

LOPSIDED = PointSet(np.array([[0.0], [1.0]]), weights=[0.75, 0.25], name="0, 0, 0, 1")
"""Data whose m3 = 3/32 is not 0: without it the expansion at x = μ is wrong in first order."""

FOLKLORE_ERROR = 0.1 * 3 / 64
"""A tenth of what σ² |D − μ| tends to there, 3/64; the folklore has 0."""


class Expansion(NamedTuple):
    """D − μ at K levels for each of B queries, less its expansion."""

    sigma: Floats
    """(K, B)."""
    error: Floats
    """(K, B) distance of D from the expansion,"""
    bound: Floats
    """(K, B) what it may be, rounding included,"""
    without: Floats
    """(K, B) and the distance if m3 is left out."""


def _half_range(values: Floats) -> Floats:
    return np.asarray((values.max(axis=-1) - values.min(axis=-1)) / 2)


def _rounding(points: PointSet) -> float:
    """Of D, whose weights are nearly those of the data: some ulps of its terms."""
    return float(64 * np.finfo(float).eps * (points.radius + points.mean_radius))


def _third(points: PointSet, centred: Floats) -> Floats:
    """m3 = E Ỹ|Ỹ|², (D,)."""
    return np.asarray((points.weights * (centred**2).sum(axis=1)) @ centred)


def _along_rays(denoiser: Denoiser, points: PointSet, w: Floats, halvings: int) -> Expansion:
    """Levels that double, at fixed w = (x − μ)/s."""
    centred = points.points - points.mean
    inner = w @ centred.T
    wide, square = _half_range(inner), float(_half_range((centred**2).sum(axis=1)))
    first = 2 * (wide + np.sqrt(square)) + (points.mean_radius == 0)
    sigma = first * 2.0 ** np.arange(halvings)[:, None]
    linear = (points.weights * inner) @ centred
    third = _third(points, centred)
    bend = (points.weights * inner**2) @ centred - third
    rho, room = points.mean_radius, _rounding(points)
    parts = []
    for level in sigma:
        s = level[:, None]
        gap = apply(denoiser, points.mean + s * w, level) - points.mean - linear / s
        alpha = wide + square / level
        bound = (7 * rho * alpha**3 + 6 * rho * alpha * square) / 6 / level**3
        error = np.linalg.norm(gap - bend / s / (2 * s), axis=1)
        without = np.linalg.norm(gap - (bend + third) / s / (2 * s), axis=1)
        parts.append((error, bound + room, without))
    return Expansion(sigma, *(np.array(part) for part in zip(*parts, strict=True)))


def _at_one_place(denoiser: Denoiser, points: PointSet, x: Floats, halvings: int) -> Expansion:
    """Levels that double, at fixed x."""
    centred = points.points - points.mean
    away = x - points.mean
    inner = away @ centred.T
    half = _half_range(inner - 0.5 * (centred**2).sum(axis=1))
    sigma = (np.sqrt(half) + (half == 0)) * 2.0 ** np.arange(1, halvings + 1)[:, None]
    third = _third(points, centred)
    linear = (points.weights * inner) @ centred - third / 2
    room = _rounding(points)
    parts = []
    for level in sigma:
        s = level[:, None]
        gap = apply(denoiser, x, level) - points.mean - linear / s / s
        bound = points.mean_radius * (half / level / level) ** 2
        without = np.linalg.norm(gap - third / s / (2 * s), axis=1)
        parts.append((np.linalg.norm(gap, axis=1), bound + room, without))
    return Expansion(sigma, *(np.array(part) for part in zip(*parts, strict=True)))


def _order(found: Expansion) -> float:
    """Observed order: how the errors of the middle levels fall, NaN where they are rounding."""
    clear = (found.error > 0.1 * found.bound.min()).all(axis=1)
    first, last = 2, 4
    if len(clear) <= last or not clear[[first, last]].all():
        return float("nan")
    falls = np.log2(found.error[first] / found.error[last])
    return float(np.median(falls) / (last - first))


def _much_noise(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    points, denoiser = case.points, case.subject.denoiser
    count = 12 if case.quick else 32
    w = rng.standard_normal((count, points.dim))
    spread = points.mean_radius / np.sqrt(points.dim)
    x = points.mean + rng.uniform(0, 2, (count, 1)) * spread * rng.standard_normal(w.shape)
    rays = _along_rays(denoiser, points, w, 10)
    places = _at_one_place(denoiser, points, x, 8)
    build = case.subject.build or OptimalDenoiser
    lopsided = _at_one_place(build(LOPSIDED), LOPSIDED, LOPSIDED.mean[None], 6)
    # far from 0: there the folklore is refuted
    refuted = float(lopsided.without[-1, 0] * lopsided.sigma[-1, 0] ** 2)
    parts = {"fixed w": rays, "fixed x": places, "data 0, 0, 0, 1": lopsided}
    scale = points.mean_radius or 1.0
    ratios = {name: (part.error / part.bound).ravel() for name, part in parts.items()}
    names = np.repeat(list(ratios), [ratio.size for ratio in ratios.values()])
    return outcome(
        claim,
        case,
        sigma=np.concatenate([*(part.sigma.ravel() for part in parts.values()), [1.0]]),
        measured=np.concatenate([*ratios.values(), [FOLKLORE_ERROR / max(refuted, 1e-12)]]),
        bound=1.0,
        meaning="|D − expansion| / its bound",
        worst=lambda k: {"part": str(names[k]) if k < names.size else "refutation"},
        statistics={
            **{f"largest error over bound, {name}": float(r.max()) for name, r in ratios.items()},
            "observed order in 1/σ at fixed w (3)": _order(rays),
            "observed order in 1/σ at fixed x (4)": _order(places),
            "σ² times the error without m3 (data 0, 0, 0, 1, x = μ)": refuted,
        },
        evidence=Evidence(
            "noise level σ, in units of the first",
            "error / R_μ, fixed x",
            np.median(places.sigma / places.sigma[0], axis=1),
            {
                "with m3": np.median(places.error, axis=1) / scale,
                "without m3": np.median(places.without, axis=1) / scale,
                "bound": np.median(places.bound, axis=1) / scale,
            },
            bound="bound",
            xscale="log",
            yscale="log",
        ),
        note="Levels double from where the softmax turns by about one unit.",
    )


def _little_noise(case: Case, claim: Claim) -> Verdict:
    rng = case.rng(claim.id)
    points = case.points
    count = 48 if case.quick else 128
    home = points.sample(count, rng)
    near = _distances_to_others(points, home)
    sigma = near * 10 ** rng.uniform(-1.5, 0.3, count)
    x = home + sigma[:, None] * rng.standard_normal(home.shape)
    output = case.denoise(x, sigma)
    away, bounds, nearest = np.empty(count), np.empty(count), np.empty(count, dtype=np.int64)
    for k in range(count):
        nearest[k], bounds[k] = _oracle.small_noise_bound(points, x[k], float(sigma[k]))
        away[k] = np.linalg.norm(output[k] - points.points[nearest[k]])
    # to rounding: of the exponents, and of D
    room = 8 * np.finfo(float).eps * (points.radius + case.diameter)
    ratio = away / (bounds * (1 + 1e-9) + room)
    seen = bounds > 1e3 * room
    return outcome(
        claim,
        case,
        sigma=sigma,
        measured=ratio,
        bound=1.0,
        meaning="|D − x_i| / its bound, x_i the nearest data point",
        worst=lambda k: {"x": x[k], "nearest": int(nearest[k])},
        statistics={
            "share of queries whose bound is above rounding": float(seen.mean()),
            "median ratio there": float(np.median(ratio[seen])) if seen.any() else np.nan,
        },
        evidence=Evidence(
            "σ / distance of the data point's nearest other",
            "|D − x_i| / bound",
            sigma / near,
            {"measured": ratio, "bound": np.ones(count)},
            bound="bound",
            points=True,
            xscale="log",
        ),
        note="Room for rounding: 1e-9 of the bound, and 8ε(R + diam).",
    )


def _distances_to_others(points: PointSet, home: Floats) -> Floats:
    """(B,) distance of data points to their nearest other one; 1 for a single point."""
    result = np.ones(len(home))
    for k, point in enumerate(home if len(points) > 1 else ()):
        squares = ((points.points - point) ** 2).sum(axis=1)
        result[k] = np.sqrt(squares[squares > 0].min())
    return result


CLAIMS = (
    Claim(
        "A8",
        "Much noise: the expansion, and the term that is left out",
        "theorem+folklore",
        "As σ → ∞ with w = (x − μ)/σ fixed, D = μ + Σw/σ + (M3[w,w] − m3)/2σ² + O(σ⁻³); at fixed "
        "x, D = μ + (Σ(x − μ) − m3/2)/σ² + O(σ⁻⁴), both with explicit bounds. False: the same "
        "without m3, which is wrong in the leading order unless m3 = E Ỹ|Ỹ|² vanishes.",
        r"D = \mu + \tfrac{\Sigma w}{\sigma} + \tfrac{M_3[w,w]-m_3}{2\sigma^2} + O(\sigma^{-3}),"
        r"\quad D = \mu + \tfrac{\Sigma(x-\mu) - m_3/2}{\sigma^2} + O(\sigma^{-4})",
        "derived here; cumulants of a tilted distribution",
        "every finite weighted data set, σ from where the logits spread by about one",
        "D − μ is the mean of Ỹ under weights tilted by e^g: its derivatives are joint cumulants, "
        "which half-ranges bound.",
        _much_noise,
        lambda points: _faults.subject(points, lambda p: GaussianDenoiser(p.mean, p.covariance)),
    ),
    Claim(
        "A9",
        "Little noise: how close the output is to the nearest point",
        "theorem",
        "With x_i the nearest point and g_j = |x − x_j|² − |x − x_i|², |D − x_i| ≤ B/(1 + ε) ≤ B, "
        "where B = Σ_j (π_j/π_i) d_ij exp(−g_j/2σ²) and ε is the same sum without d_ij.",
        r"|D-x_i| \le \textstyle\sum_j \tfrac{\pi_j}{\pi_i} d_{ij}\, e^{-g_j/2\sigma^2}",
        "derived here; immediate from the closed form",
        "every finite weighted data set, every x, σ > 0",
        "D − x_i = Σ u_j (x_j − x_i), and u_j/u_i is the factor of d_ij.",
        _little_noise,
        lambda points: _faults.subject(points, _faults.Bandwidth),
    ),
)
