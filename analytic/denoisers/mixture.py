"""The optimal denoiser of a mixture of Gaussians.

For data Σ π_k N(μ_k, Σ_k) let g_k = x - μ_k, P_k = (Σ_k + σ²I)⁻¹. Then p_σ is the
mixture with covariances Σ_k + σ²I, and with its responsibilities

    u = softmax_k(log π_k - ½ g_k·P_k g_k - ½ log det(Σ_k + σ²I)),
    D(x; σ) = Σ u_k D_k,   D_k = μ_k + Σ_k P_k g_k,   ∇log p_σ = -Σ u_k P_k g_k

(Karras et al. 2022, https://arxiv.org/abs/2206.00364; for covariances 0 this is the
optimal denoiser of the means). With t_k = σ P_k g_k and averages over u,

    ∂D/∂x = Σ u_k Σ_k P_k + Cov_u(t),   Cov[x_0 | x] = σ² ∂D/∂x,
    ∂D/∂σ = Σ u_k ∂D_k/∂σ + Cov_u(D_k, σ|P_k g_k|² - σ tr P_k).

Differences between components are formed from the inputs, not from large numbers that
nearly cancel. With a reference component r, d_k = μ_r - μ_k and

    m_k = P_k g_k - P_r g_r = P_k(d_k + (Σ_r - Σ_k)P_r g_r),

one has g_k·P_k g_k - g_r·P_r g_r = d_k·P_k g_k + g_r·m_k, and D_k - D_r = -σ²m_k.
So log-weights are good to rounding of their spread, far from the data too. In the
eigenbasis of Σ_k, w_k² its eigenvalues and h_k² = w_k² + σ², all that is formed are
ratios such as σ/h_k or c/h_k, so that scales from 1e-150 to 1e150 may meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _check
from .._lazy import cached_property
from ._base import Floats, Query, Reals
from .gaussian import share, symmetric, widths_of

__all__ = ["GaussianMixtureDenoiser"]

SLAB = 400_000
"""Numbers per temporary, of which there are some ten."""


class Parts(NamedTuple):
    """The components at B queries, K first; vectors without a note are (K, B, D).

    "In axes" means in each component's own eigenbasis.
    """

    u: Floats
    """(K, B) responsibilities."""
    log_prob: Floats
    """(B,) log p_σ(x)."""
    inner: Floats
    """c_k, that is g_k, in axes."""
    h: Floats
    """√(w_k² + σ²), (K, B, 1) where isotropic."""
    gauge: Floats
    """(B, 1) γ, which is σ, or 1 for σ = 0."""
    stays: Floats
    """(B, D) γ P_r g_r."""
    moves: Floats
    """γ m_k."""
    base: Floats
    """(B, D) D_r."""

    def mean(self, values: Floats) -> Floats:
        """Σ u_k values_k over the components."""
        return np.asarray(np.einsum("kb,kb...->b...", self.u, self.live(values)))

    def live(self, values: Floats) -> Floats:
        """Values (K, B, ...), 0 for components of no weight, where they may have no bounds."""
        return np.where(self.u.reshape(self.u.shape + (1,) * (values.ndim - 2)) > 0, values, 0.0)

    def turns(self) -> Floats:
        """γ P_k g_k less its mean over the components, (K, B, D)."""
        return self.live(self.moves - self.mean(self.moves))


@dataclass(frozen=True, eq=False)
class GaussianMixtureDenoiser:
    """The optimal denoiser of a mixture of K Gaussians.

    Parameters
    ----------
    weights : (K,) π ≥ 0, not all zero, normalised here; None for equal weights.
    means : (K, D) μ_k, in data units.
    covariances : in squared data units, positive semi-definite: (K,) variances of
        isotropic components, (K, D) variances per coordinate, or (K, D, D) matrices.

    Raises
    ------
    ValueError, TypeError
        if shapes disagree, a weight or variance is negative or a matrix asymmetric.

    Every method takes x (B, D) or (D,) and σ, a scalar or (B,), and returns x's float
    dtype. σ = 0 is allowed where every covariance has full rank (then D(x; 0) = x),
    and for D itself where all are zero (the nearest mean). Work and memory are
    proportional to B K D, times D for matrices. Results may differ in their last bits
    with the size of the batch.
    """

    weights: Any
    means: Floats
    covariances: Floats

    def __post_init__(self) -> None:
        means = np.array(_check.array(self.means, "means"), dtype=np.float64)
        if means.ndim != 2 or 0 in means.shape:
            _check.fail("means", f"shape {means.shape}", "(K, D)", "give one row per component")
        cov = np.array(_check.array(self.covariances, "covariances"), dtype=np.float64)
        count, dim = means.shape
        if cov.shape not in ((count,), (count, dim), (count, dim, dim)):
            _check.fail(
                "covariances",
                f"shape {cov.shape} with means of shape {means.shape}",
                f"({count},), ({count}, {dim}) or ({count}, {dim}, {dim})",
                "give a variance, D variances or a D x D matrix per component",
            )
        if cov.ndim == 3:
            cov = symmetric(cov, "covariances")
        elif cov.min() < 0:
            _check.fail("covariances", f"variance {cov.min():g}", "numbers ≥ 0", "check its sign")
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "covariances", cov)
        object.__setattr__(self, "weights", _weights(self.weights, count))
        _ = self._axes

    @property
    def dim(self) -> int:
        """Dimension D."""
        return int(self.means.shape[1])

    def __len__(self) -> int:
        return int(self.means.shape[0])

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """D(x; σ) = Σ u_k D_k, shaped like x."""
        query = self._query(x, sigma, limit=True)

        def denoise(parts: Parts, s: Floats, x: Floats) -> Floats:
            found = parts.base - parts.gauge * parts.mean(parts.moves)
            return np.where(self._atoms | (s > 0), found, x)

        return query.answer(self._each(query, denoise, query.x))

    def responsibilities(self, x: Any, sigma: Any) -> Reals:
        """Posterior probabilities u of the components: (B, K), (K,) for one query."""
        query = self._query(x, sigma, limit=True)
        return query.answer(self._each(query, lambda parts, s: parts.u.T))

    def log_prob(self, x: Any, sigma: Any) -> Reals:
        """Log p_σ(x) in nats: (B,), scalar for one query."""
        query = self._query(x, sigma)
        return query.answer(self._each(query, lambda parts, s: parts.log_prob))

    def score(self, x: Any, sigma: Any) -> Reals:
        """∇log p_σ(x), shaped like x, without cancellation near a mean."""
        query = self._query(x, sigma)

        def pull(parts: Parts, s: Floats) -> Floats:
            return -(parts.stays + parts.mean(parts.moves)) / parts.gauge

        return query.answer(self._each(query, pull))

    def jacobian(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂x, symmetric positive semi-definite: (B, D, D), (D, D) for one query."""
        query = Query.of(x, sigma, self.dim)
        _check.size(len(query.x) * self.dim, self.dim, "x")

        def matrix(parts: Parts, s: Floats) -> Floats:
            t = parts.turns()
            result = np.einsum("kb,kbi,kbj->bij", parts.u, t, t, optimize=True)
            inside = np.broadcast_to((self._widths / parts.h) ** 2, t.shape)
            if self._axes is None:
                result[:, range(self.dim), range(self.dim)] += parts.mean(inside)
            else:
                result += np.einsum(
                    "kij,kb,kbj,klj->bil", self._axes, parts.u, inside, self._axes, optimize=True
                )
            return 0.5 * (result + result.transpose(0, 2, 1))

        return query.answer(self._each(query, matrix))

    def jvp(self, x: Any, sigma: Any, v: Any) -> Reals:
        """Action of the Jacobian, (∂D/∂x) v, for v shaped like x."""
        query = Query.of(x, sigma, self.dim)

        def act(parts: Parts, s: Floats, v: Floats) -> Floats:
            t = parts.turns()
            inside = self._out(self._into(v[None]) * (self._widths / parts.h) ** 2)
            return parts.mean(inside + t * np.einsum("kbd,bd->kb", t, v)[..., None])

        return query.answer(self._each(query, act, query.direction(v)))

    def sigma_derivative(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂σ at fixed x, shaped like x."""
        query = Query.of(x, sigma, self.dim)

        def slope(parts: Parts, s: Floats) -> Floats:
            c, h, ratio = parts.inner, parts.h, s / parts.h
            own = self._out(-2 * c * (self._widths / h) ** 2 * ratio / h)
            # |P_k g_k|² - |P_r g_r|² = m_k·(2 P_k g_k - m_k), in units of 1/σ²
            m = self._into(parts.moves)
            # and tr P_k less D/σ²; what all components share does not count
            rate = (m * (2 * ratio * (c / h) - m) + (self._widths / h) ** 2).sum(axis=2)
            rate = parts.live(rate - parts.mean(rate))
            return parts.mean(own - parts.turns() * rate[..., None])

        return query.answer(self._each(query, slope))

    def trace_cov(self, x: Any, sigma: Any) -> Reals:
        """Tr Cov[x_0 | x] = σ² tr ∂D/∂x, in squared data units: (B,), scalar for one query."""
        query = Query.of(x, sigma, self.dim)

        def total(parts: Parts, s: Floats) -> Floats:
            inside = np.broadcast_to((self._widths * (s / parts.h)) ** 2, parts.moves.shape)
            between = (parts.turns() * s) ** 2
            return parts.mean((inside + between).sum(axis=2))

        return query.answer(self._each(query, total))

    @cached_property
    def _spectra(self) -> tuple[Floats | None, Floats]:
        """Eigenvectors (K, D, D), None for the coordinates, and widths (K, 1, D or 1)."""
        if self.covariances.ndim < 3:
            return None, np.sqrt(self.covariances.reshape(len(self), 1, -1))
        values, vectors = np.linalg.eigh(self.covariances)
        return vectors, widths_of(values, self.covariances, "covariances")[:, None]

    @property
    def _axes(self) -> Floats | None:
        return self._spectra[0]

    @property
    def _widths(self) -> Floats:
        return self._spectra[1]

    @property
    def _atoms(self) -> bool:
        """Whether every component is a point."""
        return not self._widths.any()

    def _into(self, rows: Floats) -> Floats:
        """(K or 1, B, D) in axes."""
        return rows if self._axes is None else np.asarray(rows @ self._axes)

    def _out(self, rows: Floats) -> Floats:
        return rows if self._axes is None else np.asarray(rows @ self._axes.transpose(0, 2, 1))

    def _query(self, x: Any, sigma: Any, *, limit: bool = False) -> Query:
        query = Query.of(x, sigma, self.dim, zero=True)
        regular = bool(self._widths.all()) or (limit and self._atoms)
        if not (regular or query.sigma.all()):
            _check.fail(
                "sigma",
                "0.0",
                "σ > 0, as a covariance is singular",
                "σ = 0 has a value where every covariance has full rank, and for D itself "
                "where all are zero",
            )
        return query

    def _each(self, query: Query, function: Callable[..., Floats], *others: Floats) -> Floats:
        """`function` of the components and σ (B, 1), on some queries at a time."""
        step = max(1, SLAB // max(self.means.size, self.covariances[0].size))
        found = []
        for start in range(0, max(1, len(query.x)), step):
            rows = slice(start, start + step)
            s = query.sigma[rows, None]
            with np.errstate(over="ignore", under="ignore"):
                parts = self._parts(query.x[rows], s)
                found.append(function(parts, s, *(each[rows] for each in others)))
        return np.concatenate(found)

    def _parts(self, x: Floats, s: Floats) -> Parts:
        gaps = x - self.means[:, None]
        c, w = self._into(gaps), self._widths
        level = self._level(s, gaps)
        h = np.hypot(w, level)
        scale = h.max(axis=(0, 2))
        prior = self._prior - self._volume(h / scale[:, None])
        r, unit = _reference(c / h, prior)

        rows = np.arange(len(x))
        own, vectors = w[r, 0], None if self._axes is None else self._axes[r]
        pulled = _act(gaps[r, rows], vectors, share(own, level))
        gauge = np.where(level > 0, level, 1.0)
        stays = _act(gaps[r, rows], vectors, gauge / h[r, rows] / h[r, rows])
        d = self.means[r] - self.means[:, None]
        moves = (gauge / h) * (self._into(d + pulled) / h) - (w / h) ** 2 * self._into(stays[None])

        near = self._into(gaps[r, rows][None]) * unit / gauge
        quads = (self._into(d) * unit / h * (c * unit / h) + near * (moves * unit)).sum(2)
        logits = prior - prior[r, rows] - 0.5 * (quads / unit[:, 0] / unit[:, 0])
        logits[r, rows] = 0.0
        top = logits.max(axis=0)
        u = np.exp(logits - top)
        total = u.sum(axis=0)
        first = 0.5 * ((c[r, rows] / h[r, rows]) ** 2).sum(axis=1)
        log_prob = prior[r, rows] - first + top + np.log(total)
        log_prob -= self.dim * (np.log(scale) + 0.5 * np.log(2 * np.pi))
        base = self.means[r] + pulled
        return Parts(u / total, log_prob, c, h, gauge, stays, self._out(moves), base)

    def _level(self, s: Floats, gaps: Floats) -> Floats:
        """σ; for points the limit σ → 0 is taken at 1e-300 times the farthest one's distance."""
        if not self._atoms:
            return s
        level = np.maximum(s, 1e-300 * np.abs(gaps).max(axis=(0, 2))[:, None])
        return np.where(level > 0, level, 1.0)

    @cached_property
    def _prior(self) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.weights)[:, None])

    def _volume(self, ratio: Floats) -> Floats:
        """(K, B) Σ_j log of the ratios of widths."""
        logs = np.log(ratio)
        return np.asarray(self.dim * logs[..., 0] if ratio.shape[2] == 1 else logs.sum(axis=2))


