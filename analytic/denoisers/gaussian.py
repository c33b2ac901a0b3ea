"""The optimal denoiser of Gaussian data.

For data N(μ, Σ) with Σ = Σ_j w_j² v_j v_jᵀ, everything acts per eigendirection. With
h_j² = w_j² + σ² and the coordinates c_j = v_j·(x - μ) it multiplies c_j

    for D - μ           by  w_j²/h_j²             D = μ + Σ(Σ + σ²I)⁻¹(x - μ)
    for ∇log p_σ        by  -1/h_j²
    for ∂D/∂σ           by  -2σ w_j²/h_j⁴
    along the flow      by  h_j(σ_to)/h_j(σ)      (theory C4)

and ∂D/∂x = Σ(Σ + σ²I)⁻¹ has the eigenvalues w_j²/h_j² (Karras et al. 2022,
https://arxiv.org/abs/2206.00364; Wang & Vastola 2023, https://arxiv.org/abs/2303.02490).
Where few directions have a variance of their own and all others share one, D×D
numbers are never formed: the others are x - μ less its part in those few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _check
from .._lazy import cached_property
from ._base import Floats, Query, Reals

__all__ = ["GaussianDenoiser", "LowRankGaussianDenoiser", "Spectrum"]

EPS = float(np.finfo(float).eps)
Act = Callable[[Floats, Any], Floats]
"""(coordinates, widths) → coordinates."""


class Spectrum(NamedTuple):
    """A covariance by its eigenvectors: Σ = V diag(w²) Vᵀ + w_r² (I - V Vᵀ)."""

    vectors: Floats
    """(D, k) orthonormal columns."""
    widths: Floats
    """(k,) standard deviations w along them; what rounding cannot tell from 0 is 0."""
    across: float = 0.0
    """The standard deviation w_r in every direction orthogonal to them."""

    @property
    def others(self) -> int:
        """How many directions there are beside the eigenvectors."""
        return self.vectors.shape[0] - self.vectors.shape[1]

    @property
    def singular(self) -> bool:
        """Whether the data do not fill the space."""
        return bool((self.widths == 0).any()) or (self.others > 0 and self.across == 0)

    def split(self, gap: Floats) -> tuple[Floats, Floats]:
        """Coordinates (B, k) along the eigenvectors, and what lies across (B, D)."""
        inner = gap @ self.vectors
        rest = gap - inner @ self.vectors.T
        # once more for what rounding left inside
        more = rest @ self.vectors
        return inner + more, rest - more @ self.vectors.T

    def act(self, gap: Floats, function: Act) -> Floats:
        """Change coordinates by a function of (coordinates, widths): (B, D) → (B, D)."""
        if not self.others:
            return np.asarray(function(gap @ self.vectors, self.widths) @ self.vectors.T)
        inner, rest = self.split(gap)
        along = function(inner, self.widths) @ self.vectors.T
        return np.asarray(along + function(rest, self.across))


def share(widths: Any, sigma: Floats) -> Floats:
    """w²/(w² + σ²), where 0 of 0 is 0: the limit σ → 0."""
    # hypot keeps the ratio finite where the squares would not be
    total = np.hypot(widths, sigma)
    return np.asarray((widths / np.where(total > 0, total, 1.0)) ** 2)


class _Normal:
    """What the denoisers of Gaussian data have in common; they know `mean` and `spectrum`."""

    mean: Floats
    spectrum: Spectrum

    @property
    def dim(self) -> int:
        """Dimension D."""
        return int(self.mean.shape[0])

    def __call__(self, x: Any, sigma: Any) -> Reals:
        """D(x; σ) = μ + Σ(Σ + σ²I)⁻¹(x - μ), shaped like x.

        σ = 0 means the limit: x itself, projected onto μ + the range of Σ.
        """
        query = Query.of(x, sigma, self.dim, zero=True)
        s = query.sigma[:, None]
        pull = self.spectrum.act(query.x - self.mean, lambda c, w: c * share(w, s))
        return query.answer(self.mean + pull)

    def log_prob(self, x: Any, sigma: Any) -> Reals:
        """Log N(x; μ, Σ + σ²I) in nats: (B,), scalar for one query; σ = 0 for regular Σ."""
        query = self._regular(x, sigma)
        s, spectrum = query.sigma[:, None], self.spectrum
        width = np.hypot(spectrum.widths, s)
        gap = query.x - self.mean
        inner, rest = spectrum.split(gap) if spectrum.others else (gap @ spectrum.vectors, gap)
        with np.errstate(over="ignore"):
            total = ((inner / width) ** 2).sum(axis=1) + 2 * np.log(width).sum(axis=1)
            if spectrum.others:
                width = np.hypot(spectrum.across, s)
                total += ((rest / width) ** 2).sum(axis=1)
                total += 2 * spectrum.others * np.log(width[:, 0])
        return query.answer(-0.5 * (total + self.dim * np.log(2 * np.pi)))

    def score(self, x: Any, sigma: Any) -> Reals:
        """∇log p_σ(x) = -(Σ + σ²I)⁻¹(x - μ), shaped like x; σ = 0 for regular Σ."""
        query = self._regular(x, sigma)
        s = query.sigma[:, None]

        def pull(c: Floats, w: Any) -> Floats:
            width = np.hypot(w, s)
            return np.asarray(-c / width / width)  # the square may underflow

        return query.answer(self.spectrum.act(query.x - self.mean, pull))

    def jvp(self, x: Any, sigma: Any, v: Any) -> Reals:
        """Action of the Jacobian, Σ(Σ + σ²I)⁻¹v, for v shaped like x."""
        query = Query.of(x, sigma, self.dim)
        s = query.sigma[:, None]
        return query.answer(
            self.spectrum.act(query.direction(v), lambda c, w: np.asarray(c * share(w, s)))
        )

    def jacobian(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂x = Σ(Σ + σ²I)⁻¹: (B, D, D), (D, D) for one query."""
        query = Query.of(x, sigma, self.dim)
        _check.size(len(query.x) * self.dim, self.dim, "x")
        s, (vectors, widths, across) = query.sigma[:, None], self.spectrum
        along, rest = share(widths, s), share(across, s) if self.spectrum.others else 0.0 * s
        result = np.einsum("ij,bj,kj->bik", vectors, along - rest, vectors, optimize=True)
        result = 0.5 * (result + result.transpose(0, 2, 1))
        result[:, range(self.dim), range(self.dim)] += rest
        return query.answer(result)

    def sigma_derivative(self, x: Any, sigma: Any) -> Reals:
        """∂D/∂σ at fixed x, shaped like x."""
        query = Query.of(x, sigma, self.dim)
        s = query.sigma[:, None]

        def turn(c: Floats, w: Any) -> Floats:
            width = np.hypot(w, s)
            return np.asarray(-2 * c * (w / width) ** 2 * (s / width) / width)

        return query.answer(self.spectrum.act(query.x - self.mean, turn))

    def trace_cov(self, x: Any, sigma: Any) -> Reals:
        """Tr Cov[x_0 | x] = σ² tr ∂D/∂x, in squared data units: (B,), the same for every x."""
        query = Query.of(x, sigma, self.dim)
        s, (_, widths, across) = query.sigma[:, None], self.spectrum
        total = _product(widths, s).sum(axis=1)
        return query.answer(total + self.spectrum.others * _product(across, s)[:, 0])

    def _regular(self, x: Any, sigma: Any) -> Query:
        query = Query.of(x, sigma, self.dim, zero=True)
        if self.spectrum.singular and not query.sigma.all():
            _check.fail(
                "sigma",
                "0.0",
                "σ > 0, as the covariance is singular",
                "without noise these data have no density in the whole space",
            )
        return query


