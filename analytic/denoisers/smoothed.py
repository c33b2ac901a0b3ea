"""A smoothed score: a diffusion model that generalises, in closed form.

With the exact score s_σ of a finite set, the flow ends at its points. Averaged over
Gaussian shifts of the query it does not: it ends near weighted averages of neighbours
(σ-CFDM; Scarvelis, Sáez de Ocáriz Borde & Solomon 2023, *Closed-Form Diffusion
Models*, https://arxiv.org/abs/2310.12395). With u ~ N(0, I) and a width δ,

    s̃(x; σ) = E[s_σ(x + δ u)],   D̃(x; σ) = x + σ² s̃(x; σ) = E[D(x + δ u; σ)],

D the optimal denoiser; the second form holds because E u = 0, and it is what is
computed: the mean over M directions u_m, drawn once. So D̃ lies in the hull of the
data, its Jacobian is a mean of covariances, symmetric and positive semi-definite, and
s̃ is a gradient, but not that of the logarithm of a normalised density.

There, x_t = t x_0 + (1 - t) z and the query x_t is shifted by δ_0 u. In x = x_t/t
that is a shift by δ_0(1 + σ) u with σ = (1 - t)/t: `width` = `growth` = δ_0 here,
with δ(σ) = width + growth σ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _check
from .._lazy import cached_property
from ..points import PointSet, as_points
from ._base import Floats, Query, Reals
from .optimal import OptimalDenoiser

__all__ = ["SmoothedDenoiser"]


@dataclass(frozen=True, eq=False)
class SmoothedDenoiser:
    """The optimal denoiser averaged over Gaussian shifts of the query.

    Parameters
    ----------
    points : `PointSet` or (N, D) array.
    width : ≥ 0, standard deviation of the shifts in every coordinate, in data units;
        0 gives the optimal denoiser.
    growth : ≥ 0, how much that grows per unit of σ.
    directions : M ≥ 1, how many shifts. The error of the mean falls as 1/√M.
    seed : of the directions, which are the same for every query and level.

    Raises
    ------
    ValueError, TypeError
        for bad points or numbers out of range.

    Every method takes x (B, D) or (D,) and σ, a scalar or (B,), and returns x's float
    dtype, with the work of M queries per query to an `OptimalDenoiser`.
    """

    points: PointSet
    width: float
    growth: float = 0.0
    directions: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        points = as_points(self.points)
        width = _check.number(self.width, "width", low=0.0, high=_check.SIGMA_LIMIT)
        growth = _check.number(self.growth, "growth", low=0.0)
        count = _check.integer(self.directions, "directions", low=1)
        _check.size(count, points.dim, "directions")
        found = {"points": points, "width": width, "growth": growth, "directions": count}
        for name, value in (found | {"seed": _check.seed(self.seed)}).items():
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Dimension D of the data."""
        return self.points.dim

    @cached_property
    def optimal(self) -> OptimalDenoiser:
        """The optimal denoiser that is averaged."""
        return OptimalDenoiser(self.points)

    @cached_property
    def shifts(self) -> Floats:
        """(M, D) directions u_m."""
        rng = np.random.default_rng(self.seed)
        return rng.standard_normal((self.directions, self.dim))

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """D̃(x; σ), shaped like x. σ = 0: the mean of the data points nearest to x + δ u_m."""
        query = Query.of(x, sigma, self.dim, zero=True)
        return query.answer(self._mean(query, lambda y, s, u: self.optimal(y, s)))

    def score(self, x: Any, sigma: Any) -> Reals:
        """s̃(x; σ) = (D̃ - x)/σ², shaped like x."""
        query = Query.of(x, sigma, self.dim)
        s = query.sigma[:, None]

        def pull(y: Floats, level: Floats, u: Floats) -> Reals:
            # s_σ(y) knows D - y without cancellation; y - x is the shift, whose mean is 0
            return self.optimal.score(y, level) + self._reach(level) * u / s / s

        return query.answer(self._mean(query, pull))

    def jacobian(self, x: Any, sigma: Any) -> Reals:
        """∂D̃/∂x, symmetric positive semi-definite: (B, D, D), (D, D) for one query."""
        query = Query.of(x, sigma, self.dim)
        _check.size(len(query.x) * self.dim, self.dim, "x")
        return query.answer(self._mean(query, lambda y, s, u: self.optimal.jacobian(y, s)))

    def jvp(self, x: Any, sigma: Any, v: Any) -> Reals:
        """Action of the Jacobian, (∂D̃/∂x) v, for v shaped like x."""
        query = Query.of(x, sigma, self.dim)
        v = query.direction(v)
        return query.answer(self._mean(query, lambda y, s, u: self.optimal.jvp(y, s, v)))

    def sigma_derivative(self, x: Any, sigma: Any) -> Reals:
        """∂D̃/∂σ at fixed x, shaped like x."""
        query = Query.of(x, sigma, self.dim)

        def slope(y: Floats, s: Floats, u: Floats) -> Reals:
            spread = np.broadcast_to(self.growth * u, y.shape)
            return self.optimal.sigma_derivative(y, s) + self.optimal.jvp(y, s, spread)

        return query.answer(self._mean(query, slope))

    def trace_cov(self, x: Any, sigma: Any) -> Reals:
        """σ² tr ∂D̃/∂x, in squared data units: (B,), scalar for one query."""
        query = Query.of(x, sigma, self.dim)
        return query.answer(
            self._mean(query, lambda y, s, u: self.optimal.posterior(y, s).trace_cov)
        )

    def _mean(self, query: Query, function: Callable[[Floats, Floats, Floats], Reals]) -> Floats:
        """Mean over m of `function`(x + δ u_m, σ, u_m), with (B, D), (B,) and (D,)."""
        reach = self._reach(query.sigma)
        total: Any = 0.0
        for u in self.shifts:
            total = total + function(query.x + reach * u, query.sigma, u)
        return np.asarray(total / self.directions)

    def _reach(self, sigma: Floats) -> Floats:
        """δ(σ), (B, 1)."""
        return (self.width + self.growth * sigma)[:, None]