def _reference(white: Floats, prior: Floats) -> tuple[np.ndarray, Floats]:
    """The heaviest component (B,), and a unit (B, 1) ≤ 1 that makes whitened gaps of order one."""
    largest = np.abs(white).max(axis=(0, 2))
    unit = np.ldexp(1.0, -np.frexp(np.maximum(largest, 1.0))[1] + 1)[:, None]
    logits = np.maximum(prior, -1e300) * unit[:, 0] ** 2 - 0.5 * ((white * unit) ** 2).sum(axis=2)
    # a weight of 0 has no place, however small the unit
    return np.where(np.isneginf(prior), -np.inf, logits).argmax(axis=0), unit


def _act(rows: Floats, vectors: Floats | None, factors: Floats) -> Floats:
    """A matrix with these eigenvectors, own to each row, and eigenvalues, on rows (B, D)."""
    if vectors is None:
        return np.asarray(rows * factors)
    inner = np.einsum("bi,bij->bj", rows, vectors) * factors
    return np.asarray(np.einsum("bij,bj->bi", vectors, inner))


def _weights(value: Any, count: int) -> Floats:
    if value is None:
        return np.full(count, 1 / count)
    weights = np.array(_check.array(value, "weights"), dtype=np.float64)
    if weights.shape != (count,) or weights.min() < 0 or weights.max() == 0:
        _check.fail(
            "weights",
            f"shape {weights.shape}, least {weights.min(initial=np.inf):g}",
            f"{count} numbers ≥ 0, not all zero",
            "give one weight per component",
        )
    weights = weights / weights.max()
    return np.asarray(weights / weights.sum())