def _product(widths: Any, s: Floats) -> Floats:
    """w²σ²/(w² + σ²)."""
    return np.asarray((widths * (s / np.hypot(widths, s))) ** 2)


@dataclass(frozen=True, eq=False)
class GaussianDenoiser(_Normal):
    """The optimal denoiser of Gaussian data N(μ, Σ).

    Parameters
    ----------
    mean : (D,) μ, in data units.
    covariance : (D, D) Σ, symmetric positive semi-definite, in squared data units.

    Raises
    ------
    ValueError, TypeError
        if the shapes disagree, or Σ is not symmetric or has a negative eigenvalue.

    Every method takes x (B, D) or (D,) and σ, a scalar or (B,), and returns x's float
    dtype. Matrix products are the BLAS library's, so a result may differ in its last
    bits, by ε D times the largest term, with the size of the batch.
    """

    mean: Floats
    covariance: Floats

    def __post_init__(self) -> None:
        mean = np.array(_check.array(self.mean, "mean"), dtype=np.float64)
        cov = np.array(_check.array(self.covariance, "covariance"), dtype=np.float64)
        if mean.ndim != 1 or cov.shape != 2 * mean.shape or not mean.size:
            _check.fail(
                "covariance",
                f"shape {cov.shape} with mean of shape {mean.shape}",
                "(D, D) with mean (D,)",
                "pass a vector and a square matrix",
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", symmetric(cov, "covariance"))
        widths_of(self.eigen[0], self.covariance, "covariance")

    @cached_property
    def eigen(self) -> tuple[Floats, Floats]:
        """Eigenvalues (D,), ascending, and orthonormal eigenvectors as columns (D, D)."""
        values, vectors = np.linalg.eigh(self.covariance)
        return values, vectors

    @cached_property
    def spectrum(self) -> Spectrum:  # type: ignore[override]
        """Eigenvectors and standard deviations."""
        values, vectors = self.eigen
        return Spectrum(vectors, widths_of(values, self.covariance, "covariance"))


@dataclass(frozen=True, eq=False)
class LowRankGaussianDenoiser(_Normal):
    """The optimal denoiser of Gaussian data N(μ, B diag(v) Bᵀ + r I), in any dimension.

    Parameters
    ----------
    mean : (D,) μ, in data units.
    basis : (D, k) B; its columns need be neither orthogonal nor of length one.
    variances : (k,) v ≥ 0 along the columns, in squared data units where these have
        length one.
    residual : r ≥ 0, the variance in every direction, in squared data units.

    Raises
    ------
    ValueError, TypeError
        if the shapes disagree or a variance is negative.

    A call costs some 4 B D k products and no D×D numbers, but for `jacobian`, which
    returns them. Otherwise as `GaussianDenoiser`.
    """

    mean: Floats
    basis: Floats
    variances: Floats
    residual: float = 0.0

    def __post_init__(self) -> None:
        mean = np.array(_check.array(self.mean, "mean"), dtype=np.float64)
        basis = np.array(_check.array(self.basis, "basis"), dtype=np.float64)
        variances = np.array(_check.array(self.variances, "variances"), dtype=np.float64)
        if mean.ndim != 1 or basis.ndim != 2 or len(basis) != len(mean) or 0 in basis.shape:
            _check.fail(
                "basis",
                f"shape {basis.shape} with mean of shape {mean.shape}",
                "(D, k) with mean (D,), k ≥ 1",
                "give one column per direction",
            )
        if variances.shape != basis.shape[1:] or variances.min() < 0:
            _check.fail(
                "variances",
                f"{_check.show(variances)}, least {variances.min(initial=np.inf):g}",
                f"{basis.shape[1:]} numbers ≥ 0",
                "give one variance per column of the basis",
            )
        residual = _check.number(self.residual, "residual", low=0.0)
        for name, value in (("mean", mean), ("basis", basis), ("variances", variances)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "residual", residual)

    @cached_property
    def spectrum(self) -> Spectrum:  # type: ignore[override]
        """Orthonormal directions (D, ≤ k), their standard deviations, and √r for all others."""
        across, widths = float(np.sqrt(self.residual)), np.sqrt(self.variances)
        count = self.basis.shape[1]
        gram = self.basis.T @ self.basis if count <= self.dim else np.zeros((count, count))
        if np.abs(gram - np.eye(count)).max() <= 16 * EPS * np.sqrt(self.dim):
            return Spectrum(self.basis, np.hypot(widths, across), across)
        vectors, widths, _ = np.linalg.svd(self.basis * widths, full_matrices=False)
        kept = widths > max(self.basis.shape) * EPS * widths[0]
        return Spectrum(
            np.ascontiguousarray(vectors[:, kept]), np.hypot(widths[kept], across), across
        )


def symmetric(matrix: Floats, argument: str) -> Floats:
    """A matrix (..., D, D) that is symmetric up to rounding, made exactly so."""
    turned = np.swapaxes(matrix, -1, -2)
    if (np.abs(matrix - turned) > _slack(matrix)).any():
        _check.fail(argument, "an asymmetric matrix", "a symmetric one", "symmetrise it")
    return np.asarray(0.5 * matrix + 0.5 * turned)


def widths_of(values: Floats, matrix: Floats, argument: str) -> Floats:
    """Standard deviations from eigenvalues (..., D) of matrices (..., D, D), checked ≥ 0.

    An eigenvalue within its rounding of 0 counts as 0; those of a diagonal matrix
    are exact.
    """
    dim = values.shape[-1]
    if (values < -dim * _slack(matrix)[..., 0]).any():
        _check.fail(argument, f"eigenvalue {values.min():g}", "eigenvalues ≥ 0", "check its sign")
    blur = dim * EPS * np.abs(values).max(axis=-1, keepdims=True)
    full = np.any(matrix * ~np.eye(dim, dtype=bool), axis=(-1, -2))
    return np.asarray(
        np.sqrt(np.where(values > np.where(np.asarray(full)[..., None], blur, 0.0), values, 0.0))
    )


def _slack(matrix: Floats) -> Floats:
    """(..., 1, 1) asymmetry and negative eigenvalues that pass for rounding."""
    largest = np.abs(matrix).max(axis=(-1, -2), keepdims=True)
    return np.asarray(1e-10 * np.maximum(largest, np.finfo(float).tiny))
