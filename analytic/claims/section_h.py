"""The claim about latents: what lies between two of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import latents
from ..report import Evidence, Verdict
from . import _faults
from ._base import Case, Claim
from ._statistics import Interval, distance_limits, estimated, mean_limits
from .section_b import mean_chi

__all__ = ["CLAIMS", "spherical_factor"]

Floats = NDArray[np.float64]

DIMENSIONS = (8, 64)
"""Where latents are drawn, beside the data's own dimension."""

FEWEST = 8
"""Dimensions from which spherical interpolation is tested: up to 3 its mean is infinite, up to 5
the variance of what is averaged."""


def spherical_factor(dim: int, share: float) -> float:
    """E|·|²/Ds² of spherical interpolation at one share, D ≥ 8, by quadrature over the angle.

    |·|² = p²|a|² + q²|b|² + 2pq|a||b| cos ψ with p² + q² + 2pq cos ψ = 1, and ψ, of density
    ∝ sin^{D−2}, is independent of the lengths. All but the last derivatives vanish at both
    ends, so the trapezoid rule is exact to rounding.
    """
    angle = np.pi * np.arange(1, 2000) / 2000
    density = np.sin(angle) ** (dim - 2)
    squares = (np.sin(share * angle) ** 2 + np.sin((1 - share) * angle) ** 2) / np.sin(angle) ** 2
    lone = mean_chi(dim) ** 2 / dim
    return float(lone + (1 - lone) * (density @ squares) / density.sum())


def _between(case: Case, claim: Claim) -> Verdict:
    from scipy.special import ndtr

    rng, own = case.rng(claim.id), case.points.dim
    shares = np.array([0.25, 0.5] if case.quick else [0.1, 0.3, 0.5, 0.7, 0.9])
    sigma = case.sigma_max
    parts: list[tuple[str, Interval, float, float, float]] = []
    curves: dict[str, list[float]] = {}
    for dim in dict.fromkeys((*DIMENSIONS, own)):
        a, b = (case.noise(rng, dim, sigma) / sigma for _ in range(2))
        for share in shares.tolist():
            expected = {
                "linear": share**2 + (1 - share) ** 2,
                "variance-preserving": 1.0,
            } | ({"spherical": spherical_factor(dim, share)} if dim >= FEWEST else {})
            for name, factor in expected.items():
                path = getattr(latents, name.replace("-", "_"))(a, b, share)
                found = (path**2).sum(axis=1) / dim
                label = f"{name}, D = {dim}, λ = {share}"
                parts.append((label, mean_limits(found / factor - 1), 0.0, 0.0, 0.06))
                if dim == DIMENSIONS[-1]:
                    curves.setdefault(name, []).append(float(found.mean()))
                if name == "variance-preserving":
                    law = distance_limits(ndtr(path.ravel()))
                    parts.append((f"law, {label}", law, 0.0, 0.0, float(law.high - law.low)))
    for dim in (8, 16, 64, 512):
        # tends to 1 as 1/D²
        excess = np.array((spherical_factor(dim, 0.5) - 1) * dim**2)
        parts.append((f"spherical, D = {dim}", Interval(excess, excess), 0.0, 1.0, 0.0))
    low, high, least, most, margin = (
        np.array(column)
        for column in zip(*((f.low, f.high, *rest) for _, f, *rest in parts), strict=True)
    )
    return estimated(
        claim,
        case,
        Interval(low, high),
        sigma=np.full(len(parts), sigma),
        least=least,
        most=most,
        margin=margin,
        meaning="E|·|² over its value − 1 = 0; distance from the normal law = 0",
        worst=lambda k: {"part": parts[k][0]},
        statistics={
            "spherical, λ = ½, D = 8": spherical_factor(8, 0.5),
            "spherical, λ = ½, D = 64": spherical_factor(64, 0.5),
            "linear, λ = ½": 0.5,
        },
        evidence=Evidence(
            "share λ",
            "E|·|² / Ds², D = 64",
            shares,
            {
                **{f"{name}, drawn": np.array(values) for name, values in curves.items()},
                "linear, λ² + (1 − λ)²": shares**2 + (1 - shares) ** 2,
            },
            bound="linear, λ² + (1 − λ)²",
        ),
        note="Means within 6 %. The law: all coordinates against the normal law.",
    )


CLAIMS = (
    Claim(
        "H1",
        "Between two latents",
        "theorem+expectation",
        "For independent a, b ~ N(0, s²I): (1 − λ)a + λb has E|·|² = (λ² + (1 − λ)²)Ds², so it is "
        "no latent; √(1 − λ) a + √λ b is exactly N(0, s²I); spherical interpolation keeps the "
        "norm only for large D, with the factor 1 + (1 − m²/D)/(D − 3) at λ = ½, m = E|z|.",
        r"\mathrm E|(1-\lambda)a+\lambda b|^2 = (\lambda^2+(1-\lambda)^2)Ds^2,\quad"
        r" \sqrt{1-\lambda}\,a+\sqrt\lambda\,b \sim \mathcal N(0,s^2I)",
        "immediate for the first two; the third derived here",
        "two independent draws; spherical from D = 8 on (infinite mean up to D = 3)",
        "Sums of independent normal vectors; the angle between a and b is independent of lengths.",
        _between,
        _faults.with_noise(_faults.related_noise),
    ),
)
